// Walks series of an open index in ascending order. Series of a group are coded against their neighbour, so the walker
// keeps one set of label bytes and changes it from series to series; nothing is allocated per series.
import { ByteReader, ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { CHUNK_BYTES_MAX, GROUP_SIZE, LABELS_BYTES_MAX } from './block-format.ts';
import { corruptBlock } from './page-codec.ts';
import type { SectionReader } from './section-reader.ts';

/** Chunks of the current series in typed columns that grow. */
export class ChunkRows {
  count = 0;
  encodings = new Uint8Array(16);
  minTimesMs = new Float64Array(16);
  maxTimesMs = new Float64Array(16);
  sampleCounts = new Uint32Array(16);
  /** Offset in the section `chunks`. */
  positions = new Float64Array(16);
  bytes = new Uint32Array(16);

  /** Makes room for one more. */
  grow(): void {
    if (this.count < this.bytes.length) return;
    const size = this.count * 2;
    this.encodings = extend(this.encodings, new Uint8Array(size));
    this.minTimesMs = extend(this.minTimesMs, new Float64Array(size));
    this.maxTimesMs = extend(this.maxTimesMs, new Float64Array(size));
    this.sampleCounts = extend(this.sampleCounts, new Uint32Array(size));
    this.positions = extend(this.positions, new Float64Array(size));
    this.bytes = extend(this.bytes, new Uint32Array(size));
  }
}

function extend<T extends Uint8Array | Uint32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

export class SeriesWalker {
  readonly #series: SectionReader;
  /** Start of each group in the section `series`, and the end of the last. */
  readonly #groupStarts: Float64Array;
  readonly #seriesCount: number;
  readonly #minTimeMs: number;
  readonly #labels = new ByteWriter(1024);
  #reader = new ByteReader(new Uint8Array(0));
  #group = -1;
  /** Series of the group that were read. */
  #readCount = 0;
  #chunkPosition = 0;
  /** Of the current series. */
  partition = 0;
  readonly chunks = new ChunkRows();

  constructor(options: {
    readonly series: SectionReader;
    readonly groupStarts: Float64Array;
    readonly seriesCount: number;
    /** First sample of the block: chunk times are relative to it. */
    readonly minTimeMs: number;
  }) {
    this.#series = options.series;
    this.#groupStarts = options.groupStarts;
    this.#seriesCount = options.seriesCount;
    this.#minTimeMs = options.minTimeMs;
  }

  /** Canonical label bytes of the current series in labelBytes[0, labelLength); changed by the next `seek`. */
  get labelBytes(): Uint8Array {
    return this.#labels.bytes;
  }

  /** Over `labelBytes`. */
  get labelView(): DataView {
    return this.#labels.view;
  }

  get labelLength(): number {
    return this.#labels.length;
  }

  /**
   * Makes series `id` the current one. Ascending ids cost least.
   *
   * @throws CorruptBlockError
   */
  seek(id: number): void {
    const group = Math.floor(id / GROUP_SIZE);
    const target = id - group * GROUP_SIZE;
    if (id >= this.#seriesCount)
      throw corruptBlock(this.#series.where, `series ${id} of ${this.#seriesCount}`);
    try {
      if (group !== this.#group || target < this.#readCount) this.#open(group);
      while (this.#readCount <= target) this.#next();
    } catch (cause) {
      this.#group = -1;
      if (cause instanceof AppError && cause.code === 'bad_data') {
        throw corruptBlock(this.#series.where, `group ${group}: ${cause.message}`, cause);
      }
      throw cause;
    }
  }

  #open(group: number): void {
    const start = this.#groupStarts[group]!;
    this.#reader = new ByteReader(this.#series.slice(start, this.#groupStarts[group + 1]! - start));
    this.#group = group;
    this.#readCount = 0;
    this.#labels.reset();
    this.#chunkPosition = this.#reader.varint();
  }

  #next(): void {
    this.#readLabels();
    this.partition = this.#reader.varint();
    this.#readChunks();
    this.#readCount++;
  }

  #readLabels(): void {
    const reader = this.#reader;
    const labels = this.#labels;
    const prefix = reader.varint();
    const suffix = reader.varint();
    const middle = reader.varint();
    const before = labels.length;
    const after = prefix + middle + suffix;
    if (prefix + suffix > before || after > LABELS_BYTES_MAX) {
      throw new AppError(
        'bad_data',
        `labels share ${prefix} and ${suffix} of ${before} bytes, have ${after}`,
      );
    }
    if (after > before) labels.reserve(after - before);
    if (after !== before && suffix > 0) labels.bytes.copyWithin(after - suffix, before - suffix, before);
    const at = reader.position;
    reader.skip(middle);
    labels.length = prefix;
    labels.raw(reader.bytes, at, at + middle);
    labels.length = after;
  }

  #readChunks(): void {
    const reader = this.#reader;
    const rows = this.chunks;
    const count = reader.varint();
    let minTimeMs = this.#minTimeMs;
    rows.count = 0;
    for (let i = 0; i < count; i++) {
      rows.grow();
      rows.encodings[i] = reader.u8();
      minTimeMs += reader.varint();
      rows.minTimesMs[i] = minTimeMs;
      rows.maxTimesMs[i] = minTimeMs + reader.varint();
      rows.sampleCounts[i] = reader.varint();
      const bytes = reader.varint();
      if (bytes > CHUNK_BYTES_MAX) throw new AppError('bad_data', `chunk of ${bytes} bytes`);
      rows.bytes[i] = bytes;
      rows.positions[i] = this.#chunkPosition;
      this.#chunkPosition += bytes;
      rows.count = i + 1;
    }
  }
}
