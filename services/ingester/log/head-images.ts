// Writes the head image from time to time, so that a start reads memory back instead of replaying hours of log. The log and
// the checkpoint stay all that durability rests on: an image that is damaged, or cannot be written, costs time only. Format,
// and why it is right: lib/tsdb/docs/format/head-image.md.
import path from 'node:path';
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { failpoint } from '../../lib/core/failpoint.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { ChunkChains } from '../../lib/tsdb/head/chunk-chains.ts';
import { encodeImageChunks, type ImagedRange, ImageSlices } from '../../lib/tsdb/head/head-image.ts';
import type { RangeChunks } from '../../lib/tsdb/head/range-chunks.ts';
import { RecordFileWriter, Throttle } from '../../lib/tsdb/log/record-file.ts';
import type { LogPosition } from '../../lib/tsdb/log/replay.ts';
import type { SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import type { IngesterMetrics } from '../ingest-metrics.ts';
import type { Tenant, Tenants } from '../tenants.ts';
import type { HeldTable } from '../writes/held-table.ts';
import { heldRecord, writeEnd, writeTenantState } from './checkpoint.ts';
import { type ChunkFile, chunkFileName, IMAGE_NAME, type LoadedImage } from './head-image-loader.ts';
import {
  CHUNKS_OF_FLOATS,
  CHUNKS_OF_HISTOGRAMS,
  encodeImageFiles,
  encodeImageRange,
  encodeImageSlice,
  RECORD_IMAGE_CHUNKS,
  RECORD_IMAGE_FILES,
  RECORD_IMAGE_RANGE,
  RECORD_IMAGE_SERIES,
} from './head-image-records.ts';
import { ImageRule, StartCost, type StartWork } from './image-rule.ts';
import { RECORD_IMAGE_MARK } from './log-records.ts';
import { RECORD_WRITES } from './write-records.ts';

export interface HeadImagesOptions {
  readonly blockRangeMs: number;
  readonly imageLogBytes: number;
  readonly imageIntervalMs: number;
  readonly imageStartMs: number;
  readonly imageBytesPerSecond: number;
  /** Series that are looked at in one turn of the event loop, at most. Default 2048: about a millisecond. */
  readonly sliceSeriesMax?: number;
}

export interface HeadImagesDeps {
  /** Nothing else is in it. */
  readonly folder: string;
  readonly log: SegmentLog;
  readonly tenants: Tenants;
  readonly held?: HeldTable;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: IngesterMetrics;
}

/** What a start has done, and how long it took. */
export interface StartDone {
  /** Samples and definitions that were replayed. */
  readonly samples: number;
  readonly series: number;
  readonly elapsedMs: number;
}

/** What is in files already, for good. */
interface Kept {
  readonly key: number;
  readonly chunks: number;
  readonly histogramChunks: number;
}

/** What grows with every append. */
interface Appended {
  readonly bytes: number;
  readonly samples: number;
  readonly series: number;
}

/** One tenant in an image that is being written. */
interface TenantPlan {
  readonly tenant: Tenant;
  readonly ranges: ImagedRange[];
  /** What lets go of them. */
  readonly held: (() => void)[];
  /** Behind the latest end of the ranges that blocks have, and the image has not. */
  readonly leftBeforeMs: number;
  readonly idEnd: number;
}

const SLICE_SERIES_MAX = 2048;
/** As long as no image was written: one takes so many times what the throttle asks for, since appends go on beside it. */
const FIRST_WRITE_SHARE = 2;
/** What must stay free on the disk beside an image. */
const FREE_BYTES_MIN = 64 << 20;

export class HeadImages {
  readonly #options: HeadImagesOptions;
  readonly #deps: HeadImagesDeps;
  /** Ranges that the image on disk, or the one before it, has. */
  readonly #kept = new WeakMap<RangeChunks, Kept>();
  #files: readonly ChunkFile[] = [];
  #imageBytes = 0;
  #keyNext = 0;
  #fileNext = 1;
  /** Log bytes, samples and new series that a start would not replay. */
  #covered: Appended;
  #imageSeries = 0;
  #writtenMs: number;
  #writeMs: number | undefined;
  #sequence = 0;
  readonly #cost = new StartCost();
  readonly #rule: ImageRule;

  /**
   * @param loaded  What the heads came from; undefined when they came from the log.
   * @param done    What the start was, where there was one.
   */
  constructor(
    options: HeadImagesOptions,
    deps: HeadImagesDeps,
    loaded: LoadedImage | undefined,
    done: StartDone = { samples: 0, series: 0, elapsedMs: 0 },
  ) {
    this.#options = options;
    this.#deps = deps;
    this.#rule = new ImageRule(options, this.#cost);
    const { samples, series } = this.#appended;
    this.#covered = {
      bytes: -deps.log.replayed.bytes,
      samples: samples - done.samples,
      series: series - done.series,
    };
    this.#writtenMs = deps.clock.monotonicMs();
    this.#takeLoaded(loaded);
    this.#cost.learn(this.startWork, done.elapsedMs);
  }

  #takeLoaded(loaded: LoadedImage | undefined): void {
    if (loaded === undefined) return;
    this.#imageSeries = this.#seriesCount;
    this.#files = loaded.files;
    this.#imageBytes = loaded.imageBytes;
    this.#keyNext = loaded.keyNext;
    this.#fileNext = loaded.fileNext;
    for (const { range, mark } of loaded.ranges) this.#kept.set(range, mark);
  }

  /** Bytes of the image and its chunk files. */
  get bytesOnDisk(): number {
    return this.#files.reduce((sum, { bytes }) => sum + bytes, this.#imageBytes);
  }

  /** Bytes of log that a start would have to replay. */
  get replayBytes(): number {
    return this.#deps.log.bytesAppended - this.#covered.bytes;
  }

  /** What a start would have to do now. */
  get startWork(): StartWork {
    const { samples, series } = this.#appended;
    return {
      imageBytes: this.bytesOnDisk,
      imageSeries: this.#imageSeries,
      samples: samples - this.#covered.samples,
      series: series - this.#covered.series,
    };
  }

  /** How long a start would take now, ms: an estimate. */
  get startMs(): number {
    return this.#cost.estimateMs(this.startWork);
  }

  /** Whether an image is to be written now (image-rule.ts). @param lookMs  Until the next look. */
  look(lookMs: number): boolean {
    const { clock, tenants } = this.#deps;
    const throttledMs = (tenants.bytesHeld / this.#options.imageBytesPerSecond) * 1000;
    return this.#rule.isDue({
      nowMs: clock.monotonicMs(),
      writtenMs: this.#writtenMs,
      work: this.startWork,
      logBytes: this.replayBytes,
      imageBytes: this.#imageBytes,
      writeMs: this.#writeMs ?? throttledMs * FIRST_WRITE_SHARE,
      lookMs,
      seriesCount: this.#seriesCount,
    });
  }

  get #seriesCount(): number {
    return this.#deps.tenants.all().reduce((sum, { head }) => sum + head.seriesCount, 0);
  }

  /** What the log and the heads took since the process began, what a start put back included. */
  get #appended(): Appended {
    let samples = 0;
    let series = 0;
    for (const { head } of this.#deps.tenants.all()) {
      samples += head.counters.appended;
      series += head.counters.defined;
    }
    return { bytes: this.#deps.log.bytesAppended, samples, series };
  }

  /** Removes what no image names: an unfinished one, or files of a range that is gone. To be called before the first write. */
  async sweep(): Promise<void> {
    const { disk, folder } = this.#deps;
    const named = new Set(this.#files.map(({ number }) => chunkFileName(number)));
    if (this.#imageBytes > 0) named.add(IMAGE_NAME);
    for (const name of await disk.list(folder)) {
      if (!named.has(name)) await disk.remove(path.join(folder, name));
    }
  }

  /**
   * Writes an image in place of the one before. Appends and selects may go on; no range may be cut or dropped and no series
   * may leave until it resolves.
   *
   * @throws when the disk or the log does not take it, or the signal is aborted: the image before stays as it was.
   */
  async write(signal: AbortSignal): Promise<void> {
    await this.#writeAt(this.#options.imageBytesPerSecond, signal);
  }

  /** The same as fast as the disk, once nothing is appended any more, unless the image on disk has everything. */
  async writeLast(signal: AbortSignal): Promise<void> {
    if (this.replayBytes > 0) await this.#writeAt(Number.POSITIVE_INFINITY, signal);
  }

  async #writeAt(bytesPerSecond: number, signal: AbortSignal): Promise<void> {
    const { metrics } = this.#deps;
    try {
      await this.#write(bytesPerSecond, signal);
      metrics.images.inc({ result: 'written' });
    } catch (caught) {
      if (!signal.aborted) metrics.images.inc({ result: 'failed' });
      // The image before is whole, and so are the files that it names.
      await this.sweep().catch(() => undefined);
      throw caught;
    }
  }

  /** Writes an image, or leaves none: log segments are about to go that the image before needs. */
  async writeOrDiscard(signal: AbortSignal): Promise<void> {
    try {
      await this.write(signal);
    } catch (caught) {
      signal.throwIfAborted();
      this.#deps.logger.warn(
        { err: toAppError(caught) },
        'no head image could be written; until the next one a start replays the log',
      );
      await this.#discard();
    }
  }

  async #discard(): Promise<void> {
    const { disk, folder, log } = this.#deps;
    await disk.remove(path.join(folder, IMAGE_NAME));
    await disk.syncFolder(folder);
    this.#files = [];
    this.#imageBytes = 0;
    this.#imageSeries = 0;
    // Of its samples the log has all that are not in blocks, about, and the checkpoint all series.
    this.#covered = { bytes: log.bytesAppended - log.bytesOnDisk, samples: 0, series: 0 };
    for (const tenant of this.#deps.tenants.all()) {
      for (const range of tenant.head.ranges()) this.#kept.delete(range);
    }
    await this.sweep();
  }

  async #write(bytesPerSecond: number, signal: AbortSignal): Promise<void> {
    const held: (() => void)[] = [];
    try {
      await this.#writeHeld(bytesPerSecond, signal, held);
    } finally {
      for (const letGo of held) letGo();
    }
  }

  /** @param heldRanges  Gets what lets go of the ranges that the image has: they may be dropped meanwhile. */
  async #writeHeld(bytesPerSecond: number, signal: AbortSignal, heldRanges: (() => void)[]): Promise<void> {
    const { folder, log, tenants, held, disk, clock, metrics } = this.#deps;
    await this.#checkSpace();
    const throttle = new Throttle(bytesPerSecond, clock, signal);
    const begunMs = clock.monotonicMs();
    const position = log.position;
    const covered = this.#appended;
    const imageSeries = this.#seriesCount;
    // Of that very place: what comes after it is replayed, and says itself what it is.
    const heldThen = held?.isKnown === true ? heldRecord(held) : undefined;
    const plans = tenants.all().map((tenant) => this.#plan(tenant, heldRanges));
    const added = await this.#writeChunks(plans, throttle);
    const keys = new Set(plans.flatMap(({ ranges }) => ranges.map(({ key }) => key)));
    const files = [...this.#files, ...added].filter((file) => !file.keys.isDisjointFrom(keys));
    const temporary = path.join(folder, `${IMAGE_NAME}.tmp`);
    const file = await disk.open(temporary, 'create');
    let imageBytes: number;
    try {
      const writer = new RecordFileWriter(file, throttle);
      failpoint('image-before');
      if (heldThen !== undefined) await writer.record(RECORD_WRITES, heldThen);
      for (const plan of plans) await this.#writeTenant(writer, plan);
      await this.#writeFiles(writer, position, files);
      for (const plan of plans) await this.#writeSlices(writer, plan);
      await this.#waitForLog();
      await writeEnd(writer, position.segment);
      imageBytes = writer.bytes;
    } finally {
      await file.close();
    }
    signal.throwIfAborted();
    await disk.syncFolder(folder);
    failpoint('image-rename-before');
    await disk.rename(temporary, path.join(folder, IMAGE_NAME));
    await disk.syncFolder(folder);
    failpoint('image-rename-after');
    this.#files = files;
    this.#imageBytes = imageBytes;
    this.#imageSeries = imageSeries;
    this.#covered = covered;
    this.#writtenMs = clock.monotonicMs();
    this.#writeMs = this.#writtenMs - begunMs;
    metrics.imageBytes.inc(imageBytes + added.reduce((sum, { bytes }) => sum + bytes, 0));
    for (const { ranges } of plans) {
      for (const { range, key, chunks, histogramChunks } of ranges) {
        this.#kept.set(range, { key, chunks, histogramChunks });
      }
    }
    await this.sweep();
  }

  /** An image must not take the space that the log needs. */
  async #checkSpace(): Promise<void> {
    const { disk, folder, tenants } = this.#deps;
    await disk.makeFolder(folder);
    const { freeBytes } = await disk.space(folder);
    const needed = tenants.bytesHeld + FREE_BYTES_MIN;
    if (freeBytes < needed) {
      throw new AppError(
        'unavailable',
        `${freeBytes} bytes are free on the disk of ${folder}, a head image may take ${needed}; free space, it is tried again`,
      );
    }
  }

  /** What there is of a tenant at this moment, without the ranges that are blocks already. */
  #plan(tenant: Tenant, held: (() => void)[]): TenantPlan {
    let leftBeforeMs = tenant.leftBeforeMs;
    const ranges: ImagedRange[] = [];
    for (const range of tenant.head.ranges()) {
      if (tenant.sealed.has(range.generation)) leftBeforeMs = Math.max(leftBeforeMs, range.endMs);
      else {
        const { extras, floatChunkCount } = range;
        const histogramChunks = extras?.histogramChunks.chunkCount ?? 0;
        const key = this.#kept.get(range)?.key ?? this.#keyNext++;
        ranges.push({ key, range, chunks: floatChunkCount, histogramChunks });
        held.push(range.holdAll());
      }
    }
    return { tenant, ranges, held, leftBeforeMs, idEnd: tenant.head.idEnd };
  }

  /** The chunks that were closed since the image before, in a file of their own; none when there are none. */
  async #writeChunks(plans: readonly TenantPlan[], throttle: Throttle): Promise<ChunkFile[]> {
    const { disk, folder } = this.#deps;
    const isNew = ({ range, chunks, histogramChunks }: ImagedRange) => {
      const kept = this.#kept.get(range);
      return chunks > (kept?.chunks ?? 0) || histogramChunks > (kept?.histogramChunks ?? 0);
    };
    if (!plans.some(({ ranges }) => ranges.some(isNew))) return [];
    const number = this.#fileNext++;
    const file = await disk.open(path.join(folder, chunkFileName(number)), 'create');
    const keys = new Set<number>();
    try {
      const writer = new RecordFileWriter(file, throttle);
      for (const { ranges, idEnd } of plans) {
        for (const imaged of ranges.filter(isNew)) {
          const { key, range, chunks, histogramChunks } = imaged;
          const kept = this.#kept.get(range);
          keys.add(key);
          const to = { key, idEnd };
          await this.#writeChains(
            writer,
            { ...to, kind: CHUNKS_OF_FLOATS },
            range,
            kept?.chunks ?? 0,
            chunks,
          );
          if (range.extras === undefined) continue;
          const chains = range.extras.histogramChunks;
          const from = kept?.histogramChunks ?? 0;
          await this.#writeChains(
            writer,
            { ...to, kind: CHUNKS_OF_HISTOGRAMS },
            chains,
            from,
            histogramChunks,
          );
        }
      }
      await writer.end();
      return [{ number, keys, salt: writer.salt, records: writer.records, bytes: writer.bytes }];
    } finally {
      await file.close();
    }
  }

  async #writeChains(
    writer: RecordFileWriter,
    { key, kind, idEnd }: { readonly key: number; readonly kind: number; readonly idEnd: number },
    chains: ChunkChains,
    from: number,
    to: number,
  ): Promise<void> {
    const payload = new ByteWriter(256 * 1024);
    let id = 0;
    for (let left = to - from; left > 0; ) {
      if (id >= idEnd) throw new AppError('internal', `${left} chunks of range ${key} belong to no series`);
      payload.reset();
      payload.varint(key);
      payload.u8(kind);
      const step = encodeImageChunks(payload, chains, id, idEnd, from, to);
      id = step.id;
      left -= step.chunks;
      await writer.record(RECORD_IMAGE_CHUNKS, payload);
    }
  }

  async #writeTenant(writer: RecordFileWriter, { tenant, ranges, leftBeforeMs }: TenantPlan): Promise<void> {
    await writeTenantState(writer, tenant, leftBeforeMs);
    for (const range of ranges) await writer.record(RECORD_IMAGE_RANGE, rangeRecord(tenant, range));
  }

  async #writeFiles(
    writer: RecordFileWriter,
    position: LogPosition,
    files: readonly ChunkFile[],
  ): Promise<void> {
    const payload = new ByteWriter(1024);
    const { blockRangeMs: rangeMs } = this.#options;
    // Ranges that come while the slices are written take keys too: far fewer than this.
    encodeImageFiles(payload, {
      position,
      rangeMs,
      keyNext: this.#keyNext + KEYS_MAX,
      fileNext: this.#fileNext,
      files,
    });
    await writer.record(RECORD_IMAGE_FILES, payload);
  }

  async #writeSlices(writer: RecordFileWriter, { tenant, ranges, held }: TenantPlan): Promise<void> {
    const slices = new ImageSlices(tenant.head);
    const series = new ByteWriter(256 * 1024);
    const payload = new ByteWriter(256 * 1024);
    for (let from = 0; from < tenant.head.idEnd; ) {
      // In one turn: the slice, the ranges that it may speak of, and its place in the log.
      const known = ranges.length;
      this.#addNewRanges(tenant, ranges, held);
      const { position } = this.#deps.log;
      series.reset();
      const to = slices.encode(series, from, ranges, this.#options.sliceSeriesMax ?? SLICE_SERIES_MAX);
      payload.reset();
      encodeImageSlice(payload, { tenant: tenant.name, position, from, to }, series.bytes, series.length);
      for (const range of ranges.slice(known))
        await writer.record(RECORD_IMAGE_RANGE, rangeRecord(tenant, range));
      await writer.record(RECORD_IMAGE_SERIES, payload);
      from = to;
    }
  }

  /** Ranges that began since the image did; nothing of them is in chunk files. */
  #addNewRanges(tenant: Tenant, ranges: ImagedRange[], held: (() => void)[]): void {
    for (const range of tenant.head.ranges()) {
      if (tenant.sealed.has(range.generation) || ranges.some((known) => known.range === range)) continue;
      ranges.push({ key: this.#keyNext++, range, chunks: 0, histogramChunks: 0 });
      held.push(range.holdAll());
    }
  }

  /** What the slices have is in the log too, durably: an image never knows more than the log. */
  async #waitForLog(): Promise<void> {
    const { log } = this.#deps;
    await log.append(RECORD_IMAGE_MARK, 0, ++this.#sequence, NOTHING, 0, 0, true).durable;
  }
}

/** Keys left out between one image and the next that is written after a start from it. */
const KEYS_MAX = 1 << 16;
const NOTHING = new Uint8Array(0);

function rangeRecord(tenant: Tenant, { key, range, chunks, histogramChunks }: ImagedRange): ByteWriter {
  const payload = new ByteWriter(256);
  const { startMs, firstSegment, generation } = range;
  encodeImageRange(payload, {
    tenant: tenant.name,
    key,
    startMs,
    firstSegment,
    generation,
    chunks,
    histogramChunks,
  });
  return payload;
}
