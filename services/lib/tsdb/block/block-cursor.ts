// Walks all series of an open block front to back with their chunks' bytes: what compaction, verification and dumps read.
// Memory: the pages of one series' chunks.
import type { ChunkPages } from './chunk-pages.ts';
import { corruptBlock } from './page-codec.ts';
import type { ChunkRows, SeriesWalker } from './series-walker.ts';
import { UNITS_PER_PAGE, type WorkPacer } from './work-pacer.ts';

/** Pages that are read ahead in one go: a megabyte of chunks. */
const PAGES_AHEAD = 16;

export class BlockCursor {
  readonly #walker: SeriesWalker;
  readonly #pages: ChunkPages;
  readonly #seriesCount: number;
  readonly #where: string;
  #next = 0;
  #firstLoaded = 0;
  #endLoaded = 0;

  constructor(parts: {
    readonly walker: SeriesWalker;
    readonly pages: ChunkPages;
    readonly seriesCount: number;
    readonly where: string;
  }) {
    this.#walker = parts.walker;
    this.#pages = parts.pages;
    this.#seriesCount = parts.seriesCount;
    this.#where = parts.where;
  }

  /** Canonical label bytes of the current series in labelBytes[0, labelLength); changed by the next `advance`. */
  get labelBytes(): Uint8Array {
    return this.#walker.labelBytes;
  }

  get labelLength(): number {
    return this.#walker.labelLength;
  }

  get partition(): number {
    return this.#walker.partition;
  }

  /** Chunks of the current series. */
  get chunks(): ChunkRows {
    return this.#walker.chunks;
  }

  /**
   * Goes to the next series; false behind the last.
   *
   * @throws CorruptBlockError when a page of the index is damaged.
   */
  advance(): boolean {
    if (this.#next >= this.#seriesCount) return false;
    this.#walker.seek(this.#next++);
    return true;
  }

  /**
   * Makes the bytes of the current series' chunks available to `withChunk`.
   *
   * @throws CorruptBlockError when a page of chunks is damaged, or a chunk lies outside its section.
   */
  async loadChunks(pacer: WorkPacer): Promise<void> {
    const { chunks } = this;
    if (chunks.count === 0) throw corruptBlock(this.#where, `series ${this.#next - 1} has no chunks`);
    for (let i = 0; i < chunks.count; i++) {
      if (chunks.bytes[i] === 0) throw corruptBlock(this.#where, `an empty chunk at ${chunks.positions[i]}`);
    }
    const last = chunks.count - 1;
    const start = chunks.positions[0]!;
    const end = chunks.positions[last]! + chunks.bytes[last]!;
    if (end > this.#pages.rawBytes) {
      throw corruptBlock(this.#where, `chunks at ${start} to ${end} of ${this.#pages.rawBytes}`);
    }
    const from = this.#pages.pageOf(start);
    const to = this.#pages.pageOf(end - 1) + 1;
    if (from >= this.#firstLoaded && to <= this.#endLoaded) return;
    const pageCount = Math.ceil(this.#pages.rawBytes / this.#pages.pageBytes);
    const wanted: number[] = [];
    for (let page = from; page < Math.min(pageCount, Math.max(to, from + PAGES_AHEAD)); page++)
      wanted.push(page);
    await this.#pages.load(wanted);
    this.#firstLoaded = from;
    this.#endLoaded = from + wanted.length;
    if (pacer.spend(wanted.length * UNITS_PER_PAGE * 0.2)) await pacer.pause();
  }

  /** Calls `use` with the bytes of chunk `index`, valid during the call. */
  withChunk(index: number, use: (bytes: Uint8Array, start: number, end: number) => void): void {
    const { chunks } = this;
    this.#pages.withChunk(chunks.positions[index]!, chunks.bytes[index]!, use);
  }
}
