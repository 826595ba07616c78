// The segment log: append with group commit, rotation, deletion of old segments. One writer, one folder; formats and the
// rules of recovery are in docs/format/log.md. What records mean is the caller's business.
import { randomInt } from 'node:crypto';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { assert } from '../../core/assert.ts';
import { ByteWriter } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { type Disk, type DiskFile, errorCodeOf } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import { failpoint } from '../../core/failpoint.ts';
import {
  encodeRecord,
  encodeSegmentHead,
  RECORD_HEAD_BYTES,
  RECORD_PAYLOAD_BYTES_MAX,
  SEGMENT_HEAD_BYTES,
} from './record.ts';
import {
  type Damage,
  type LogPosition,
  listSegments,
  type RecordVisitor,
  type ReplayReport,
  replaySegments,
  segmentName,
} from './replay.ts';

export interface SegmentLogOptions {
  readonly folder: string;
  /** A segment is closed before it would exceed this, unless a single record is larger. */
  readonly segmentBytesMax: number;
  /**
   * Least time from one fdatasync to the next, while less than `commitBytes` wait, and fewer records than were written
   * together lately: writers that wait for their answers send nothing more, and waiting for them would be for nothing.
   */
  readonly groupCommitMs: number;
  /** This many waiting bytes are committed at once. */
  readonly commitBytes: number;
  /** Bytes appended and not yet durable, at most; above it appends are refused. */
  readonly bytesInFlightMax: number;
  /** Appends are refused while the file system has less than this free. */
  readonly freeBytesMin: number;
  /** Numbers of new segments are above this: what a checkpoint says, for when all segments are gone. */
  readonly segmentAbove: number;
  /** Records before it are not replayed: a head image has what they say. Default: all are. */
  readonly replayFrom?: LogPosition;
}

export interface SegmentLogDeps {
  readonly disk: Disk;
  readonly clock: Clock;
  /** A write or sync failed in a way after which nothing is known: must end the process. Never called twice. */
  readonly onFatal: (error: AppError) => void;
  readonly onDamage: (damage: Damage) => void;
  /** Before each segment is replayed (replay.ts). */
  readonly onReplay?: (segment: number, first: number, last: number) => void;
  /** After each commit: bytes written and duration in milliseconds. */
  readonly onCommit?: (bytes: number, elapsedMs: number) => void;
}

/** A record's place, and when it is safe. */
export interface Appended {
  readonly segment: number;
  /** Resolves when durable; rejects with `unavailable` when it could not be written now (a resend is harmless). */
  readonly durable: Promise<void>;
}

export interface SegmentLog {
  readonly replayed: ReplayReport;
  /**
   * Appends a record with the payload in payload[start, end), which is copied.
   *
   * @param urgent  Neither the disk's watermark nor the bytes in flight refuse it: for the few small records whose
   *                absence would keep space from being freed. Default false.
   * @throws AppError `unavailable` over the bytes in flight, on a disk without space, or after close.
   */
  append(
    type: number,
    writer: number,
    sequence: number,
    payload: Uint8Array,
    start: number,
    end: number,
    urgent?: boolean,
  ): Appended;
  /** Throws what `append` would throw for `bytes` of payload. */
  checkRoom(bytes: number): void;
  /** Later records go to a segment of at least the returned number, all earlier ones are in segments below it. */
  rotate(): number;
  /** Number of the segment that the next record goes to, if it fits. */
  readonly segment: number;
  /** All records so far are before it, all later ones at it or behind. */
  readonly position: LogPosition;
  /** Lowest segment that exists or is to come: no record of a lower one will be replayed. */
  readonly firstSegment: number;
  /** Deletes segments below `segment`, oldest first; the current one stays. Durable when it resolves. */
  deleteBefore(segment: number): Promise<void>;
  /** Bytes of segments on disk and of those waiting. */
  readonly bytesOnDisk: number;
  readonly bytesInFlight: number;
  /** Bytes of all records appended since it was opened. */
  readonly bytesAppended: number;
  /** Resolves when all that was appended is durable. */
  flush(): Promise<void>;
  /** Flushes and closes. Safe to call twice. */
  close(): Promise<void>;
}

