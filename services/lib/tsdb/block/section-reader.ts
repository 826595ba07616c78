// Reads ranges of an index section: pages come from the cache, or are read, checked and expanded. Reading is synchronous:
// a page is a few kilobytes of a file that the operating system mostly holds.
import { readSync } from 'node:fs';
import { ByteReader } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { rawBytesOfPage, type SectionMap } from './block-directory.ts';
import type { PageCache } from './page-cache.ts';
import { corruptBlock, decodePage } from './page-codec.ts';

export class SectionReader {
  readonly map: SectionMap;
  /** For messages: file and section. */
  readonly where: string;
  readonly #fd: number;
  readonly #cache: PageCache;
  readonly #owner: number;

  constructor(options: {
    readonly map: SectionMap;
    readonly where: string;
    readonly fd: number;
    readonly cache: PageCache;
    readonly owner: number;
  }) {
    this.map = options.map;
    this.where = options.where;
    this.#fd = options.fd;
    this.#cache = options.cache;
    this.#owner = options.owner;
  }

  /**
   * Raw bytes [start, start + length) of the section: a view of a page, or a copy where pages meet. Not to be changed.
   *
   * @throws CorruptBlockError when a page is damaged, or the range is outside the section.
   */
  slice(start: number, length: number): Uint8Array {
    const { pageBytes, rawBytes } = this.map;
    if (!(start >= 0 && length >= 0 && start + length <= rawBytes)) {
      throw corruptBlock(this.where, `bytes ${start} … ${start + length} asked of ${rawBytes}`);
    }
    const page = Math.floor(start / pageBytes);
    const inPage = start - page * pageBytes;
    if (length === 0) return new Uint8Array(0);
    if (inPage + length <= pageBytes) return this.#page(page).subarray(inPage, inPage + length);
    const out = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const here = Math.floor((start + at) / pageBytes);
      const from = start + at - here * pageBytes;
      const piece = this.#page(here).subarray(from, from + length - at);
      out.set(piece, at);
      at += piece.length;
    }
    return out;
  }

  /** Runs a decoder over a range. Whatever it finds wrong, and bytes that it leaves, make the block corrupt. */
  decode<T>(start: number, length: number, decoder: (reader: ByteReader) => T): T {
    const reader = new ByteReader(this.slice(start, length));
    let decoded: T;
    try {
      decoded = decoder(reader);
    } catch (cause) {
      if (cause instanceof AppError && cause.code === 'bad_data') {
        throw corruptBlock(this.where, `bytes ${start} … ${start + length}: ${cause.message}`, cause);
      }
      throw cause;
    }
    if (reader.remaining > 0) throw corruptBlock(this.where, `${reader.remaining} bytes left at ${start}`);
    return decoded;
  }

  #page(page: number): Uint8Array {
    const { map } = this;
    const cached = this.#cache.get(this.#owner, map.number, page);
    if (cached !== undefined) return cached;
    const start = map.offsets[page]!;
    const stored = new Uint8Array(map.offsets[page + 1]! - start);
    const got = readSync(this.#fd, stored, 0, stored.length, start);
    const where = `${this.where}, page ${page}`;
    if (got !== stored.length) throw corruptBlock(where, `${got} of ${stored.length} bytes are there`);
    const raw = decodePage(stored, 0, stored.length, rawBytesOfPage(map, page), where);
    this.#cache.put(this.#owner, map.number, page, raw);
    return raw;
  }
}
