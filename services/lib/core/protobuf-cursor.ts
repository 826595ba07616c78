// Walks protobuf fields in place: tags, lengths, varints and the skipping of unknown fields, each bounded by the message
// that holds it. Decoders of hot messages inline the common cases and come here for the rest.
import { AppError } from './errors.ts';

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
const WIRE_GROUP_START = 3;
const WIRE_GROUP_END = 4;
const WIRE_FIXED32 = 5;

/** Groups nest no deeper than protobuf's own parsers allow. */
const GROUP_DEPTH_MAX = 100;
const VARINT_BYTES_MAX = 10;
const TWO_32 = 4294967296;

/** A position in a message. `at` moves forward only; every reader throws `bad_data` at the offset that is wrong. */
export class ProtobufCursor {
  /** What is being walked, for messages: "remote write request". */
  readonly subject: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at: number;
  /** End of the message that is being walked. */
  end: number;
  #low = 0;
  #high = 0;

  constructor(subject: string, bytes: Uint8Array, start: number, end: number) {
    this.subject = subject;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = start;
    this.end = end;
  }

  /** The next tag: field number × 8 + wire type. */
  tag(): number {
    const start = this.at;
    const tag = this.uint32();
    if (tag >>> 3 === 0) throw this.malformed('field number 0', start);
    return tag;
  }

  /** A varint cut to 32 bits, as protobuf does with an over-long one. */
  uint32(): number {
    const start = this.at;
    let value = 0;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      if (this.at >= this.end) throw this.malformed('a varint is truncated', start);
      const byte = this.bytes[this.at++]!;
      if (i < 5) value |= (byte & 127) << (7 * i);
      if (byte < 128) return value >>> 0;
    }
    throw this.malformed('a varint is longer than 10 bytes', start);
  }

  /** A signed 64-bit varint (int64) as a double: exact up to ± 2^53, rounded beyond. */
  int64(): number {
    this.#varint64();
    return this.#high * TWO_32 + (this.#low >>> 0);
  }

  /** An unsigned 64-bit varint (uint64) as a double: exact up to 2^53, rounded beyond. */
  uint64(): number {
    this.#varint64();
    return (this.#high >>> 0) * TWO_32 + (this.#low >>> 0);
  }

  /** A zigzag varint of 32 bits (sint32). */
  sint32(): number {
    const value = this.uint32();
    return (value >>> 1) ^ -(value & 1);
  }

  /** A zigzag varint of 64 bits (sint64) as a double: exact up to ± 2^53, rounded beyond. */
  sint64(): number {
    this.#varint64();
    const negative = this.#low & 1;
    const half = (this.#high >>> 1) * TWO_32 + (((this.#low >>> 1) | (this.#high << 31)) >>> 0);
    return negative === 0 ? half : -half - 1;
  }

  /** A double whose NaN payload does not matter; where it does, read the words at `fixed64()`. */
  double(): number {
    return this.view.getFloat64(this.fixed64(), true);
  }

  /** Reads up to 10 bytes into the two words. */
  #varint64(): void {
    const start = this.at;
    let low = 0;
    let high = 0;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      if (this.at >= this.end) throw this.malformed('a varint is truncated', start);
      const byte = this.bytes[this.at++]!;
      const bits = byte & 127;
      if (i < 4) low |= bits << (7 * i);
      else if (i === 4) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else high |= bits << (7 * i - 32);
      if (byte < 128) {
        this.#low = low;
        this.#high = high | 0;
        return;
      }
    }
    throw this.malformed('a varint is longer than 10 bytes', start);
  }

  /** Reads a length; returns the end of what it measures, which lies within this message. */
  lengthEnd(): number {
    const start = this.at;
    let length = 0;
    let factor = 1;
    for (let i = 0; ; i++) {
      if (this.at >= this.end) throw this.malformed('a length is truncated', start);
      const byte = this.bytes[this.at++]!;
      length += (byte & 127) * factor;
      if (byte < 128) break;
      if (i === VARINT_BYTES_MAX - 1) throw this.malformed('a length is longer than 10 bytes', start);
      factor *= 128;
    }
    if (length > this.end - this.at) {
      throw this.malformed(
        `a field of ${length} bytes passes its message, ${this.end - this.at} are left`,
        start,
      );
    }
    return this.at + length;
  }

  /** Moves over a fixed 64-bit value; returns where it starts. */
  fixed64(): number {
    const start = this.at;
    if (this.end - start < 8) throw this.malformed('a 64-bit value is truncated', start);
    this.at = start + 8;
    return start;
  }

  /** Moves over the value of a field that nobody here knows. */
  skip(tag: number): void {
    const start = this.at;
    let depth = 0;
    let next = tag;
    const open: number[] = [];
    for (;;) {
      const wireType = next & 7;
      if (wireType === WIRE_VARINT) this.int64();
      else if (wireType === WIRE_FIXED64) this.fixed64();
      else if (wireType === WIRE_BYTES) this.at = this.lengthEnd();
      else if (wireType === WIRE_FIXED32) {
        if (this.end - this.at < 4) throw this.malformed('a 32-bit value is truncated', this.at);
        this.at += 4;
      } else if (wireType === WIRE_GROUP_START) {
        if (++depth > GROUP_DEPTH_MAX)
          throw this.malformed(`groups nest deeper than ${GROUP_DEPTH_MAX}`, start);
        open.push(next >>> 3);
      } else if (wireType === WIRE_GROUP_END) {
        if (depth === 0 || open.pop() !== next >>> 3)
          throw this.malformed('a group ends that did not start', start);
        depth--;
      } else throw this.malformed(`wire type ${wireType}`, start);
      if (depth === 0) return;
      next = this.tag();
    }
  }

  /** The complaint about a known field that came with another wire type than its own. */
  wrongWireType(tag: number, field: string): AppError {
    return this.malformed(`${field} with wire type ${tag & 7}`, this.at);
  }

  /** What everything malformed is refused with. Offsets count the bytes of the whole message, decompressed. */
  malformed(what: string, offset: number): AppError {
    return new AppError('bad_data', `malformed ${this.subject}: ${what} (at offset ${offset})`);
  }
}
