// Makes the heads again from their image: all of it, or none. What is damaged is never used in part, since the log and the
// checkpoint still have everything (lib/tsdb/docs/format/head-image.md).
import path from 'node:path';
import { ByteReader } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { type Disk, errorCodeOf } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { ChunkChains } from '../../lib/tsdb/head/chunk-chains.ts';
import { ImageSliceReader, restoreImageChunks } from '../../lib/tsdb/head/head-image.ts';
import type { RangeChunks } from '../../lib/tsdb/head/range-chunks.ts';
import type { RecordView } from '../../lib/tsdb/log/record.ts';
import { readRecordFile } from '../../lib/tsdb/log/record-file.ts';
import { listSegments } from '../../lib/tsdb/log/replay.ts';
import type { Tenant, Tenants } from '../tenants.ts';
import {
  CHUNKS_OF_FLOATS,
  type ChunkFileMark,
  decodeImageFiles,
  decodeImageRange,
  decodeImageSlice,
  type ImageFilesMark,
  type ImageRangeMark,
  RECORD_IMAGE_CHUNKS,
  RECORD_IMAGE_FILES,
  RECORD_IMAGE_RANGE,
  RECORD_IMAGE_SERIES,
} from './head-image-records.ts';
import { RECORD_END } from './log-records.ts';
import type { ImagedSlice, Replayer } from './replay.ts';

export const IMAGE_NAME = 'image';

export function chunkFileName(number: number): string {
  return `chunks-${String(number).padStart(12, '0')}`;
}

/** A chunk file on disk. */
export interface ChunkFile extends ChunkFileMark {
  readonly bytes: number;
  /** Ranges that have chunks in it. */
  readonly keys: ReadonlySet<number>;
}

/** A range that came from an image. */
export interface LoadedRange {
  readonly range: RangeChunks;
  readonly mark: ImageRangeMark;
}

/** What the next image goes on from. */
export interface LoadedImage extends Omit<ImageFilesMark, 'files'> {
  readonly files: readonly ChunkFile[];
  readonly ranges: readonly LoadedRange[];
  readonly imageBytes: number;
}

export interface ImageLoadDeps {
  readonly folder: string;
  readonly logFolder: string;
  readonly rangeMs: number;
  readonly disk: Disk;
  readonly clock: Clock;
}

/**
 * Fills the heads from the image, if there is one, and tells the replayer where the log goes on.
 *
 * @returns  Undefined when there is no image.
 * @throws AppError `bad_data` when it cannot be used: `tenants` and the replayer are to be made anew then.
 */
export async function loadHeadImage(
  tenants: Tenants,
  replayer: Replayer,
  deps: ImageLoadDeps,
): Promise<LoadedImage | undefined> {
  const loader = new ImageLoader(tenants, replayer, deps);
  try {
    return await loader.load();
  } catch (caught) {
    if (caught instanceof AppError && caught.code === 'bad_data') throw caught;
    if (errorCodeOf(caught) === 'ENOENT' && !loader.isBegun) return undefined;
    const reason = caught instanceof Error ? caught.message : String(caught);
    throw new AppError('bad_data', `the head image in ${deps.folder} cannot be read: ${reason}`, {
      cause: caught,
    });
  }
}

class ImageLoader {
  isBegun = false;
  readonly #tenants: Tenants;
  readonly #replayer: Replayer;
  readonly #deps: ImageLoadDeps;
  readonly #slices = new Map<Tenant, ImagedSlice[]>();
  readonly #series = new ImageSliceReader();
  readonly #ranges = new Map<number, RangeChunks>();
  readonly #marks = new Map<number, ImageRangeMark>();
  /** Chunks that were found in chunk files, by key and kind. */
  readonly #chunks = new Map<number, [floats: number, histograms: number]>();
  readonly #chunkFiles: ChunkFile[] = [];
  #files: ImageFilesMark | undefined;
  #records = 0;
  #isWhole = false;

  constructor(tenants: Tenants, replayer: Replayer, deps: ImageLoadDeps) {
    this.#tenants = tenants;
    this.#replayer = replayer;
    this.#deps = deps;
  }

