// A file of log records that is written once, as a whole, and read as a whole or not at all: unlike a segment, one damaged
// bit makes all of it worthless, so that its reader never has to guess what is missing (docs/format/head-image.md).
import { randomInt } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ByteWriter } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import type { Disk, DiskFile } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import {
  encodeRecord,
  encodeSegmentHead,
  RECORD_HEAD_BYTES,
  type RecordView,
  SEGMENT_HEAD_BYTES,
  tryRecord,
  trySegmentSalt,
} from './record.ts';

/** Other work gets its turn after so many bytes. */
const FLUSH_BYTES = 256 * 1024;
/** The disk is never left with more than this to sync, so that the log's own syncs do not wait for long. */
const SYNC_BYTES = 8 << 20;
const READ_BYTES = 4 << 20;
const SLICE_MS = 20;

/** What tells a file apart from any other of its name, and a whole one from a part of it. */
export interface RecordFileMark {
  readonly salt: number;
  readonly records: number;
}

/** Holds a writer back to a number of bytes per second, on average from its making on. */
export class Throttle {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  readonly #signal: AbortSignal;
  readonly #startedMs: number;
  #bytes = 0;

  constructor(bytesPerSecond: number, clock: Clock, signal: AbortSignal) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
    this.#signal = signal;
    this.#startedMs = clock.monotonicMs();
  }

  /** @throws the reason of the signal when it is aborted. */
  async written(bytes: number): Promise<void> {
    this.#signal.throwIfAborted();
    this.#bytes += bytes;
    const dueMs = this.#startedMs + (this.#bytes / this.#bytesPerSecond) * 1000;
    const waitMs = dueMs - this.#clock.monotonicMs();
    if (waitMs > 1) await this.#clock.sleep(waitMs, this.#signal);
    else await nextTurn();
  }
}

/** Writes records to a new file. Without a throttle it goes as fast as the disk. */
export class RecordFileWriter {
  readonly salt: number = randomInt(0, 2 ** 32);
  readonly #file: DiskFile;
  readonly #throttle: Throttle | undefined;
  readonly #out = new ByteWriter(FLUSH_BYTES * 2);
  #bytes = 0;
  #unsynced = 0;
  #records = 0;

  constructor(file: DiskFile, throttle?: Throttle) {
    this.#file = file;
    this.#throttle = throttle;
    encodeSegmentHead(this.#out, 0, this.salt);
  }

  /** Records so far. */
  get records(): number {
    return this.#records;
  }

  /** Bytes so far, those not yet written too. */
  get bytes(): number {
    return this.#bytes + this.#out.length;
  }

  async record(type: number, payload: ByteWriter): Promise<void> {
    encodeRecord(this.#out, this.salt, type, 0, this.#records++, payload.bytes, 0, payload.length);
    if (this.#out.length >= FLUSH_BYTES) await this.#flush();
  }

  /** Writes what is left; durable when it resolves. */
  async end(): Promise<void> {
    await this.#flush();
    await this.#file.sync();
  }

  async #flush(): Promise<void> {
    const { length } = this.#out;
    await this.#file.write(this.#out.bytes, 0, length, this.#bytes);
    this.#bytes += length;
    this.#unsynced += length;
    this.#out.reset();
    if (this.#unsynced >= SYNC_BYTES) {
      this.#unsynced = 0;
      await this.#file.sync();
    }
    if (this.#throttle === undefined) await nextTurn();
    else await this.#throttle.written(length);
  }
}

/**
 * Visits all records of a file that RecordFileWriter wrote, each when the visit before is over. Memory is that of a few records.
 *
 * @param mark   What the file is expected to be, where that is known.
 * @returns      Its mark and its size.
 * @throws AppError `bad_data` at the first bit that is not as it was written; the disk's errors as they come.
 */
export async function readRecordFile(
  name: string,
  visit: (record: RecordView, bytes: Uint8Array) => Promise<void> | undefined,
  deps: { readonly disk: Disk; readonly clock: Clock },
  mark?: RecordFileMark,
): Promise<RecordFileMark & { readonly bytes: number }> {
  const file = await deps.disk.open(name, 'read');
  try {
    const reader = new RecordFileReader(name, file, await file.size());
    const salt = await reader.readHead();
    if (mark !== undefined && mark.salt !== salt) throw damaged(name, 'it is another file than was expected');
    let records = 0;
    let sliceEndsMs = deps.clock.monotonicMs() + SLICE_MS;
    for (;;) {
      const record = await reader.next(salt);
      if (record === undefined) break;
      if (record.sequence !== records)
        throw damaged(name, `record ${record.sequence} stands at place ${records}`);
      const pending = visit(record, reader.bytes);
      if (pending !== undefined) await pending;
      records++;
      if (deps.clock.monotonicMs() < sliceEndsMs) continue;
      await nextTurn();
      sliceEndsMs = deps.clock.monotonicMs() + SLICE_MS;
    }
    if (mark !== undefined && mark.records !== records) {
      throw damaged(name, `${records} records where ${mark.records} were written`);
    }
    return { salt, records, bytes: reader.size };
  } finally {
    await file.close();
  }
}

class RecordFileReader {
  bytes: Uint8Array;
  readonly size: number;
  readonly #name: string;
  readonly #file: DiskFile;
  /** Bytes [#at, #end) of the buffer are read and not consumed; behind them the file goes on at #next. */
  #at = 0;
  #end = 0;
  #next = 0;

  constructor(name: string, file: DiskFile, size: number) {
    this.#name = name;
    this.#file = file;
    this.size = size;
    this.bytes = new Uint8Array(Math.min(size, READ_BYTES));
  }

  async readHead(): Promise<number> {
    await this.#fill(SEGMENT_HEAD_BYTES);
    const salt = trySegmentSalt(this.bytes, this.#end, 0);
    if (salt === undefined) throw damaged(this.#name, 'its head is not one');
    this.#at = SEGMENT_HEAD_BYTES;
    return salt;
  }

  /** The next record, in `bytes` until the next call; undefined at the end of the file. */
  async next(salt: number): Promise<RecordView | undefined> {
    if (!(await this.#fill(RECORD_HEAD_BYTES))) {
      if (this.#end === this.#at) return undefined;
      throw damaged(this.#name, 'it ends inside of a record');
    }
    const payload = new DataView(this.bytes.buffer, this.bytes.byteOffset + this.#at).getUint32(0, true);
    const isThere = await this.#fill(RECORD_HEAD_BYTES + payload);
    const record = isThere ? tryRecord(this.bytes, this.#at, this.#end, salt) : undefined;
    if (record === undefined) {
      throw damaged(this.#name, `no whole record at offset ${this.#next - (this.#end - this.#at)}`);
    }
    this.#at = record.end;
    return record;
  }

  /** Reads on until `needed` bytes are there; false when the file has fewer. */
  async #fill(needed: number): Promise<boolean> {
    const held = this.#end - this.#at;
    if (held >= needed) return true;
    if (needed - held > this.size - this.#next) return false;
    const target = needed <= this.bytes.length ? this.bytes : new Uint8Array(needed);
    target.set(this.bytes.subarray(this.#at, this.#end));
    this.bytes = target;
    this.#at = 0;
    const count = await this.#file.read(target, held, target.length, this.#next);
    this.#next += count;
    this.#end = held + count;
    return this.#end >= needed;
  }
}

function damaged(name: string, reason: string): AppError {
  return new AppError('bad_data', `${name} is damaged: ${reason}`);
}
