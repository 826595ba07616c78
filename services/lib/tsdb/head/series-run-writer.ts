// Puts series of a head into runs (model/series-run.ts): a dozen numbers for each, and a copy of its open chunk.
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import type { NewPages, RunHold, RunRange, SeriesRun } from '../../model/series-run.ts';
import type { ChunkChains } from './chunk-chains.ts';
import { grownF64, grownU32 } from './columns.ts';
import type { LabelIndex } from './label-index.ts';

/** A run is ready at about this size: its reader works on it while the next one is filled. */
const RUN_BYTES_TARGET = 1 << 18;
/** Words of a series beside its pairs and ranges. */
const SERIES_WORDS = 3;
/**
 * Of fewer series copies cost little: with runs a `sum(rate())` over 880 takes 0.87 of the CPU, a join of two over 200 each 0.92. Each page
 * of a range that a thread is told of costs as much as some series.
 */
const RUN_SERIES_MIN = 64;
const SERIES_PER_PAGE = 4;
/** What room is made for at first: a run of so many series, and of each so much. */
const FIRST_SERIES_MAX = 1024;
const FIRST_WORDS = 16;
const FIRST_OPEN_BYTES = 128;

/** What was told of a list of pages. */
class ToldPages<Page> {
  #count = 0;
  #last: Page | undefined;

  /** What is new of it: more pages, and another one in the place of the last. */
  next(pages: readonly Page[]): NewPages<Page> {
    const from = this.#count > 0 && pages[this.#count - 1] !== this.#last ? this.#count - 1 : this.#count;
    this.#count = pages.length;
    this.#last = pages[pages.length - 1];
    return { from, pages: pages.slice(from) };
  }
}

interface KnownRange {
  readonly chains: ChunkChains;
  readonly known: ToldPages<Uint32Array<SharedArrayBuffer>>;
  readonly bytes: ToldPages<Uint8Array<SharedArrayBuffer>>;
  /** Some series of the run under way has chunks there. */
  isNamed: boolean;
}

/** The runs of one selection. Holds the ranges that they refer to until it is released. */
export class SeriesRunWriter implements RunHold {
  readonly #minTimeMs: number;
  readonly #maxTimeMs: number;
  #index: LabelIndex | undefined;
  readonly #places = new ToldPages<Uint32Array<SharedArrayBuffer>>();
  readonly #bytes = new ToldPages<Uint8Array<SharedArrayBuffer>>();
  readonly #ranges: KnownRange[] = [];
  readonly #numbers = new Map<ChunkChains, number>();
  #words: Uint32Array = new Uint32Array(0);
  #used = 0;
  /** Where the series under way begins, and the place of its number of ranges. */
  #seriesAt = 0;
  #rangesAt = 0;
  #open = new ByteWriter(0);
  #openTimesMs: Float64Array = new Float64Array(0);
  #openCount = 0;
  #openBytes = 0;
  #seriesCount = 0;
  #isReleased = false;

  readonly #seriesMin: number;

  /**
   * Of chunks that overlap [minTimeMs, maxTimeMs], Unix ms.
   *
   * @param seriesMin  Fewer series are not worth it.
   */
  constructor(minTimeMs: number, maxTimeMs: number, seriesMin = RUN_SERIES_MIN) {
    this.#minTimeMs = minTimeMs;
    this.#maxTimeMs = maxTimeMs;
    this.#seriesMin = seriesMin;
  }

  /** All series come from this index, about so many. */
  begin(index: LabelIndex, seriesCount: number): void {
    this.#index = index;
    const first = Math.min(seriesCount, FIRST_SERIES_MAX);
    this.#words = new Uint32Array(first * FIRST_WORDS);
    this.#open = new ByteWriter(first * FIRST_OPEN_BYTES);
    this.#openTimesMs = new Float64Array(2 * first);
  }

  /** Whether so many series are worth it. */
  isFor(seriesCount: number, ranges: readonly ChunkChains[]): boolean {
    const pages = ranges.reduce((sum, { bytePages }) => sum + bytePages.length, 0);
    return this.#seriesMin === 0 || seriesCount >= this.#seriesMin + pages * SERIES_PER_PAGE;
  }

