// Native histograms as the HTTP API shows them: populated buckets with their bounds, without schema, hint and thresholds. What a
// script expects is brought into that form from the definition of the buckets, not with the code that writes answers.
import type { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import { parseValue } from '../../services/lib/model/number-format.ts';

/** `[rule, lower, upper, count]`: the rule says which bounds belong to the bucket (0 upper, 1 lower, 2 none, 3 both). */
export type ApiBucket = readonly [number, number, number, number];

export interface ApiHistogram {
  readonly shown: true;
  readonly count: number;
  readonly sum: number;
  readonly buckets: readonly ApiBucket[];
}

/** Its JSON in an answer. */
export interface HistogramJson {
  readonly count: string;
  readonly sum: string;
  readonly buckets?: readonly (readonly [number, string, string, string])[];
}

/** Reads the JSON; throws an Error for what is no number. */
export function parseApiHistogram(json: HistogramJson): ApiHistogram {
  const number = (text: string): number => {
    const value = parseValue(text);
    if (value === undefined) throw new Error(`${text} in a histogram is no number`);
    return value;
  };
  const buckets = (json.buckets ?? []).map(
    ([rule, lower, upper, count]): ApiBucket => [rule, number(lower), number(upper), number(count)],
  );
  return { shown: true, count: number(json.count), sum: number(json.sum), buckets };
}

/** Whether an answer's histogram is what `wanted` looks like, values as `isEqual` compares them. */
export function isShown(
  wanted: FloatHistogram,
  got: ApiHistogram,
  isEqual: (a: number, b: number) => boolean,
): boolean {
  const buckets = shownBuckets(wanted);
  return (
    isEqual(wanted.count, got.count) &&
    isEqual(wanted.sum, got.sum) &&
    buckets.length === got.buckets.length &&
    buckets.every((bucket, i) => bucket.every((value, part) => isEqual(value, got.buckets[i]![part]!)))
  );
}

/** Populated buckets from the smallest upwards; beside the zero bucket they begin where it ends. */
function shownBuckets(histogram: FloatHistogram): ApiBucket[] {
  const { positive, negative, zeroThreshold, zeroCount, hasCustomBounds } = histogram;
  const boundOf = (index: number): number => {
    if (!hasCustomBounds) return 2 ** (index * 2 ** -histogram.schema);
    if (index < 0) return Number.NEGATIVE_INFINITY;
    return histogram.customBounds[index] ?? Number.POSITIVE_INFINITY;
  };
  const lowerOf = (index: number): number => {
    const lower = boundOf(index - 1);
    return hasCustomBounds ? lower : Math.max(lower, zeroThreshold);
  };
  const populated = ({ indexes, counts }: typeof positive): (readonly [number, number])[] =>
    indexes.map((index, i) => [index, counts[i]!] as const).filter(([, count]) => count !== 0);
  return [
    ...populated(negative)
      .map(([index, count]): ApiBucket => [1, -boundOf(index), -lowerOf(index), count])
      .reverse(),
    ...(zeroCount > 0 ? [[3, -zeroThreshold, zeroThreshold, zeroCount] as const] : []),
    ...populated(positive).map(([index, count]): ApiBucket => {
      const rule = hasCustomBounds && index === 0 ? 3 : 0;
      return [rule, lowerOf(index), boundOf(index), count];
    }),
  ];
}
