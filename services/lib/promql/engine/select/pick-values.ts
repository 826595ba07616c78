// Which sample of a series stands at each step of an instant vector selector.
import { isStaleAt } from '../../../model/sample-columns.ts';
import { ABSENT, FLOAT, type StepColumn } from '../operand.ts';

/** Newest value at or before each reference time, not older than the lookback. Cost: O(samples + steps). */
export function pickValues(
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

/**
 * As pickValues(), of samples that are equally far apart, none of them a marker, where steps are as far apart or some times farther: what is
 * found are the values as they stand.
 *
 * @returns -1 where samples and steps do not go together.
 */
export function pickRegular(
  timestampsMs: Float64Array,
  values: Float64Array,
  count: number,
  gapMs: number,
  firstMs: number,
  stepMs: number,
  lookbackMs: number,
  into: StepColumn,
): number {
  const steps = into.kinds.length;
  if (!(gapMs > 0 && count > 1 && stepMs > 0 && stepMs % gapMs === 0 && Number.isInteger(firstMs))) return -1;
  const stride = stepMs / gapMs;
  // Samples at or before the first step, if there were any number of them.
  const low = Math.floor((firstMs - timestampsMs[0]!) / gapMs);
  const from = Math.min(steps, low >= 0 ? 0 : Math.ceil(-low / stride));
  const to = Math.max(from, Math.min(steps, Math.floor((count - 1 - low) / stride) + 1));
  const at = low + from * stride;
  // How old a sample is, is the same at all of these steps.
  const isFresh = to > from && timestampsMs[at]! > firstMs + from * stepMs - lookbackMs;
  if (stride === 1) into.values.set(values.subarray(at, at + to - from), from);
  else for (let k = from, i = at; k < to; k++, i += stride) into.values[k] = values[i]!;
  into.kinds.fill(ABSENT, 0, from);
  into.kinds.fill(isFresh ? FLOAT : ABSENT, from, to);
  let found = isFresh ? to - from : 0;
  for (let k = to; k < steps; k++) {
    into.kinds[k] = ABSENT;
    if (timestampsMs[count - 1]! <= firstMs + k * stepMs - lookbackMs) continue;
    into.values[k] = values[count - 1]!;
    into.kinds[k] = FLOAT;
    found++;
  }
  return found;
}