  /** The number that a range has in these runs. It is held from now on. */
  numberOf(chains: ChunkChains): number {
    const known = this.#numbers.get(chains);
    if (known !== undefined) return known;
    if (this.#isReleased) throw new AppError('canceled', 'the query is over');
    chains.hold();
    const number = this.#ranges.length;
    this.#numbers.set(chains, number);
    this.#ranges.push({ chains, known: new ToldPages(), bytes: new ToldPages(), isNamed: false });
    return number;
  }

  /** Begins a series; it counts once `endSeries` was called. */
  beginSeries(id: number): void {
    const at = this.#seriesAt;
    const count = this.#index!.copyPairs(id, this.#words, at + 1);
    if (at + count + SERIES_WORDS > this.#words.length) {
      this.#words = grownU32(this.#words, at + count + SERIES_WORDS);
      this.beginSeries(id);
      return;
    }
    this.#words[at] = count;
    this.#rangesAt = at + 1 + count;
    this.#words[this.#rangesAt] = 0;
    this.#used = this.#rangesAt + 1;
    this.#openBytes = 0;
  }

  /** The series has chunks in a range, this one and older ones. */
  chain(range: number, newestChunk: number): void {
    if (this.#used + SERIES_WORDS > this.#words.length) {
      this.#words = grownU32(this.#words, this.#used + SERIES_WORDS);
    }
    this.#words[this.#used++] = range;
    this.#words[this.#used++] = newestChunk;
    this.#words[this.#rangesAt]!++;
    this.#ranges[range]!.isNamed = true;
  }

  /** Its open chunk, of which there is a copy from now on. */
  openChunk(page: DataView, start: number, end: number, firstMs: number, lastMs: number): void {
    const at = 2 * this.#openCount;
    this.#openTimesMs = grownF64(this.#openTimesMs, at + 2);
    this.#openTimesMs[at] = firstMs;
    this.#openTimesMs[at + 1] = lastMs;
    this.#open.rawFrom(page, start, end);
    this.#openBytes = end - start;
    this.#openCount++;
  }

  /** The series is whole. */
  endSeries(): void {
    this.#words[this.#used++] = this.#openBytes;
    this.#seriesAt = this.#used;
    this.#seriesCount++;
  }

  /** The series under way is none of these after all. */
  dropSeries(): void {
    if (this.#openBytes === 0) return;
    this.#open.length -= this.#openBytes;
    this.#openCount--;
  }

  /** The series so far as a run, once they are enough. @param isLast  However few they are. */
  take(isLast: boolean): SeriesRun | undefined {
    const bytes = this.#seriesAt * 4 + this.#open.length;
    if (this.#seriesCount === 0 || (!isLast && bytes < RUN_BYTES_TARGET)) return undefined;
    const pairs = this.#index!.pairs;
    const run: SeriesRun = {
      seriesCount: this.#seriesCount,
      minTimeMs: this.#minTimeMs,
      maxTimeMs: this.#maxTimeMs,
      words: this.#words.slice(0, this.#seriesAt),
      open: this.#open.take(),
      openTimesMs: this.#openTimesMs.slice(0, 2 * this.#openCount),
      pairPlaces: this.#places.next(pairs.placePages),
      pairBytes: this.#bytes.next(pairs.bytePages),
      ranges: this.#takeRanges(),
    };
    this.#seriesAt = 0;
    this.#seriesCount = 0;
    this.#open.reset();
    this.#openCount = 0;
    return run;
  }

  #takeRanges(): RunRange[] {
    const ranges: RunRange[] = [];
    for (const [range, told] of this.#ranges.entries()) {
      if (!told.isNamed) continue;
      told.isNamed = false;
      const { startMs, endMs, chunksPerSeries, knownPages, bytePages } = told.chains;
      const pages = { known: told.known.next(knownPages), bytes: told.bytes.next(bytePages) };
      ranges.push({ range, startMs, endMs, chunksPerSeries, ...pages });
    }
    return ranges;
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    for (const { chains } of this.#ranges) chains.letGo();
  }
}
