// The columns of results, cut from shared buffers.
import type { FloatHistogram } from '../../model/float-histogram.ts';
import type { Labels } from '../../model/labels.ts';
import type { Grid } from './grid.ts';
import { ABSENT, HISTOGRAM, type StepColumn } from './operand.ts';
import type { ResultSeries } from './query.ts';

/** Samples per result buffer: results of many small series share one. */
const RESULT_BUFFER_SAMPLES = 8192;

/** Times of all steps. */
export function gridTimes(grid: Grid): Float64Array<ArrayBuffer> {
  const times = new Float64Array(grid.steps);
  for (let k = 0; k < grid.steps; k++) times[k] = grid.startMs + k * grid.stepMs;
  return times;
}

/** The steps of a column that have a value, `count` of them. */
export function presentSteps(
  labels: Labels,
  column: StepColumn,
  grid: Grid,
  count: number,
  out: ResultBuffers,
): ResultSeries {
  const timestampsMs = out.takeValues(count);
  const values = out.takeValues(count);
  const histograms: (FloatHistogram | undefined)[] = [];
  let at = 0;
  for (let k = 0; k < grid.steps; k++) {
    if (column.kinds[k] === ABSENT) continue;
    timestampsMs[at] = grid.startMs + k * grid.stepMs;
    if (column.kinds[k] === HISTOGRAM) histograms[at] = column.histograms[k];
    values[at++] = column.values[k]!;
  }
  const hasHistograms = histograms.length > 0;
  return { labels, timestampsMs, values, count, histograms: hasHistograms ? histograms : undefined };
}

/** Cuts the columns of result series from shared buffers. */
export class ResultBuffers {
  #buffer = new Float64Array(0);
  #used = 0;

  takeValues(count: number): Float64Array<ArrayBuffer> {
    if (this.#used + count > this.#buffer.length) {
      const size = Math.max(count, Math.min(RESULT_BUFFER_SAMPLES, Math.max(64, 4 * this.#buffer.length)));
      this.#buffer = new Float64Array(size);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += count;
    return this.#buffer.subarray(from, this.#used);
  }
}
