// Takes what deletes hide out of a series that was decoded, whatever kinds of samples it holds.
import type { AggregateCells } from '../../model/aggregate-cells.ts';
import type { SeriesSamples } from '../chunk/series-samples.ts';
import { dropHidden, type TimeRanges, touchesAny } from './deletion.ts';

/** How much of each kind a series held before more was added. */
export interface SampleMark {
  readonly floats: number;
  readonly histograms: number;
  readonly exemplars: number;
  readonly cells: number;
  readonly weights: number;
}

export function markOf({ floats, histograms, exemplars, cells, weights }: SeriesSamples): SampleMark {
  return {
    floats: floats.count,
    histograms: histograms.count,
    exemplars: exemplars.count,
    cells: cells.count,
    weights: weights.count,
  };
}

/**
 * Removes hidden samples and exemplars among those added since the mark. Start times say nothing without samples, and stay. Of an
 * aggregate cell nothing can be taken out: it goes when any of its span is hidden.
 */
export function hideSince(series: SeriesSamples, mark: SampleMark, ranges: TimeRanges): void {
  if (ranges.length === 0) return;
  dropHidden(series.floats, mark.floats, ranges);
  dropHidden(series.weights.columns, mark.weights, ranges);
  hideCells(series.cells, mark.cells, ranges);
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

function hideCells(cells: AggregateCells, from: number, ranges: TimeRanges): void {
  let kept = from;
  for (let i = from; i < cells.count; i++) {
    if (touchesAny(ranges, cells.firstTimesMs[i]!, cells.lastTimesMs[i]!)) continue;
    if (kept !== i) cells.copyCell(kept, cells, i);
    kept++;
  }
  cells.count = kept;
}
