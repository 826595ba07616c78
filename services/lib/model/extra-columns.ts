// What comes with or instead of float samples: native histograms, start timestamps, exemplars. Columns beside the float
// columns, their contents as byte ranges of one buffer, so that a writer fills them without an object per entry.
import { ByteReader, ByteWriter, unzigzag, zigzag } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import type { FloatHistogram } from './float-histogram.ts';
import { type CountsKind, decodeHistogram, encodeHistogram } from './histogram-codec.ts';
import { decodeLabels, type Labels } from './labels.ts';

/**
 * Kinds of entries, and what their bytes are; numbers are part of our wire and disk formats (wire/docs/append-batch.md).
 *
 * - EXTRA_HISTOGRAM: the series' sample at `timestampMs` is this native histogram (histogram-codec.ts).
 * - EXTRA_START_TIME: the series' samples at `timestampMs` and later began to count at the time in the bytes (zigzag varint, Unix
 *   ms; 0: not known any more), up to the next such entry. Written when it changes; a repetition is harmless and changes nothing.
 * - EXTRA_EXEMPLAR: an exemplar of the series, at its own time: value (f64), then its labels (model/labels.ts), canonical.
 */
export const EXTRA_HISTOGRAM = 1;
export const EXTRA_START_TIME = 2;
export const EXTRA_EXEMPLAR = 3;

/** Most bytes of one entry: more than the largest histogram takes. */
export const EXTRA_BYTES_MAX = 1 << 19;
/** Most bytes of one exemplar: Prometheus' limit of 128 characters of labels fits, whatever the alphabet. */
export const EXEMPLAR_BYTES_MAX = 1024;

/** Times are within ± this, Unix ms. */
const TIME_MS_MAX = 2 ** 51;

/** Extras as a reader sees them: columns of `count` entries. */
export interface Extras {
  /** Entries in use in each column. */
  readonly count: number;
  /** Uint32Array[≥ count]: whose entry it is, as the samples' column of that name. */
  readonly references: Uint32Array;
  /** Float64Array[≥ count], Unix milliseconds, integers. */
  readonly timestampsMs: Float64Array;
  /** Uint8Array[≥ count]: EXTRA_…. */
  readonly kinds: Uint8Array;
  /** Entry i's content is bytes[starts[i], ends[i]). */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  readonly bytes: Uint8Array;
}

/** Growing extras, reused from write to write by their owner. */
export class ExtraColumns implements Extras {
  count = 0;
  references: Uint32Array = new Uint32Array(64);
  timestampsMs: Float64Array = new Float64Array(64);
  kinds: Uint8Array = new Uint8Array(64);
  starts: Uint32Array = new Uint32Array(64);
  ends: Uint32Array = new Uint32Array(64);
  readonly #content = new ByteWriter(1024);

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#content.bytes;
  }

  /** Bytes of all contents. */
  get contentBytes(): number {
    return this.#content.length;
  }

  reset(): void {
    this.count = 0;
    this.#content.reset();
  }

  /** @throws AppError `bad_data` as encodeHistogram; nothing is added then. */
  addHistogram(reference: number, timestampMs: number, histogram: FloatHistogram, kind: CountsKind): void {
    const start = this.#content.length;
    try {
      encodeHistogram(histogram, kind, this.#content);
    } catch (caught) {
      this.#content.length = start;
      throw caught;
    }
    this.#add(reference, timestampMs, EXTRA_HISTOGRAM, start);
  }

  /** @param startMs  Unix ms, a whole number within ±2^51; 0: not known any more. */
  addStartTime(reference: number, timestampMs: number, startMs: number): void {
    const start = this.#content.length;
    this.#content.varint(zigzag(startMs));
    this.#add(reference, timestampMs, EXTRA_START_TIME, start);
  }

  /**
   * @param timestampMs  The exemplar's own time.
   * @param value        Kept bit for bit.
   * @param labels       Canonical label bytes in labels[start, end).
   */
  addExemplar(
    reference: number,
    timestampMs: number,
    value: number,
    labels: Uint8Array,
    start: number,
    end: number,
  ): void {
    const at = this.#content.length;
    this.#content.f64(value);
    this.#content.raw(labels, start, end);
    this.#add(reference, timestampMs, EXTRA_EXEMPLAR, at);
  }

  /** Adds an entry whose content is a copy of bytes[start, end). */
  addRaw(
    reference: number,
    timestampMs: number,
    kind: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const at = this.#content.length;
    this.#content.raw(bytes, start, end);
    this.#add(reference, timestampMs, kind, at);
  }

  #add(reference: number, timestampMs: number, kind: number, start: number): void {
    if (this.count === this.kinds.length) this.#grow();
    const at = this.count++;
    this.references[at] = reference;
    this.timestampsMs[at] = timestampMs;
    this.kinds[at] = kind;
    this.starts[at] = start;
    this.ends[at] = this.#content.length;
  }

  #grow(): void {
    const length = this.kinds.length * 2;
    this.references = moved(this.references, new Uint32Array(length));
    this.timestampsMs = moved(this.timestampsMs, new Float64Array(length));
    this.kinds = moved(this.kinds, new Uint8Array(length));
    this.starts = moved(this.starts, new Uint32Array(length));
    this.ends = moved(this.ends, new Uint32Array(length));
  }
}

