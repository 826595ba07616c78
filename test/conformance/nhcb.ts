// load_with_nhcb: classic histograms of a load command as native ones with custom bounds, beside the classic series.
import {
  CUSTOM_BUCKETS_SCHEMA,
  emptyBuckets,
  FloatHistogram,
} from '../../services/lib/model/float-histogram.ts';
import { type Labels, METRIC_NAME } from '../../services/lib/model/labels.ts';
import { parseValue } from '../../services/lib/model/number-format.ts';
import type { SeriesLine } from './series-notation.ts';

interface Classic {
  readonly buckets: Map<number, number>;
  count: number | undefined;
  sum: number | undefined;
}

/** One series that the classic ones make up: histograms by position. */
export interface ConvertedSeries {
  readonly labels: Labels;
  readonly histograms: ReadonlyMap<number, FloatHistogram>;
}

export function convertClassic(lines: readonly SeriesLine[]): ConvertedSeries[] {
  const bySeries = new Map<string, { readonly labels: Labels; readonly steps: Map<number, Classic> }>();
  for (const { labels, values } of lines) {
    const match = /^(.*)_(bucket|count|sum)$/.exec(labels.get(METRIC_NAME));
    if (match === null) continue;
    const bound = match[2] === 'bucket' ? parseValue(labels.get('le')) : 0;
    if (bound === undefined || Number.isNaN(bound)) continue;
    const own = labels.without('le').with(METRIC_NAME, match[1]!);
    let series = bySeries.get(own.key);
    if (series === undefined) bySeries.set(own.key, (series = { labels: own, steps: new Map() }));
    for (const [i, value] of values.entries()) {
      if (value.kind !== 'float') continue;
      let classic = series.steps.get(i);
      if (classic === undefined) {
        classic = { buckets: new Map(), count: undefined, sum: undefined };
        series.steps.set(i, classic);
      }
      if (match[2] === 'bucket') classic.buckets.set(bound, value.value);
      else if (match[2] === 'count') classic.count = value.value;
      else classic.sum = value.value;
    }
  }
  return [...bySeries.values()].map(({ labels, steps }) => ({
    labels,
    histograms: new Map([...steps].sort(([a], [b]) => a - b).map(([i, classic]) => [i, convert(classic)])),
  }));
}

function convert(classic: Classic): FloatHistogram {
  const histogram = new FloatHistogram();
  histogram.schema = CUSTOM_BUCKETS_SCHEMA;
  histogram.positive = emptyBuckets();
  const bounds = [...classic.buckets.keys()].filter(Number.isFinite).sort((a, b) => a - b);
  histogram.customBounds = bounds;
  const highest = Math.max(0, ...classic.buckets.values());
  const total = classic.count ?? classic.buckets.get(Number.POSITIVE_INFINITY) ?? highest;
  let below = 0;
  [...bounds, Number.POSITIVE_INFINITY].forEach((bound, index) => {
    const upTo = bound === Number.POSITIVE_INFINITY ? total : classic.buckets.get(bound)!;
    const count = upTo - below;
    below = upTo;
    if (count === 0) return;
    histogram.positive.indexes.push(index);
    histogram.positive.counts.push(count);
  });
  histogram.count = total;
  histogram.sum = classic.sum ?? 0;
  return histogram;
}
