import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DoubleParts, putShortest } from './shortest-digits.ts';

const parts = new DoubleParts();
const buffer = new Uint8Array(64);

/** What is written; undefined where String() is to be asked. */
function written(value: number): string | undefined {
  buffer.fill(0x78);
  const end = putShortest(buffer, 3, value, parts);
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

test('what is written is what String writes, and most values are', () => {
  const random = makeRandom(42);
  const words = new Uint32Array(2);
  const double = new Float64Array(words.buffer);
  let found = 0;
  const draws = 400_000;
  for (let i = 0; i < draws; i++) {
    words[0] = random();
    words[1] = (random() & 0xfffff) | ((1023 - 17 + (random() % 67)) << 20);
    const text = written(double[0]!);
    if (text === undefined) continue;
    found++;
    if (text !== String(double[0])) expect(text).toBe(String(double[0]));
  }
  expect(found / draws).toBeGreaterThan(0.95);
});

test('quotients, as rates and ratios are', () => {
  const random = makeRandom(7);
  const draws = 200_000;
  let found = 0;
  for (let i = 0; i < draws; i++) {
    const value = ((random() % 1_000_000) / (1 + (random() % 100_000))) * (i % 2 === 0 ? 1 : -100);
    const text = written(value);
    if (text === undefined) continue;
    found++;
    if (text !== String(value)) expect(text).toBe(String(value));
  }
  expect(found / draws).toBeGreaterThan(0.5);
});

test('neighbours of decimal numbers, powers of two, bounds', () => {
  const places = fc.tuple(fc.integer({ min: 1, max: 2 ** 31 }), fc.nat(15), fc.integer({ min: -3, max: 3 }));
  const near = new Float64Array(1);
  const bits = new BigUint64Array(near.buffer);
  fc.assert(
    fc.property(places, ([units, digits, ulps]) => {
      near[0] = units / 10 ** digits;
      bits[0] = bits[0]! + BigInt(ulps);
      const text = written(near[0]!);
      if (text !== undefined) expect(text).toBe(String(near[0]));
    }),
    { numRuns: 20_000 },
  );
  for (const value of [
    0,
    -0,
    1e-6,
    1e-5,
    1e15,
    2 ** 40,
    0.5,
    Number.NaN,
    Infinity,
    -Infinity,
    5e-324,
    1e300,
  ]) {
    const text = written(value);
    if (text !== undefined) expect(text).toBe(String(value));
  }
  expect(written(Number.NaN)).toBeUndefined();
  expect(written(1e300)).toBeUndefined();
});