function moved<T extends Uint8Array | Uint32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Native histograms among the extras. */
export function countHistograms({ kinds, count }: Extras): number {
  let histograms = 0;
  for (let i = 0; i < count; i++) if (kinds[i] === EXTRA_HISTOGRAM) histograms++;
  return histograms;
}

/**
 * Checks one entry's kind, time and content.
 *
 * @throws AppError `bad_data` with what is wrong.
 */
export function checkExtra(extras: Extras, index: number): void {
  const { kinds, timestampsMs, starts, ends, bytes } = extras;
  const start = starts[index]!;
  const end = ends[index]!;
  const timestampMs = timestampsMs[index]!;
  if (!(Math.abs(timestampMs) <= TIME_MS_MAX && Math.trunc(timestampMs) === timestampMs)) {
    throw new AppError('bad_data', `timestamp ${timestampMs} is not a whole number of ms within ±2^51`);
  }
  if (kinds[index] === EXTRA_HISTOGRAM) decodeHistogram(bytes, start, end);
  else if (kinds[index] === EXTRA_START_TIME) decodeStartTime(bytes, start, end);
  else if (kinds[index] === EXTRA_EXEMPLAR) checkExemplar(bytes, start, end);
  else throw new AppError('bad_data', `an extra of unknown kind ${kinds[index]}`);
}

function checkExemplar(bytes: Uint8Array, start: number, end: number): void {
  if (end - start < 8 || end - start > EXEMPLAR_BYTES_MAX) {
    throw new AppError('bad_data', `an exemplar of ${end - start} bytes; 8 to ${EXEMPLAR_BYTES_MAX} fit`);
  }
  decodeLabels(bytes, start + 8, end);
}

/** An exemplar's labels and value. @throws AppError `bad_data` when the bytes are none. */
export function decodeExemplar(
  bytes: Uint8Array,
  start: number,
  end: number,
): { readonly labels: Labels; readonly value: number } {
  checkExemplar(bytes, start, end);
  return { labels: decodeLabels(bytes, start + 8, end), value: new ByteReader(bytes, start, end).f64() };
}

/** The time in an EXTRA_START_TIME's bytes. @throws AppError `bad_data` when they are none. */
export function decodeStartTime(bytes: Uint8Array, start: number, end: number): number {
  const reader = new ByteReader(bytes, start, end);
  const startMs = unzigzag(reader.varint());
  if (reader.remaining !== 0 || Math.abs(startMs) > TIME_MS_MAX) {
    throw new AppError('bad_data', `start time ${startMs} ms, ${reader.remaining} bytes behind it`);
  }
  return startMs;
}
