// Start timestamps of one series: from which sample on which start holds. Collected, brought into one order, encoded as a chunk
// (docs/format/chunk-marks.md), and laid over samples.
import { type ByteReader, type ByteWriter, unzigzag, zigzag } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import type { SampleColumns } from '../../model/sample-columns.ts';
import { readMarkChunk } from './mark-chunk.ts';

/** Most entries of one chunk; bounds what a reader allocates. */
export const START_TIMES_MAX = 0xffff;

/** Growing columns; reused from series to series. */
export class StartTimes {
  /** Unix ms: the start holds for samples from here on. */
  timestampsMs: number[] = [];
  /** Unix ms; 0: not known from here on. */
  startsMs: number[] = [];

  get count(): number {
    return this.timestampsMs.length;
  }

  clear(): void {
    this.timestampsMs.length = 0;
    this.startsMs.length = 0;
  }

  add(timeMs: number, startMs: number): void {
    this.timestampsMs.push(timeMs);
    this.startsMs.push(startMs);
  }

  /** Sorts by time; of several for a time the latest start stays, and what repeats the one before goes. */
  settle(): void {
    const { timestampsMs, startsMs } = this;
    const order = Uint32Array.from({ length: this.count }, (_, at) => at);
    order.sort((a, b) => timestampsMs[a]! - timestampsMs[b]! || startsMs[b]! - startsMs[a]! || a - b);
    this.timestampsMs = [];
    this.startsMs = [];
    let lastMs = Number.NaN;
    for (const at of order) {
      const isRepeated = timestampsMs[at] === lastMs || startsMs[at] === this.startsMs[this.count - 1];
      if (timestampsMs[at] !== lastMs && !isRepeated) this.add(timestampsMs[at]!, startsMs[at]!);
      lastMs = timestampsMs[at]!;
    }
  }

  /**
   * Cuts settled entries to what samples in [firstMs, lastMs] need: the one that holds at `firstMs` moves there.
   */
  clip(firstMs: number, lastMs: number): void {
    const { timestampsMs, startsMs } = this;
    let from = 0;
    while (from + 1 < timestampsMs.length && timestampsMs[from + 1]! <= firstMs) from++;
    let to = from;
    while (to < timestampsMs.length && timestampsMs[to]! <= lastMs) to++;
    this.timestampsMs = timestampsMs.slice(from, to);
    this.startsMs = startsMs.slice(from, to);
    if (this.count > 0) this.timestampsMs[0] = Math.max(this.timestampsMs[0]!, firstMs);
  }

  /** Sets `startTimesMs` of samples in order of time. Entries are settled. */
  layOver(samples: SampleColumns): void {
    if (this.count === 0) {
      samples.startTimesMs = undefined;
      return;
    }
    const { timestampsMs, count } = samples;
    const out = new Float64Array(count);
    let mark = -1;
    for (let i = 0; i < count; i++) {
      while (mark + 1 < this.count && this.timestampsMs[mark + 1]! <= timestampsMs[i]!) mark++;
      out[i] = mark < 0 ? 0 : this.startsMs[mark]!;
    }
    samples.startTimesMs = out;
  }

  /** Appends entries [from, to), settled, as one chunk. */
  encode(from: number, to: number, dst: ByteWriter): void {
    dst.varint(to - from);
    let timeMs = 0;
    let startMs = 0;
    for (let i = from; i < to; i++) {
      dst.varint(zigzag(this.timestampsMs[i]! - timeMs));
      dst.varint(zigzag(this.startsMs[i]! - startMs));
      timeMs = this.timestampsMs[i]!;
      startMs = this.startsMs[i]!;
    }
  }

  /** Adds the entries of a chunk in bytes[start, end). @throws AppError `internal` when they are no whole chunk. */
  addChunk(bytes: Uint8Array, start: number, end: number): void {
    const found = new StartTimes();
    readMarkChunk('start time', START_TIMES_MAX, bytes, start, end, (reader, timeMs) => {
      const previous = found.count === 0 ? 0 : found.startsMs[found.count - 1]!;
      found.add(timeMs, startOf(reader, previous));
    });
    for (let i = 0; i < found.count; i++) this.add(found.timestampsMs[i]!, found.startsMs[i]!);
  }
}

function startOf(reader: ByteReader, previousMs: number): number {
  const startMs = previousMs + unzigzag(reader.varint());
  if (!Number.isSafeInteger(startMs)) throw new AppError('bad_data', `start time ${startMs}`);
  return startMs;
}
