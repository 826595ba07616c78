// JSON text as bytes: sample values, times and label sets are written where they will be sent from. What is written is what
// number-format.ts and JSON.stringify write; a test compares them.
import { ByteReader, decodeUtf8 } from '../../lib/core/bytes.ts';
import { formatValue } from '../../lib/model/number-format.ts';
import { DoubleParts, putEightDigits, putShortest } from '../../lib/model/shortest-digits.ts';
import { DISTANCE_MAX, Repeats } from './repeats.ts';

const BYTES_FIRST = 4096;
/** Room that one value takes at most: sign, 17 digits, point, exponent; integers below 1e21 have 21 digits. */
const VALUE_BYTES_MAX = 32;
/** Decimal places that are tried before a value is printed digit by digit: what exporters round to. */
const PLACES = [2, 6] as const;
const POWERS = [100, 1e6] as const;
/** Up to this many units a decimal number is the shortest that gives its double: 15 digits always come back. */
const UNITS_MAX = 1e15;
/** Below, JavaScript and Go print an exponent. */
const DECIMAL_MIN = 1e-6;

/** Integers are written in halves of so many digits. */
const EIGHT_DIGITS = 1e8;

/** Digits that two values have in common, from which on it is shorter to point at them. */
const COMMON_BYTES_MIN = 5;

const QUOTE = 34;
const COMMA = 44;
const MINUS = 45;
const POINT = 46;
const ZERO = 48;
const COLON = 58;
const BACKSLASH = 92;
const OPEN = 123;
const CLOSE = 125;

export class JsonBytes {
  #bytes: Buffer<ArrayBuffer> = Buffer.allocUnsafeSlow(BYTES_FIRST);
  #length = 0;
  /** The value written last and where it stands: series repeat themselves. NaN: none. */
  #last = Number.NaN;
  #lastAt = 0;
  #lastBytes = 0;
  readonly #parts = new DoubleParts();
  readonly #repeats = new Repeats();
  /** Whether runs that stand before are noted: see takeRepeats(). */
  notesRepeats = false;
  /** How far back the text is written that goes on as this one may do; 0: none is known of. */
  alikeDistance = 0;
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
    this.#bytes = Buffer.allocUnsafeSlow(this.#bytes.length);
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

  /**
   * Copies source[start, end).
   *
   * @param repeated  So many of its first bytes were written `distance` bytes ago, maybe before the last take().
   */
  copy(source: Uint8Array, start: number, end: number, repeated = 0, distance = 0): void {
    this.#reserve(end - start);
    if (repeated > 0 && this.notesRepeats) this.#repeats.add(this.#length, repeated, distance);
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
    let end = putDecimal(this.#bytes, at, value);
    if (end === at) end = putShortest(this.#bytes, at, value, this.#parts);
    if (end > at) this.#length = end;
    else this.text(formatValue(value));
    if (this.notesRepeats) this.#noteValue(at, Number.isNaN(this.#last) ? 0 : this.#lastBytes);
    this.#last = value;
    this.#lastAt = at;
    this.#lastBytes = this.#length - at;
  }

  /** Notes what of the value at `at` stands in the text that is alike, or in the value before, which has so many bytes. */
  #noteValue(at: number, lastBytes: number): void {
    const bytes = this.#bytes;
    const end = this.#length;
    const distance = this.alikeDistance;
    const alikeAt = at - distance;
    // Mostly the last digits differ if anything does.
    if (
      distance > 0 &&
      alikeAt >= 0 &&
      bytes[end - 1] === bytes[end - 1 - distance] &&
      commonBytes(bytes, alikeAt, at, end) === end - at
    ) {
      this.#repeats.add(at, end - at, distance);
      return;
    }
    const last = this.#lastAt;
    if (
      lastBytes < COMMON_BYTES_MIN ||
      bytes[last + COMMON_BYTES_MIN - 1] !== bytes[at + COMMON_BYTES_MIN - 1]
    )
      return;
    const common = commonBytes(bytes, last, at, Math.min(end, at + lastBytes));
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
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2));
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

/**
 * Writes a value that is an integer or has few decimal places; returns the position behind it, or `at` when it is neither.
 */
function putDecimal(dst: Uint8Array, at: number, value: number): number {
  const magnitude = Math.abs(value);
  if (!(magnitude < UNITS_MAX) || (magnitude < DECIMAL_MIN && !(magnitude >= 1))) return at;
  let position = at;
  if (Math.floor(magnitude) === magnitude) {
    if (value < 0) dst[position++] = MINUS;
    return putInteger(dst, position, magnitude);
  }
  for (let i = 0; i < PLACES.length; i++) {
    const power = POWERS[i]!;
    const units = Math.round(magnitude * power);
    if (units >= UNITS_MAX || units / power !== magnitude) continue;
    if (value < 0) dst[position++] = MINUS;
    const whole = Math.floor(units / power);
    position = putInteger(dst, position, whole);
    dst[position++] = POINT;
    return putFraction(dst, position, units - whole * power, PLACES[i]!);
  }
  return at;
}

/** Digits of an integer from 0 to 1e15. */
function putInteger(dst: Uint8Array, at: number, value: number): number {
  if (value < EIGHT_DIGITS) return putSmall(dst, at, value | 0);
  const upper = Math.floor(value / EIGHT_DIGITS);
  const end = putSmall(dst, at, upper | 0);
  putEightDigits(dst, end, value - upper * EIGHT_DIGITS);
  return end + 8;
}

/** Digits of an integer below 1e8. */
function putSmall(dst: Uint8Array, at: number, value: number): number {
  let digits = 1;
  for (let power = 10; value >= power; power *= 10) digits++;
  let rest = value;
  for (let position = at + digits - 1; position >= at; position--) {
    const next = (rest / 10) | 0;
    dst[position] = ZERO + (rest - next * 10);
    rest = next;
  }
  return at + digits;
}

/** The places behind the point, without zeros at the end. `units` is not 0. */
function putFraction(dst: Uint8Array, at: number, units: number, places: number): number {
  let end = at + places;
  let rest = units | 0;
  for (let position = end - 1; position >= at; position--) {
    const next = (rest / 10) | 0;
    dst[position] = ZERO + (rest - next * 10);
    rest = next;
  }
  while (dst[end - 1] === ZERO) end--;
  return end;
}
