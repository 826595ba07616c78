// Codec of docs/result-frame.md: what a querier answers with.
import { ByteReader, ByteWriter } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import { encodeLabels, type Labels } from '../model/labels.ts';
import { FRAME_BYTES_TARGET } from './series-frame.ts';

const VERSION = 1;

/** Collects result series into frames. */
export class ResultFrameWriter {
  readonly #out = new ByteWriter(64 * 1024);
  readonly #labels = new ByteWriter(256);
  #series = 0;

  constructor() {
    this.#begin();
  }

  /** Adds a series with its first `count` floats; answers a frame when one is full. */
  add(
    labels: Labels,
    timestampsMs: Float64Array,
    values: Float64Array,
    count: number,
  ): Uint8Array<ArrayBuffer> | undefined {
    this.#labels.reset();
    encodeLabels(labels, this.#labels);
    const out = this.#out;
    out.varint(this.#labels.length);
    out.raw(this.#labels.bytes, 0, this.#labels.length);
    out.varint(count);
    out.raw(new Uint8Array(timestampsMs.buffer, timestampsMs.byteOffset, count * 8));
    out.raw(new Uint8Array(values.buffer, values.byteOffset, count * 8));
    this.#series++;
    return out.length >= FRAME_BYTES_TARGET ? this.#close() : undefined;
  }

  /** The last frame, if it holds anything. */
  finish(): Uint8Array<ArrayBuffer> | undefined {
    return this.#series > 0 ? this.#close() : undefined;
  }

  #begin(): void {
    this.#out.reset();
    this.#out.u32(VERSION);
    this.#out.u32(0);
    this.#series = 0;
  }

  #close(): Uint8Array<ArrayBuffer> {
    this.#out.view.setUint32(4, this.#series, true);
    const frame = this.#out.take();
    this.#begin();
    return frame;
  }
}

/** Receives the series of a result frame. Columns are reused: copy what outlives the call. */
export type ResultVisitor = (
  /** Canonical label bytes in bytes[start, end). */
  bytes: Uint8Array,
  start: number,
  end: number,
  timestampsMs: Float64Array,
  values: Float64Array,
  count: number,
) => void;

/**
 * Walks a result frame.
 *
 * @throws AppError `bad_data` when the frame is truncated or of an unknown version.
 */
export function readResultFrame(frame: Uint8Array, visit: ResultVisitor): void {
  const reader = new ByteReader(frame);
  const version = reader.u32();
  if (version !== VERSION) throw new AppError('bad_data', `result frame of unknown version ${version}`);
  const seriesCount = reader.u32();
  let timestampsMs = new Float64Array(64);
  let values = new Float64Array(64);
  for (let i = 0; i < seriesCount; i++) {
    const labelBytes = reader.varint();
    const labelsAt = reader.position;
    reader.raw(labelBytes);
    const count = reader.varint();
    if (count * 16 > reader.remaining)
      throw new AppError('bad_data', `result frame: ${count} floats do not fit`);
    if (count > values.length) {
      timestampsMs = new Float64Array(count * 2);
      values = new Float64Array(count * 2);
    }
    new Uint8Array(timestampsMs.buffer).set(reader.raw(count * 8));
    new Uint8Array(values.buffer).set(reader.raw(count * 8));
    visit(frame, labelsAt, labelsAt + labelBytes, timestampsMs, values, count);
  }
}
