// A block of Prometheus': its description, its tombstones, and its series with their samples decoded, one series at a time.
import path from 'node:path';
import { type Disk, tryReadFile } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { decodeXorChunk } from '../chunk/xor-decoder.ts';
import { BufferedFile } from './buffered-file.ts';
import { GoReader } from './go-reader.ts';
import { decodeHistogramChunk, type OnHistogram } from './histogram-chunk.ts';
import { type OnDamage, PrometheusFileError } from './prometheus-error.ts';
import { type ChunkPlace, checkSum, named, PrometheusIndex } from './prometheus-index.ts';
import { Tombstones } from './tombstones.ts';
import { decodeXor2Chunk } from './xor2-chunk.ts';

const META_BYTES_MAX = 16 << 20;
const TOMBSTONE_BYTES_MAX = 256 << 20;
const TOMBSTONE_MAGIC = 0x0130ba30;
const SEGMENT_MAGIC = 0x85bd40dd;
const SEGMENT_HEADER_BYTES = 8;
const LENGTH_BYTES_MAX = 5;
/** Prometheus' own have at most a few kilobytes; 65,535 samples at their widest take less than this. */
const CHUNK_BYTES_MAX = 4 << 20;

/** Chunks of one series between two turns: at 120 samples each, about a request's worth. */
const CHUNKS_PER_TURN = 200;

const ENCODING_XOR = 1;
/** Since 3.13, where `chunk_encoding` asks for it. */
const ENCODING_XOR2 = 4;
const ENCODING_HISTOGRAM = 2;
const ENCODING_FLOAT_HISTOGRAM = 3;

/** What meta.json says. */
export interface PrometheusMeta {
  readonly ulid: string;
  readonly minTimeMs: number;
  /** Exclusive. */
  readonly maxTimeMs: number;
  readonly series: number;
  readonly samples: number;
  /** Made of samples that came late: it says nothing about where the log's own samples begin. */
  readonly isOutOfOrder: boolean;
}

/** Receives one series after the other: its labels, then its floats and histograms chunk by chunk. */
export interface BlockSink {
  /** @param labels  `[name, value, …]` in UTF-8, sorted by name; valid until the next series. */
  beginSeries(labels: readonly Uint8Array[]): void;
  /** The samples of one chunk; the columns are reused. */
  floats(columns: SampleColumns): void;
  readonly histogram: OnHistogram;
}

/** Reads meta.json of a block's folder. @throws PrometheusFileError when it is missing or not understood. */
export async function readPrometheusMeta(folder: string, disk: Disk): Promise<PrometheusMeta> {
  const file = path.join(folder, 'meta.json');
  try {
    const bytes = await tryReadFile(disk, file, META_BYTES_MAX);
    if (bytes === undefined) throw new AppError('bad_data', `more than ${META_BYTES_MAX} bytes`);
    const meta = JSON.parse(new TextDecoder().decode(bytes)) as {
      readonly version?: unknown;
      readonly ulid?: unknown;
      readonly minTime?: unknown;
      readonly maxTime?: unknown;
      readonly stats?: { readonly numSeries?: number; readonly numSamples?: number };
      readonly compaction?: { readonly hints?: readonly string[] };
    };
    if (meta.version !== 1)
      throw new AppError('bad_data', `version ${JSON.stringify(meta.version)}; 1 is read here`);
    const { ulid, minTime, maxTime, stats, compaction } = meta;
    if (typeof ulid !== 'string' || typeof minTime !== 'number' || typeof maxTime !== 'number')
      throw new AppError('bad_data', 'ulid, minTime or maxTime is missing');
    return {
      ulid,
      minTimeMs: minTime,
      maxTimeMs: maxTime,
      series: stats?.numSeries ?? 0,
      samples: stats?.numSamples ?? 0,
      isOutOfOrder: compaction?.hints?.includes('from-out-of-order') ?? false,
    };
  } catch (caught) {
    throw named(file, 0, caught);
  }
}

