// JSON text as bytes: sample values, times and label sets are written where they will be sent from. What is written is what
// number-format.ts and JSON.stringify write; a test compares them.
import { ByteReader, decodeUtf8 } from '../../lib/core/bytes.ts';
import { formatValue } from '../../lib/model/number-format.ts';
import { putValue } from './kernel/text-kernel.ts';
import { DISTANCE_MAX, Repeats } from './repeats.ts';

const BYTES_FIRST = 4096;
const NOTHING = Buffer.alloc(0);
/** Room that is needed to write a value. */
const VALUE_BYTES_MAX = 64;
/** Digits that two values have in common, from which on it is shorter to point at them. */
const COMMON_BYTES_MIN = 5;

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const BACKSLASH = 92;
const OPEN = 123;
const CLOSE = 125;

export class JsonBytes {
  #bytes: Buffer<ArrayBuffer> = NOTHING;
  #length = 0;
  /** Room that is made for what comes next: as much as the last piece had. */
  #bytesNext = BYTES_FIRST;
  /** The value written last and where it stands: series repeat themselves. NaN: none. */
  #last = Number.NaN;
  #lastAt = 0;
  #lastBytes = 0;
  readonly #repeats = new Repeats();
  /** Whether runs that stand before are noted: see `repeats`. */
  notesRepeats = false;
  #labelsAt = 0;
  #labelsEnd = 0;

  get length(): number {
    return this.#length;
  }

  /** What was written stands in bytes[0, length); stale after the next write. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Everything written so far, the caller's from now on. */
  take(): Buffer<ArrayBuffer> {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#bytesNext = Math.max(BYTES_FIRST, this.#bytes.length);
    this.#bytes = NOTHING;
    this.#length = 0;
    this.#last = Number.NaN;
    this.#labelsEnd = 0;
    return taken;
  }

  /** Runs of what is written that stand before; undefined where none were noted. Good until clearRepeats(). */
  get repeats(): Repeats | undefined {
    return this.notesRepeats ? this.#repeats : undefined;
  }

  /** Goes with take(). */
  clearRepeats(): void {
    this.#repeats.clear();
  }

  text(text: string): void {
    this.#reserve(text.length * 3);
    const at = this.#length;
    const bytes = this.#bytes;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) {
        this.#length = at + bytes.write(text, at);
        return;
      }
      bytes[at + i] = code;
    }
    this.#length = at + text.length;
  }

  /** Copies source[start, end). */
  copy(source: Uint8Array, start: number, end: number): void {
    this.#reserve(end - start);
    copyShort(source, start, end, this.#bytes, this.#length);
    this.#length += end - start;
  }

  /** A sample's value, as formatValue. */
  value(value: number): void {
    this.#reserve(VALUE_BYTES_MAX);
    const at = this.#length;
    if (value === this.#last && value !== 0) {
      this.#length = copyShort(this.#bytes, this.#lastAt, this.#lastAt + this.#lastBytes, this.#bytes, at);
      if (this.notesRepeats) this.#noteValue(at, this.#lastBytes);
      this.#lastAt = at;
      return;
    }
    const end = putValue(this.#bytes, at, value);
    if (end > at) this.#length = end;
    else this.text(formatValue(value));
    if (this.notesRepeats) this.#noteValue(at, Number.isNaN(this.#last) ? 0 : this.#lastBytes);
    this.#last = value;
    this.#lastAt = at;
    this.#lastBytes = this.#length - at;
  }

  /** Notes what the value at `at` has in common with the one before, which has so many bytes. */
  #noteValue(at: number, lastBytes: number): void {
    const bytes = this.#bytes;
    const last = this.#lastAt;
    if (
      lastBytes < COMMON_BYTES_MIN ||
      bytes[last + COMMON_BYTES_MIN - 1] !== bytes[at + COMMON_BYTES_MIN - 1]
    )
      return;
    const common = commonBytes(bytes, last, at, Math.min(this.#length, at + lastBytes));
    if (common >= COMMON_BYTES_MIN) this.#repeats.add(at, common, at - last);
  }

  /** Notes what label sets that were written one after the other have in common, at their beginning and at their end. */
  #noteLabels(at: number): void {
    const bytes = this.#bytes;
    const end = this.#length;
    const distance = at - this.#labelsAt;
    if (this.#labelsEnd > 0 && distance <= DISTANCE_MAX) {
      const length = Math.min(end - at, this.#labelsEnd - this.#labelsAt);
      const first = commonBytes(bytes, this.#labelsAt, at, at + length);
      let last = 0;
      while (last < length - first && bytes[end - 1 - last] === bytes[this.#labelsEnd - 1 - last]) last++;
      this.#repeats.add(at, first, distance);
      if (last > 0) this.#repeats.add(end - last, last, end - this.#labelsEnd);
    }
    this.#labelsAt = at;
    this.#labelsEnd = end;
  }

  /** Canonical label bytes[start, end) as an object. */
  labels(bytes: Uint8Array, start: number, end: number): void {
    const reader = new ByteReader(bytes, start, end);
    const at = this.#length;
    this.#reserve(2);
    this.#bytes[this.#length++] = OPEN;
    for (let isFirst = true; reader.remaining > 0; isFirst = false) {
      if (!isFirst) this.#put(COMMA);
      this.#string(bytes, reader);
      this.#put(COLON);
      this.#string(bytes, reader);
    }
    this.#put(CLOSE);
    if (this.notesRepeats) this.#noteLabels(at);
  }

  /** The next string of the reader, quoted. */
  #string(bytes: Uint8Array, reader: ByteReader): void {
    const length = reader.varint();
    const from = reader.position;
    reader.skip(length);
    this.#reserve(length + 2);
    const own = this.#bytes;
    let at = this.#length;
    own[at++] = QUOTE;
    for (let i = from; i < from + length; i++) {
      const byte = bytes[i]!;
      if (byte < 32 || byte > 126 || byte === QUOTE || byte === BACKSLASH) {
        this.text(JSON.stringify(decodeUtf8(bytes, from, from + length)));
        return;
      }
      own[at++] = byte;
    }
    own[at++] = QUOTE;
    this.#length = at;
  }

  #put(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
  }

  #reserve(extra: number): void {
    const needed = this.#length + extra;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2, this.#bytesNext));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

/** How many of bytes[at, end) are those from `before` on. */
function commonBytes(bytes: Uint8Array, before: number, at: number, end: number): number {
  let i = at;
  while (i < end && bytes[i] === bytes[before + i - at]) i++;
  return i - at;
}

/** Copies a few bytes: for these a loop is faster than a call. Returns the position behind them. */
function copyShort(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  const count = end - start;
  if (count > 64) to.set(from.subarray(start, end), at);
  else for (let i = 0; i < count; i++) to[at + i] = from[start + i]!;
  return at + count;
}
