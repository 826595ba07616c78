import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { wordsOf } from './sample-columns.ts';
import {
  DELTA_BYTES_MAX,
  putDeltas,
  putValueCodes,
  readDeltas,
  readValueCodes,
  VALUE_CODE_BYTES_MAX,
} from './value-codes.ts';

const NOW_MS = 1_700_000_000_000;

function staleMarker(): number[] {
  return [2, 0x7ff00000];
}

/** Values as pairs of words, low first. */
function valuesOf(words: readonly number[]): Float64Array {
  const values = new Float64Array(words.length / 2);
  wordsOf(values).set(words);
  return values;
}

test('golden bytes, worked out from log-records.md', () => {
  const values = valuesOf([...wordsOf(Float64Array.of(1, 2.5)), ...staleMarker()]);
  const bytes = new Uint8Array(3 * VALUE_CODE_BYTES_MAX);
  const end = putValueCodes(bytes, 0, values, 0, 3);
  expect(Buffer.from(bytes.subarray(0, end)).toString('hex')).toBe(`08${'d10f'}${'03020000000000f07f'}`);
  const times = Float64Array.of(1000, 1015, 1015);
  const timesEnd = putDeltas(bytes, 0, times, 0, 3, 0);
  expect(Buffer.from(bytes.subarray(0, timesEnd)).toString('hex')).toBe('d00f1e00');
});

const value = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.integer({ min: -1_000_000_000, max: 1_000_000_000 }).map((n) => n / 100),
  fc.maxSafeInteger().map((n) => n / 1_000_000),
  fc.constantFrom(0, -0, Infinity, -Infinity, 2 ** 50, -(2 ** 50), 2 ** 50 - 1, 2 ** 53),
);
const bits = fc.oneof(
  value.map((one) => [...wordsOf(Float64Array.of(one))]),
  fc.tuple(fc.nat(0xffffffff), fc.constantFrom(0x7ff00000, 0x7ff80000, 0xfff00001)),
  fc.constant(staleMarker()),
);

test('values come back bit for bit, and any run of them is a run of their bytes', () => {
  fc.assert(
    fc.property(fc.array(bits, { maxLength: 60 }), fc.nat(60), (rows, cut) => {
      const values = valuesOf(rows.flat());
      const split = Math.min(cut, values.length);
      const bytes = new Uint8Array(values.length * VALUE_CODE_BYTES_MAX);
      const end = putValueCodes(bytes, 0, values, 0, values.length);
      const middle = putValueCodes(new Uint8Array(bytes.length), 0, values, 0, split);
      const back = new Float64Array(values.length);
      expect(readValueCodes(bytes, 0, end, back, 0, split)).toBe(middle);
      expect(readValueCodes(bytes, middle, end, back, split, values.length)).toBe(end);
      expect(wordsOf(back)).toEqual(wordsOf(values));
    }),
  );
});

test('differences come back, whatever they are taken from', () => {
  const time = fc.integer({ min: -(2 ** 50), max: 2 ** 50 });
  fc.assert(
    fc.property(fc.array(time, { maxLength: 60 }), time, (times, base) => {
      const column = Float64Array.from(times);
      const bytes = new Uint8Array(times.length * DELTA_BYTES_MAX);
      const end = putDeltas(bytes, 0, column, 0, times.length, base);
      const back = new Float64Array(times.length);
      expect(readDeltas(bytes, 0, end, back, 0, times.length, base, -(2 ** 50), 2 ** 50)).toBe(end);
      // Object.is: a time of -0 is written as 0, which is the same time.
      expect(back).toEqual(column.map((one) => one + 0));
    }),
  );
});

test('references come back', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(0xffffffff), { maxLength: 60 }), (references) => {
      const column = Uint32Array.from(references);
      const bytes = new Uint8Array(references.length * DELTA_BYTES_MAX);
      const end = putDeltas(bytes, 0, column, 0, references.length, 0);
      const back = new Uint32Array(references.length);
      expect(readDeltas(bytes, 0, end, back, 0, references.length, 0, 0, 0xffffffff)).toBe(end);
      expect(back).toEqual(column);
    }),
  );
});

test('a scrape costs a few bytes a sample', () => {
  const times = Float64Array.from({ length: 500 }, () => NOW_MS);
  const values = Float64Array.from({ length: 500 }, (_, i) => [0, 1, i, 12_345.67, 4096 * i][i % 5]!);
  const bytes = new Uint8Array(500 * VALUE_CODE_BYTES_MAX);
  expect(putDeltas(bytes, 0, times, 0, 500, NOW_MS)).toBe(500);
  expect(putValueCodes(bytes, 0, values, 0, 500)).toBeLessThan(500 * 3);
});

test('bytes that end early, overlong varints and numbers out of range are refused', () => {
  const out = new Float64Array(2);
  const raw = Uint8Array.from([3, 0, 0, 0, 0, 0, 0, 0]);
  expect(() => readValueCodes(raw, 0, raw.length, out, 0, 1)).toThrow(AppError);
  expect(() => readValueCodes(raw, 0, 0, out, 0, 1)).toThrow(/ends early/);
  const overlong = new Uint8Array(16).fill(0x80);
  expect(() => readValueCodes(overlong, 0, 16, out, 0, 1)).toThrow(/over 8 bytes/);
  expect(() => readDeltas(overlong, 0, 16, out, 0, 1, 0, 0, 1)).toThrow(/over 8 bytes/);
  expect(() => readDeltas(Uint8Array.of(2, 1), 0, 2, out, 0, 2, 0, 0, 0xff)).not.toThrow();
  expect(() => readDeltas(Uint8Array.of(1), 0, 1, out, 0, 1, 0, 0, 0xff)).toThrow(/-1 .*outside 0 … 255/);
});

test('mutated bytes are read or refused, nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(12), (bytes, count) => {
      const out = new Float64Array(count);
      for (const read of [
        () => readValueCodes(bytes, 0, bytes.length, out, 0, count),
        () => readDeltas(bytes, 0, bytes.length, out, 0, count, 0, -(2 ** 50), 2 ** 50),
      ]) {
        try {
          expect(read()).toBeLessThanOrEqual(bytes.length);
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
        }
      }
    }),
    { numRuns: 2000 },
  );
});
