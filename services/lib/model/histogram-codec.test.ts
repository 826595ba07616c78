// The histogram codec against the golden bytes of wire/docs/histogram.md, round trips, mutations.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bitsOf, describeHistogram, fromWords, histograms } from '../../../test/support/histograms.ts';
import { ByteWriter } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import { CUSTOM_BUCKETS_SCHEMA, FloatHistogram } from './float-histogram.ts';
import {
  type CountsKind,
  decodeHistogram,
  encodeHistogram,
  HISTOGRAM_BUCKETS_MAX,
  isStaleHistogram,
} from './histogram-codec.ts';

function encode(histogram: FloatHistogram, kind: CountsKind): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(16);
  encodeHistogram(histogram, kind, out);
  return out.take();
}

const hex = (text: string) => Uint8Array.from(text.trim().split(/\s+/), (byte) => Number.parseInt(byte, 16));

const GOLDEN_INTEGER = hex('44 00 00 00 00 00 00 80 32 40 0c 02 03 00 01 00 00 06 02 05 01 01 00 04');
const GOLDEN_CUSTOM = hex(`
  1b 02 00 00 00 00 00 00 e0 3f 00 00 00 00 00 00 04 40 02 00 00 00 00 00 f0 7f
  00 00 00 00 00 00 e0 3f 00 00 00 00 00 00 00 00 01 04 00 00 00 00 00 00 00 e0 3f`);

function integerHistogram(): FloatHistogram {
  const histogram = new FloatHistogram();
  histogram.zeroThreshold = 2 ** -128;
  histogram.zeroCount = 2;
  histogram.count = 12;
  histogram.sum = 18.5;
  histogram.positive = { indexes: [0, 1, 3], counts: [3, 4, 1] };
  histogram.negative = { indexes: [-1], counts: [2] };
  return histogram;
}

function customHistogram(): FloatHistogram {
  const histogram = new FloatHistogram();
  histogram.hint = 'gauge';
  histogram.schema = CUSTOM_BUCKETS_SCHEMA;
  histogram.customBounds = [0.5, 2.5];
  histogram.count = 0.5;
  histogram.sum = fromWords(0x7ff00000, 2);
  histogram.positive = { indexes: [2], counts: [0.5] };
  return histogram;
}

describe('golden bytes', () => {
  test.each([
    ['integer counts, both sides', integerHistogram(), 'integer', GOLDEN_INTEGER],
    ['custom bounds, float gauge, stale', customHistogram(), 'float', GOLDEN_CUSTOM],
  ] as const)('%s', (_, histogram, kind, golden) => {
    expect(encode(histogram, kind)).toEqual(golden);
    const back = decodeHistogram(golden, 0, golden.length);
    expect(back.kind).toBe(kind);
    expect(describeHistogram(back.histogram)).toEqual(describeHistogram(histogram));
  });
});

describe('round trips', () => {
  test('keep every bit of adversarial histograms', () => {
    fc.assert(
      fc.property(histograms, fc.nat(7), ({ histogram, kind }, offset) => {
        const bytes = encode(histogram, kind);
        const shifted = new Uint8Array(bytes.length + offset + 3);
        shifted.set(bytes, offset);
        const back = decodeHistogram(shifted, offset, offset + bytes.length);
        expect(back.kind).toBe(kind);
        expect(describeHistogram(back.histogram)).toEqual(describeHistogram(histogram));
        expect(encode(back.histogram, kind)).toEqual(bytes);
      }),
      { numRuns: 500 },
    );
  });

  test('a staleness marker that was quietened becomes itself again', () => {
    const histogram = integerHistogram();
    histogram.sum = fromWords(0x7ff80000, 2);
    const bytes = encode(histogram, 'integer');
    const { histogram: back } = decodeHistogram(bytes, 0, bytes.length);
    expect(bitsOf(back.sum)).toBe('7ff0000000000002');
    expect(isStaleHistogram(back)).toBe(true);
    expect(isStaleHistogram(integerHistogram())).toBe(false);
  });

  test('integer counts beyond varints keep their kind and the double that they are', () => {
    const histogram = integerHistogram();
    histogram.count = 2 ** 64;
    const bytes = encode(histogram, 'integer');
    const back = decodeHistogram(bytes, 0, bytes.length);
    expect(back.kind).toBe('integer');
    expect(back.histogram.count).toBe(2 ** 64);
  });
});