  async load(): Promise<LoadedImage> {
    const { folder } = this.#deps;
    const { bytes: imageBytes } = await readRecordFile(
      path.join(folder, IMAGE_NAME),
      (record, bytes) => this.#apply(record, bytes),
      this.#deps,
    );
    const files = this.#files;
    if (files === undefined || !this.#isWhole)
      throw new AppError('bad_data', `the head image in ${folder} has no end`);
    this.#replayer.followImage(this.#slices);
    return {
      ...files,
      files: this.#chunkFiles,
      ranges: [...this.#marks].map(([key, mark]) => ({ mark, range: this.#ranges.get(key)! })),
      imageBytes,
    };
  }

  #apply(record: RecordView, bytes: Uint8Array): Promise<void> | undefined {
    this.isBegun = true;
    if (this.#isWhole) throw new AppError('bad_data', 'records behind the end of a head image');
    const reader = new ByteReader(bytes, record.start, record.end);
    let pending: Promise<void> | undefined;
    if (record.type === RECORD_IMAGE_SERIES) this.#applySlice(reader);
    else if (record.type === RECORD_IMAGE_RANGE) this.#applyRange(decodeImageRange(reader));
    else if (record.type === RECORD_IMAGE_FILES) pending = this.#applyFiles(decodeImageFiles(reader));
    else {
      this.#replayer.apply(record, bytes, 0);
      if (record.type === RECORD_END) this.#isWhole = reader.varint() === this.#records;
    }
    this.#records++;
    return pending;
  }

  #applySlice(reader: ByteReader): void {
    const slice = decodeImageSlice(reader);
    const tenant = this.#tenants.getOrMake(slice.tenant);
    this.#series.restore(reader, tenant.head, this.#ranges);
    const slices = this.#slices.get(tenant) ?? [];
    slices.push(slice);
    this.#slices.set(tenant, slices);
  }

  #applyRange(mark: ImageRangeMark): void {
    const { head } = this.#tenants.getOrMake(mark.tenant);
    this.#ranges.set(mark.key, head.restoreRange(mark.startMs, mark.firstSegment, mark.generation));
    this.#marks.set(mark.key, mark);
  }

  /** All ranges with chunks in files are known by now; no series is. */
  async #applyFiles(files: ImageFilesMark): Promise<void> {
    const { logFolder, rangeMs, disk } = this.#deps;
    const { segment } = files.position;
    if (files.rangeMs !== rangeMs) {
      throw new AppError(
        'bad_data',
        `the head image has ranges of ${files.rangeMs} ms, ${rangeMs} are configured`,
      );
    }
    if (!(await listSegments(disk, logFolder)).includes(segment)) {
      throw new AppError('bad_data', `the log has no segment ${segment}, where the head image leaves off`);
    }
    for (const file of files.files) await this.#loadChunks(file);
    for (const [key, { chunks, histogramChunks }] of this.#marks) {
      const [floats, histograms] = this.#chunks.get(key) ?? [0, 0];
      if (floats !== chunks || histograms !== histogramChunks) {
        throw new AppError(
          'bad_data',
          `chunk files have ${floats} and ${histograms} chunks of range ${key}, the head image counts ${chunks} and ${histogramChunks}`,
        );
      }
    }
    this.#files = files;
  }

  async #loadChunks(mark: ChunkFileMark): Promise<void> {
    const keys = new Set<number>();
    const file = path.join(this.#deps.folder, chunkFileName(mark.number));
    const visit = (record: RecordView, bytes: Uint8Array): undefined => {
      if (record.type !== RECORD_IMAGE_CHUNKS)
        throw new AppError('bad_data', `${file}: record type ${record.type}`);
      const reader = new ByteReader(bytes, record.start, record.end);
      const key = reader.varint();
      const kind = reader.u8();
      keys.add(key);
      const range = this.#ranges.get(key);
      // A range that is gone has left its chunks behind.
      if (range === undefined) return;
      const counts = this.#chunks.get(key) ?? [0, 0];
      counts[kind === CHUNKS_OF_FLOATS ? 0 : 1] += restoreImageChunks(reader, this.#chainsOf(range, kind));
      this.#chunks.set(key, counts);
    };
    const { bytes } = await readRecordFile(file, visit, this.#deps, mark);
    this.#chunkFiles.push({ ...mark, bytes, keys });
  }

  #chainsOf(range: RangeChunks, kind: number): ChunkChains {
    if (kind === CHUNKS_OF_FLOATS) return range;
    const tenant = this.#tenants.all().find(({ head }) => [...head.ranges()].includes(range))!;
    return tenant.head.extrasIn(range).histogramChunks;
  }
}
