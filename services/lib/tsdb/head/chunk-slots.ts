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

/**
 * Slots that lie side by side are made one when more than this share of all memory was given back since the last time and more is
 * wanted. It takes 20 ms for a million of them, and its cost is spread over what was given.
 */
const MERGE_SHARE = 1 / 16;

/** No slot. A slot number is its class + 1 in the upper 4 bits and its address below. */
export const NO_SLOT = 0;

export class ChunkSlots {
  readonly pages: Uint8Array<ArrayBuffer>[] = [];
  /** The same memory. */
  readonly views: DataView[] = [];
  /** Per class: a stack of free addresses. */
  readonly #free: Uint32Array[] = Array.from({ length: SLOT_CLASSES }, () => new Uint32Array(16));
  readonly #freeCounts = new Uint32Array(SLOT_CLASSES);
  /** Addresses of single units that no slot has room in. */
  #odd: Uint32Array = new Uint32Array(16);
  #oddCount = 0;
  /** Units that are free; those that never were in use yet are not among them. */
  #freeUnits = 0;
  /** The same after the last merge. */
  #freeUnitsMerged = 0;
  /** Units handed out of the last page. */
  #lastPageUnits = UNITS_PER_PAGE;

  get bytesHeld(): number {
    return this.pages.length * PAGE_BYTES;
  }

  /** A slot of class 0 … SLOT_CLASSES - 1; its bytes are arbitrary. */
  take(slotClass: number): number {
    const free = this.#takeFree(slotClass);
    if (free !== NO_SLOT) return free;
    if (this.#lastPageUnits + unitsOf(slotClass) > UNITS_PER_PAGE) {
      // Larger ones may lie idle, or small ones side by side: what chunks need changes.
      const found = this.#split(slotClass) || this.#takeMerged(slotClass);
      if (found !== NO_SLOT) return found;
      this.#addPage();
    }
    const address = (this.pages.length - 1) * UNITS_PER_PAGE + this.#lastPageUnits;
    this.#lastPageUnits += unitsOf(slotClass);
    return tagOf(slotClass) + address;
  }

  #takeFree(slotClass: number): number {
    const count = this.#freeCounts[slotClass]!;
    if (count === 0) return NO_SLOT;
    this.#freeCounts[slotClass] = count - 1;
    this.#freeUnits -= unitsOf(slotClass);
    return tagOf(slotClass) + this.#free[slotClass]![count - 1]!;
  }

  /** The beginning of a larger slot; the rest is given away. NO_SLOT when there is none. */
  #split(slotClass: number): number {
    const units = unitsOf(slotClass);
    for (let larger = slotClass + 1; larger < SLOT_CLASSES; larger++) {
      if (this.#freeCounts[larger] === 0 || unitsOf(larger) - units === 1) continue;
      const address = this.#takeFree(larger) & ADDRESS_MASK;
      this.#giveUnits(address + units, unitsOf(larger) - units);
      return tagOf(slotClass) + address;
    }
    return NO_SLOT;
  }

  /** Once much has been given since the last time: makes larger slots of those that lie side by side, and takes one. */
  #takeMerged(slotClass: number): number {
    const gained = this.#freeUnits - this.#freeUnitsMerged;
    if (gained < this.pages.length * UNITS_PER_PAGE * MERGE_SHARE) return NO_SLOT;
    this.#merge();
    this.#freeUnitsMerged = this.#freeUnits;
    return this.#takeFree(slotClass) || this.#split(slotClass);
  }

  #merge(): void {
    const isFree = new Uint32Array((this.pages.length * UNITS_PER_PAGE) / 32);
    for (let slotClass = 0; slotClass < SLOT_CLASSES; slotClass++) {
      mark(isFree, this.#free[slotClass]!, this.#freeCounts[slotClass]!, unitsOf(slotClass));
      this.#freeCounts[slotClass] = 0;
    }
    mark(isFree, this.#odd, this.#oddCount, 1);
    this.#oddCount = 0;
    this.#freeUnits = 0;
    const end = this.pages.length * UNITS_PER_PAGE;
    for (let unit = 0; unit < end; ) {
      const start = nextUnit(isFree, unit, end, 1);
      // A slot stands in one page.
      const pageEnd = Math.min(end, (Math.floor(start / UNITS_PER_PAGE) + 1) * UNITS_PER_PAGE);
      unit = nextUnit(isFree, start, pageEnd, 0);
      if (unit > start) this.#giveUnits(start, unit - start);
    }
  }

  /** Gives units away as the fewest slots; a single one, which no slot has room in, waits for a neighbour. */
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
    if (left === 0) return;
    this.#odd = grownU32(this.#odd, this.#oddCount + 1);
    this.#odd[this.#oddCount++] = at;
    this.#freeUnits++;
  }

  give(slot: number): void {
    const slotClass = slotClassOf(slot);
    const count = this.#freeCounts[slotClass]!;
    const stack = grownU32(this.#free[slotClass]!, count + 1);
    stack[count] = slot & ADDRESS_MASK;
    this.#free[slotClass] = stack;
    this.#freeCounts[slotClass] = count + 1;
    this.#freeUnits += unitsOf(slotClass);
  }

  #addPage(): void {
    if (this.pages.length > 0) {
      const address = (this.pages.length - 1) * UNITS_PER_PAGE + this.#lastPageUnits;
      this.#giveUnits(address, UNITS_PER_PAGE - this.#lastPageUnits);
    }
    assert((this.pages.length + 1) * UNITS_PER_PAGE <= ADDRESS_MASK, 'open chunks take more than 8 GiB');
    const page = new Uint8Array(PAGE_BYTES);
    this.pages.push(page);
    this.views.push(new DataView(page.buffer));
    this.#lastPageUnits = 0;
  }
}

/** Class of the smallest slots that hold `bytes`, at most SLOT_BYTES_MAX; the largest one for more. */
export function slotClassFor(bytes: number): number {
  let slotClass = 0;
  while (slotClass < SLOT_CLASSES - 1 && unitsOf(slotClass) * UNIT_BYTES < bytes) slotClass++;
  return slotClass;
}

/** Sets the bits of `units` units from each of the first `count` addresses. */
function mark(bits: Uint32Array, addresses: Uint32Array, count: number, units: number): void {
  for (let i = 0; i < count; i++) {
    const address = addresses[i]!;
    for (let unit = address; unit < address + units; unit++) bits[unit >>> 5]! |= 1 << (unit & 31);
  }
}

/** The first unit from `from` on whose bit is `wanted`, or `end`. */
function nextUnit(bits: Uint32Array, from: number, end: number, wanted: 0 | 1): number {
  const other = wanted === 1 ? 0 : 0xffffffff;
  let unit = from;
  while (unit < end) {
    const word = bits[unit >>> 5]!;
    if ((unit & 31) === 0 && word === other) {
      unit += 32;
      continue;
    }
    if (((word >>> (unit & 31)) & 1) === wanted) return unit;
    unit++;
  }
  return end;
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
