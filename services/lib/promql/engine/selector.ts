// Instant vector selectors: at each step the newest sample within the lookback, unless it is a staleness marker.
import type { FloatHistogram } from '../../model/float-histogram.ts';
import type { SeriesSet } from '../../model/queryable.ts';
import { isStaleAt } from '../../model/sample-columns.ts';
import type { VectorSelector } from '../ast.ts';
import { type AtGrid, referenceTimes } from './durations.ts';
import { smoothSeries } from './extended-range.ts';
import type { Grid } from './grid.ts';
import {
  ABSENT,
  FLOAT,
  putHistogram,
  type SeriesMeta,
  type StepColumn,
  type VectorOperand,
} from './operand.ts';
import { SeriesReader } from './series-reader.ts';
import type { QuerySession } from './session.ts';

/** What becomes of the sample that is found: its value, or its own time in seconds (`timestamp()`), or in ms (`info()`). */
export type SelectorMode = 'value' | 'time-seconds' | 'time-ms';

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
  const set = await session.select(selector.matchers, minTimeMs, maxTimeMs);
  return new SelectorOperand(
    session,
    set,
    times,
    { minTimeMs, maxTimeMs },
    selector.extension === 'smoothed',
    mode,
  );
}

/** Label sets of a series set, as operand metadata. */
export function seriesOf(set: SeriesSet): SeriesMeta[] {
  return Array.from({ length: set.size }, (_, i) => ({ labels: set.labels(i), dropName: false }));
}

class SelectorOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #session: QuerySession;
  readonly #set: SeriesSet;
  readonly #times: AtGrid;
  readonly #window: { readonly minTimeMs: number; readonly maxTimeMs: number };
  readonly #smoothed: boolean;
  readonly #mode: SelectorMode;
  readonly #reader: SeriesReader;
  #index = 0;

  constructor(
    session: QuerySession,
    set: SeriesSet,
    times: AtGrid,
    window: { readonly minTimeMs: number; readonly maxTimeMs: number },
    smoothed: boolean,
    mode: SelectorMode,
  ) {
    this.series = seriesOf(set);
    this.#session = session;
    this.#set = set;
    this.#times = times;
    this.#window = window;
    this.#smoothed = smoothed;
    this.#mode = mode;
    this.#reader = new SeriesReader(session);
  }

  next(into: StepColumn): void {
    const { minTimeMs, maxTimeMs } = this.#window;
    const { firstMs, stepMs } = this.#times;
    const reader = this.#reader;
    const index = this.#index++;
    let found: number;
    if (this.#smoothed && this.#mode === 'value') {
      reader.readFloats(this.#set, index, minTimeMs, maxTimeMs);
      const { timestampsMs, values, count } = reader.columns;
      found = smoothSeries(timestampsMs, values, count, firstMs, stepMs, this.#session.lookbackMs, into);
    } else {
      reader.read(this.#set, index, minTimeMs, maxTimeMs);
      const { timestampsMs, values, count } = reader.columns;
      const lookbackMs = this.#session.lookbackMs;
      found =
        this.#mode === 'value'
          ? pickValues(timestampsMs, values, reader.words, count, firstMs, stepMs, lookbackMs, into)
          : pickTimes(timestampsMs, values, reader.words, count, firstMs, stepMs, lookbackMs, into);
      if (this.#mode === 'time-seconds') divideBy(into.values, 1000);
      into.mayHaveHistograms = false;
      const { histograms } = reader.columns;
      if (histograms !== undefined && this.#mode === 'value') {
        pickHistograms(timestampsMs, histograms, count, firstMs, stepMs, into);
      }
    }
    this.#session.samplesRead += found;
    this.#session.holdSamples(found);
  }
}

/** Newest value at or before each reference time, not older than the lookback. Cost: O(samples + steps). */
function pickValues(
  timestampsMs: Float64Array,
  values: Float64Array,
  words: Uint32Array,
  count: number,
  firstMs: number,
  stepMs: number,
  lookbackMs: number,
  into: StepColumn,
): number {
  const outValues = into.values;
  const outKinds = into.kinds;
  let found = 0;
  let next = 0;
  for (let k = 0; k < outKinds.length; k++) {
    const timeMs = firstMs + k * stepMs;
    while (next < count && timestampsMs[next]! <= timeMs) next++;
    const at = next - 1;
    outKinds[k] = ABSENT;
    if (at < 0 || timestampsMs[at]! <= timeMs - lookbackMs) continue;
    const value = values[at]!;
    // biome-ignore lint/suspicious/noSelfCompare: the fastest test for NaN, and only NaN can be a marker.
    if (value !== value && isStaleAt(words, at)) continue;
    outValues[k] = value;
    outKinds[k] = FLOAT;
    found++;
  }
  return found;
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

/** The same, with the sample's own time as the value. */
function pickTimes(
  timestampsMs: Float64Array,
  values: Float64Array,
  words: Uint32Array,
  count: number,
  firstMs: number,
  stepMs: number,
  lookbackMs: number,
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
    into.values[k] = timestampsMs[at]!;
    into.kinds[k] = FLOAT;
    found++;
  }
  return found;
}

function divideBy(values: Float64Array, divisor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = values[i]! / divisor;
}
