// Where packed batches are unpacked: columns in a kernel's memory (kernel/assembly/packed-columns.ts), which stand at its beginning, and
// behind them what the kernel reads and the times as the log has them.
import { AppError } from '../../core/errors.ts';
import { WireKernel } from '../kernel/wire-kernel.ts';

/** Room for this many samples stays for the next batch. */
const CAPACITY_KEPT = 1 << 17;
const CAPACITY_MIN = 4096;
/** A reference, a time, a value. */
const SAMPLE_BYTES = 4 + 8 + 8;
/** The kernel may read, and write, so many bytes too many. */
const SLACK_BYTES = 16;
/** The longest difference of two times. */
const FIRST_TIME_BYTES_MAX = 8;

/** What a packed batch's header says of its columns: their bytes follow each other. */
export interface PackedSections {
  readonly referenceBytes: number;
  readonly timeBytes: number;
  readonly valueBytes: number;
  readonly baseTimeMs: number;
  /** Samples of each section. */
  readonly counts: Uint32Array;
}

/** Columns that batches are unpacked into, used for one batch after the other. */
export class BatchScratch {
  #kernel: WireKernel | undefined;
  /** For so many samples. */
  #capacity = 0;
  /** Uint32Array, Float64Array and Float64Array of so many samples or more; other arrays after each call of `unpack`. */
  references = new Uint32Array(0);
  timestampsMs = new Float64Array(0);
  values = new Float64Array(0);
  /** The times as the log has them; as the columns. */
  packedTimes = new Uint8Array(0);

  get capacity(): number {
    return this.#capacity;
  }

  /**
   * Unpacks the three columns, which begin at src[at].
   *
   * @param timeMsMax  No time may be above it, or below minus it.
   * @throws AppError `bad_data` when a column does not fill its bytes, or holds a number out of range.
   */
  unpack(
    src: Uint8Array,
    at: number,
    sections: PackedSections,
    sampleCount: number,
    timeMsMax: number,
  ): void {
    const { referenceBytes, timeBytes, valueBytes, baseTimeMs, counts } = sections;
    const columnBytes = referenceBytes + timeBytes + valueBytes;
    const countsBytes = counts.length * 4;
    const logBytes = timeBytes + counts.length * FIRST_TIME_BYTES_MAX;
    const kernel = this.#reserve(sampleCount, countsBytes + columnBytes + logBytes + 2 * SLACK_BYTES);
    const { exports, bytes, room } = kernel;
    const countsAt = room + this.#capacity * SAMPLE_BYTES;
    const referencesAt = countsAt + countsBytes;
    const timesAt = referencesAt + referenceBytes;
    const valuesAt = timesAt + timeBytes;
    const end = valuesAt + valueBytes;
    const logAt = end + SLACK_BYTES;
    new Uint32Array(bytes.buffer, countsAt, counts.length).set(counts);
    bytes.set(src.subarray(at, at + columnBytes), referencesAt);
    const { references, timestampsMs, values } = this;
    const check = (column: string, stoppedAt: number, dueAt: number): void => {
      if (stoppedAt === dueAt) return;
      const badAt = (stoppedAt === 0 ? exports.refusedAt.value : stoppedAt) - referencesAt + at;
      throw new AppError(
        'bad_data',
        `append batch: the ${column} break off, hold a number out of range, or do not fill their bytes, at offset ${badAt}`,
      );
    };
    check(
      'references',
      exports.readReferences(referencesAt, timesAt, sampleCount, references.byteOffset),
      timesAt,
    );
    check(
      'times',
      exports.readTimes(
        ...([timesAt, valuesAt, countsAt, counts.length, baseTimeMs] as const),
        ...([timeMsMax, timestampsMs.byteOffset, logAt] as const),
      ),
      valuesAt,
    );
    check('values', exports.readValues(valuesAt, end, sampleCount, values.byteOffset), end);
    this.packedTimes = bytes.subarray(logAt, exports.logTimesEnd.value);
  }

  /** The kernel, with columns of `sampleCount` samples and `bytes` behind them. What a large batch needed goes with the next small one. */
  #reserve(sampleCount: number, bytes: number): WireKernel {
    let kernel = this.#kernel;
    if (kernel === undefined || this.#capacity < sampleCount || this.#capacity > CAPACITY_KEPT) {
      this.#capacity = Math.max(sampleCount + (sampleCount & 1), CAPACITY_MIN);
      kernel = new WireKernel(this.#capacity * SAMPLE_BYTES + bytes);
      this.#kernel = kernel;
    } else {
      kernel.grow(kernel.room + this.#capacity * SAMPLE_BYTES + bytes);
    }
    // Views on a memory are of no use once it has grown.
    if (this.values.buffer !== kernel.bytes.buffer) {
      const { buffer } = kernel.bytes;
      this.values = new Float64Array(buffer, kernel.room, this.#capacity);
      this.timestampsMs = new Float64Array(buffer, kernel.room + this.#capacity * 8, this.#capacity);
      this.references = new Uint32Array(buffer, kernel.room + this.#capacity * 16, this.#capacity);
    }
    return kernel;
  }
}
