import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GzipPieces } from './gzip-pieces.ts';

async function compress(pieces: readonly Uint8Array[]): Promise<Buffer> {
  const gzip = new GzipPieces();
  for (const piece of pieces.slice(0, -1)) gzip.add(Buffer.from(piece));
  gzip.finish(Buffer.from(pieces.at(-1) ?? new Uint8Array(0)));
  const out: Buffer[] = [];
  for (let next = gzip.take(); next !== undefined; next = gzip.take()) out.push(await next);
  return Buffer.concat(out);
}

test('pieces are one gzip member of all that was written', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.uint8Array({ maxLength: 3000 }), fc.constant(new Uint8Array(70_000).fill(48)))),
      async (pieces) => {
        const compressed = await compress(pieces);
        expect(gunzipSync(compressed).equals(Buffer.concat(pieces))).toBe(true);
        // Node would go on behind the end of a member: here there is nothing.
        expect([...compressed.subarray(0, 4)]).toEqual([0x1f, 0x8b, 8, 0]);
        const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
        expect(compressed.readUInt32LE(compressed.length - 4)).toBe(bytes);
      },
    ),
    { numRuns: 50 },
  );
});

test('a changed byte does not go unnoticed', async () => {
  const text = Buffer.from(Array.from({ length: 5000 }, (_, i) => `[${i},"${i * 7}"]`).join());
  const compressed = await compress([text.subarray(0, 30_000), text.subarray(30_000)]);
  compressed[compressed.length - 6]! ^= 1;
  expect(() => gunzipSync(compressed)).toThrow();
});
