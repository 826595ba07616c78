// The compressor against Node's own decompressor, and one stream worked out by hand.
import { gunzipSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Repeats } from '../json/repeats.ts';
import { DeflateBlocks } from './deflate-blocks.ts';
import { huffmanLengths } from './huffman-code.ts';
import { RepeatGzip } from './repeat-gzip.ts';

interface Piece {
  readonly bytes: Buffer;
  readonly repeats: Repeats;
}

/** What a piece is made of: bytes of its own, or so many from so far back, as far as there are any. */
type Part = { readonly own: Uint8Array } | { readonly length: number; readonly distance: number };

function makePieces(plan: readonly (readonly Part[])[]): Piece[] {
  const all: number[] = [];
  return plan.map((parts) => {
    const from = all.length;
    const repeats = new Repeats();
    for (const part of parts) {
      if ('own' in part) {
        all.push(...part.own);
        continue;
      }
      const distance = Math.min(part.distance, all.length);
      if (distance === 0) continue;
      repeats.add(all.length - from, part.length, distance);
      for (let i = 0; i < part.length; i++) all.push(all[all.length - distance]!);
    }
    return { bytes: Buffer.from(all.slice(from)), repeats };
  });
}

async function compress(pieces: readonly Piece[]): Promise<Buffer> {
  const gzip = new RepeatGzip();
  for (const { bytes, repeats } of pieces) gzip.add(bytes, repeats);
  gzip.finish(Buffer.alloc(0));
  const out: Buffer[] = [];
  for (let next = gzip.take(); next !== undefined; next = gzip.take()) out.push(await next);
  return Buffer.concat(out);
}

const part: fc.Arbitrary<Part> = fc.oneof(
  fc.record({ own: fc.uint8Array({ maxLength: 40 }) }),
  fc.record({ own: fc.integer({ min: 0, max: 3 }).map((byte) => new Uint8Array(700).fill(byte)) }),
  fc.record({
    length: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(257, 258, 259, 260, 516, 517, 1000)),
    distance: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 40_000 })),
  }),
);

test('comes back as it was, whatever repeats', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(part, { maxLength: 30 }), { maxLength: 6 }), async (plan) => {
      const pieces = makePieces(plan);
      const compressed = await compress(pieces);
      expect(gunzipSync(compressed).equals(Buffer.concat(pieces.map(({ bytes }) => bytes)))).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test('reaches back by all distances there are', async () => {
  const noise = Uint8Array.from({ length: 32_768 }, (_, i) => Math.imul(i + 1, 2_654_435_761) >>> 24);
  const distances = Array.from({ length: 15 }, (_, bit) => [2 ** bit, 2 ** bit + 1, 3 * 2 ** bit]).flat();
  const plan = [[{ own: noise }, ...distances.map((distance) => ({ length: 9, distance }))]];
  const [piece] = makePieces(plan);
  expect(piece!.repeats.count).toBe(distances.filter((distance) => distance <= 32_768).length);
  expect(gunzipSync(await compress([piece!])).equals(piece!.bytes)).toBe(true);
});

// RFC 1951, 3.2.6, lowest bit first. Last block, fixed codes: 1, 10. "a": 0x30 + 97 = 0x91, 10010001; "b": 10010010. Length 4 is
// symbol 258: 0000010; distance 2 is symbol 1: 00001. End: 0000000.
test('a short piece has the codes that need no description', () => {
  const repeats = new Repeats();
  repeats.add(2, 4, 2);
  const bits = ['1', '10', '10010001', '10010010', '0000010', '00001', '0000000'].join('');
  const expected = bits
    .match(/.{1,8}/g)!
    .map((byte) => Number.parseInt(byte.split('').reverse().join(''), 2));
  const compressed = new DeflateBlocks().add(Buffer.from('ababab'), repeats, true);
  expect([...compressed]).toEqual(expected);
  expect(inflateRawSync(compressed).toString()).toBe('ababab');
});

test('no code is longer than it may be', () => {
  const fibonacci = [1, 1];
  while (fibonacci.length < 30) fibonacci.push(fibonacci.at(-1)! + fibonacci.at(-2)!);
  for (const lengthMax of [7, 15]) {
    const lengths = huffmanLengths(Uint32Array.from(fibonacci), lengthMax);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(lengthMax);
    // Kraft: neither ambiguous nor wasteful.
    expect(lengths.reduce((sum, length) => sum + 2 ** -length, 0)).toBe(1);
  }
  expect([...huffmanLengths(Uint32Array.of(0, 5, 0), 15)]).toEqual([0, 1, 0]);
  expect([...huffmanLengths(new Uint32Array(3), 15)]).toEqual([0, 0, 0]);
});

test('a text of one symbol, and an empty one', async () => {
  for (const text of ['', 'x'.repeat(5000)]) {
    const piece = { bytes: Buffer.from(text), repeats: new Repeats() };
    expect(gunzipSync(await compress([piece])).toString()).toBe(text);
  }
});
