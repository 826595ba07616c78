// Native histograms in query results: `{"count":"…","sum":"…","buckets":[[rule,"lower","upper","count"],…]}`, populated
// buckets from the smallest upwards, as Prometheus writes them (util/jsonutil).
import type { FloatHistogram } from '../../lib/model/float-histogram.ts';
import type { JsonBytes } from './json-bytes.ts';

// Which bounds belong to a bucket.
const OPEN_LEFT = 0;
const OPEN_RIGHT = 1;
const CLOSED = 3;

/** Writes one histogram. */
export function writeHistogram(json: JsonBytes, histogram: FloatHistogram): void {
  json.text('{"count":"');
  json.value(histogram.count);
  json.text('","sum":"');
  json.value(histogram.sum);
  json.text('"');
  const { positive, negative, zeroThreshold, zeroCount } = histogram;
  let isFirst = true;
  const bucket = (rule: number, lower: number, upper: number, count: number): void => {
    json.text(isFirst ? `,"buckets":[[${rule},"` : `,[${rule},"`);
    isFirst = false;
    json.value(lower);
    json.text('","');
    json.value(upper);
    json.text('","');
    json.value(count);
    json.text('"]');
  };
  for (let i = negative.indexes.length - 1; i >= 0; i--) {
    if (negative.counts[i] === 0) continue;
    const { lower, upper } = histogram.boundsOf(negative.indexes[i]!);
    bucket(OPEN_RIGHT, -upper, -outside(lower, zeroThreshold), negative.counts[i]!);
  }
  if (zeroCount > 0) bucket(CLOSED, -zeroThreshold, zeroThreshold, zeroCount);
  for (let i = 0; i < positive.indexes.length; i++) {
    if (positive.counts[i] === 0) continue;
    const index = positive.indexes[i]!;
    const { lower, upper } = histogram.boundsOf(index);
    const rule = histogram.hasCustomBounds && index === 0 ? CLOSED : OPEN_LEFT;
    bucket(rule, outside(lower, zeroThreshold), upper, positive.counts[i]!);
  }
  json.text(isFirst ? '}' : ']}');
}

/** The bound nearer to zero: a bucket that reaches into the zero bucket begins where that ends. */
function outside(bound: number, zeroThreshold: number): number {
  return bound > 0 && bound < zeroThreshold ? zeroThreshold : bound;
}
