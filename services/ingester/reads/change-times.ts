// Which times of a tenant's samples were written to, and in what order: whoever keeps an answer over old times asks here whether it
// still holds. Only the last write of each minute is known, which is all that such a question needs.
import { assert } from '../../lib/core/assert.ts';

/** Times that count as one: what is asked about is hours and days long, and samples of the last minutes are not asked about. */
const BUCKET_MS = 60_000;
/** Buckets of a page, which knows the last write of them all. A power of two. */
const PAGE_BUCKETS = 64;
/** Pages in memory, 520 bytes each; beyond it buckets get wider. At first half a year's. */
const PAGES_MAX = 4096;

export class ChangeTimes {
  readonly #pagesMax: number;
  /** By number of the page: its buckets, and behind them the latest of these. */
  #pages = new Map<number, Float64Array>();
  #bucketMs = BUCKET_MS;
  #writes = 0;

  /** @param pagesMax  At least 2: times before and after 1970 are never of one page. */
  constructor(pagesMax = PAGES_MAX) {
    assert(pagesMax >= 2, `${pagesMax} pages are too few`);
    this.#pagesMax = pagesMax;
  }

  /**
   * Notes a write, before it is acknowledged.
   *
   * @param timestampsMs  Its samples' times, in [0, count).
   *
   * Cost: a comparison or two per sample, since samples of a write are mostly of one minute.
   */
  note(timestampsMs: Float64Array, count: number): void {
    if (count === 0) return;
    this.#writes++;
    let fromMs = 0;
    let toMs = 0;
    for (let i = 0; i < count; i++) {
      const timeMs = timestampsMs[i]!;
      if (timeMs >= fromMs && timeMs < toMs) continue;
      const bucket = this.#mark(timeMs);
      fromMs = bucket * this.#bucketMs;
      toMs = fromMs + this.#bucketMs;
    }
  }

  /** Notes that samples of a range, both ends inclusive, may have gone. */
  noteRange(minTimeMs: number, maxTimeMs: number): void {
    this.#writes++;
    for (let timeMs = minTimeMs; timeMs <= maxTimeMs; ) timeMs = (this.#mark(timeMs) + 1) * this.#bucketMs;
  }

  /** The number of the last write to a range, both ends inclusive; 0: there was none. Greater numbers are later. */
  lastIn(minTimeMs: number, maxTimeMs: number): number {
    let last = 0;
    const first = Math.floor(minTimeMs / this.#bucketMs);
    const end = Math.floor(maxTimeMs / this.#bucketMs);
    const firstPage = Math.floor(first / PAGE_BUCKETS);
    const endPage = Math.floor(end / PAGE_BUCKETS);
    // Whichever are fewer: those of the range, or those that there are.
    if (endPage - firstPage > this.#pages.size) {
      for (const number of this.#pages.keys())
        if (number >= firstPage && number <= endPage) last = Math.max(last, this.#lastOf(number, first, end));
      return last;
    }
    for (let number = firstPage; number <= endPage; number++)
      last = Math.max(last, this.#lastOf(number, first, end));
    return last;
  }

  /** The last write to those buckets of a page that are in [first, end]. */
  #lastOf(number: number, first: number, end: number): number {
    const page = this.#pages.get(number);
    if (page === undefined) return 0;
    const from = Math.max(0, first - number * PAGE_BUCKETS);
    const to = Math.min(PAGE_BUCKETS - 1, end - number * PAGE_BUCKETS);
    if (from === 0 && to === PAGE_BUCKETS - 1) return page[PAGE_BUCKETS]!;
    let last = 0;
    for (let i = from; i <= to; i++) last = Math.max(last, page[i]!);
    return last;
  }

  /** Marks the bucket of a time and answers its number. */
  #mark(timeMs: number): number {
    for (;;) {
      const bucket = Math.floor(timeMs / this.#bucketMs);
      const number = Math.floor(bucket / PAGE_BUCKETS);
      let page = this.#pages.get(number);
      if (page === undefined) {
        if (this.#pages.size >= this.#pagesMax) {
          this.#widen();
          continue;
        }
        page = new Float64Array(PAGE_BUCKETS + 1);
        this.#pages.set(number, page);
      }
      page[bucket - number * PAGE_BUCKETS] = this.#writes;
      page[PAGE_BUCKETS] = this.#writes;
      return bucket;
    }
  }

  /** Doubles the buckets: each has the later one of two. A range may seem changed by it that was not, never the other way round. */
  #widen(): void {
    const before = this.#pages;
    this.#pages = new Map();
    this.#bucketMs *= 2;
    for (const [number, page] of before) {
      const half = Math.floor(number / 2);
      let into = this.#pages.get(half);
      if (into === undefined) this.#pages.set(half, (into = new Float64Array(PAGE_BUCKETS + 1)));
      const offset = (number - 2 * half) * (PAGE_BUCKETS / 2);
      for (let i = 0; i < PAGE_BUCKETS; i += 2) {
        into[offset + i / 2] = Math.max(page[i]!, page[i + 1]!);
      }
      into[PAGE_BUCKETS] = Math.max(into[PAGE_BUCKETS]!, page[PAGE_BUCKETS]!);
    }
  }
}
