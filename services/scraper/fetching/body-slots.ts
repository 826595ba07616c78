// Where bodies lie between the thread that fetches them and the one that parses them: slots of shared memory, used again from
// scrape to scrape, as many as there are bodies at the busiest moment. A slot is the fetch thread's while it is free and while it is
// filled, and the parsing thread's from the message that names it until it sets it free.

/** Bodies at one time; further ones get memory of their own each. */
export const SLOTS_MAX = 256;
const FIRST_BYTES = 64 * 1024;
/** Memory above this is not kept: one huge target must not pin its size for ever. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

const FREE = 0;
const TAKEN = 1;
/** No slot: the memory is used once. */
export const UNSLOTTED = -1;

/** A body that is being filled. */
export interface BodySlot {
  readonly slot: number;
  bytes: Uint8Array<SharedArrayBuffer>;
  /** The other thread does not know the memory yet. */
  isNew: boolean;
}

/** The states of slots, for FetchThreadData. */
export function createSlotStates(): SharedArrayBuffer {
  return new SharedArrayBuffer(SLOTS_MAX * Int32Array.BYTES_PER_ELEMENT);
}

/** The end that fills. */
export class BodySlots {
  readonly #states: Int32Array;
  readonly #slots: (BodySlot | undefined)[] = [];

  constructor(states: SharedArrayBuffer) {
    this.#states = new Int32Array(states);
  }

  /** The first free slot: what was used last is in the processor's cache. */
  acquire(bytesMin: number): BodySlot {
    let slot = 0;
    while (slot < SLOTS_MAX && Atomics.load(this.#states, slot) !== FREE) slot++;
    if (slot === SLOTS_MAX) return { slot: UNSLOTTED, bytes: allocate(bytesMin), isNew: true };
    Atomics.store(this.#states, slot, TAKEN);
    let found = this.#slots[slot];
    if (found === undefined || found.bytes.length < bytesMin) {
      found = { slot, bytes: allocate(bytesMin), isNew: true };
      if (found.bytes.length <= KEPT_BYTES_MAX) this.#slots[slot] = found;
      else this.#slots[slot] = undefined;
    }
    return found;
  }

  /** Makes room for `needed` bytes; the first `used` stay. */
  grow(slot: BodySlot, used: number, needed: number): BodySlot {
    const larger = allocate(Math.max(needed, slot.bytes.length * 2));
    larger.set(slot.bytes.subarray(0, used));
    const grown = { slot: slot.slot, bytes: larger, isNew: true };
    if (slot.slot !== UNSLOTTED) this.#slots[slot.slot] = larger.length <= KEPT_BYTES_MAX ? grown : undefined;
    return grown;
  }

  /** Gives back a slot that was not handed over. */
  release(slot: BodySlot): void {
    if (slot.slot !== UNSLOTTED) Atomics.store(this.#states, slot.slot, FREE);
  }
}

/** The end that reads. */
export class FilledSlots {
  readonly #states: Int32Array;
  readonly #memories: (Uint8Array<SharedArrayBuffer> | undefined)[] = [];

  constructor(states: SharedArrayBuffer) {
    this.#states = new Int32Array(states);
  }

  /** The bytes of a slot that was handed over. */
  open(slot: number, memory: SharedArrayBuffer | undefined): Uint8Array<SharedArrayBuffer> {
    if (slot === UNSLOTTED) return new Uint8Array(memory!);
    if (memory !== undefined) this.#memories[slot] = new Uint8Array(memory);
    return this.#memories[slot]!;
  }

  /** Sets a slot free; its bytes are not to be read any more. */
  release(slot: number): void {
    if (slot === UNSLOTTED) return;
    if (this.#memories[slot]!.length > KEPT_BYTES_MAX) this.#memories[slot] = undefined;
    Atomics.store(this.#states, slot, FREE);
  }
}

function allocate(bytesMin: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(Math.max(FIRST_BYTES, bytesMin)));
}
