// Histogram samples laid into columns of floats: one series' samples as PromQL reads them.
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { isStaleHistogram } from '../../model/histogram-codec.ts';
import { putStale, type SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import type { HistogramSamples } from './histogram-samples.ts';

/**
 * Unites histograms with the floats that `into` holds, both sorted, each time once. Of a float and a histogram at the same time the
 * histogram stays. A histogram whose sum is the staleness marker becomes that marker, as a float. Hints say `not_reset` where the
 * counts do.
 *
 * Sets `into.histograms`; undefined when no histogram is left.
 */
export function mergeHistograms(samples: HistogramSamples, into: SampleColumns): void {
  const floats = into.count;
  const total = floats + samples.count;
  const times = into.timestampsMs.slice(0, floats);
  const words = wordsOf(into.values).slice(0, floats * 2);
  into.count = 0;
  into.reserve(total);
  const outTimes = into.timestampsMs;
  const outWords = wordsOf(into.values);
  const histograms: (FloatHistogram | undefined)[] = [];
  let hasHistogram = false;
  let at = 0;
  let i = 0;
  let j = 0;
  while (i < floats || j < samples.count) {
    const floatMs = i < floats ? times[i]! : Number.POSITIVE_INFINITY;
    const histogramMs = j < samples.count ? samples.timestampsMs[j]! : Number.POSITIVE_INFINITY;
    if (floatMs < histogramMs) {
      outTimes[at] = floatMs;
      outWords[2 * at] = words[2 * i]!;
      outWords[2 * at + 1] = words[2 * i + 1]!;
      histograms.push(undefined);
      i++;
    } else {
      const histogram = samples.histograms[j]!;
      const isStale = isStaleHistogram(histogram);
      outTimes[at] = histogramMs;
      if (isStale) putStale(outWords, at);
      else outWords[2 * at] = outWords[2 * at + 1] = 0;
      histograms.push(isStale ? undefined : histogram);
      if (!isStale) hasHistogram = true;
      if (floatMs === histogramMs) i++;
      j++;
    }
    at++;
  }
  noteNoResets(histograms);
  into.count = at;
  into.histograms = hasHistogram ? histograms : undefined;
}

/**
 * Notes where a counter was not reset since the histogram right before, so that it is known when that one is not read. Of a reset
 * nothing is noted, as in Prometheus' storage: whoever reads both finds it.
 */
function noteNoResets(histograms: (FloatHistogram | undefined)[]): void {
  let previous: FloatHistogram | undefined;
  for (let i = 0; i < histograms.length; i++) {
    const histogram = histograms[i];
    if (previous !== undefined && histogram?.hint === 'unknown' && !histogram.isResetFrom(previous)) {
      histograms[i] = histogram.withHint('not_reset');
    }
    previous = histogram;
  }
}
