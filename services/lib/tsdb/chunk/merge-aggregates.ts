// One series' samples as PromQL reads them where some were downsampled: cells and samples side by side in one order, a cell showing
// its newest sample.
import { AggregateCells } from '../../model/aggregate-cells.ts';
import { isStaleAt, type SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { mergeHistograms } from './merge-histograms.ts';
import type { SeriesSamples } from './series-samples.ts';

/**
 * Overwrites `into` with what `series` holds, and sets its `cells` and `histograms`. A sample within the span of a cell of several
 * is one of the cell's and left out.
 *
 * @param series  Settled.
 * @param cells   Reused from series to series; `into` refers to it.
 */
export function mergeAggregates(series: SeriesSamples, cells: AggregateCells, into: SampleColumns): void {
  into.count = 0;
  into.histograms = undefined;
  uniteFloats(series, cells, into);
  if (series.histograms.count > 0) addHistograms(series, cells, into);
  into.cells = cells;
}

function uniteFloats(
  { floats, cells: from }: SeriesSamples,
  cells: AggregateCells,
  into: SampleColumns,
): void {
  const words = wordsOf(floats.values);
  into.reserve(floats.count + from.count);
  cells.reserve(floats.count + from.count);
  const outWords = wordsOf(into.values);
  const cellWords = wordsOf(from.lasts);
  let at = 0;
  let sample = 0;
  let cell = 0;
  while (sample < floats.count || cell < from.count) {
    const sampleMs = sample < floats.count ? floats.timestampsMs[sample]! : Number.POSITIVE_INFINITY;
    const cellMs = cell < from.count ? from.firstTimesMs[cell]! : Number.POSITIVE_INFINITY;
    if (sampleMs < cellMs) {
      into.timestampsMs[at] = sampleMs;
      outWords[2 * at] = words[2 * sample]!;
      outWords[2 * at + 1] = words[2 * sample + 1]!;
      cells.putSample(at, sampleMs, floats.values[sample]!, isStaleAt(words, sample) ? 0 : 1);
      sample++;
    } else {
      const lastMs = from.lastTimesMs[cell]!;
      into.timestampsMs[at] = lastMs;
      outWords[2 * at] = cellWords[2 * cell]!;
      outWords[2 * at + 1] = cellWords[2 * cell + 1]!;
      cells.copyCell(at, from, cell);
      while (sample < floats.count && floats.timestampsMs[sample]! <= lastMs) sample++;
      cell++;
    }
    at++;
  }
  into.count = at;
  cells.count = at;
}

/** Lays histograms between the floats; their entries have a cell that only counts. */
function addHistograms(series: SeriesSamples, cells: AggregateCells, into: SampleColumns): void {
  const before = new AggregateCells(cells.count);
  for (let i = 0; i < cells.count; i++) before.copyCell(i, cells, i);
  before.count = cells.count;
  const { columns: weights, resolutionMs } = series.weights;
  mergeHistograms(series.histograms, into);
  cells.reserve(into.count);
  let cell = 0;
  let weight = 0;
  for (let i = 0; i < into.count; i++) {
    const timeMs = into.timestampsMs[i]!;
    while (cell < before.count && before.lastTimesMs[cell]! < timeMs) cell++;
    while (weight < weights.count && weights.timestampsMs[weight]! < timeMs) weight++;
    const isCell = cell < before.count && before.lastTimesMs[cell] === timeMs;
    if (into.histograms?.[i] === undefined && isCell) cells.copyCell(i, before, cell);
    else {
      const isWeighed = weight < weights.count && weights.timestampsMs[weight] === timeMs;
      cells.putSample(i, timeMs, 0, isWeighed ? weights.values[weight]! : 1);
      if (isWeighed) cells.resolutionsMs[i] = resolutionMs;
    }
  }
  cells.count = into.count;
}
