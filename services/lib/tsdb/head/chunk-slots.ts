// Room for open chunks: slots of a few sizes in pages, given back when a chunk closes or outgrows its slot.
import { assert } from '../../core/assert.ts';
import { grownU32 } from './columns.ts';

/** Slots are multiples of this: an address counts units. */
const UNIT_BYTES = 64;
const PAGE_BYTES = 1 << 20;
const UNITS_PER_PAGE = PAGE_BYTES / UNIT_BYTES;
const PAGE_SHIFT = 14;
/** 64, 128 … 4096 bytes. A chunk of 120 samples of noise takes 2,200. */
export const SLOT_CLASSES = 7;
/** Bytes of the largest slot. */
export const SLOT_BYTES_MAX = UNIT_BYTES << (SLOT_CLASSES - 1);
const CLASS_SHIFT = 28;
const ADDRESS_MASK = (1 << CLASS_SHIFT) - 1;

/** No slot. A slot number is its class + 1 in the upper 4 bits and its address below. */
export const NO_SLOT = 0;

export class ChunkSlots {
  readonly pages: Uint8Array<ArrayBuffer>[] = [];
  /** Per class: a stack of free addresses. */
  readonly #free: Uint32Array[] = Array.from({ length: SLOT_CLASSES }, () => new Uint32Array(16));
  readonly #freeCounts = new Uint32Array(SLOT_CLASSES);
  /** Units handed out of the last page. */
  #lastPageUnits = UNITS_PER_PAGE;

  get bytesHeld(): number {
    return this.pages.length * PAGE_BYTES;
  }

  /** A slot of class 0 … SLOT_CLASSES - 1; its bytes are arbitrary. */
  take(slotClass: number): number {
    const tag = (slotClass + 1) * 2 ** CLASS_SHIFT;
    const free = this.#freeCounts[slotClass]!;
    if (free > 0) {
      this.#freeCounts[slotClass] = free - 1;
      return tag + this.#free[slotClass]![free - 1]!;
    }
    const units = 1 << slotClass;
    if (this.#lastPageUnits + units > UNITS_PER_PAGE) this.#addPage();
    const address = (this.pages.length - 1) * UNITS_PER_PAGE + this.#lastPageUnits;
    this.#lastPageUnits += units;
    return tag + address;
  }

  give(slot: number): void {
    const slotClass = slotClassOf(slot);
    const count = this.#freeCounts[slotClass]!;
    const stack = grownU32(this.#free[slotClass]!, count + 1);
    stack[count] = slot & ADDRESS_MASK;
    this.#free[slotClass] = stack;
    this.#freeCounts[slotClass] = count + 1;
  }

  #addPage(): void {
    // What is left of the page before goes to the smallest class.
    for (; this.#lastPageUnits < UNITS_PER_PAGE; this.#lastPageUnits++) {
      this.give(2 ** CLASS_SHIFT + (this.pages.length - 1) * UNITS_PER_PAGE + this.#lastPageUnits);
    }
    assert(this.pages.length * UNITS_PER_PAGE < ADDRESS_MASK, 'open chunks take more than 16 GiB');
    this.pages.push(new Uint8Array(PAGE_BYTES));
    this.#lastPageUnits = 0;
  }
}

/** Class of the smallest slots that hold `bytes`, at most SLOT_BYTES_MAX. */
export function slotClassFor(bytes: number): number {
  return bytes <= UNIT_BYTES ? 0 : 26 - Math.clz32(bytes - 1);
}

export function slotClassOf(slot: number): number {
  return (slot >>> CLASS_SHIFT) - 1;
}

/** Bytes of a slot. */
export function slotBytesOf(slot: number): number {
  return UNIT_BYTES << slotClassOf(slot);
}

/** Index of the slot's page. */
export function slotPageOf(slot: number): number {
  return (slot & ADDRESS_MASK) >>> PAGE_SHIFT;
}

/** Offset of the slot in its page. */
export function slotOffsetOf(slot: number): number {
  return (slot & (UNITS_PER_PAGE - 1)) * UNIT_BYTES;
}