/** Records that are committed together, all of one segment. */
interface Batch {
  readonly segment: number;
  readonly out: ByteWriter;
  records: number;
  readonly durable: Promise<void>;
  readonly resolve: () => void;
  /** On a full disk writers are told `unavailable`; the bytes are written later all the same. */
  readonly reject: (error: AppError) => void;
}

/** The disk's free space is asked for this often at most. */
const SPACE_CHECK_MS = 1000;
/** After ENOSPC the same bytes are tried again at this interval. */
const FULL_RETRY_MS = 200;
/** Memory for writing a segment once more at a start. */
const REWRITE_BYTES = 1 << 20;
/** Why the timer ends early. */
const CLOSED = 'closed';
/**
 * Commits whose records are looked at to tell that all who write are waiting. The most of several: where records come at random, a
 * commit seldom has as many, and the time between commits stays what it is.
 */
const RECENT_COMMITS = 8;

/**
 * Replays the folder's segments into `visit`, then opens a new segment for appending. All that was visited is durable then.
 *
 * @throws errors of the disk as they come; the process should end.
 */
export async function openSegmentLog(
  options: SegmentLogOptions,
  deps: SegmentLogDeps,
  visit: RecordVisitor,
): Promise<SegmentLog> {
  const { disk } = deps;
  checkOptions(options);
  await disk.makeFolder(options.folder);
  const replayed: ReplayReport = { records: 0, bytes: 0, quarantined: 0, truncatedBytes: 0 };
  await replaySegments(options.folder, visit, replayed, deps, options.replayFrom);
  const sizes = new Map<number, number>();
  const segments = await listSegments(disk, options.folder);
  for (const segment of segments) {
    const name = path.join(options.folder, segmentName(segment));
    const isLast = segment === segments.at(-1);
    const file = await disk.open(name, isLast ? 'write' : 'read');
    try {
      sizes.set(segment, await file.size());
      if (isLast) await writeAgain(file, sizes.get(segment)!);
    } finally {
      await file.close();
    }
  }
  const last = Math.max(options.segmentAbove, ...sizes.keys());
  const log = new DiskSegmentLog(options, deps, replayed, sizes, last + 1);
  await log.checkSpace();
  return log;
}

/**
 * Makes durable what a start has read: the process before may have ended between a write and its sync, and where a sync failed, the
 * pages count as clean and no later sync writes them. So they are written once more as they are. Only the last segment can have
 * such bytes: a segment is begun when all before it is synced. On a disk without space a sync has to do.
 */
async function writeAgain(file: DiskFile, length: number): Promise<void> {
  const piece = new Uint8Array(Math.min(length, REWRITE_BYTES));
  try {
    for (let at = 0; at < length; at += piece.length) {
      const count = await file.read(piece, 0, Math.min(piece.length, length - at), at);
      await file.write(piece, 0, count, at);
    }
  } catch (caught) {
    if (errorCodeOf(caught) !== 'ENOSPC') throw caught;
  }
  await file.sync();
}

class DiskSegmentLog implements SegmentLog {
  readonly replayed: ReplayReport;
  readonly #options: SegmentLogOptions;
  readonly #deps: SegmentLogDeps;
  /** Segment number → bytes, for those on disk. */
  readonly #sizes: Map<number, number>;
  readonly #queue: Batch[] = [];
  #spare: ByteWriter | undefined;
  #segment: number;
  #segmentBytes = SEGMENT_HEAD_BYTES;
  #salt = newSalt();
  /** Invariant: bytes of all batches in the queue, those being written included. */
  #bytesInFlight = 0;
  bytesAppended = 0;
  #bytesOnDisk = 0;
  #file: DiskFile | undefined;
  #fileSegment = 0;
  #fileBytes = 0;
  #running: Promise<void> | undefined;
  /** The batch on its way to the disk: nothing may join it. */
  #writing: Batch | undefined;
  /** Ends the wait for a commit; undefined when there is none. */
  #wake: (() => void) | undefined;
  /** When that wait is over by itself. */
  #waitEndsMs = 0;
  /** Ends the timer, which runs on where a wait ended early: there are hundreds of waits a second, and a timer for each costs a third of a commit. */
  #timer: AbortController | undefined;
  #lastCommitMs = Number.NEGATIVE_INFINITY;
  /** Records of the last commits, a ring. */
  readonly #recentRecords = new Uint32Array(RECENT_COMMITS);
  #commits = 0;
  /** The most of them; as long as there were none, more than any commit has. */
  #recordsExpected = Number.POSITIVE_INFINITY;
  #lowSpace: string | undefined;
  #spaceCheckedMs = Number.NEGATIVE_INFINITY;
  #failed: AppError | undefined;
  #closed = false;

