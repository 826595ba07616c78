// Samples of one series as columns. Values stay in typed arrays: a number[] or any arithmetic would turn the staleness
// marker's signalling NaN into an ordinary one.
import type { AggregateCells } from './aggregate-cells.ts';
import type { FloatHistogram } from './float-histogram.ts';

/** High and low word of the staleness marker, a signalling NaN with payload 2. */
export const STALE_NAN_HIGH = 0x7ff00000;
export const STALE_NAN_LOW = 2;
/** The same after something made the NaN quiet. */
export const STALE_NAN_QUIET_HIGH = 0x7ff80000;

/** Columns that grow have room for so many samples at least. */
const GROWN_SAMPLES_MIN = 256;

/** Of all columns without room. */
const NO_VALUES = new Float64Array(0);
const NO_WORDS = new Uint32Array(NO_VALUES.buffer);

/** Growable columns of one series' float samples, reused from series to series. */
export class SampleColumns {
  /** Unix milliseconds, strictly ascending in [0, count). */
  timestampsMs: Float64Array<ArrayBuffer>;
  /** Values in [0, count), bit for bit as written. */
  values: Float64Array<ArrayBuffer>;
  /** The words of `values`; see wordsOf. */
  words: Uint32Array;
  count = 0;
  /**
   * How far neighbouring timestamps are apart where all are equally far, milliseconds; 0 where that is not known. Whoever sets it sets it anew
   * for each series.
   */
  gapMs = 0;
  /** False only where no value is NaN, and so none a staleness marker. Whoever sets it sets it anew for each series. */
  hasNaN = true;
  /**
   * Native histograms: where entry i is set, sample i is that histogram, and its value means nothing. Undefined in a
   * series of floats. Whoever fills the columns sets it anew for each series.
   */
  histograms: (FloatHistogram | undefined)[] | undefined;
  /**
   * When the counter of sample i began to count, Unix milliseconds; 0 where that is not known. Undefined in a series that
   * knows of none: storage that keeps no start times never sets it; who does sets it anew for each series.
   */
  startTimesMs: Float64Array<ArrayBuffer> | undefined;
  /**
   * Set where some entries stand for several samples: entry i is the newest sample of cell i, and the cell says what is known of
   * the others. Undefined in a series of samples: storage that keeps no aggregates never sets it; who does sets it anew for each
   * series.
   */
  cells: AggregateCells | undefined;

  /** @param capacity  Samples that there is room for; none: until the first series comes. */
  constructor(capacity = GROWN_SAMPLES_MIN) {
    this.timestampsMs = capacity === 0 ? NO_VALUES : new Float64Array(capacity);
    this.values = capacity === 0 ? NO_VALUES : new Float64Array(capacity);
    this.words = capacity === 0 ? NO_WORDS : wordsOf(this.values);
  }

  /** Makes room for `capacity` samples in all; keeps what is there. Views taken before are stale afterwards. */
  reserve(capacity: number): void {
    if (capacity <= this.values.length) return;
    const size = Math.max(capacity, this.values.length * 2, GROWN_SAMPLES_MIN);
    const timestampsMs = new Float64Array(size);
    timestampsMs.set(this.timestampsMs.subarray(0, this.count));
    this.timestampsMs = timestampsMs;
    // Copied as words: a Float64Array copy keeps NaN payloads too, this makes it certain.
    const values = new Float64Array(size);
    new Uint8Array(values.buffer).set(new Uint8Array(this.values.buffer, 0, this.count * 8));
    this.values = values;
    this.words = wordsOf(values);
  }
}

/** Words of a Float64Array: index 2i is the low, 2i + 1 the high word of element i on this little-endian machine. */
export function wordsOf(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}

/** True when element `index` is the staleness marker, also after something quietened it. */
export function isStaleAt(words: Uint32Array, index: number): boolean {
  if (words[2 * index] !== STALE_NAN_LOW) return false;
  const high = words[2 * index + 1];
  return high === STALE_NAN_HIGH || high === STALE_NAN_QUIET_HIGH;
}

/** Writes the staleness marker's canonical bits. */
export function putStale(words: Uint32Array, index: number): void {
  words[2 * index] = STALE_NAN_LOW;
  words[2 * index + 1] = STALE_NAN_HIGH;
}
