// The codec of docs/append-extras.md against its golden bytes, round trips, mutations.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { ExtraColumns } from '../../model/extra-columns.ts';
import { putDefinition } from './append-batch.ts';
import { decodeAppendExtras, type ExtrasSection, encodeAppendExtras, putExtra } from './append-extras.ts';

const GOLDEN = Uint8Array.from(
  `01 00 00 00  01 00 00 00  01 00 00 00  0b 00 00 00  0c 00 00 00
   07 00 00 00  01 00 00 00  0c 00 00 00
   05 00 00 00  07 00 00 00  02 aa bb
   05  02  00 00 00 00 00 00 f0 3f  01  05`
    .trim()
    .split(/\s+/),
  (byte) => Number.parseInt(byte, 16),
);

/** All of a request's extras, by section, and its definitions. */
function readAll(bytes: Uint8Array): { definitions: unknown[]; sections: unknown[] } {
  const decoded = decodeAppendExtras(bytes);
  const definitions: unknown[] = [];
  decoded.forEachDefinition((reference, partition, source, start, end) => {
    definitions.push([reference, partition, [...source.subarray(start, end)]]);
  });
  const sections = decoded.sections.map(({ partition }, index) => {
    const extras = new ExtraColumns();
    decoded.readSection(index, extras);
    return [
      partition,
      Array.from({ length: extras.count }, (_, i) => [
        extras.references[i],
        extras.kinds[i],
        extras.timestampsMs[i],
        [...extras.bytes.subarray(extras.starts[i], extras.ends[i])],
      ]),
    ];
  });
  return { definitions, sections };
}

test('golden bytes', () => {
  const definitions = new ByteWriter(16);
  putDefinition(definitions, 5, 7, Uint8Array.of(0xaa, 0xbb), 0, 2);
  const extras = new ByteWriter(16);
  putExtra(extras, 5, 2, 1, Uint8Array.of(5), 0, 1);
  const out = new ByteWriter(16);
  encodeAppendExtras(out, [{ partition: 7, count: 1, bytes: extras.length }], 1, definitions, extras);
  expect(out.take()).toEqual(GOLDEN);
  expect(readAll(GOLDEN)).toEqual({
    definitions: [[5, 7, [0xaa, 0xbb]]],
    sections: [[7, [[5, 2, 1, [5]]]]],
  });
});

test('any extras come back', () => {
  const extra = fc.tuple(
    fc.nat(2 ** 32 - 1),
    fc.integer({ min: 1, max: 3 }),
    fc.integer({ min: -(2 ** 51), max: 2 ** 51 }),
    fc.uint8Array({ maxLength: 80 }),
  );
  fc.assert(
    fc.property(fc.array(fc.array(extra, { minLength: 1, maxLength: 5 }), { maxLength: 5 }), (partitions) => {
      const extras = new ByteWriter(16);
      const sections: ExtrasSection[] = partitions.map((list, i) => {
        const from = extras.length;
        for (const [reference, kind, timeMs, content] of list) {
          putExtra(extras, reference, kind, timeMs, content, 0, content.length);
        }
        return { partition: 3 * i, count: list.length, bytes: extras.length - from };
      });
      const out = new ByteWriter(16);
      encodeAppendExtras(out, sections, 0, new ByteWriter(0), extras);
      const expected = partitions.map((list, i) => [3 * i, list.map(([r, k, t, c]) => [r, k, t, [...c]])]);
      expect(readAll(out.take())).toEqual({ definitions: [], sections: expected });
    }),
  );
});

test('mutated bytes are read or refused, nothing else', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(GOLDEN.length - 1), fc.nat(255)), { maxLength: 3 }),
      fc.nat(GOLDEN.length),
      (edits, cut) => {
        const bytes = GOLDEN.slice(0, cut < 4 ? cut : GOLDEN.length);
        for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
        try {
          readAll(bytes);
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('claimed sizes are refused before anything is allocated', () => {
  const bytes = GOLDEN.slice();
  new DataView(bytes.buffer).setUint32(24, 0xffffffff, true);
  expect(() => decodeAppendExtras(bytes)).toThrow(/4294967295 extras/);
});
