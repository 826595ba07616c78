// Growing typed arrays, and a hash map from integers to integers: what the head is made of instead of objects.

/** A column that doubles when full; returns the column itself while `needed` elements fit. */
export function grownU32(column: Uint32Array, needed: number): Uint32Array {
  if (needed <= column.length) return column;
  const grown = new Uint32Array(Math.max(needed, column.length * 2, 16));
  grown.set(column);
  return grown;
}

export function grownF64(column: Float64Array, needed: number): Float64Array {
  if (needed <= column.length) return column;
  const grown = new Float64Array(Math.max(needed, column.length * 2, 16));
  grown.set(column);
  return grown;
}

/** What `get` answers for a key that is not there. */
export const ABSENT = 0xffffffff;

/** Map from u32 to u32 by open addressing, 8 … 16 bytes per entry. Keys are below 2^32 - 1; nothing is removed. */
export class U32Map {
  /** key + 1, or 0. Invariant: at most half full. */
  #keys = new Uint32Array(16);
  #values = new Uint32Array(16);
  size = 0;

  get bytesHeld(): number {
    return this.#keys.length * 8;
  }

  get(key: number): number {
    const keys = this.#keys;
    const mask = keys.length - 1;
    for (let slot = mix(key) & mask; ; slot = (slot + 1) & mask) {
      const found = keys[slot]!;
      if (found === key + 1) return this.#values[slot]!;
      if (found === 0) return ABSENT;
    }
  }

  set(key: number, value: number): void {
    if (this.size * 2 >= this.#keys.length) this.#grow();
    if (this.#put(key, value)) this.size++;
  }

  /** All keys, ascending. */
  sortedKeys(): Uint32Array {
    const out = new Uint32Array(this.size);
    let count = 0;
    for (let slot = 0; slot < this.#keys.length; slot++) {
      if (this.#keys[slot] !== 0) out[count++] = this.#keys[slot]! - 1;
    }
    return out.sort();
  }

  #put(key: number, value: number): boolean {
    const mask = this.#keys.length - 1;
    let slot = mix(key) & mask;
    while (this.#keys[slot] !== 0 && this.#keys[slot] !== key + 1) slot = (slot + 1) & mask;
    const isNew = this.#keys[slot] === 0;
    this.#keys[slot] = key + 1;
    this.#values[slot] = value;
    return isNew;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = new Uint32Array(keys.length * 2);
    this.#values = new Uint32Array(keys.length * 2);
    for (let slot = 0; slot < keys.length; slot++) {
      if (keys[slot] !== 0) this.#put(keys[slot]! - 1, values[slot]!);
    }
  }
}

/** Spreads neighbouring keys. */
function mix(key: number): number {
  const h = Math.imul(key, 0x9e3779b1);
  return h ^ (h >>> 15);
}
