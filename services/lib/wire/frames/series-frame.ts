// Codec of docs/series-frame.md: a ChunkSink that writes frames, and a walk over a received one.
import { ByteReader, ByteWriter, putVarint, varintBytes } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import type { ChunkSink } from '../../model/chunk-sink.ts';

const VERSION = 1;
const NO_LABELS = new Uint8Array(0);
/**
 * A frame is closed once it has this many bytes: large enough to amortise a message, and so small that its reader works on it while the
 * next one is filled.
 */
export const SERIES_FRAME_BYTES_TARGET = 1 << 18;

/** Collects series into frames; take each finished frame with `takeFrames`, the rest with `finish`. */
export class SeriesFrameWriter implements ChunkSink {
  readonly #out = new ByteWriter(16 * 1024);
  #series = 0;
  #chunkCount = 0;
  /** Where the number of chunks of the open series stands: a byte, until there are more than it can say. */
  #countAt = -1;
  #frames: Uint8Array<ArrayBuffer>[] = [];
  /** The buffer that the last labels came from, and a view of it. */
  #labels: Uint8Array = NO_LABELS;
  #labelsView: DataView = new DataView(NO_LABELS.buffer);
  /** The same of the last chunk. */
  #chunks: Uint8Array = NO_LABELS;
  #chunksView: DataView = new DataView(NO_LABELS.buffer);

  constructor() {
    this.#begin();
  }

  /** Memory of the frame under way. After `finish` a writer may be used again. */
  get bytesHeld(): number {
    return this.#out.bytes.length;
  }

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    this.#closeSeries();
    const out = this.#out;
    if (out.length >= SERIES_FRAME_BYTES_TARGET) this.#closeFrame();
    out.varint(end - start);
    // The labels of one series after the other stand in the same buffer.
    if (bytes !== this.#labels) {
      this.#labels = bytes;
      this.#labelsView = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    out.rawFrom(this.#labelsView, start, end);
    this.#countAt = out.length;
    out.u8(0);
    this.#series++;
  }

  chunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const out = this.#out;
    out.u8(encoding);
    out.f64(minTimeMs);
    out.f64(maxTimeMs);
    out.varint(end - start);
    // Chunks of a block stand in its pages, one behind the other.
    if (bytes !== this.#chunks) {
      this.#chunks = bytes;
      this.#chunksView = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    out.rawFrom(this.#chunksView, start, end);
    this.#chunkCount++;
  }

  /** Frames finished since the last call; the caller owns them. */
  takeFrames(): Uint8Array<ArrayBuffer>[] {
    const frames = this.#frames;
    this.#frames = [];
    return frames;
  }

  /** Closes the last frame and takes all that are left. */
  finish(): Uint8Array<ArrayBuffer>[] {
    this.#closeSeries();
    if (this.#series > 0) this.#closeFrame();
    this.#labels = NO_LABELS;
    this.#chunks = NO_LABELS;
    return this.takeFrames();
  }

  #begin(): void {
    this.#out.reset();
    this.#out.u32(VERSION);
    this.#out.u32(0);
    this.#series = 0;
  }

  #closeSeries(): void {
    const at = this.#countAt;
    if (at < 0) return;
    const out = this.#out;
    const extra = varintBytes(this.#chunkCount) - 1;
    if (extra > 0) {
      out.reserve(extra);
      out.bytes.copyWithin(at + 1 + extra, at + 1, out.length);
      out.length += extra;
    }
    putVarint(out.bytes, at, this.#chunkCount);
    this.#chunkCount = 0;
    this.#countAt = -1;
  }

  #closeFrame(): void {
    this.#out.view.setUint32(4, this.#series, true);
    this.#frames.push(this.#out.take());
    this.#begin();
  }
}

/** A frame of no series: what carries the coverage of an answer without any. */
export function emptySeriesFrame(): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(8);
  out.u32(VERSION);
  out.u32(0);
  return out.take();
}

/**
 * Walks a frame into a sink. Ranges passed on are in `frame` and stay valid as long as it does.
 *
 * @throws AppError `bad_data` when the frame is truncated or of an unknown version.
 */
export function readSeriesFrame(frame: Uint8Array, sink: ChunkSink): void {
  const reader = new ByteReader(frame);
  const version = reader.u32();
  if (version !== VERSION) throw new AppError('bad_data', `series frame of unknown version ${version}`);
  const seriesCount = reader.u32();
  for (let i = 0; i < seriesCount; i++) {
    const labelBytes = reader.varint();
    const labelsAt = reader.position;
    reader.skip(labelBytes);
    sink.beginSeries(frame, labelsAt, labelsAt + labelBytes);
    const chunkCount = reader.varint();
    for (let c = 0; c < chunkCount; c++) {
      const encoding = reader.u8();
      const minTimeMs = reader.f64();
      const maxTimeMs = reader.f64();
      const chunkBytes = reader.varint();
      const chunkAt = reader.position;
      reader.skip(chunkBytes);
      sink.chunk(encoding, minTimeMs, maxTimeMs, frame, chunkAt, chunkAt + chunkBytes);
    }
  }
  if (reader.remaining !== 0)
    throw new AppError('bad_data', `series frame has ${reader.remaining} bytes too many`);
}
