// The time ranges of a head: those that take samples, by their start, and those that are frozen, by their generation.
import { assert } from '../../core/assert.ts';
import { AppError } from '../../core/errors.ts';
import { PagePool } from './page-pool.ts';
import { RangeChunks } from './range-chunks.ts';

export interface HeadRangesOptions {
  /** Length of the aligned ranges. */
  readonly rangeMs: number;
  readonly chunkSamplesTarget: number;
}

export class HeadRanges {
  readonly #options: HeadRangesOptions;
  /** Start of a range → the range that takes samples. */
  readonly #open = new Map<number, RangeChunks>();
  /** Of all ranges' chunks. */
  readonly pool = new PagePool();
  /** Generation → range that takes no more samples, until it is dropped. */
  readonly #frozen = new Map<number, RangeChunks>();
  /** The open range looked up last. */
  last: RangeChunks | undefined;

  constructor(options: HeadRangesOptions) {
    this.#options = options;
  }

  /** All ranges, frozen ones too. */
  *all(): Generator<RangeChunks> {
    yield* this.#frozen.values();
    yield* this.#open.values();
  }

  frozen(): RangeChunks[] {
    return [...this.#frozen.values()];
  }

  /** The open range that starts at `startMs`. */
  openAt(startMs: number): RangeChunks | undefined {
    return this.#open.get(startMs);
  }

  /** Puts a range back, empty. @throws AppError `bad_data` when there is one in its place. */
  restore(startMs: number, firstSegment: number, generation: number): RangeChunks {
    const isTaken = generation === 0 ? this.#open.has(startMs) : this.#frozen.has(generation);
    if (isTaken || this.startOf(startMs) !== startMs) {
      throw new AppError('bad_data', `a range from ${startMs} of generation ${generation} has no place here`);
    }
    const range = this.#newRange(startMs, firstSegment);
    range.generation = generation;
    if (generation === 0) this.#open.set(startMs, range);
    else this.#frozen.set(generation, range);
    return range;
  }

  #newRange(startMs: number, firstSegment: number): RangeChunks {
    const { rangeMs, chunkSamplesTarget } = this.#options;
    const endMs = startMs + rangeMs;
    return new RangeChunks({ startMs, endMs, firstSegment, chunkSamplesTarget, pool: this.pool });
  }

  /** Start of the range that a time is in. */
  startOf(timeMs: number): number {
    return Math.floor(timeMs / this.#options.rangeMs) * this.#options.rangeMs;
  }

  /** The open range of a time, made when there is none. */
  of(timeMs: number, segment: number): RangeChunks {
    const last = this.last;
    if (last !== undefined && timeMs >= last.startMs && timeMs < last.endMs) return last;
    const startMs = this.startOf(timeMs);
    let range = this.#open.get(startMs);
    if (range === undefined) {
      range = this.#newRange(startMs, segment);
      this.#open.set(startMs, range);
    }
    this.last = range;
    return range;
  }

  /** Starts of the open ranges that end at or before `timeMs`, ascending. */
  closedStarts(timeMs: number): number[] {
    return [...this.#open.values()]
      .filter(({ endMs }) => endMs <= timeMs)
      .map(({ startMs }) => startMs)
      .sort((a, b) => a - b);
  }

  /**
   * Lets an open range take no more samples.
   *
   * @param generation  The caller's name for it, ≥ 1, never used before.
   */
  freeze(range: RangeChunks, generation: number): void {
    this.#open.delete(range.startMs);
    assert(generation > 0 && !this.#frozen.has(generation), `generation ${generation} is new`);
    range.generation = generation;
    this.#frozen.set(generation, range);
    if (this.last === range) this.last = undefined;
  }

  /** Forgets a frozen range: who does not hold it cannot read it any more. */
  drop(generation: number): void {
    const range = this.#frozen.get(generation);
    this.#frozen.delete(generation);
    range?.extras?.release();
    range?.letGo();
  }
}