  constructor(
    options: SegmentLogOptions,
    deps: SegmentLogDeps,
    replayed: ReplayReport,
    sizes: Map<number, number>,
    segment: number,
  ) {
    this.#options = options;
    this.#deps = deps;
    this.replayed = replayed;
    this.#sizes = sizes;
    this.#segment = segment;
    for (const bytes of sizes.values()) this.#bytesOnDisk += bytes;
  }

  get segment(): number {
    return this.#segment;
  }

  get position(): LogPosition {
    return { segment: this.#segment, offset: this.#segmentBytes };
  }

  get firstSegment(): number {
    let first = this.#queue[0]?.segment ?? this.#segment;
    for (const segment of this.#sizes.keys()) first = Math.min(first, segment);
    return first;
  }

  get bytesOnDisk(): number {
    return this.#bytesOnDisk;
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  checkRoom(bytes: number): void {
    this.#checkOpen();
    if (bytes > RECORD_PAYLOAD_BYTES_MAX) {
      throw new AppError(
        'bad_data',
        `a log record of ${bytes} bytes is over the limit of ${RECORD_PAYLOAD_BYTES_MAX}; send smaller batches`,
      );
    }
    if (this.#deps.clock.monotonicMs() - this.#spaceCheckedMs >= SPACE_CHECK_MS) void this.checkSpace();
    if (this.#lowSpace !== undefined) throw new AppError('unavailable', this.#lowSpace);
    const limit = this.#options.bytesInFlightMax;
    if (this.#bytesInFlight > 0 && this.#bytesInFlight + bytes > limit) {
      throw new AppError(
        'unavailable',
        `the log has ${this.#bytesInFlight} bytes waiting for the disk, ${bytes} more exceed ${limit}; send again later`,
      );
    }
  }

  append(
    type: number,
    writer: number,
    sequence: number,
    payload: Uint8Array,
    start: number,
    end: number,
    urgent = false,
  ): Appended {
    if (urgent) this.#checkOpen();
    else this.checkRoom(end - start);
    const bytes = RECORD_HEAD_BYTES + end - start;
    const { segmentBytesMax } = this.#options;
    if (this.#segmentBytes > SEGMENT_HEAD_BYTES && this.#segmentBytes + bytes > segmentBytesMax)
      this.rotate();
    const batch = this.#openBatch();
    encodeRecord(batch.out, this.#salt, type, writer, sequence, payload, start, end);
    this.#segmentBytes += bytes;
    this.#bytesInFlight += bytes;
    this.bytesAppended += bytes;
    batch.records++;
    if (this.#isDue(batch)) this.#wake?.();
    this.#running ??= this.#run();
    return { segment: this.#segment, durable: batch.durable };
  }

  rotate(): number {
    if (this.#segmentBytes > SEGMENT_HEAD_BYTES) {
      this.#segment++;
      this.#segmentBytes = SEGMENT_HEAD_BYTES;
      this.#salt = newSalt();
    }
    return this.#segment;
  }

  async deleteBefore(segment: number): Promise<void> {
    const { disk } = this.#deps;
    const { folder } = this.#options;
    let deleted = 0;
    for (const old of [...this.#sizes.keys()].sort((a, b) => a - b)) {
      if (old >= segment || old >= this.#segment) break;
      if (this.#file !== undefined && old >= this.#fileSegment) break;
      failpoint('log-truncate-before');
      await disk.remove(path.join(folder, segmentName(old)));
      this.#bytesOnDisk -= this.#sizes.get(old)!;
      this.#sizes.delete(old);
      deleted++;
    }
    if (deleted > 0) await disk.syncFolder(folder);
    failpoint('log-truncate-after');
  }

  async flush(): Promise<void> {
    while (this.#running !== undefined && this.#failed === undefined) {
      this.#wake?.();
      await this.#running;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.flush();
    this.#timer?.abort(CLOSED);
    await this.#file?.close();
    this.#file = undefined;
  }

  async checkSpace(): Promise<void> {
    const { disk, clock } = this.#deps;
    const { folder, freeBytesMin } = this.#options;
    this.#spaceCheckedMs = clock.monotonicMs();
    let freeBytes: number;
    try {
      ({ freeBytes } = await disk.space(folder));
    } catch {
      return;
    }
    this.#lowSpace =
      freeBytes >= freeBytesMin
        ? undefined
        : `the disk of the log (${folder}) has ${freeBytes} bytes free, under the watermark of ${freeBytesMin}; free space, writes resume by themselves`;
  }

  #checkOpen(): void {
    if (this.#failed !== undefined) throw this.#failed;
    if (this.#closed) throw new AppError('unavailable', 'the log is closed: this ingester is shutting down');
  }

  #openBatch(): Batch {
    const last = this.#queue[this.#queue.length - 1];
    // The first one may be on its way to the disk.
    const isOpen = last !== undefined && last !== this.#writing && last.segment === this.#segment;
    if (isOpen && last.out.length < this.#options.commitBytes) return last;
    const out = this.#spare ?? new ByteWriter(64 * 1024);
    this.#spare = undefined;
    out.reset();
    let resolve!: () => void;
    let reject!: (error: AppError) => void;
    const durable = new Promise<void>((onDurable, onRefused) => {
      resolve = onDurable;
      reject = onRefused;
    });
    // Each waiter sees the rejection on its own; without one it must not end the process.
    durable.catch(() => undefined);
    const batch: Batch = { segment: this.#segment, out, records: 0, durable, resolve, reject };
    if (this.#segmentBytes === SEGMENT_HEAD_BYTES) encodeSegmentHead(out, this.#segment, this.#salt);
    this.#queue.push(batch);
    return batch;
  }

  /** Commits until nothing waits. */
  async #run(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        await this.#waitForTurn();
        await this.#commitFirst();
      }
    } catch (caught) {
      this.#fail(caught);
    } finally {
      this.#running = undefined;
    }
  }

  /** Keeps the distance between commits, then lets join what has arrived already: as long as a turn of the event loop brings more. */
  async #waitForTurn(): Promise<void> {
    await nextTurn();
    const { clock } = this.#deps;
    const batch = this.#queue[0]!;
    const dueMs = this.#lastCommitMs + this.#options.groupCommitMs;
    const restMs = dueMs - clock.monotonicMs();
    if (restMs <= 0 || this.#closed) return;
    if (!this.#isDue(batch)) await this.#waitUntil(dueMs);
    let records = 0;
    while (records !== batch.records && clock.monotonicMs() < dueMs) {
      ({ records } = batch);
      await nextTurn();
    }
  }

  /** Ends early when enough waits, or the log is to be flushed. */
  async #waitUntil(dueMs: number): Promise<void> {
    this.#waitEndsMs = dueMs;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (this.#timer === undefined) void this.#runTimer();
    });
    this.#wake = undefined;
  }

  /** Ends waits that are over, as long as there are any when the clock comes back. */
  async #runTimer(): Promise<void> {
    const { clock } = this.#deps;
    this.#timer = new AbortController();
    const { signal } = this.#timer;
    try {
      while (this.#wake !== undefined) {
        const restMs = this.#waitEndsMs - clock.monotonicMs();
        if (restMs > 0) await clock.sleep(restMs, signal);
        else {
          this.#wake();
          break;
        }
      }
    } catch {
      // Closed: nobody waits any more.
    }
    this.#timer = undefined;
  }

  /** Whether there is nothing to wait for: as much as is written in one go, or as many records as come together. */
  #isDue(batch: Batch): boolean {
    return batch.out.length >= this.#options.commitBytes || batch.records >= this.#recordsExpected;
  }

  #noteRecords({ records }: Batch): void {
    this.#recentRecords[this.#commits++ % RECENT_COMMITS] = records;
    this.#recordsExpected = Math.max(...this.#recentRecords);
  }

  async #commitFirst(): Promise<void> {
    const { clock, onCommit } = this.#deps;
    const batch = this.#queue[0]!;
    this.#writing = batch;
    const startedMs = clock.monotonicMs();
    this.#lastCommitMs = startedMs;
    this.#noteRecords(batch);
    const file = await this.#fileOf(batch);
    failpoint('log-write-before');
    await this.#writeWhole(file, batch);
    failpoint('log-write-after');
    failpoint('log-sync-before');
    await file.sync();
    failpoint('log-sync-after');
    this.#fileBytes += batch.out.length;
    this.#sizes.set(batch.segment, this.#fileBytes);
    this.#bytesOnDisk += batch.out.length;
    this.#queue.shift();
    this.#writing = undefined;
    this.#bytesInFlight = this.#queue.reduce((sum, { out }) => sum + out.length, 0);
    this.#spare = batch.out;
    onCommit?.(batch.out.length, clock.monotonicMs() - startedMs);
    batch.resolve();
  }

  async #fileOf(batch: Batch): Promise<DiskFile> {
    if (this.#file !== undefined && this.#fileSegment === batch.segment) return this.#file;
    const { disk } = this.#deps;
    const { folder } = this.#options;
    await this.#file?.close();
    this.#file = undefined;
    const name = path.join(folder, segmentName(batch.segment));
    failpoint('log-roll-before');
    const file = await this.#whileFull(async () => {
      const created = await disk.open(name, 'log');
      try {
        // The head alone first: it is the batch's first bytes.
        await created.write(batch.out.bytes, 0, SEGMENT_HEAD_BYTES, 0);
        await created.sync();
        await disk.syncFolder(folder);
        return created;
      } catch (caught) {
        await created.close();
        throw caught;
      }
    });
    failpoint('log-roll-after');
    this.#file = file;
    this.#fileSegment = batch.segment;
    this.#fileBytes = 0;
    return file;
  }

  async #writeWhole(file: DiskFile, batch: Batch): Promise<void> {
    await this.#whileFull(() => file.write(batch.out.bytes, 0, batch.out.length, this.#fileBytes));
  }

  /** Repeats a write while the disk is full. The bytes stay, waiting writers are told; other errors are fatal. */
  async #whileFull<T>(write: () => Promise<T>): Promise<T> {
    const { clock } = this.#deps;
    for (;;) {
      try {
        return await write();
      } catch (caught) {
        const code = errorCodeOf(caught);
        if (code !== 'ENOSPC' && code !== 'EDQUOT') throw caught;
        this.#lowSpace = `the disk of the log (${this.#options.folder}) is full (${code}); free space, writes resume by themselves`;
        this.#spaceCheckedMs = clock.monotonicMs();
        this.#refuseWaiting();
        if (this.#closed) throw caught;
        await clock.sleep(FULL_RETRY_MS);
      }
    }
  }

  #refuseWaiting(): void {
    for (const batch of this.#queue) batch.reject(new AppError('unavailable', this.#lowSpace!));
  }

  #fail(caught: unknown): void {
    const reason = caught instanceof Error ? caught.message : String(caught);
    this.#failed = new AppError(
      'unavailable',
      `the log in ${this.#options.folder} cannot be written: ${reason}; the process must restart`,
      { cause: caught },
    );
    for (const batch of this.#queue) batch.reject(this.#failed);
    this.#deps.onFatal(this.#failed);
  }
}

function newSalt(): number {
  return randomInt(0, 2 ** 32);
}

/** Fails loudly on settings that could not work. */
function checkOptions(options: SegmentLogOptions): void {
  const { segmentBytesMax, commitBytes, groupCommitMs } = options;
  assert(segmentBytesMax >= 4096, `segmentBytesMax ${segmentBytesMax} >= 4096`);
  assert(
    commitBytes > 0 && groupCommitMs >= 0,
    `commitBytes ${commitBytes} > 0, groupCommitMs ${groupCommitMs} >= 0`,
  );
}