/** An open block. */
export class PrometheusBlock {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #index: PrometheusIndex;
  readonly #tombstones: Tombstones;
  readonly #segmentNames: readonly string[];
  readonly #segments = new Map<number, BufferedFile>();
  readonly #columns = new SampleColumns();
  readonly #onDamage: OnDamage;

  private constructor(
    folder: string,
    disk: Disk,
    onDamage: OnDamage,
    contents: { index: PrometheusIndex; tombstones: Tombstones; segmentNames: readonly string[] },
  ) {
    this.#folder = folder;
    this.#disk = disk;
    this.#onDamage = onDamage;
    this.#index = contents.index;
    this.#tombstones = contents.tombstones;
    this.#segmentNames = contents.segmentNames;
  }

  /**
   * Opens the block in `folder`.
   *
   * @param onDamage  Told of each series and chunk that is skipped.
   * @throws PrometheusFileError when index or tombstones cannot be read. Without tombstones what was deleted would come back.
   */
  static async open(folder: string, disk: Disk, onDamage: OnDamage): Promise<PrometheusBlock> {
    const tombstones = await readTombstones(folder, disk);
    const segmentNames = (await disk.list(path.join(folder, 'chunks'))).filter((name) =>
      /^\d{6}$/.test(name),
    );
    const index = await PrometheusIndex.open(path.join(folder, 'index'), disk);
    return new PrometheusBlock(folder, disk, onDamage, { index, tombstones, segmentNames });
  }

  get seriesStart(): number {
    return this.#index.seriesStart;
  }

  get seriesEnd(): number {
    return this.#index.seriesEnd;
  }

