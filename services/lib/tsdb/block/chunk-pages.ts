// Reads chunk pages from wherever a block's chunks are: neighbours with one positioned read, each checked and expanded. Selects keep them
// for each other in a cache; what reads a block through does not.
import { rawBytesOfPage, type SectionMap } from './block-directory.ts';
import type { ChunkSource } from './chunk-source.ts';
import type { SectionPages } from './page-cache.ts';
import { CorruptBlockError, corruptBlock, decodePage } from './page-codec.ts';

/** A hole between wanted pages that is read over rather than skipped: a read costs more than these bytes. */
const GAP_BYTES_MAX = 64 * 1024;
/** Bytes of one read at most. */
const READ_BYTES_MAX = 1 << 20;

export class ChunkPages {
  readonly #source: ChunkSource;
  readonly #map: SectionMap;
  readonly #where: string;
  readonly #signal: AbortSignal | undefined;
  readonly #cache: SectionPages | undefined;
  /** Expanded pages of the current batch. */
  #pages = new Map<number, Uint8Array>();
  #joined = new Uint8Array(0);

  /**
   * @param how.signal  Ends reads that wait for an answer.
   * @param how.cache   Pages that were read before, and are to be kept.
   */
  constructor(
    source: ChunkSource,
    map: SectionMap,
    where: string,
    how: { readonly signal?: AbortSignal | undefined; readonly cache?: SectionPages | undefined } = {},
  ) {
    this.#source = source;
    this.#map = map;
    this.#where = where;
    this.#signal = how.signal;
    this.#cache = how.cache;
  }

  /** First and last page of a range of the section. */
  pageOf(position: number): number {
    return Math.floor(position / this.#map.pageBytes);
  }

  get pageBytes(): number {
    return this.#map.pageBytes;
  }

  get rawBytes(): number {
    return this.#map.rawBytes;
  }

  /**
   * Makes `wanted` (ascending, each once) the pages that `locate` can use; those already there are kept, others dropped.
   *
   * @throws CorruptBlockError when a page is damaged or missing; what the source throws.
   */
  async load(wanted: readonly number[]): Promise<void> {
    const kept = new Map<number, Uint8Array>();
    const missing: number[] = [];
    for (const page of wanted) {
      const raw = this.#pages.get(page) ?? this.#cache?.get(page);
      if (raw === undefined) missing.push(page);
      else kept.set(page, raw);
    }
    this.#pages = kept;
    let at = 0;
    const readNext = async (): Promise<void> => {
      while (at < missing.length) {
        const run = missing.slice(at, this.#endOfRun(missing, at));
        at += run.length;
        await this.#readRun(run);
      }
    };
    const { readsAtOnce } = this.#source;
    if (readsAtOnce === 1) await readNext();
    else await settleAll(Array.from({ length: readsAtOnce }, readNext));
  }

  /** Calls `use` with the bytes of a chunk, valid during the call. Its pages were loaded. */
  withChunk(
    position: number,
    length: number,
    use: (bytes: Uint8Array, start: number, end: number) => void,
  ): void {
    const { pageBytes } = this.#map;
    const page = this.pageOf(position);
    const inPage = position - page * pageBytes;
    if (inPage + length <= pageBytes) {
      use(this.#loaded(page), inPage, inPage + length);
      return;
    }
    if (this.#joined.length < length) this.#joined = new Uint8Array(length * 2);
    for (let at = 0; at < length; ) {
      const here = this.pageOf(position + at);
      const from = position + at - here * pageBytes;
      const piece = this.#loaded(here).subarray(from, from + length - at);
      this.#joined.set(piece, at);
      at += piece.length;
    }
    use(this.#joined, 0, length);
  }

  #loaded(page: number): Uint8Array {
    const raw = this.#pages.get(page);
    if (raw === undefined) throw corruptBlock(this.#where, `page ${page} was not loaded`);
    return raw;
  }

  #endOfRun(pages: readonly number[], from: number): number {
    const { offsets } = this.#map;
    const start = offsets[pages[from]!]!;
    let end = from + 1;
    while (end < pages.length) {
      const gap = offsets[pages[end]!]! - offsets[pages[end - 1]! + 1]!;
      if (gap > GAP_BYTES_MAX || offsets[pages[end]! + 1]! - start > READ_BYTES_MAX) break;
      end++;
    }
    return end;
  }

  async #readRun(pages: readonly number[]): Promise<void> {
    try {
      await this.#readOnce(pages);
    } catch (caught) {
      if (!(caught instanceof CorruptBlockError)) throw caught;
      const { offsets } = this.#map;
      const end = offsets[pages[pages.length - 1]! + 1]!;
      if (!(await this.#source.distrust(offsets[pages[0]!]!, end))) throw caught;
      await this.#readOnce(pages);
    }
  }

  async #readOnce(pages: readonly number[]): Promise<void> {
    const { offsets } = this.#map;
    const start = offsets[pages[0]!]!;
    const bytes = new Uint8Array(offsets[pages[pages.length - 1]! + 1]! - start);
    const count = await this.#source.read(bytes, start, this.#signal);
    if (count < bytes.length)
      throw new CorruptBlockError(`${this.#where} is corrupt: it ends at ${start + count}`);
    for (const page of pages) {
      const where = `${this.#where}, page ${page}`;
      const rawBytes = rawBytesOfPage(this.#map, page);
      const raw = decodePage(bytes, offsets[page]! - start, offsets[page + 1]! - start, rawBytes, where);
      this.#pages.set(page, raw);
      this.#cache?.put(page, raw);
    }
  }
}

/** Waits for all of them, so that none goes on behind the caller's back; then fails as the first that failed. */
async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work))
    if (outcome.status === 'rejected') throw outcome.reason;
}
