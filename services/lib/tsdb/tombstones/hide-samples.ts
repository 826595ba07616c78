// Takes what deletes hide out of a series that was decoded, whatever kinds of samples it holds.
import type { SeriesSamples } from '../chunk/series-samples.ts';
import { dropHidden, type TimeRanges, touchesAny } from './deletion.ts';

/** How much of each kind a series held before more was added. */
export interface SampleMark {
  readonly floats: number;
  readonly histograms: number;
  readonly exemplars: number;
}

export function markOf({ floats, histograms, exemplars }: SeriesSamples): SampleMark {
  return { floats: floats.count, histograms: histograms.count, exemplars: exemplars.count };
}

/** Removes hidden samples and exemplars among those added since the mark. Start times say nothing without samples, and stay. */
export function hideSince(series: SeriesSamples, mark: SampleMark, ranges: TimeRanges): void {
  if (ranges.length === 0) return;
  dropHidden(series.floats, mark.floats, ranges);
  const { histograms, exemplars } = series;
  let kept = mark.histograms;
  for (let i = kept; i < histograms.count; i++) {
    const timeMs = histograms.timestampsMs[i]!;
    if (touchesAny(ranges, timeMs, timeMs)) continue;
    histograms.timestampsMs[kept] = timeMs;
    histograms.histograms[kept] = histograms.histograms[i]!;
    histograms.kinds[kept++] = histograms.kinds[i]!;
  }
  histograms.timestampsMs.length = kept;
  histograms.histograms.length = kept;
  histograms.kinds.length = kept;
  kept = mark.exemplars;
  for (let i = kept; i < exemplars.count; i++) {
    const timeMs = exemplars.timestampsMs[i]!;
    if (touchesAny(ranges, timeMs, timeMs)) continue;
    exemplars.timestampsMs[kept] = timeMs;
    exemplars.contents[kept++] = exemplars.contents[i]!;
  }
  exemplars.timestampsMs.length = kept;
  exemplars.contents.length = kept;
}
