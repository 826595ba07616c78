// Reads the byte-aligned fields of a column chunk front to back. What is wrong with them is said as a corrupt chunk.
import { AppError } from '../../core/errors.ts';

/** A position in bytes[start, end). One per chunk: short-lived and small. */
export class ColumnCursor {
  readonly bytes: Uint8Array;
  readonly end: number;
  position: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.position;
  }

  /** @throws AppError `internal` behind the end. */
  u8(): number {
    if (this.position >= this.end) throw corruptColumns(`it ends at byte ${this.position}`);
    return this.bytes[this.position++]!;
  }

  /** 32 bits, little-endian, unsigned. */
  u32(): number {
    const at = this.skip(4);
    const { bytes } = this;
    return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  }

  /** An unsigned varint up to 2^53 - 1. */
  varint(): number {
    return this.#rest(0, 1);
  }

  /** A zigzag varint from -2^53 to 2^53 - 1. */
  zigzag(): number {
    const first = this.u8();
    const low = (first & 127) >>> 1;
    const magnitude = first < 128 ? low : this.#rest(low, 64);
    return (first & 1) === 0 ? magnitude : -magnitude - 1;
  }

  /** Skips `count` bytes; returns where they begin. */
  skip(count: number): number {
    const at = this.position;
    if (count > this.end - at) {
      throw corruptColumns(`${count} bytes wanted at byte ${at}, ${this.end - at} are left`);
    }
    this.position = at + count;
    return at;
  }

  #rest(low: number, lowFactor: number): number {
    let value = low;
    for (let factor = lowFactor; factor <= Number.MAX_SAFE_INTEGER; factor *= 128) {
      const byte = this.u8();
      value += (byte & 127) * factor;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw corruptColumns(`a varint beyond 2^53 at byte ${this.position}`);
  }
}

export function corruptColumns(reason: string): AppError {
  return new AppError('internal', `corrupt column chunk: ${reason}`);
}
