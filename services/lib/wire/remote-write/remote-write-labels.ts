// The slow path of a series that is not in the cache: its label pairs as ranges of bytes, sorted and written as canonical
// label bytes (model/labels.ts). What makes labels acceptable is the distributor's business, not this file's.
import { isUtf8 } from 'node:buffer';
import { ByteWriter } from '../../core/bytes.ts';
import { type ProtobufCursor, WIRE_BYTES } from '../../core/protobuf-cursor.ts';

/** Words of a pair: start and end of the name, start and end of the value. */
const PAIR_WORDS = 4;

/** Label pairs of one series, as ranges of a request's bytes; reused from series to series. */
export class RemoteWriteLabels {
  /** Pairs in use. */
  count = 0;
  #ranges = new Uint32Array(64 * PAIR_WORDS);
  readonly #order: number[] = [];
  readonly #canonical = new ByteWriter(1024);

  clear(): void {
    this.count = 0;
  }

  /** Adds a pair. An empty value is the same as no label, as Prometheus has it, and is left out. */
  add(nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): void {
    if (valueStart === valueEnd) return;
    const at = this.count * PAIR_WORDS;
    if (at === this.#ranges.length) {
      const grown = new Uint32Array(this.#ranges.length * 2);
      grown.set(this.#ranges);
      this.#ranges = grown;
    }
    this.#ranges[at] = nameStart;
    this.#ranges[at + 1] = nameEnd;
    this.#ranges[at + 2] = valueStart;
    this.#ranges[at + 3] = valueEnd;
    this.count++;
  }

  /** Reads a `prometheus.Label` message, [cursor.at, end), and adds it. */
  addMessage(cursor: ProtobufCursor, end: number): void {
    const outer = cursor.end;
    cursor.end = end;
    let nameStart = 0;
    let nameEnd = 0;
    let valueStart = 0;
    let valueEnd = 0;
    while (cursor.at < end) {
      const tag = cursor.tag();
      const field = tag >>> 3;
      if (field !== 1 && field !== 2) {
        cursor.skip(tag);
        continue;
      }
      if ((tag & 7) !== WIRE_BYTES) throw cursor.wrongWireType(tag, 'Label.name or value');
      const fieldEnd = cursor.lengthEnd();
      if (field === 1) {
        nameStart = cursor.at;
        nameEnd = fieldEnd;
      } else {
        valueStart = cursor.at;
        valueEnd = fieldEnd;
      }
      cursor.at = fieldEnd;
    }
    cursor.end = outer;
    this.add(nameStart, nameEnd, valueStart, valueEnd);
  }

  /**
   * Writes the pairs in order of their names' bytes. Equal names stay, side by side, for the label rules to refuse.
   *
   * @returns The canonical bytes; valid until the next call.
   */
  encode(bytes: Uint8Array): ByteWriter {
    const order = this.#order;
    order.length = 0;
    let sorted = true;
    for (let i = 0; i < this.count; i++) {
      order.push(i);
      if (sorted && i > 0) sorted = this.#compare(bytes, i - 1, i) <= 0;
    }
    if (!sorted) order.sort((a, b) => this.#compare(bytes, a, b));
    const out = this.#canonical;
    out.reset();
    for (const pair of order) {
      const at = pair * PAIR_WORDS;
      putRange(out, bytes, this.#ranges[at]!, this.#ranges[at + 1]!);
      putRange(out, bytes, this.#ranges[at + 2]!, this.#ranges[at + 3]!);
    }
    return out;
  }

  /** Characters of all names and values, of valid UTF-8. */
  charactersIn(bytes: Uint8Array): number {
    let characters = 0;
    for (let word = 0; word < this.count * PAIR_WORDS; word += 2) {
      for (let i = this.#ranges[word]!; i < this.#ranges[word + 1]!; i++) {
        if ((bytes[i]! & 0xc0) !== 0x80) characters++;
      }
    }
    return characters;
  }

  /** True when all names and values are UTF-8. */
  isUtf8In(bytes: Uint8Array): boolean {
    for (let word = 0; word < this.count * PAIR_WORDS; word += 2) {
      if (!isUtf8(bytes.subarray(this.#ranges[word], this.#ranges[word + 1]))) return false;
    }
    return true;
  }

  /** True when a name occurs twice. Call after `encode`. */
  hasDuplicatesIn(bytes: Uint8Array): boolean {
    const order = this.#order;
    for (let i = 1; i < order.length; i++) {
      if (this.#compare(bytes, order[i - 1]!, order[i]!) === 0) return true;
    }
    return false;
  }

  #compare(bytes: Uint8Array, a: number, b: number): number {
    const aStart = this.#ranges[a * PAIR_WORDS]!;
    const bStart = this.#ranges[b * PAIR_WORDS]!;
    const aBytes = this.#ranges[a * PAIR_WORDS + 1]! - aStart;
    const bBytes = this.#ranges[b * PAIR_WORDS + 1]! - bStart;
    const shared = Math.min(aBytes, bBytes);
    for (let i = 0; i < shared; i++) {
      const difference = bytes[aStart + i]! - bytes[bStart + i]!;
      if (difference !== 0) return difference;
    }
    return aBytes - bBytes;
  }
}

function putRange(out: ByteWriter, bytes: Uint8Array, start: number, end: number): void {
  out.varint(end - start);
  out.raw(bytes, start, end);
}
