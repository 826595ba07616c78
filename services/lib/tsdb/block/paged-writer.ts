// A section under construction: a stream of raw bytes, cut into pages of equal raw size.
import type { Hash } from 'node:crypto';
import { ByteWriter } from '../../core/bytes.ts';
import { encodePage } from './page-codec.ts';

/** Where the pages of a finished section are: what the directory says of it. */
export interface SectionTable {
  readonly rawBytes: number;
  /** Raw bytes of every page but the last. */
  readonly pageBytes: number;
  /** Bytes of each page in the file, page header included. */
  readonly storedBytes: readonly number[];
}

/** Write into `raw`, then call `cut`; positions are offsets in the stream of raw bytes. */
export class PagedWriter {
  readonly raw: ByteWriter;
  readonly #pageBytes: number;
  readonly #emit: (page: Uint8Array<ArrayBuffer>) => void;
  readonly #hash: Hash | undefined;
  readonly #storedBytes: number[] = [];
  #cutBytes = 0;

  /** @param hash  Takes all raw bytes, in order. */
  constructor(pageBytes: number, emit: (page: Uint8Array<ArrayBuffer>) => void, hash?: Hash) {
    this.raw = new ByteWriter(pageBytes + 4096);
    this.#pageBytes = pageBytes;
    this.#emit = emit;
    this.#hash = hash;
  }

  /** Offset of the next byte. */
  get position(): number {
    return this.#cutBytes + this.raw.length;
  }

  /** Gives away the pages that are full; returns how many. */
  cut(): number {
    const { raw } = this;
    if (raw.length < this.#pageBytes) return 0;
    let at = 0;
    let count = 0;
    for (; raw.length - at >= this.#pageBytes; at += this.#pageBytes, count++) {
      this.#page(raw.bytes.subarray(at, at + this.#pageBytes));
    }
    raw.bytes.copyWithin(0, at, raw.length);
    raw.length -= at;
    return count;
  }

  finish(): SectionTable {
    this.cut();
    if (this.raw.length > 0) this.#page(this.raw.bytes.subarray(0, this.raw.length));
    this.raw.reset();
    return { rawBytes: this.#cutBytes, pageBytes: this.#pageBytes, storedBytes: this.#storedBytes };
  }

  #page(raw: Uint8Array): void {
    this.#hash?.update(raw);
    const page = encodePage(raw);
    this.#storedBytes.push(page.length);
    this.#cutBytes += raw.length;
    this.#emit(page);
  }
}
