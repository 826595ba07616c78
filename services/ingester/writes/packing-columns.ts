// Columns of a record that are packed for the log where they stand: in the memory of a kernel (lib/wire/kernel), which writes a varint as one
// word and is fast from its first call on.
import { DELTA_BYTES_MAX, VALUE_CODE_BYTES_MAX } from '../../lib/model/value-codes.ts';
import { WireKernel } from '../../lib/wire/kernel/wire-kernel.ts';
import { RecordColumns } from '../log/log-records.ts';

/** Room for this many samples stays for the next record. */
const CAPACITY_KEPT = 1 << 17;
const CAPACITY_MIN = 4096;
/** A value, a time, an id. */
const COLUMN_BYTES = 8 + 8 + 4;
const PACKED_BYTES_MAX = DELTA_BYTES_MAX + DELTA_BYTES_MAX + VALUE_CODE_BYTES_MAX;
/** Two columns of one partition. */
const ENDS_BYTES = 2 * 4;
/** A varint is written as a word, whatever its length. */
const SLACK_BYTES = 8;
/** Later times are left to JavaScript: so is what is no whole number, which nobody admits. */
const TIME_MS_MAX = 2 ** 50;

export class PackingColumns extends RecordColumns {
  #kernel = new WireKernel(0);
  #capacity = 0;
  #packedAt = 0;
  /** The first is where the samples end; the kernel writes the second. */
  #ends = new Uint32Array(2);

  constructor() {
    super();
    this.resize(CAPACITY_MIN);
  }

  /** As RecordColumns.resize; what a large record needed goes with the next small one. */
  override resize(capacity: number): void {
    if (capacity <= this.#capacity && this.#capacity <= CAPACITY_KEPT) return;
    const size = Math.max(capacity + (capacity & 1), CAPACITY_MIN);
    if (size === this.#capacity) return;
    const kernel = new WireKernel(size * (COLUMN_BYTES + PACKED_BYTES_MAX) + ENDS_BYTES + SLACK_BYTES);
    const { room } = kernel;
    const { buffer } = kernel.bytes;
    this.values = new Float64Array(buffer, room, size);
    this.timestampsMs = new Float64Array(buffer, room + size * 8, size);
    this.ids = new Uint32Array(buffer, room + size * 16, size);
    this.#ends = new Uint32Array(buffer, room + size * COLUMN_BYTES, 2);
    this.#packedAt = room + size * COLUMN_BYTES + ENDS_BYTES;
    this.#capacity = size;
    this.#kernel = kernel;
  }

  /** Hot! Packs what did not come packed. Valid until the next call, or the next `resize`. */
  pack(): void {
    const { exports, bytes } = this.#kernel;
    const ends = this.#ends;
    ends[0] = this.count;
    const { byteOffset } = ends;
    let at = exports.putReferences(this.ids.byteOffset, this.count, this.#packedAt);
    this.packedIds = bytes.subarray(this.#packedAt, at);
    if (this.packedTimes === undefined) {
      const from = this.timestampsMs.byteOffset;
      const end = exports.putTimes(from, byteOffset, 1, 0, TIME_MS_MAX, at, byteOffset + 4);
      if (end > 0) {
        this.packedTimes = bytes.subarray(at, end);
        at = end;
      }
    }
    if (this.packedValues === undefined) {
      const end = exports.putValues(this.values.byteOffset, byteOffset, 1, at, byteOffset + 4);
      this.packedValues = bytes.subarray(at, end);
    }
  }
}
