// Bytes against the plain way: formatValue and JSON.stringify.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { formatValue } from '../../lib/model/number-format.ts';
import { JsonBytes } from './json-bytes.ts';

function written(write: (json: JsonBytes) => void): string {
  const json = new JsonBytes();
  write(json);
  return json.take().toString();
}

const decimals = fc
  .tuple(fc.integer({ min: -(2 ** 31), max: 2 ** 31 }), fc.nat(9))
  .map(([units, places]) => units / 10 ** places);
const wide = fc.tuple(fc.maxSafeNat(), fc.nat(12)).map(([units, places]) => units / 10 ** places);

test('any value is written as formatValue writes it', () => {
  const value = fc.oneof(fc.double(), decimals, wide, fc.integer(), fc.float());
  fc.assert(
    fc.property(value, (one) => {
      expect(written((json) => json.value(one))).toBe(formatValue(one));
    }),
    { numRuns: 20_000 },
  );
});

test.each([
  0,
  -0,
  1,
  -1,
  0.1,
  0.01,
  0.001,
  0.07,
  1.005,
  8.2,
  123456.78,
  0.000001,
  0.0000011,
  9e-7,
  999999999999999,
  1e15,
  1e15 - 0.5,
  9999999999999.99,
  450359962737049.5,
  99999999,
  100000000,
  -100000001,
  12345678.87654321,
  987654321012345,
  700000000000000,
  2147483647,
  2147483648,
  4294967295.25,
  1e21,
])('%d', (value) => {
  expect(written((json) => json.value(value))).toBe(formatValue(value));
});

test('values that repeat, among others and across buffers', () => {
  const value = fc.oneof(fc.constantFrom(0, -0, 1, 1.5, Number.NaN, 0.1 + 0.2, 1e300), fc.double());
  fc.assert(
    fc.property(fc.array(fc.tuple(value, fc.boolean()), { maxLength: 40 }), (values) => {
      const json = new JsonBytes();
      let text = '';
      for (const [one, isTaken] of values) {
        json.value(one);
        json.text(',');
        if (isTaken) text += json.take().toString();
      }
      text += json.take().toString();
      expect(text).toBe(values.map(([one]) => `${formatValue(one)},`).join(''));
    }),
  );
});

test('label sets are what JSON.stringify makes of them', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }),
    fc.string({ minLength: 1, maxLength: 200 }),
    fc.constantFrom('a"b', 'a\\b', 'a\nb', '\u007f', 'é'),
  );
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          text.filter((t) => t.isWellFormed()),
          text,
        ),
        { maxLength: 6 },
      ),
      (entries) => {
        const labels = Labels.from(entries.filter(([, value]) => value.isWellFormed()));
        const bytes = new ByteWriter();
        encodeLabels(labels, bytes);
        const parts = [...labels].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
        const text = written((json) => json.labels(bytes.bytes, 0, bytes.length));
        expect(text).toBe(`{${parts.join(',')}}`);
      },
    ),
  );
});
