// The series of a script as remote write 2.0 carries them: floats, staleness markers, native histograms of all kinds, start times.
import type { BucketList, FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import { STALE_NAN_HIGH, STALE_NAN_LOW } from '../../services/lib/model/sample-columns.ts';
import {
  type HistogramFields,
  requestV2,
  type SeriesV2,
  type SideFields,
} from '../support/remote-write-encoder.ts';
import type { LoadedSample } from './memory-queryable.ts';
import type { LoadedSeries } from './script-subject.ts';

type SampleFields = NonNullable<SeriesV2['samples']>[number];

const HINTS = { unknown: 0, reset: 1, not_reset: 2, gauge: 3 } as const;

/** A 2.0 request with all samples. */
export function encodeLoaded(series: readonly LoadedSeries[]): Buffer {
  return requestV2(series.filter(({ samples }) => samples.length > 0).map(toWritten));
}

function toWritten({ labels, samples }: LoadedSeries): SeriesV2 {
  return {
    labels: [...labels.entries()],
    samples: samples
      .filter(({ histogram }) => histogram === undefined)
      .map(({ timeMs, value, isStale, startMs }): SampleFields => {
        const written = isStale ? { high: STALE_NAN_HIGH, low: STALE_NAN_LOW } : value;
        return startMs === undefined ? [written, timeMs] : [written, timeMs, startMs];
      }),
    histograms: samples.flatMap((sample) =>
      sample.histogram === undefined ? [] : [fieldsOf(sample, sample.histogram)],
    ),
  };
}

/** Counts travel as integers, as from a scrape, where they are some and the buckets hold all of the observations. */
function fieldsOf({ timeMs, startMs }: LoadedSample, histogram: FloatHistogram): HistogramFields {
  const { count, sum, schema, zeroThreshold, zeroCount, positive, negative, customBounds, hint } = histogram;
  const counts = [zeroCount, ...positive.counts, ...negative.counts];
  const isFloat =
    counts.some((value) => !Number.isSafeInteger(value) || value < 0) ||
    counts.reduce((total, value) => total + value, 0) !== count;
  return {
    timestampMs: timeMs,
    ...{ count, sum, schema, zeroThreshold, zeroCount, customValues: customBounds, float: isFloat },
    positive: sideOf(positive, isFloat),
    negative: sideOf(negative, isFloat),
    resetHint: HINTS[hint],
    ...(startMs === undefined ? {} : { startMs }),
  };
}

/** A span per run of neighbouring buckets; offsets count from the end of the run before. */
function sideOf({ indexes, counts }: BucketList, isFloat: boolean): SideFields {
  const spans: [number, number][] = [];
  let end = 0;
  for (const index of indexes) {
    const last = spans.at(-1);
    if (last !== undefined && index === end) last[1]++;
    else spans.push([index - end, 1]);
    end = index + 1;
  }
  if (isFloat) return { spans, counts };
  return { spans, deltas: counts.map((count, i) => count - (counts[i - 1] ?? 0)) };
}
