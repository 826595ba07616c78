// Exemplars of one series: collected, brought into one order, encoded as a chunk (docs/format/chunk-marks.md). An exemplar's
// content is its value and labels as bytes (model/extra-columns.ts), which nothing below the querier looks into.
import { type ByteWriter, compareBytes, zigzag } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { EXEMPLAR_BYTES_MAX } from '../../model/extra-columns.ts';
import { readMarkChunk } from './mark-chunk.ts';

/** Most exemplars of a series in a time range of a head, where the newest stay, and in a chunk. */
export const EXEMPLARS_MAX = 128;
/** What a reader accepts. */
const CHUNK_EXEMPLARS_MAX = 0xffff;

/** Growing columns; reused from series to series. */
export class ExemplarList {
  /** Unix ms. */
  timestampsMs: number[] = [];
  contents: Uint8Array[] = [];

  get count(): number {
    return this.timestampsMs.length;
  }

  clear(): void {
    this.timestampsMs.length = 0;
    this.contents.length = 0;
  }

  /** @param content  Kept, not copied. */
  add(timeMs: number, content: Uint8Array): void {
    this.timestampsMs.push(timeMs);
    this.contents.push(content);
  }

  /** Sorts by time and content, each pair of them once. */
  settle(): void {
    const { timestampsMs, contents } = this;
    const order = Uint32Array.from({ length: this.count }, (_, at) => at);
    order.sort(
      (a, b) => timestampsMs[a]! - timestampsMs[b]! || compareBytes(contents[a]!, contents[b]!) || a - b,
    );
    this.timestampsMs = [];
    this.contents = [];
    for (const at of order) {
      const last = this.count - 1;
      const isRepeated =
        this.timestampsMs[last] === timestampsMs[at] &&
        compareBytes(this.contents[last]!, contents[at]!) === 0;
      if (!isRepeated) this.add(timestampsMs[at]!, contents[at]!);
    }
  }

  /** Of settled exemplars, keeps the newest EXEMPLARS_MAX. */
  keepNewest(): void {
    if (this.count <= EXEMPLARS_MAX) return;
    this.timestampsMs = this.timestampsMs.slice(-EXEMPLARS_MAX);
    this.contents = this.contents.slice(-EXEMPLARS_MAX);
  }

  /** Appends exemplars [from, to), settled, as one chunk. */
  encode(from: number, to: number, dst: ByteWriter): void {
    dst.varint(to - from);
    let timeMs = 0;
    for (let i = from; i < to; i++) {
      const content = this.contents[i]!;
      dst.varint(zigzag(this.timestampsMs[i]! - timeMs));
      dst.varint(content.length);
      dst.raw(content);
      timeMs = this.timestampsMs[i]!;
    }
  }

  /** Adds the exemplars of a chunk in bytes[start, end), as views. @throws AppError `internal` when they are no whole chunk. */
  addChunk(bytes: Uint8Array, start: number, end: number): void {
    const found = new ExemplarList();
    readMarkChunk('exemplar', CHUNK_EXEMPLARS_MAX, bytes, start, end, (reader, timeMs) => {
      const length = reader.varint();
      if (length > EXEMPLAR_BYTES_MAX) throw new AppError('bad_data', `an exemplar of ${length} bytes`);
      found.add(timeMs, reader.raw(length));
    });
    for (let i = 0; i < found.count; i++) this.add(found.timestampsMs[i]!, found.contents[i]!);
  }
}