  async close(): Promise<void> {
    await this.#index.close();
    for (const file of this.#segments.values()) await file.close();
    this.#segments.clear();
  }

  /**
   * Hands the series from index offset `from` on to the sink; yields behind each one, with the offset where the next begins,
   * and undefined within long ones, so that the sink's owner can wait for whom it feeds.
   */
  async *readSeries(from: number, sink: BlockSink): AsyncGenerator<number | undefined> {
    for await (const { reference, nextOffset, labels, chunks } of this.#index.series(from, this.#onDamage)) {
      sink.beginSeries(labels);
      for (const [i, place] of chunks.entries()) {
        if (i % CHUNKS_PER_TURN === CHUNKS_PER_TURN - 1) yield undefined;
        try {
          await this.#readChunk(place, reference, sink);
        } catch (caught) {
          this.#onDamage(named(this.#segmentFile(place.segment), place.offset, caught));
        }
      }
      yield nextOffset;
    }
  }

  async #readChunk(place: ChunkPlace, reference: number, sink: BlockSink): Promise<void> {
    if (this.#tombstones.covers(reference, place.minTimeMs, place.maxTimeMs)) return;
    const file = await this.#segment(place.segment);
    const head = new GoReader(await file.peek(place.offset, LENGTH_BYTES_MAX));
    const length = head.varint();
    if (length > CHUNK_BYTES_MAX)
      throw new PrometheusFileError(file.name, place.offset, `a chunk of ${length} bytes`);
    // The length does not count the byte of the encoding, the checksum does.
    const start = head.position;
    const end = start + 1 + length;
    const bytes = await file.read(place.offset, end + 4);
    checkSum(file.name, place.offset, bytes, start, end);
    const encoding = bytes[start]!;
    const isDeleted = (timeMs: number): boolean => this.#tombstones.covers(reference, timeMs, timeMs);
    if (encoding === ENCODING_XOR || encoding === ENCODING_XOR2) {
      const columns = this.#columns;
      columns.count = 0;
      if (encoding === ENCODING_XOR) decodeFloats(bytes, start + 1, end, columns);
      else decodeXor2Chunk(bytes, start + 1, end, columns);
      if (this.#tombstones.has(reference)) dropSamples(columns, isDeleted);
      if (columns.count > 0) sink.floats(columns);
    } else if (encoding === ENCODING_HISTOGRAM || encoding === ENCODING_FLOAT_HISTOGRAM) {
      const isFloat = encoding === ENCODING_FLOAT_HISTOGRAM;
      decodeHistogramChunk(bytes, start + 1, end, isFloat, (timeMs, parts, isStale) => {
        if (!isDeleted(timeMs)) sink.histogram(timeMs, parts, isStale);
      });
    } else {
      throw new PrometheusFileError(
        file.name,
        place.offset,
        `chunk encoding ${encoding}; read are ${ENCODING_XOR} and ${ENCODING_XOR2} (floats), ${ENCODING_HISTOGRAM} and ${ENCODING_FLOAT_HISTOGRAM} (histograms)`,
      );
    }
  }

  #segmentFile(segment: number): string {
    const name = this.#segmentNames[segment] ?? String(segment + 1).padStart(6, '0');
    return path.join(this.#folder, 'chunks', name);
  }

  async #segment(segment: number): Promise<BufferedFile> {
    const known = this.#segments.get(segment);
    if (known !== undefined) return known;
    const name = this.#segmentFile(segment);
    if (segment >= this.#segmentNames.length)
      throw new PrometheusFileError(name, 0, `segment ${segment + 1} of ${this.#segmentNames.length}`);
    const file = await BufferedFile.open(name, await this.#disk.open(name, 'read'));
    try {
      const head = new GoReader(await file.read(0, SEGMENT_HEADER_BYTES));
      if (head.be32() !== SEGMENT_MAGIC || head.u8() !== 1)
        throw new PrometheusFileError(name, 0, 'not a segment of chunks, version 1');
    } catch (caught) {
      await file.close();
      throw caught;
    }
    this.#segments.set(segment, file);
    return file;
  }
}

/**
 * Decodes a chunk of floats. Where a sample ends with a byte, Prometheus may begin another one and leave it zero.
 *
 * @throws AppError when the chunk is not whole.
 */
export function decodeFloats(bytes: Uint8Array, start: number, end: number, into: SampleColumns): void {
  try {
    decodeXorChunk(bytes, start, end, into);
  } catch (caught) {
    if (bytes[end - 1] !== 0) throw caught;
    decodeXorChunk(bytes, start, end - 1, into);
  }
}

/** Removes what is deleted, in place. */
function dropSamples(columns: SampleColumns, isDeleted: (timeMs: number) => boolean): void {
  const { timestampsMs, words } = columns;
  let kept = 0;
  for (let i = 0; i < columns.count; i++) {
    if (isDeleted(timestampsMs[i]!)) continue;
    timestampsMs[kept] = timestampsMs[i]!;
    words[2 * kept] = words[2 * i]!;
    words[2 * kept + 1] = words[2 * i + 1]!;
    kept++;
  }
  columns.count = kept;
}

/** The file `tombstones`; none where there is no such file. */
async function readTombstones(folder: string, disk: Disk): Promise<Tombstones> {
  const file = path.join(folder, 'tombstones');
  const tombstones = new Tombstones();
  if (!(await disk.list(folder)).includes('tombstones')) return tombstones;
  try {
    const bytes = await tryReadFile(disk, file, TOMBSTONE_BYTES_MAX);
    if (bytes === undefined || bytes.length < 9)
      throw new PrometheusFileError(file, 0, `not 9 to ${TOMBSTONE_BYTES_MAX} bytes`);
    const end = bytes.length - 4;
    const reader = new GoReader(bytes, 0, end);
    if (reader.be32() !== TOMBSTONE_MAGIC || reader.u8() !== 1)
      throw new PrometheusFileError(file, 0, 'not tombstones, version 1');
    checkSum(file, 5, bytes, 5, end);
    while (reader.remaining > 0)
      tombstones.add(reader.varint(), reader.signedVarint(), reader.signedVarint());
  } catch (caught) {
    throw named(file, 0, caught);
  }
  return tombstones;
}
