// Labels that tell the members of a highly available pair apart (`prometheus_replica`, `__replica__`): found in and taken out of
// canonical label bytes (labels.ts), without making strings of what stays.
import { type ByteWriter, decodeUtf8, encodeUtf8 } from '../core/bytes.ts';

/** Longer names are not looked for by their length alone. */
const LENGTHS = 256;

export class ReplicaLabels {
  readonly #names: readonly Uint8Array[];
  /** By length of a name: whether any has it. Most labels are passed by this. */
  readonly #hasLength = new Uint8Array(LENGTHS);
  /** Where a varint read last ends. */
  #at = 0;

  /** @param names  Label names, in any order; none: nothing is ever found. */
  constructor(names: readonly string[]) {
    this.#names = names.map((name) => encodeUtf8(name));
    for (const { length } of this.#names) this.#hasLength[Math.min(length, LENGTHS - 1)] = 1;
  }

  /** Whether the label set in bytes[start, end) has one of the labels. Malformed bytes have some answer. Cost: a look per label. */
  isIn(bytes: Uint8Array, start: number, end: number): boolean {
    for (let at = start; at < end; ) {
      const length = this.#length(bytes, at);
      const nameAt = this.#at;
      if (this.#isOne(bytes, nameAt, length)) return true;
      const valueLength = this.#length(bytes, nameAt + length);
      at = this.#at + valueLength;
    }
    return false;
  }

  /**
   * Appends the label set in bytes[start, end), which was checked, to `into` without the labels.
   *
   * @returns Their values, a text that is the same for the same values.
   */
  strip(bytes: Uint8Array, start: number, end: number, into: ByteWriter): string {
    let values = '';
    for (let at = start; at < end; ) {
      const length = this.#length(bytes, at);
      const nameAt = this.#at;
      const valueLength = this.#length(bytes, nameAt + length);
      const next = this.#at + valueLength;
      if (this.#isOne(bytes, nameAt, length)) values += `${decodeUtf8(bytes, this.#at, next)}\0`;
      else into.raw(bytes, at, next);
      at = next;
    }
    return values;
  }

  #isOne(bytes: Uint8Array, at: number, length: number): boolean {
    if (this.#hasLength[Math.min(length, LENGTHS - 1)] === 0) return false;
    return this.#names.some(
      (name) => name.length === length && name.every((byte, i) => bytes[at + i] === byte),
    );
  }

  /** The varint at `at`; `#at` is then behind it. */
  #length(bytes: Uint8Array, at: number): number {
    let position = at;
    let byte = bytes[position++] ?? 0;
    let length = byte & 127;
    for (let factor = 128; byte > 127; factor *= 128) {
      byte = bytes[position++] ?? 0;
      length += (byte & 127) * factor;
    }
    this.#at = position;
    return length;
  }
}
