// The histograms of a series apart from its floats, with windows of their own.
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { SampleColumns } from '../../../model/sample-columns.ts';
import type { Position } from '../../ast.ts';
import type { Annotations } from '../annotations.ts';
import type { WindowPass } from '../range/windows.ts';

/** What a range function's annotations name. */
export interface RangeContext {
  readonly func: string;
  readonly metric: string;
  readonly position: Position;
  readonly annotations: Annotations;
}

/** Histograms of a series, by their own index. */
export interface HistogramColumn {
  readonly timestampsMs: Float64Array;
  readonly histograms: readonly FloatHistogram[];
  /** Start times, Unix milliseconds, 0 where unknown. Undefined where none is known, or wanted. */
  readonly startTimesMs: Float64Array | undefined;
  /** How many each one stands for; undefined where that is itself only. */
  readonly weights: Float64Array | undefined;
  readonly pass: WindowPass;
}

/** How many histograms there were of which [from, to) are kept. */
export function histogramsIn({ weights }: HistogramColumn, from: number, to: number): number {
  if (weights === undefined) return to - from;
  let total = 0;
  for (let i = from; i < to; i++) total += weights[i]!;
  return total;
}

/** Leaves the floats in the columns, their cells and the pass, and takes out the histograms. */
export function splitHistograms(columns: SampleColumns, pass: WindowPass): HistogramColumn {
  const times: number[] = [];
  const starts: number[] = [];
  const weights: number[] = [];
  const histograms: FloatHistogram[] = [];
  const { startTimesMs } = pass;
  const { cells } = columns;
  const all = columns.histograms ?? [];
  let kept = 0;
  for (let i = 0; i < columns.count; i++) {
    const histogram = all[i];
    if (histogram !== undefined) {
      times.push(columns.timestampsMs[i]!);
      if (startTimesMs !== undefined) starts.push(startTimesMs[i]!);
      if (cells !== undefined) weights.push(cells.counts[i]!);
      histograms.push(histogram);
      continue;
    }
    columns.timestampsMs[kept] = columns.timestampsMs[i]!;
    if (startTimesMs !== undefined) startTimesMs[kept] = startTimesMs[i]!;
    if (cells !== undefined) cells.copyCell(kept, cells, i);
    columns.values[kept++] = columns.values[i]!;
  }
  columns.count = kept;
  if (cells !== undefined) cells.count = kept;
  pass.timestampsMs = columns.timestampsMs;
  pass.values = columns.values;
  pass.count = kept;
  const timestampsMs = Float64Array.from(times);
  const ownStarts = startTimesMs === undefined ? undefined : Float64Array.from(starts);
  const own: WindowPass = {
    ...pass,
    timestampsMs,
    startTimesMs: ownStarts,
    count: times.length,
    low: new Int32Array(pass.steps),
    high: new Int32Array(pass.steps),
  };
  const ownWeights = cells === undefined ? undefined : Float64Array.from(weights);
  return { timestampsMs, histograms, startTimesMs: ownStarts, weights: ownWeights, pass: own };
}

/** Adds to or subtracts from `target`, in place; false, with a warning, where the buckets are of different kinds. */
export function combine(
  context: RangeContext,
  target: FloatHistogram,
  other: FloatHistogram,
  operation: 'addition' | 'subtraction',
): boolean {
  const { annotations, metric, position } = context;
  const outcome = operation === 'addition' ? target.add(other) : target.subtract(other);
  if (outcome.incompatible) annotations.mixedSchemas(metric, position);
  else if (outcome.boundsReconciled) annotations.reconciledBounds(operation, position);
  return !outcome.incompatible;
}
