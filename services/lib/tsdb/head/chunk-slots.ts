// Room for open chunks: slots of a few sizes in pages, given back when a chunk closes or outgrows its slot.
import { assert } from '../../core/assert.ts';
import { grownU32 } from './columns.ts';

/** Slots are multiples of this: an address counts units. */
const UNIT_BYTES = 32;
const PAGE_BYTES = 1 << 20;
const UNITS_PER_PAGE = PAGE_BYTES / UNIT_BYTES;
const PAGE_SHIFT = 15;
/** 64, 96, 128, 192 … 4096 bytes. A chunk of 120 samples of noise takes 2,200. */
export const SLOT_CLASSES = 13;
/** Bytes of the largest slot. */
export const SLOT_BYTES_MAX = 4096;
/** For a chunk of which nothing is known: what a constant of 120 samples takes, and the room that an append wants. */
export const SLOT_CLASS_FIRST = 1;
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
    const free = this.#freeCounts[slotClass]!;
    if (free > 0) {
      this.#freeCounts[slotClass] = free - 1;
      return tagOf(slotClass) + this.#free[slotClass]![free - 1]!;
    }
    const units = unitsOf(slotClass);
    if (this.#lastPageUnits + units > UNITS_PER_PAGE) {
      // Larger ones may lie idle: what chunks need changes.
      for (let larger = slotClass + 1; larger < SLOT_CLASSES; larger++) {
        if (this.#freeCounts[larger]! > 0 && unitsOf(larger) - units !== 1)
          return this.#split(larger, slotClass);
      }
      this.#addPage();
    }
    const address = (this.pages.length - 1) * UNITS_PER_PAGE + this.#lastPageUnits;
    this.#lastPageUnits += units;
    return tagOf(slotClass) + address;
  }

  #split(larger: number, slotClass: number): number {
    const count = --this.#freeCounts[larger]!;
    const address = this.#free[larger]![count]!;
    const units = unitsOf(slotClass);
    this.#giveUnits(address + units, unitsOf(larger) - units);
    return tagOf(slotClass) + address;
  }

  /** Gives units away as the fewest slots; a single one, which no slot has room in, stays unused. */
  #giveUnits(address: number, units: number): void {
    let at = address;
    let left = units;
    for (let slotClass = SLOT_CLASSES - 1; slotClass >= 0; ) {
      const taken = unitsOf(slotClass);
      if (taken > left || (left - taken === 1 && slotClass > 0)) {
        slotClass--;
        continue;
      }
      this.give(tagOf(slotClass) + at);
      at += taken;
      left -= taken;
    }
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
    if (this.pages.length > 0) {
      const address = (this.pages.length - 1) * UNITS_PER_PAGE + this.#lastPageUnits;
      this.#giveUnits(address, UNITS_PER_PAGE - this.#lastPageUnits);
    }
    assert((this.pages.length + 1) * UNITS_PER_PAGE <= ADDRESS_MASK, 'open chunks take more than 8 GiB');
    this.pages.push(new Uint8Array(PAGE_BYTES));
    this.#lastPageUnits = 0;
  }
}

/** Class of the smallest slots that hold `bytes`, at most SLOT_BYTES_MAX; the largest one for more. */
export function slotClassFor(bytes: number): number {
  let slotClass = 0;
  while (slotClass < SLOT_CLASSES - 1 && unitsOf(slotClass) * UNIT_BYTES < bytes) slotClass++;
  return slotClass;
}

/** 2, 3, 4, 6, 8 … */
function unitsOf(slotClass: number): number {
  return (2 + (slotClass & 1)) << (slotClass >>> 1);
}

function tagOf(slotClass: number): number {
  return (slotClass + 1) * 2 ** CLASS_SHIFT;
}

export function slotClassOf(slot: number): number {
  return (slot >>> CLASS_SHIFT) - 1;
}

/** Bytes of a slot. */
export function slotBytesOf(slot: number): number {
  return unitsOf(slotClassOf(slot)) * UNIT_BYTES;
}

/** Index of the slot's page. */
export function slotPageOf(slot: number): number {
  return (slot & ADDRESS_MASK) >>> PAGE_SHIFT;
}

/** Offset of the slot in its page. */
export function slotOffsetOf(slot: number): number {
  return (slot & (UNITS_PER_PAGE - 1)) * UNIT_BYTES;
}
