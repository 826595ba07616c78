// Native histograms for tests: arbitrary ones, and the words of their sums, which toEqual cannot tell apart.
import fc from 'fast-check';
import {
  type BucketList,
  CUSTOM_BUCKETS_SCHEMA,
  FloatHistogram,
} from '../../services/lib/model/float-histogram.ts';
import { COUNTER_RESET_HINTS, type CountsKind } from '../../services/lib/model/histogram-codec.ts';
import { STALE_NAN_HIGH, STALE_NAN_LOW } from '../../services/lib/model/sample-columns.ts';

/** A double by its words. */
export function fromWords(high: number, low: number): number {
  const words = Uint32Array.of(low, high);
  return new Float64Array(words.buffer)[0]!;
}

/** Its words in hexadecimal: tells NaNs and zeros apart. */
export function bitsOf(value: number): string {
  const [low, high] = new Uint32Array(Float64Array.of(value).buffer);
  return `${high!.toString(16).padStart(8, '0')}${low!.toString(16).padStart(8, '0')}`;
}

/** The same, signalling NaNs as their quiet ones: V8 may make one of the other whenever it moves a number. */
function quietBitsOf(value: number): string {
  const bits = bitsOf(value);
  if (!Number.isNaN(value)) return bits;
  return (BigInt(`0x${bits}`) | (1n << 51n)).toString(16);
}

/** Everything of a histogram, doubles as bits, for toEqual. That markers stay what they are on the way is for tests of bytes. */
export function describeHistogram(histogram: FloatHistogram): unknown {
  const list = ({ indexes, counts }: BucketList) => ({
    indexes: [...indexes],
    counts: counts.map(quietBitsOf),
  });
  return {
    hint: histogram.hint,
    schema: histogram.schema,
    zeroThreshold: quietBitsOf(histogram.zeroThreshold),
    zeroCount: quietBitsOf(histogram.zeroCount),
    count: quietBitsOf(histogram.count),
    sum: quietBitsOf(histogram.sum),
    positive: list(histogram.positive),
    negative: list(histogram.negative),
    customBounds: histogram.customBounds.map(quietBitsOf),
  };
}

const sums = fc.oneof(
  fc.double(),
  fc.constantFrom(
    fromWords(STALE_NAN_HIGH, STALE_NAN_LOW),
    fromWords(0x7ff80000, 0x1234),
    fromWords(0xfff80000, 0),
    Number.POSITIVE_INFINITY,
    -0,
  ),
);

const wholeCounts = fc.oneof(fc.nat(20), fc.nat(2 ** 31 - 1), fc.integer({ min: 0, max: 2 ** 51 }));
const anyCounts = fc.oneof(fc.double({ noNaN: true }), fc.constantFrom(-0, 2 ** 64, 2 ** 53, 0.1));

function bucketLists(counts: fc.Arbitrary<number>, least: number, most: number): fc.Arbitrary<BucketList> {
  const gaps = fc.oneof(
    { weight: 4, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 9 }) },
  );
  return fc
    .tuple(fc.integer({ min: least, max: most }), fc.array(fc.tuple(gaps, counts), { maxLength: 12 }))
    .map(([first, entries]) => {
      const list: BucketList = { indexes: [], counts: [] };
      let index = first;
      for (const [gap, count] of entries) {
        if (index > most) break;
        list.indexes.push(index);
        list.counts.push(count);
        index += gap;
      }
      return list;
    });
}

/** Adversarial histograms: empty buckets, every kind of sum, counts that no integer holds. */
export const histograms: fc.Arbitrary<{ readonly histogram: FloatHistogram; readonly kind: CountsKind }> = fc
  .tuple(fc.boolean(), fc.boolean(), fc.boolean())
  .chain(([isCustom, isWhole, hasNegative]) => {
    const counts = isWhole ? wholeCounts : anyCounts;
    const bounds = isCustom
      ? fc
          .uniqueArray(fc.double({ noNaN: true, noDefaultInfinity: true }), {
            maxLength: 6,
            comparator: (a, b) => a === b,
          })
          .map((list) => list.sort((a, b) => a - b))
      : fc.constant([]);
    return fc
      .tuple(bounds, fc.integer({ min: -4, max: 8 }), fc.constantFrom(...COUNTER_RESET_HINTS), sums)
      .chain(([customBounds, schema, hint, sum]) => {
        const [least, most] = isCustom ? [0, customBounds.length] : [-(2 ** 31), 2 ** 31];
        return fc
          .record({
            zeroThreshold: fc.oneof(fc.constantFrom(2 ** -128, 0, -0, 0.001), fc.double()),
            zeroCount: counts,
            count: counts,
            positive: bucketLists(counts, least, isCustom ? most : 2 ** 31 - 200),
            negative: hasNegative
              ? bucketLists(counts, least, isCustom ? most : 2 ** 31 - 200)
              : fc.constant({ indexes: [], counts: [] }),
            kind: fc.constantFrom<CountsKind>('integer', 'float'),
          })
          .map(({ kind, ...parts }) => {
            const histogram = Object.assign(new FloatHistogram(), parts, { hint, sum });
            histogram.schema = isCustom ? CUSTOM_BUCKETS_SCHEMA : schema;
            histogram.customBounds = customBounds;
            return { histogram, kind };
          });
      });
  });
