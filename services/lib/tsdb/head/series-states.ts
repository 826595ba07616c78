// Per-series state of a head: the open chunk's words and a little more, 48 bytes side by side in pages, so that an append
// touches one cache line or two and growing copies nothing.
import { XOR_STATE_WORDS } from '../chunk/xor-appender.ts';

/** Words per series; even, since the chunk state has 64-bit fields. */
export const STATE_WORDS = XOR_STATE_WORDS + 4;
/** Word: slot of the open chunk, or NO_SLOT. */
export const SLOT = XOR_STATE_WORDS;
/** Word: log segment of the last append; 0 before the first. */
export const LAST_SEGMENT = XOR_STATE_WORDS + 1;
/** Word: partition. */
export const PARTITION = XOR_STATE_WORDS + 2;
/** Word: bit 0 once the log holds the series' definition; from bit SLOT_CLASS_SHIFT on, 1 + the class of slot that its last full chunk took. */
export const LOGGED = XOR_STATE_WORDS + 3;

export const SLOT_CLASS_SHIFT = 8;

const SERIES_PER_PAGE = 8192;
export const PAGE_SHIFT = 13;
export const PAGE_MASK = SERIES_PER_PAGE - 1;

export class SeriesStates {
  readonly words: Uint32Array[] = [];
  /** The same memory as 64-bit floats. */
  readonly times: Float64Array[] = [];

  get bytesHeld(): number {
    return this.words.length * SERIES_PER_PAGE * STATE_WORDS * 4;
  }

  /** Makes the state of series `id` that of a series without samples. */
  reset(id: number, partition: number): void {
    while (id >>> PAGE_SHIFT >= this.words.length) {
      const words = new Uint32Array(SERIES_PER_PAGE * STATE_WORDS);
      this.words.push(words);
      this.times.push(new Float64Array(words.buffer));
    }
    const words = this.words[id >>> PAGE_SHIFT]!;
    const base = (id & PAGE_MASK) * STATE_WORDS;
    words.fill(0, base, base + STATE_WORDS);
    words[base + PARTITION] = partition;
    this.times[id >>> PAGE_SHIFT]![base >>> 1] = Number.NEGATIVE_INFINITY;
  }

  word(id: number, word: number): number {
    return this.words[id >>> PAGE_SHIFT]![(id & PAGE_MASK) * STATE_WORDS + word]!;
  }

  setWord(id: number, word: number, value: number): void {
    this.words[id >>> PAGE_SHIFT]![(id & PAGE_MASK) * STATE_WORDS + word] = value;
  }

  /** Time of the newest in-order sample, Unix ms; -Infinity before the first. */
  lastMs(id: number): number {
    return this.times[id >>> PAGE_SHIFT]![((id & PAGE_MASK) * STATE_WORDS) >>> 1]!;
  }
}
