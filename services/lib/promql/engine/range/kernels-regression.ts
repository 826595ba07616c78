// deriv, predict_linear, double_exponential_smoothing: kernels that look at every sample of every window.
import { AppError } from '../../../core/errors.ts';
import { formatF } from '../go-format.ts';
import { KahanSum } from '../kahan.ts';
import { ABSENT, FLOAT, type StepColumn } from '../operand.ts';
import type { WindowPass } from './windows.ts';

interface Line {
  slope: number;
  intercept: number;
}

/** Least-squares line through samples [from, to), times in seconds relative to originMs. */
class Regression {
  readonly #x = new KahanSum();
  readonly #y = new KahanSum();
  readonly #xy = new KahanSum();
  readonly #xx = new KahanSum();

  fit(pass: WindowPass, from: number, to: number, originMs: number, line: Line): void {
    const { timestampsMs, values } = pass;
    pass.spend?.(to - from);
    this.#x.reset();
    this.#y.reset();
    this.#xy.reset();
    this.#xx.reset();
    const first = values[from]!;
    let isConstant = true;
    for (let i = from; i < to; i++) {
      const y = values[i]!;
      if (i > from && y !== first) isConstant = false;
      const x = (timestampsMs[i]! - originMs) / 1000;
      this.#x.add(x);
      this.#y.add(y);
      this.#xy.add(x * y);
      this.#xx.add(x * x);
    }
    if (isConstant) {
      const infinite = Math.abs(first) === Number.POSITIVE_INFINITY;
      line.slope = infinite ? Number.NaN : 0;
      line.intercept = infinite ? Number.NaN : first;
      return;
    }
    const count = to - from;
    const sumX = this.#x.total;
    const sumY = this.#y.total;
    const covariance = this.#xy.total - (sumX * sumY) / count;
    const variance = this.#xx.total - (sumX * sumX) / count;
    line.slope = covariance / variance;
    line.intercept = sumY / count - (line.slope * sumX) / count;
  }
}

export function deriv(pass: WindowPass, out: StepColumn): void {
  const regression = new Regression();
  const line: Line = { slope: 0, intercept: 0 };
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to - from > 1 ? FLOAT : ABSENT;
    if (to - from < 2) continue;
    // The origin is near the samples, which keeps the sums small.
    regression.fit(pass, from, to, pass.timestampsMs[from]!, line);
    out.values[k] = line.slope;
  }
}

/** params[0]: how far ahead, seconds. */
export function predictLinear(pass: WindowPass, out: StepColumn): void {
  const regression = new Regression();
  const line: Line = { slope: 0, intercept: 0 };
  const ahead = pass.params[0]!;
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to - from > 1 ? FLOAT : ABSENT;
    if (to - from < 2) continue;
    regression.fit(pass, from, to, pass.firstEvalMs + k * pass.evalStepMs, line);
    out.values[k] = line.slope * ahead[k]! + line.intercept;
  }
}

/** params: smoothing factor, trend factor. Holt's linear method. */
export function doubleExponentialSmoothing(pass: WindowPass, out: StepColumn): void {
  const [smoothing, trend] = pass.params;
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = ABSENT;
    if (to <= from) continue;
    checkFactors(pass, k);
    if (to - from < 2) continue;
    pass.spend?.(to - from);
    out.values[k] = smoothWindow(pass.values, from, to, smoothing![k]!, trend![k]!);
    out.kinds[k] = FLOAT;
  }
}

/** @throws AppError `execution` when a factor of double_exponential_smoothing is out of range at step `k`. */
export function checkFactors({ params: [smoothing, trend] }: WindowPass, k: number): void {
  checkFactor('smoothing', 'sf', smoothing![k]!);
  checkFactor('trend', 'tf', trend![k]!);
}

function checkFactor(name: string, short: string, value: number): void {
  if (value <= 0 || value >= 1) {
    throw new AppError(
      'execution',
      `invalid ${name} factor. Expected: 0 < ${short} < 1, got: ${formatF(value)}`,
    );
  }
}

function smoothWindow(
  values: Float64Array,
  from: number,
  to: number,
  smoothing: number,
  trend: number,
): number {
  let previous = 0;
  let level = values[from]!;
  let slope = values[from + 1]! - values[from]!;
  for (let i = from + 1; i < to; i++) {
    const scaled = smoothing * values[i]!;
    if (i > from + 1) slope = trend * (level - previous) + (1 - trend) * slope;
    const carried = (1 - smoothing) * (level + slope);
    previous = level;
    level = scaled + carried;
  }
  return level;
}
