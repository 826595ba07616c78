// Downsampled samples as columns. A cell stands for consecutive float samples of one series between two multiples of a
// resolution: how many they are, the first and the newest of them, least, greatest, sum, and what counter resets among them took
// away. A sample that was not downsampled is a cell of one.

/** Growing columns of cells; reused from series to series. Values keep their bits. */
export class AggregateCells {
  count = 0;
  /** Milliseconds; 0 in a cell that is a sample itself. */
  resolutionsMs: Float64Array<ArrayBuffer>;
  /** Unix ms of the first and the newest sample. Invariant: firstTimesMs[i] <= lastTimesMs[i]. */
  firstTimesMs: Float64Array<ArrayBuffer>;
  lastTimesMs: Float64Array<ArrayBuffer>;
  /** How many samples; 0 for a staleness marker. */
  counts: Float64Array<ArrayBuffer>;
  firsts: Float64Array<ArrayBuffer>;
  lasts: Float64Array<ArrayBuffer>;
  /** NaN only where all samples are. */
  mins: Float64Array<ArrayBuffer>;
  maxs: Float64Array<ArrayBuffer>;
  sums: Float64Array<ArrayBuffer>;
  /**
   * Sum of the values before each reset within the cell: what a counter's increase is larger than last − first. 0 without resets, −0
   * where they add up to zero.
   */
  corrections: Float64Array<ArrayBuffer>;

  constructor(capacity = 64) {
    this.resolutionsMs = new Float64Array(capacity);
    this.firstTimesMs = new Float64Array(capacity);
    this.lastTimesMs = new Float64Array(capacity);
    this.counts = new Float64Array(capacity);
    this.firsts = new Float64Array(capacity);
    this.lasts = new Float64Array(capacity);
    this.mins = new Float64Array(capacity);
    this.maxs = new Float64Array(capacity);
    this.sums = new Float64Array(capacity);
    this.corrections = new Float64Array(capacity);
  }

  /** Makes room for `capacity` cells in all; keeps what is there. Views taken before are stale afterwards. */
  reserve(capacity: number): void {
    if (capacity <= this.counts.length) return;
    const size = Math.max(capacity, this.counts.length * 2);
    this.resolutionsMs = grown(this.resolutionsMs, size);
    this.firstTimesMs = grown(this.firstTimesMs, size);
    this.lastTimesMs = grown(this.lastTimesMs, size);
    this.counts = grown(this.counts, size);
    this.firsts = grown(this.firsts, size);
    this.lasts = grown(this.lasts, size);
    this.mins = grown(this.mins, size);
    this.maxs = grown(this.maxs, size);
    this.sums = grown(this.sums, size);
    this.corrections = grown(this.corrections, size);
  }

  /** Overwrites cell `at` with cell `index` of `from`, which may be these columns themselves. */
  copyCell(at: number, from: AggregateCells, index: number): void {
    this.resolutionsMs[at] = from.resolutionsMs[index]!;
    this.firstTimesMs[at] = from.firstTimesMs[index]!;
    this.lastTimesMs[at] = from.lastTimesMs[index]!;
    this.counts[at] = from.counts[index]!;
    this.firsts[at] = from.firsts[index]!;
    this.lasts[at] = from.lasts[index]!;
    this.mins[at] = from.mins[index]!;
    this.maxs[at] = from.maxs[index]!;
    this.sums[at] = from.sums[index]!;
    this.corrections[at] = from.corrections[index]!;
  }

  /** Overwrites cell `at` with `samples` samples that are, or count as, one at `timeMs`. */
  putSample(at: number, timeMs: number, value: number, samples: number): void {
    this.resolutionsMs[at] = 0;
    this.firstTimesMs[at] = timeMs;
    this.lastTimesMs[at] = timeMs;
    this.counts[at] = samples;
    this.firsts[at] = value;
    this.lasts[at] = value;
    this.mins[at] = value;
    this.maxs[at] = value;
    this.sums[at] = value;
    this.corrections[at] = 0;
  }

  /** The coarsest resolution of any cell, ms; 0 when all are samples. */
  get coarsestMs(): number {
    let coarsest = 0;
    for (let i = 0; i < this.count; i++) coarsest = Math.max(coarsest, this.resolutionsMs[i]!);
    return coarsest;
  }
}

function grown(column: Float64Array<ArrayBuffer>, size: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(size);
  larger.set(column);
  return larger;
}

/**
 * What stands for a sum of values before resets in the columns, and back: zeros are swapped, so that the usual cell, which has no
 * resets and the sum −0, is all zero bits.
 */
export function storedCorrection(sum: number): number {
  return sum === 0 ? -sum : sum;
}
