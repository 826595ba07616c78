import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { ColumnCursor } from './column-cursor.ts';
import { decodeIntegerColumn } from './integer-column-decoder.ts';
import { IntegerColumnEncoder } from './integer-column-encoder.ts';

function decode(bytes: Uint8Array, count: number): number[] {
  const out = new Float64Array(count);
  const cursor = new ColumnCursor(bytes, 0, bytes.length);
  const isAny = decodeIntegerColumn(cursor, out, 0, count);
  expect(cursor.remaining).toBe(0);
  return isAny ? Array.from(out) : Array<number>(count).fill(0);
}

function encode(integers: readonly number[]): Uint8Array | undefined {
  const encoder = new IntegerColumnEncoder(integers.length);
  encoder.entries.set(integers);
  const dst = new ByteWriter(1);
  const isWritten = encoder.encode(integers.length, dst);
  if (!isWritten) expect(dst.length).toBe(0);
  return isWritten ? dst.take() : undefined;
}

// docs/format/chunk-columns.md, "Golden bytes".
test.each([
  ['0200020604', [1, 4, 9, 16, 25]],
  ['002100' + '00000000c000000000', [1, 2 ** 32]],
])('%s', (hex, integers) => {
  expect(decode(Buffer.from(hex, 'hex'), integers.length)).toEqual(integers);
});

const integers = fc.oneof(
  fc.array(fc.maxSafeInteger(), { minLength: 1, maxLength: 60 }),
  fc
    .tuple(
      fc.integer({ min: 0, max: 53 }),
      fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1, maxLength: 60 }),
    )
    .map(([bits, parts]) =>
      parts.map((part) => Math.floor(part * (2 ** bits - 1)) - Math.floor(2 ** bits / 3)),
    ),
);

test('every column that is written comes back', () => {
  fc.assert(
    fc.property(integers, (given) => {
      const column = given.map((integer) => integer + 0);
      const bytes = encode(column);
      // Differences beyond 2^53 are all that may stand in the way.
      if (bytes === undefined) expect(Math.max(...column) - Math.min(...column)).toBeGreaterThan(2 ** 53 - 1);
      else expect(decode(bytes, column.length).map((integer) => integer + 0)).toEqual(column);
    }),
    { numRuns: 3000 },
  );
});

test.each(Array.from({ length: 53 }, (_, i) => i + 1))('entries of %i bits', (width) => {
  const top = 2 ** width - 1;
  // Spread over the whole range, so that neither differences nor patches are cheaper.
  const column = Array.from({ length: 30 }, (_, i) => Math.round(((i * i * 0.618) % 1) * top));
  column.push(0, top);
  const bytes = encode(column)!;
  expect(bytes[1]).toBe(width);
  expect(decode(bytes, column.length)).toEqual(column);
  // With bytes behind it the entries are read another way.
  const out = new Float64Array(column.length);
  const padded = Buffer.concat([bytes, Buffer.alloc(64, 0xff)]);
  decodeIntegerColumn(new ColumnCursor(padded, 0, bytes.length), out, 0, column.length);
  expect(Array.from(out)).toEqual(column);
});

test('a range beyond 2^53 is not written', () => {
  expect(encode([Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER])).toBeUndefined();
});
