// A growing byte buffer and unsigned varints (LEB128): the base of every codec of ours.
// Numbers above 2^53 - 1 do not occur in our formats; varints are bounded accordingly.
import { AppError } from './errors.ts';

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });

/** Bytes of the longest varint that holds a number up to 2^53 - 1. */
export const VARINT_BYTES_MAX = 8;

/** Up to so many bytes a loop is cheaper than a view on them, which of a Buffer takes 300 ns: the labels of a series are fewer. */
const RAW_LOOP_BYTES_MAX = 256;

/** Appends to a buffer that doubles when full. `bytes` is valid up to `length`. */
export class ByteWriter {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  length = 0;

  constructor(capacityBytes = 1024) {
    this.bytes = new Uint8Array(capacityBytes);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Makes room for `extra` more bytes. Views on `bytes` taken before are stale afterwards. */
  reserve(extra: number): void {
    const needed = this.length + extra;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }

  u8(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  u16(value: number): void {
    this.reserve(2);
    this.view.setUint16(this.length, value, true);
    this.length += 2;
  }

  u32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, value, true);
    this.length += 4;
  }

  f64(value: number): void {
    this.reserve(8);
    this.view.setFloat64(this.length, value, true);
    this.length += 8;
  }

  varint(value: number): void {
    this.reserve(VARINT_BYTES_MAX);
    this.length = putVarint(this.bytes, this.length, value);
  }

  raw(source: Uint8Array, start = 0, end = source.length): void {
    const count = end - start;
    this.reserve(count);
    if (count <= RAW_LOOP_BYTES_MAX) copyBytes(this.bytes, this.length, source, start, end);
    else this.bytes.set(source.subarray(start, end), this.length);
    this.length += count;
  }

  /** As `raw`, from a buffer that there is a view of. */
  rawFrom(source: DataView, start: number, end: number): void {
    this.reserve(end - start);
    copyWords(this.view, this.length, source, start, end);
    this.length += end - start;
  }

  /** Length as varint, then UTF-8. */
  string(text: string): void {
    const room = text.length * 3;
    this.reserve(VARINT_BYTES_MAX + room);
    if (text.length < 128 && putAscii(this.bytes, this.length + 1, text)) {
      this.bytes[this.length] = text.length;
      this.length += 1 + text.length;
      return;
    }
    const encoded = utf8Encoder.encode(text);
    this.varint(encoded.length);
    this.raw(encoded);
  }

  /** Zero bytes up to the next multiple of `alignment`. */
  align(alignment: number): void {
    while (this.length % alignment !== 0) this.u8(0);
  }

  reset(): void {
    this.length = 0;
  }

  /** A copy of what was written, owned by the caller. */
  take(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length);
  }
}

/** Hot! */
function copyBytes(dst: Uint8Array, at: number, source: Uint8Array, start: number, end: number): void {
  const shift = at - start;
  for (let i = start; i < end; i++) dst[shift + i] = source[i]!;
}

/** Hot! Copies source[start, end) to dst[at, …), eight bytes at a time: V8 makes no object of a word that is only carried. */
export function copyWords(dst: DataView, at: number, source: DataView, start: number, end: number): void {
  const shift = at - start;
  let i = start;
  for (; i + 8 <= end; i += 8) dst.setBigUint64(shift + i, source.getBigUint64(i));
  for (; i < end; i++) dst.setUint8(shift + i, source.getUint8(i));
}

/** Writes a text of ASCII only; false when it is not, and then what stands at `at` means nothing. */
function putAscii(dst: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return false;
    dst[at + i] = code;
  }
  return true;
}

/** Writes `value` at `at`; returns the position behind it. The caller has made room for VARINT_BYTES_MAX. */
export function putVarint(dst: Uint8Array, at: number, value: number): number {
  let position = at;
  let large = value;
  // As 32-bit integers as soon as it fits: the remainder of a double is a call.
  while (large >= 0x80000000) {
    dst[position++] = (large >>> 0) | 128;
    large = Math.floor(large / 128);
  }
  let rest = large | 0;
  while (rest > 127) {
    dst[position++] = rest | 128;
    rest >>>= 7;
  }
  dst[position++] = rest;
  return position;
}

/** The unsigned number that stands for a signed one in a varint: 2n for n ≥ 0, −2n − 1 below. Exact within ±2^52. */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

/** The signed number of a zigzag code. */
export function unzigzag(code: number): number {
  return code % 2 === 0 ? code / 2 : -(code + 1) / 2;
}

/** Bytes that putVarint takes. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Reads a byte sequence front to back. Running over the end throws `bad_data`, never reads beside it. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  position: number;
  #view: DataView | undefined;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  /** Over all of `bytes`; made when it is first wanted: short-lived readers mostly read varints and text. */
  get view(): DataView {
    const { bytes } = this;
    this.#view ??= new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return this.#view;
  }

  get remaining(): number {
    return this.end - this.position;
  }

  #need(count: number): number {
    const at = this.position;
    if (count < 0 || at + count > this.end) {
      throw new AppError(
        'bad_data',
        `truncated: ${count} bytes wanted at offset ${at}, ${this.end - at} left`,
      );
    }
    this.position = at + count;
    return at;
  }

  u8(): number {
    return this.bytes[this.#need(1)]!;
  }

  u16(): number {
    return this.view.getUint16(this.#need(2), true);
  }

  u32(): number {
    return this.view.getUint32(this.#need(4), true);
  }

  f64(): number {
    return this.view.getFloat64(this.#need(8), true);
  }

  varint(): number {
    const at = this.position;
    // Nearly all of ours are lengths below 128.
    if (at < this.end && this.bytes[at]! < 128) {
      this.position = at + 1;
      return this.bytes[at]!;
    }
    let value = 0;
    let factor = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      const byte = this.u8();
      value += (byte & 127) * factor;
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      factor *= 128;
    }
    throw new AppError('bad_data', `varint over 2^53 - 1 at offset ${this.position}`);
  }

  /** Steps over `count` bytes. */
  skip(count: number): void {
    this.#need(count);
  }

  /** The next `count` bytes as a view; valid as long as the source is. */
  raw(count: number): Uint8Array {
    const at = this.#need(count);
    return this.bytes.subarray(at, at + count);
  }

  string(): string {
    const count = this.varint();
    return decodeUtf8(this.bytes, this.#need(count), this.position);
  }

  align(alignment: number): void {
    const over = this.position % alignment;
    if (over !== 0) this.#need(alignment - over);
  }
}

/** UTF-8 bytes as a string; short ASCII runs avoid the decoder's call overhead. */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= 24) {
    let text = '';
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      if (byte > 127) return utf8Decoder.decode(bytes.subarray(start, end));
      text += String.fromCharCode(byte);
    }
    return text;
  }
  return utf8Decoder.decode(bytes.subarray(start, end));
}

/** Each byte as a character: a key for maps, equal where the bytes are. */
export function decodeLatin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}

/** UTF-8 of a string. */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  return utf8Encoder.encode(text);
}

/** Negative, zero or positive as `a` sorts before, with or after `b`, byte by byte. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
