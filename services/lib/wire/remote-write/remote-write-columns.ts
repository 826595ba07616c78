// The columns that decoded samples go into: growing, reused from request to request. Structurally the distributor's
// WriteColumns, so that they are written without being copied.
import { AppError } from '../../core/errors.ts';
import { ExtraColumns, type Extras } from '../../model/extra-columns.ts';

/** Most float samples in one request: what an append batch to an ingester may hold. */
export const REQUEST_SAMPLES_MAX = 1 << 20;

/** Bytes that a sample takes here: reference, timestamp, value. */
export const COLUMN_BYTES_PER_SAMPLE = 20;

/** Columns of an entry of the extras, its content excepted. */
const EXTRA_BYTES_EACH = 21;

/** Samples of one request. Entries in [0, count) are in use. */
export class RemoteWriteColumns {
  count = 0;
  references: Uint32Array<ArrayBuffer>;
  /** Unix milliseconds, integers. */
  timestampsMs: Float64Array<ArrayBuffer>;
  values: Float64Array<ArrayBuffer>;
  /** The values' bits, low word first: values are moved as words, so that NaN payloads survive. */
  valueWords: Uint32Array<ArrayBuffer>;
  /** Histograms, start times and exemplars; `extras` is what the distributor sees of them. */
  readonly own = new ExtraColumns();

  constructor(capacity = 2048) {
    this.references = new Uint32Array(capacity);
    this.timestampsMs = new Float64Array(capacity);
    this.values = new Float64Array(capacity);
    this.valueWords = new Uint32Array(this.values.buffer);
  }

  /** Absent while there are none. */
  get extras(): Extras | undefined {
    return this.own.count > 0 ? this.own : undefined;
  }

  /** Bytes that the request in the columns takes here. */
  get usedBytes(): number {
    const { count, contentBytes } = this.own;
    return this.count * COLUMN_BYTES_PER_SAMPLE + count * EXTRA_BYTES_EACH + contentBytes;
  }

  get capacityBytes(): number {
    return (
      this.references.length * COLUMN_BYTES_PER_SAMPLE +
      this.own.kinds.length * EXTRA_BYTES_EACH +
      this.own.bytes.length
    );
  }

  /** Empties the columns for the next request. */
  clear(): void {
    this.count = 0;
    this.own.reset();
  }

  /**
   * Doubles the room. Views taken before are stale afterwards.
   *
   * @throws AppError `resource_exhausted` when there is room for REQUEST_SAMPLES_MAX already.
   */
  grow(): void {
    if (this.references.length >= REQUEST_SAMPLES_MAX) {
      throw new AppError(
        'resource_exhausted',
        `the request holds more than ${REQUEST_SAMPLES_MAX} samples; send fewer per request (max_samples_per_send)`,
      );
    }
    const capacity = Math.min(this.references.length * 2, REQUEST_SAMPLES_MAX);
    const references = new Uint32Array(capacity);
    references.set(this.references);
    const timestampsMs = new Float64Array(capacity);
    timestampsMs.set(this.timestampsMs);
    const values = new Float64Array(capacity);
    const valueWords = new Uint32Array(values.buffer);
    valueWords.set(this.valueWords);
    this.references = references;
    this.timestampsMs = timestampsMs;
    this.values = values;
    this.valueWords = valueWords;
  }
}
