// Instant vector selectors: at each step the newest sample within the lookback, unless it is a staleness marker.
import type { AggregateCells } from '../../../model/aggregate-cells.ts';
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import { METRIC_NAME } from '../../../model/labels.ts';
import type { SeriesSet } from '../../../model/queryable.ts';
import { isStaleAt } from '../../../model/sample-columns.ts';
import type { VectorSelector } from '../../ast.ts';
import { type AtGrid, referenceTimes } from '../durations.ts';
import type { Grid } from '../grid.ts';
import { smoothHistograms } from '../histograms/histogram-extended.ts';
import {
  ABSENT,
  FLOAT,
  putHistogram,
  type SeriesMeta,
  type StepColumn,
  type VectorOperand,
} from '../operand.ts';
import { smoothSeries } from '../range/extended-range.ts';
import { pickFromCells } from '../range/kernels-aggregates.ts';
import type { QuerySession } from '../session.ts';
import { alignmentOf } from './alignment.ts';
import { pickRegular, pickValues } from './pick-values.ts';
import { type SampleTally, tallyColumn } from './sample-tally.ts';
import { SeriesReader } from './series-reader.ts';

/**
 * What becomes of the sample that is found: its value; its own time in seconds (`timestamp()`), or in ms (`info()`); its
 * start time in seconds, 0 where that is unknown (`start_timestamp()`).
 */
export type SelectorMode = 'value' | 'time-seconds' | 'time-ms' | 'start-seconds';

/** Opens a selector over a grid. */
export async function openSelector(
  session: QuerySession,
  selector: VectorSelector,
  grid: Grid,
  mode: SelectorMode,
): Promise<VectorOperand> {
  const times = referenceTimes(session, selector, grid);
  const lookbackMs = session.lookbackMs;
  const lastMs = times.firstMs + times.stepMs * (grid.steps - 1);
  const minTimeMs = times.firstMs - lookbackMs + 1;
  const maxTimeMs = selector.extension === 'smoothed' ? lastMs + lookbackMs : lastMs;
  const alignMs = alignmentOf(times, grid.steps, 0);
  const takesAggregates = selector.extension === undefined && (mode === 'value' || mode === 'time-seconds');
  const set = await session.select(selector.matchers, minTimeMs, maxTimeMs, takesAggregates ? alignMs : 0);
  const window = { minTimeMs, maxTimeMs, alignMs };
  return new SelectorOperand(session, selector, set, times, grid.tally, window, mode);
}

/** Label sets of a series set, as operand metadata. */
export function seriesOf(set: SeriesSet): SeriesMeta[] {
  return Array.from({ length: set.size }, (_, i) => ({ labels: set.labels(i), dropName: false }));
}

interface SelectorWindow {
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** All reference times are multiples of so many milliseconds. */
  readonly alignMs: number;
}

class SelectorOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #session: QuerySession;
  readonly #set: SeriesSet;
  readonly #times: AtGrid;
  readonly #window: SelectorWindow;
  readonly #selector: VectorSelector;
  readonly #mode: SelectorMode;
  readonly #reader: SeriesReader;
  readonly #tally: SampleTally | undefined;
  #index = 0;

  constructor(
    session: QuerySession,
    selector: VectorSelector,
    set: SeriesSet,
    times: AtGrid,
    tally: SampleTally | undefined,
    window: SelectorWindow,
    mode: SelectorMode,
  ) {
    this.series = seriesOf(set);
    this.#session = session;
    this.#set = set;
    this.#times = times;
    this.#window = window;
    this.#selector = selector;
    this.#mode = mode;
    // What is interpolated does not count, in Prometheus neither.
    this.#tally = selector.extension === 'smoothed' && mode === 'value' ? undefined : tally;
    this.#reader = new SeriesReader(session, session.countedSelectors.has(selector));
  }

  next(into: StepColumn): void {
    const index = this.#index++;
    into.mayHaveHistograms = false;
    const found =
      this.#selector.extension === 'smoothed' && this.#mode === 'value'
        ? this.#smooth(index, into)
        : this.#pick(index, into);
    const isPinned = this.#times.stepMs === 0;
    const tally = this.#tally;
    this.#session.holdSamples(tally === undefined ? found : tallyColumn(tally, into, found, isPinned));
  }

  #smooth(index: number, into: StepColumn): number {
    const { firstMs, stepMs } = this.#times;
    const { lookbackMs, annotations } = this.#session;
    const { columns } = this.#reader;
    this.#reader.readFloats(this.#set, index, this.#window.minTimeMs, this.#window.maxTimeMs);
    if (columns.histograms === undefined) {
      const { timestampsMs, values, count } = columns;
      return smoothSeries(timestampsMs, values, count, firstMs, stepMs, lookbackMs, into);
    }
    const metric = this.series[index]!.labels.get(METRIC_NAME);
    const context = { func: '', metric, position: this.#selector.pos, annotations };
    return smoothHistograms(context, columns, firstMs, stepMs, lookbackMs, into);
  }

  /** Whether the newest samples of some cells are not those at the reference times; says so. */
  #isCoarse(index: number, cells: AggregateCells): boolean {
    const resolutionMs = cells.coarsestMs;
    if (resolutionMs === 0 || this.#window.alignMs % resolutionMs === 0) return false;
    const metric = this.series[index]!.labels.get(METRIC_NAME);
    this.#session.annotations.aggregated(metric, resolutionMs, this.#selector.pos);
    return true;
  }

  #pick(index: number, into: StepColumn): number {
    const { firstMs, stepMs } = this.#times;
    const { lookbackMs } = this.#session;
    const reader = this.#reader;
    reader.read(this.#set, index, this.#window.minTimeMs, this.#window.maxTimeMs);
    const { timestampsMs, values, count, gapMs, hasNaN, histograms, startTimesMs, cells } = reader.columns;
    if (
      cells !== undefined &&
      this.#isCoarse(index, cells) &&
      this.#mode === 'value' &&
      histograms === undefined
    )
      return pickFromCells(cells, this.#times, lookbackMs, into);
    if (this.#mode === 'value') {
      if (!hasNaN && histograms === undefined) {
        const found = pickRegular(timestampsMs, values, count, gapMs, firstMs, stepMs, lookbackMs, into);
        if (found >= 0) return found;
      }
      const found = pickValues(timestampsMs, values, reader.words, count, firstMs, stepMs, lookbackMs, into);
      if (histograms !== undefined) pickHistograms(timestampsMs, histograms, count, firstMs, stepMs, into);
      return found;
    }
    const wanted = this.#mode === 'start-seconds' ? startTimesMs : timestampsMs;
    const { words } = reader;
    const found = pickTimes(timestampsMs, values, words, count, firstMs, stepMs, lookbackMs, wanted, into);
    if (this.#mode !== 'time-ms') divideBy(into.values, 1000);
    return found;
  }
}

/** Puts the histograms where pickValues() found samples that are some. */
function pickHistograms(
  timestampsMs: Float64Array,
  histograms: readonly (FloatHistogram | undefined)[],
  count: number,
  firstMs: number,
  stepMs: number,
  into: StepColumn,
): void {
  let next = 0;
  for (let k = 0; k < into.kinds.length; k++) {
    while (next < count && timestampsMs[next]! <= firstMs + k * stepMs) next++;
    if (into.kinds[k] === ABSENT) continue;
    const histogram = histograms[next - 1];
    if (histogram !== undefined) putHistogram(into, k, histogram);
  }
}

/** The same, with a time of the sample as the value: its own, or another that is `wanted`, 0 if that is not there. */
function pickTimes(
  timestampsMs: Float64Array,
  values: Float64Array,
  words: Uint32Array,
  count: number,
  firstMs: number,
  stepMs: number,
  lookbackMs: number,
  wanted: Float64Array | undefined,
  into: StepColumn,
): number {
  let found = 0;
  let next = 0;
  for (let k = 0; k < into.kinds.length; k++) {
    const timeMs = firstMs + k * stepMs;
    while (next < count && timestampsMs[next]! <= timeMs) next++;
    const at = next - 1;
    into.kinds[k] = ABSENT;
    if (at < 0 || timestampsMs[at]! <= timeMs - lookbackMs) continue;
    if (Number.isNaN(values[at]) && isStaleAt(words, at)) continue;
    into.values[k] = wanted === undefined ? 0 : wanted[at]!;
    into.kinds[k] = FLOAT;
    found++;
  }
  return found;
}

function divideBy(values: Float64Array, divisor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = values[i]! / divisor;
}
