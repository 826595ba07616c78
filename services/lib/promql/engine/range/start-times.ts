// What the start times of samples (feature use-start-timestamps) say about counter resets. Times are Unix milliseconds;
// a start time of 0 is unknown.

/** A sample gap this much larger than the average counts as the series' end (Prometheus' extrapolation threshold). */
export const EXTRAPOLATION_THRESHOLD = 1.1;

/**
 * Whether a counter was reset between two neighbouring samples, by their start times: the later one started to count
 * behind the earlier sample. A start at the very time of the earlier sample is a delta's when that one had a start
 * time before itself; a first sample without one begins a counter whose start is not known.
 */
export function isStartReset(
  previousStartMs: number,
  previousMs: number,
  startMs: number,
  timeMs: number,
): boolean {
  if (startMs === 0 || startMs >= timeMs || startMs < previousMs) return false;
  if (startMs > previousMs) return true;
  return previousStartMs !== 0 && previousStartMs < previousMs;
}

/** Whether a counter's first sample of a window started from zero within the window, which then says all about its start. */
export function startsWithin(startMs: number, windowStartMs: number, firstMs: number): boolean {
  return startMs !== 0 && startMs > windowStartMs && startMs < firstMs;
}

/** Whether a sample of [from, to) claims to have started before the one ahead of it, yet not with it. */
export function hasOverlap(
  samples: { readonly timestampsMs: Float64Array; readonly startTimesMs: Float64Array | undefined },
  from: number,
  to: number,
): boolean {
  const { timestampsMs, startTimesMs } = samples;
  if (startTimesMs === undefined) return false;
  for (let i = from + 1; i < to; i++) {
    const startMs = startTimesMs[i]!;
    if (startMs !== 0 && startMs < timestampsMs[i - 1]! && startMs !== startTimesMs[i - 1]) return true;
  }
  return false;
}

/**
 * By how much a difference grows that counts from a start time within the window: nothing is missing before it, and
 * behind the last sample as much as extrapolation always adds.
 */
export function factorFromStart(
  startMs: number,
  firstMs: number,
  lastMs: number,
  endMs: number,
  samples: number,
): number {
  const sampledSeconds = (lastMs - startMs) / 1000;
  const averageSeconds = samples > 1 ? (lastMs - firstMs) / 1000 / (samples - 1) : 0;
  let afterSeconds = (endMs - lastMs) / 1000;
  if (afterSeconds >= averageSeconds * EXTRAPOLATION_THRESHOLD) afterSeconds = averageSeconds / 2;
  return sampledSeconds === 0 ? 1 : (sampledSeconds + afterSeconds) / sampledSeconds;
}
