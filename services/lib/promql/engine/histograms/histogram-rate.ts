// rate, increase, delta, irate and idelta of native histograms.
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import { ABSENT, putHistogram, type StepColumn } from '../operand.ts';
import { extrapolationFactor } from '../range/kernels-rate.ts';
import { factorFromStart, hasOverlap, isStartReset, startsWithin } from '../range/start-times.ts';
import type { WindowPass } from '../range/windows.ts';
import { combine, type HistogramColumn, histogramsIn, type RangeContext } from './histogram-column.ts';

/** rate, increase, delta of histograms [from, to). */
export function histogramRate(
  context: RangeContext,
  column: HistogramColumn,
  from: number,
  to: number,
  k: number,
): FloatHistogram | undefined {
  const isCounter = context.func !== 'delta';
  const { pass, histograms, timestampsMs } = column;
  const starts = isCounter ? column.startTimesMs : undefined;
  const endMs = pass.firstEndMs + k * pass.endStepMs;
  const startMs = endMs - pass.rangeMs;
  const firstMs = timestampsMs[from]!;
  const fromStart = starts !== undefined && startsWithin(starts[from]!, startMs, firstMs);
  if (to - from < 2 && !fromStart) return undefined;
  let result = to - from < 2 ? undefined : difference(context, column, from, to, isCounter);
  if (to - from >= 2 && result === undefined) return undefined;
  const lastMs = timestampsMs[to - 1]!;
  let factor: number;
  if (fromStart) {
    const first = histograms[from]!;
    if (result === undefined) result = first.copy();
    else if (!combine(context, result, first, 'addition')) return undefined;
    factor = factorFromStart(starts[from]!, firstMs, lastMs, endMs, histogramsIn(column, from, to));
  } else {
    const first = isCounter ? histograms[from]!.count : Number.NaN;
    const samples = histogramsIn(column, from, to);
    factor = extrapolationFactor(firstMs, lastMs, startMs, endMs, samples, first, result!.count);
  }
  return result!.scale(context.func === 'rate' ? factor / (pass.rangeMs / 1000) : factor);
}

function difference(
  context: RangeContext,
  column: HistogramColumn,
  from: number,
  to: number,
  isCounter: boolean,
): FloatHistogram | undefined {
  const { annotations, metric, position } = context;
  const histograms = column.histograms.slice(from, to);
  const last = histograms.at(-1)!;
  let first: FloatHistogram | undefined = histograms[0]!;
  checkHints(context, histograms, isCounter);
  // Behind a reset the first histogram does not matter, nor does its layout.
  if (isCounter && isHistogramReset(column, from + 1)) first = undefined;
  const compared = first === undefined ? histograms.slice(1) : histograms;
  if (compared.some(({ hasCustomBounds }) => hasCustomBounds !== last.hasCustomBounds)) {
    annotations.mixedSchemas(metric, position);
    return undefined;
  }
  const result = last.copy();
  for (const { schema } of compared) result.reduceTo(schema);
  if (first !== undefined) combine(context, result, first, 'subtraction');
  if (isCounter) {
    for (let i = first === undefined ? from + 2 : from + 1; i < to; i++) {
      if (isHistogramReset(column, i)) combine(context, result, column.histograms[i - 1]!, 'addition');
    }
    if (hasOverlap(column, from, to)) annotations.startOverlap(metric, position);
  }
  result.hint = 'gauge';
  return result.compact();
}

/** Whether a counter was reset between histograms i − 1 and i, by their start times or their counts. */
export function isHistogramReset(column: HistogramColumn, i: number): boolean {
  const { startTimesMs, timestampsMs, histograms } = column;
  if (
    startTimesMs !== undefined &&
    isStartReset(startTimesMs[i - 1]!, timestampsMs[i - 1]!, startTimesMs[i]!, timestampsMs[i]!)
  ) {
    return true;
  }
  return histograms[i]!.isResetFrom(histograms[i - 1]!);
}

function checkHints(context: RangeContext, histograms: readonly FloatHistogram[], isCounter: boolean): void {
  const { annotations, metric, position } = context;
  if (isCounter) {
    if (histograms.some(({ hint }) => hint === 'gauge')) annotations.notACounter(metric, position);
  } else if (histograms[0]!.hint !== 'gauge' || histograms.at(-1)!.hint !== 'gauge') {
    annotations.notAGauge(metric, position);
  }
}

/** irate and idelta: only the last two samples matter, whatever they are. */
export function instantHistogramRate(
  context: RangeContext,
  pass: WindowPass,
  column: HistogramColumn,
  k: number,
  out: StepColumn,
): void {
  const { annotations, metric, position, func } = context;
  const float = pass.high[k]! - 1;
  const floatsMs = [float, float - 1].filter((i) => i >= pass.low[k]!).map((i) => pass.timestampsMs[i]!);
  const last = column.pass.high[k]! - 1;
  const isSingle = last === column.pass.low[k]!;
  const lastMs = column.timestampsMs[last]!;
  const previousMs = isSingle ? Number.NEGATIVE_INFINITY : column.timestampsMs[last - 1]!;
  const newer = floatsMs.filter((timeMs) => timeMs > lastMs).length;
  if (newer >= 2) return;
  out.kinds[k] = ABSENT;
  if (newer === 0 && isSingle && floatsMs.length === 0) return;
  if (newer === 1 || floatsMs.some((timeMs) => timeMs > previousMs)) {
    annotations.mixedSamples(metric, position);
    return;
  }
  const isRate = func === 'irate';
  const pair = column.histograms.slice(last - 1, last + 1);
  checkHints(context, pair, isRate);
  const result = pair[1]!.copy();
  if (!isRate || !isHistogramReset(column, last)) {
    if (!combine(context, result, pair[0]!, 'subtraction')) return;
  }
  result.hint = 'gauge';
  if (isRate) result.divide((lastMs - previousMs) / 1000);
  putHistogram(out, k, result.compact());
}
