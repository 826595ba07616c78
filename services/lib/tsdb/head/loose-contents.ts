// Pieces of bytes with a time, per series: histograms that are not packed yet, exemplars. The bytes stand in the head's slots and
// are given back one by one.
import { type ChunkSlots, slotClassFor, slotOffsetOf, slotPageOf } from './chunk-slots.ts';
import { ABSENT, grownF64, grownU32, U32Map } from './columns.ts';

/** One piece: bytes[start, end), valid during the call. */
export type ContentVisitor = (timeMs: number, bytes: Uint8Array, start: number, end: number) => void;

export class LooseContents {
  readonly #slots: ChunkSlots;
  /** Series → its newest piece, or ABSENT once its pieces are gone. */
  readonly #newest = new U32Map();
  #older: Uint32Array = new Uint32Array(16);
  /** Pieces of the series up to this one. */
  #ranks: Uint32Array = new Uint32Array(16);
  #slotOf: Uint32Array = new Uint32Array(16);
  #bytes: Uint32Array = new Uint32Array(16);
  #timesMs: Float64Array = new Float64Array(16);
  #end = 0;
  /** Places of pieces that are gone: a stack. */
  #free: Uint32Array = new Uint32Array(16);
  #freeCount = 0;

  constructor(slots: ChunkSlots) {
    this.#slots = slots;
  }

  /** Bytes of the columns; what the pieces take is the slots'. */
  get bytesHeld(): number {
    return this.#newest.bytesHeld + this.#older.length * 24 + this.#free.length * 4;
  }

  /** Pieces of all series. */
  get count(): number {
    return this.#end - this.#freeCount;
  }

  has(series: number): boolean {
    return this.#newest.get(series) !== ABSENT;
  }

  /** Pieces of a series. */
  countOf(series: number): number {
    const piece = this.#newest.get(series);
    return piece === ABSENT ? 0 : this.#ranks[piece]!;
  }

  /** Takes a copy of bytes[start, end), which fit the largest slot. */
  add(series: number, timeMs: number, bytes: Uint8Array, start: number, end: number): void {
    const slot = this.#slots.take(slotClassFor(end - start));
    this.#slots.pages[slotPageOf(slot)]!.set(bytes.subarray(start, end), slotOffsetOf(slot));
    const older = this.#newest.get(series);
    const piece = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#addPiece();
    this.#older[piece] = older;
    this.#ranks[piece] = older === ABSENT ? 1 : this.#ranks[older]! + 1;
    this.#slotOf[piece] = slot;
    this.#bytes[piece] = end - start;
    this.#timesMs[piece] = timeMs;
    this.#newest.set(series, piece);
  }

  /** Visits the pieces of a series, the last added first. */
  read(series: number, visit: ContentVisitor): void {
    for (let piece = this.#newest.get(series); piece !== ABSENT; piece = this.#older[piece]!) {
      const slot = this.#slotOf[piece]!;
      const start = slotOffsetOf(slot);
      const page = this.#slots.pages[slotPageOf(slot)]!;
      visit(this.#timesMs[piece]!, page, start, start + this.#bytes[piece]!);
    }
  }

  /** Lets all pieces of a series go. */
  clear(series: number): void {
    let piece = this.#newest.get(series);
    if (piece === ABSENT) return;
    this.#newest.set(series, ABSENT);
    for (; piece !== ABSENT; piece = this.#older[piece]!) {
      this.#slots.give(this.#slotOf[piece]!);
      this.#free = grownU32(this.#free, this.#freeCount + 1);
      this.#free[this.#freeCount++] = piece;
    }
  }

  /** Series with pieces, ascending. */
  seriesIds(): Uint32Array {
    return this.#newest.sortedKeys().filter((series) => this.has(series));
  }

  /** Lets everything go. */
  release(): void {
    for (const series of this.seriesIds()) this.clear(series);
  }

  #addPiece(): number {
    const piece = this.#end++;
    this.#older = grownU32(this.#older, this.#end);
    const { length } = this.#older;
    this.#ranks = grownU32(this.#ranks, length);
    this.#slotOf = grownU32(this.#slotOf, length);
    this.#bytes = grownU32(this.#bytes, length);
    this.#timesMs = grownF64(this.#timesMs, length);
    return piece;
  }
}