describe('refusals', () => {
  test.each([
    ['a schema', (h: FloatHistogram) => Object.assign(h, { schema: 53 })],
    ['half a schema', (h: FloatHistogram) => Object.assign(h, { schema: 1.5 })],
    ['bounds without custom buckets', (h: FloatHistogram) => Object.assign(h, { customBounds: [1] })],
    [
      'indexes that do not ascend',
      (h: FloatHistogram) => Object.assign(h, { positive: { indexes: [3, 3], counts: [1, 1] } }),
    ],
    [
      'an index without a count',
      (h: FloatHistogram) => Object.assign(h, { positive: { indexes: [3], counts: [] } }),
    ],
    [
      'an index too far out',
      (h: FloatHistogram) => Object.assign(h, { negative: { indexes: [2 ** 31 + 1], counts: [1] } }),
    ],
    [
      'too many buckets',
      (h: FloatHistogram) => {
        const indexes = Array.from({ length: HISTOGRAM_BUCKETS_MAX + 1 }, (_, i) => i);
        return Object.assign(h, { positive: { indexes, counts: indexes } });
      },
    ],
  ])('%s', (_, spoil) => {
    expect(() => encode(spoil(integerHistogram()), 'integer')).toThrow(AppError);
  });

  test.each([
    ['bounds that do not ascend', [2, 1]],
    ['a bound that is NaN', [Number.NaN]],
  ])('%s', (_, customBounds) => {
    expect(() =>
      encode(
        Object.assign(customHistogram(), { customBounds, positive: { indexes: [], counts: [] } }),
        'float',
      ),
    ).toThrow(AppError);
  });

  test('an index outside the custom bounds', () => {
    const histogram = customHistogram();
    histogram.positive = { indexes: [3], counts: [1] };
    expect(() => encode(histogram, 'float')).toThrow(/bucket index 3/);
  });

  test('a claimed size is checked before anything is allocated', () => {
    // 2^53 - 1 positive buckets in a histogram of 20 bytes.
    const bytes = hex('00 00 00 00 00 00 00 00 00 00 00 00 ff ff ff ff ff ff ff 0f');
    expect(() => decodeHistogram(bytes, 0, bytes.length)).toThrow(/do not fit/);
  });

  test('flags that are not those of the content', () => {
    for (const flip of [8, 32, 64, 128]) {
      const bytes = GOLDEN_INTEGER.slice();
      bytes[0]! ^= flip;
      expect(() => decodeHistogram(bytes, 0, bytes.length)).toThrow(AppError);
    }
  });

  test('mutated bytes are an AppError or a histogram, and never read beside', () => {
    const seeds = fc
      .sample(histograms, { numRuns: 40, seed: 7 })
      .map(({ histogram, kind }) => encode(histogram, kind));
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds),
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(400),
        (seed, edits, cut) => {
          const bytes = seed.slice(0, cut < 300 ? seed.length : cut % (seed.length + 1));
          for (const [at, value] of edits) if (bytes.length > 0) bytes[at % bytes.length] = value;
          let decoded: ReturnType<typeof decodeHistogram>;
          try {
            decoded = decodeHistogram(bytes, 0, bytes.length);
          } catch (caught) {
            expect(caught).toBeInstanceOf(AppError);
            return;
          }
          // Whatever it is now, it goes on as itself.
          const again = encode(decoded.histogram, decoded.kind);
          const back = decodeHistogram(again, 0, again.length);
          expect(describeHistogram(back.histogram)).toEqual(describeHistogram(decoded.histogram));
        },
      ),
      { numRuns: 3000 },
    );
  });
});
