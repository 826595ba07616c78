import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileKernel } from '../../../../test/support/compiled-kernel.ts';
import { formatValue } from '../../../lib/model/number-format.ts';
import { putValue } from './text-kernel.ts';

const buffer = new Uint8Array(128);

/** What is written; undefined where formatValue has to. */
function written(value: number): string | undefined {
  const end = putValue(buffer, 3, value);
  return end === 3 ? undefined : Buffer.from(buffer.subarray(3, end)).toString('latin1');
}

/** A generator of its own: millions of draws are needed, and shrinking is not. */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
}

test('kernel.wasm is what the sources in assembly/ make (npm run generate:text-kernel)', {
  timeout: 180_000,
}, async () => {
  const sources = ['decimal', 'pairs', 'deflate'];
  const { made, committed } = await compileKernel('services/gateway/json/kernel', sources);
  expect(made.equals(committed)).toBe(true);
});

test('a double of any bits is written as formatValue writes it, or not where it has an exponent', () => {
  const random = makeRandom(42);
  const words = new Uint32Array(2);
  const double = new Float64Array(words.buffer);
  let found = 0;
  const draws = 400_000;
  for (let i = 0; i < draws; i++) {
    words[0] = random();
    words[1] = (random() & 0x800f_ffff) | ((1023 - 22 + (random() % 94)) << 20);
    // Few digits of the fraction: powers of two among them, and integers.
    if (i % 4 === 0) words[0] = 0;
    if (i % 8 === 0) words[1]! &= 0xfff8_0000;
    const value = double[0]!;
    const text = written(value);
    if (text !== undefined) found++;
    const expected = formatValue(value);
    if (text !== (expected.includes('e') ? undefined : expected))
      expect([value, text]).toEqual([value, expected]);
  }
  expect(found / draws).toBeGreaterThan(0.95);
});

test('quotients, as rates and ratios are', () => {
  const random = makeRandom(7);
  for (let i = 0; i < 200_000; i++) {
    const value = ((random() % 1_000_000) / (1 + (random() % 100_000))) * (i % 2 === 0 ? 1 : -100);
    const text = written(value) ?? formatValue(value);
    if (text !== formatValue(value)) expect(text).toBe(formatValue(value));
  }
});

test('neighbours of decimal numbers', () => {
  const places = fc.tuple(fc.integer({ min: 1, max: 2 ** 31 }), fc.nat(15), fc.integer({ min: -3, max: 3 }));
  const near = new Float64Array(1);
  const bits = new BigUint64Array(near.buffer);
  fc.assert(
    fc.property(places, ([units, digits, ulps]) => {
      near[0] = units / 10 ** digits;
      bits[0] = bits[0]! + BigInt(ulps);
      expect(written(near[0]) ?? formatValue(near[0])).toBe(formatValue(near[0]));
    }),
    { numRuns: 20_000 },
  );
});

test.each([
  [0, '0'],
  [-0, '-0'],
  [1e-6, '0.000001'],
  [9.999999999999997e-7, undefined],
  [1e15, '1000000000000000'],
  [2 ** 53, '9007199254740992'],
  [2 ** 53 - 1, '9007199254740991'],
  [-(2 ** 60), '-1152921504606847000'],
  [999999999999999900000, '999999999999999900000'],
  [1e21, undefined],
  [0.5, '0.5'],
  [0.1 + 0.2, '0.30000000000000004'],
  [Number.NaN, 'NaN'],
  [Number.POSITIVE_INFINITY, '+Inf'],
  [Number.NEGATIVE_INFINITY, '-Inf'],
  [5e-324, undefined],
  [1e300, undefined],
])('%d is %s', (value, text) => {
  expect(written(value)).toBe(text);
});
