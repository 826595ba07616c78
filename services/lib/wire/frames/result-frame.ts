// Codec of docs/result-frame.md: what a querier answers with, and what parts of a query hand to the merge.
import { ByteReader, ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { encodeHistogram, readHistogram } from '../../model/histogram-codec.ts';
import { encodeLabels, type Labels } from '../../model/labels.ts';

const VERSION = 2;
/** Had no content byte. */
const VERSION_PLAIN = 1;

const EVEN_TIMES = 1;
const HISTOGRAMS = 2;
const COLUMNS = 4;
const ORDER = 8;
const CONTENT_ALL = 15;

/** A frame is closed once it has this many bytes. */
const FRAME_BYTES_TARGET = 1 << 20;

/** Most auxiliary columns of a row. */
export const COLUMNS_MAX = 8;

/** What a row of a partial result has beside its samples. */
export interface RowExtras {
  /** 0 … 255; means what the sender and the merge agreed on. */
  readonly tag: number;
  /** Columns as long as the values, or longer. */
  readonly columns: readonly Float64Array[];
  /** Labels of the series that gives the row its place; undefined when they are the row's own. */
  readonly order: Labels | undefined;
}

/** Histograms by sample: where entry i is set, sample i is that histogram. */
export type SampleHistograms = readonly (FloatHistogram | undefined)[];

/** Collects result series into frames. */
export class ResultFrameWriter {
  readonly #out = new ByteWriter(4096);
  readonly #scratch = new ByteWriter(256);
  #series = 0;

  constructor() {
    this.#begin();
  }

  /**
   * Adds a series with its first `count` samples; answers a frame when one is full.
   *
   * @throws AppError `bad_data` when a histogram is none that a reader would take.
   */
  add(
    labels: Labels,
    timestampsMs: Float64Array,
    values: Float64Array,
    count: number,
    histograms?: SampleHistograms,
    extras?: RowExtras,
  ): Uint8Array<ArrayBuffer> | undefined {
    const out = this.#out;
    this.#putLabels(labels);
    const isEven = hasEvenTimes(timestampsMs, count);
    const found = histograms === undefined ? 0 : countHistograms(histograms, count);
    const order = extras?.order;
    out.u8(
      (isEven ? EVEN_TIMES : 0) |
        (found > 0 ? HISTOGRAMS : 0) |
        (extras === undefined ? 0 : COLUMNS) |
        (order === undefined ? 0 : ORDER),
    );
    out.varint(count);
    if (isEven) {
      out.f64(timestampsMs[0]!);
      out.f64(timestampsMs[1]! - timestampsMs[0]!);
    } else {
      this.#putColumn(timestampsMs, count);
    }
    this.#putColumn(values, count);
    if (found > 0) this.#putHistograms(histograms!, count, found);
    if (extras !== undefined) {
      out.u8(extras.tag);
      out.u8(extras.columns.length);
      for (const column of extras.columns) this.#putColumn(column, count);
    }
    if (order !== undefined) this.#putLabels(order);
    this.#series++;
    return out.length >= FRAME_BYTES_TARGET ? this.#close() : undefined;
  }

  /** The last frame, if it holds anything. */
  finish(): Uint8Array<ArrayBuffer> | undefined {
    return this.#series > 0 ? this.#close() : undefined;
  }

  #putLabels(labels: Labels): void {
    this.#scratch.reset();
    encodeLabels(labels, this.#scratch);
    this.#out.varint(this.#scratch.length);
    this.#out.raw(this.#scratch.bytes, 0, this.#scratch.length);
  }

  #putColumn(column: Float64Array, count: number): void {
    this.#out.raw(new Uint8Array(column.buffer, column.byteOffset, count * 8));
  }

  #putHistograms(histograms: SampleHistograms, count: number, found: number): void {
    const out = this.#out;
    out.varint(found);
    let previous = -1;
    for (let i = 0; i < count; i++) {
      const histogram = histograms[i];
      if (histogram === undefined) continue;
      out.varint(i - previous - 1);
      previous = i;
      this.#scratch.reset();
      encodeHistogram(histogram, 'float', this.#scratch);
      out.varint(this.#scratch.length);
      out.raw(this.#scratch.bytes, 0, this.#scratch.length);
    }
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

function hasEvenTimes(timestampsMs: Float64Array, count: number): boolean {
  if (count < 2) return false;
  const firstMs = timestampsMs[0]!;
  const stepMs = timestampsMs[1]! - firstMs;
  if (!(stepMs >= 0)) return false;
  for (let i = 0; i < count; i++) if (timestampsMs[i] !== firstMs + i * stepMs) return false;
  return true;
}

function countHistograms(histograms: SampleHistograms, count: number): number {
  let found = 0;
  for (let i = 0; i < count; i++) if (histograms[i] !== undefined) found++;
  return found;
}

/** What a received row has beside its samples. Owned by the visitor. */
export interface ReadExtras {
  readonly tag: number;
  readonly columns: readonly Float64Array<ArrayBuffer>[];
  /** Canonical label bytes in bytes[orderStart, orderEnd); −1 for both where the row has no order labels. */
  readonly orderStart: number;
  readonly orderEnd: number;
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
  /** Undefined in a series of floats; owned by the visitor. */
  histograms: SampleHistograms | undefined,
  /** Undefined in the result of a query. */
  extras: ReadExtras | undefined,
) => void;

/**
 * Walks a result frame.
 *
 * @throws AppError `bad_data` when the frame is truncated, malformed, or of an unknown version.
 */
export function readResultFrame(frame: Uint8Array, visit: ResultVisitor): void {
  const reader = new ByteReader(frame);
  const version = reader.u32();
  if (version !== VERSION && version !== VERSION_PLAIN) {
    throw new AppError('bad_data', `result frame of unknown version ${version}`);
  }
  const seriesCount = reader.u32();
  let timestampsMs = new Float64Array(64);
  let values = new Float64Array(64);
  for (let i = 0; i < seriesCount; i++) {
    const labelBytes = reader.varint();
    const labelsAt = reader.position;
    reader.raw(labelBytes);
    const content = version === VERSION_PLAIN ? 0 : reader.u8();
    if (content > CONTENT_ALL) throw new AppError('bad_data', `result frame: unknown content ${content}`);
    const count = reader.varint();
    const isEven = (content & EVEN_TIMES) !== 0;
    requireRoom(reader, count, isEven ? 8 : 16, 'samples');
    if (count > values.length) {
      timestampsMs = new Float64Array(count * 2);
      values = new Float64Array(count * 2);
    }
    if (isEven) fillTimes(timestampsMs, count, reader.f64(), reader.f64());
    else new Uint8Array(timestampsMs.buffer).set(reader.raw(count * 8));
    new Uint8Array(values.buffer).set(reader.raw(count * 8));
    const histograms = (content & HISTOGRAMS) === 0 ? undefined : readHistograms(reader, count);
    const extras = (content & (COLUMNS | ORDER)) === 0 ? undefined : readExtras(reader, content, count);
    visit(frame, labelsAt, labelsAt + labelBytes, timestampsMs, values, count, histograms, extras);
  }
  if (reader.remaining !== 0) {
    throw new AppError('bad_data', `result frame has ${reader.remaining} bytes too many`);
  }
}

function requireRoom(reader: ByteReader, count: number, eachBytes: number, what: string): void {
  if (count * eachBytes <= reader.remaining) return;
  throw new AppError(
    'bad_data',
    `result frame: ${count} ${what} do not fit the ${reader.remaining} bytes left`,
  );
}

function fillTimes(into: Float64Array, count: number, firstMs: number, stepMs: number): void {
  if (!(stepMs >= 0)) throw new AppError('bad_data', `result frame: samples every ${stepMs} ms`);
  for (let i = 0; i < count; i++) into[i] = firstMs + i * stepMs;
}

function readHistograms(reader: ByteReader, count: number): (FloatHistogram | undefined)[] {
  const found = reader.varint();
  if (found === 0 || found > count) {
    throw new AppError('bad_data', `result frame: ${found} histograms among ${count} samples`);
  }
  const histograms: (FloatHistogram | undefined)[] = [];
  histograms.length = count;
  let at = -1;
  for (let i = 0; i < found; i++) {
    at += reader.varint() + 1;
    if (at >= count) throw new AppError('bad_data', `result frame: histogram at sample ${at} of ${count}`);
    const bytes = reader.varint();
    const endsAt = reader.position + bytes;
    requireRoom(reader, bytes, 1, 'bytes of a histogram');
    histograms[at] = readHistogram(reader).histogram;
    if (reader.position !== endsAt) {
      throw new AppError(
        'bad_data',
        `result frame: histogram ends at ${reader.position}, its bytes at ${endsAt}`,
      );
    }
  }
  return histograms;
}

function readExtras(reader: ByteReader, content: number, count: number): ReadExtras {
  let tag = 0;
  const columns: Float64Array<ArrayBuffer>[] = [];
  if ((content & COLUMNS) !== 0) {
    tag = reader.u8();
    const columnCount = reader.u8();
    if (columnCount > COLUMNS_MAX)
      throw new AppError('bad_data', `result frame: ${columnCount} auxiliary columns`);
    requireRoom(reader, columnCount * count, 8, 'auxiliary values');
    for (let i = 0; i < columnCount; i++) {
      const column = new Float64Array(count);
      new Uint8Array(column.buffer).set(reader.raw(count * 8));
      columns.push(column);
    }
  }
  if ((content & ORDER) === 0) return { tag, columns, orderStart: -1, orderEnd: -1 };
  const bytes = reader.varint();
  const orderStart = reader.position;
  reader.raw(bytes);
  return { tag, columns, orderStart, orderEnd: orderStart + bytes };
}
