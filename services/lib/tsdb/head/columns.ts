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

/** The least power of two from `needed` on. */
export function powerOfTwoFrom(needed: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, needed)));
}

/** What `get` answers for a key that is not there. */
export const ABSENT = 0xffffffff;

/** A key by itself takes no more in a column than in the hash table while there are so many times as many keys below the greatest. */
const DENSE_KEYS_SHARE = 1 / 4;
const DENSE_KEYS_MIN = 1024;

/**
 * Map from u32 to u32. Keys are below 2^32 - 1, values below ABSENT; nothing is removed. Open addressing, 16 … 32 bytes per entry; many
 * keys without large gaps are a column of 4 bytes each.
 */
export class U32Map {
  /** key + 1, or 0. Invariant: at most half full. Empty once there is a column. */
  #keys = new Uint32Array(16);
  #values = new Uint32Array(16);
  /** By key: value + 1, or 0. */
  #column: Uint32Array | undefined;
  #keyMax = 0;
  size = 0;

  get bytesHeld(): number {
    return this.#keys.length * 8 + (this.#column?.length ?? 0) * 4;
  }

  get(key: number): number {
    const column = this.#column;
    // 0 becomes ABSENT.
    if (column !== undefined) return key < column.length ? (column[key]! - 1) >>> 0 : ABSENT;
    const keys = this.#keys;
    const mask = keys.length - 1;
    for (let slot = mix(key) & mask; ; slot = (slot + 1) & mask) {
      const found = keys[slot]!;
      if (found === key + 1) return this.#values[slot]!;
      if (found === 0) return ABSENT;
    }
  }

  set(key: number, value: number): void {
    if (key > this.#keyMax) this.#keyMax = key;
    if (this.#column !== undefined && this.#setInColumn(this.#column, key, value)) return;
    if (this.size * 2 >= this.#keys.length) {
      this.#grow();
      if (this.#column !== undefined && this.#setInColumn(this.#column, key, value)) return;
    }
    if (this.#put(key, value)) this.size++;
  }

  /** All keys, ascending. */
  sortedKeys(): Uint32Array {
    const out = new Uint32Array(this.size);
    let count = 0;
    if (this.#column !== undefined) {
      for (let key = 0; key <= this.#keyMax; key++) if (this.#column[key] !== 0) out[count++] = key;
      return out;
    }
    for (let slot = 0; slot < this.#keys.length; slot++) {
      if (this.#keys[slot] !== 0) out[count++] = this.#keys[slot]! - 1;
    }
    return out.sort();
  }

  /** False when the key lies too far above the others: there is a hash table again then. */
  #setInColumn(column: Uint32Array, key: number, value: number): boolean {
    if (key >= column.length) {
      if (!this.#isDense) {
        this.#toTable(column);
        return false;
      }
      this.#column = grownU32(column, key + 1);
    }
    if (this.#column![key] === 0) this.size++;
    this.#column![key] = value + 1;
    return true;
  }

  get #isDense(): boolean {
    return this.size >= DENSE_KEYS_MIN && this.size >= this.#keyMax * DENSE_KEYS_SHARE;
  }

  #toTable(column: Uint32Array): void {
    this.#column = undefined;
    this.#keys = new Uint32Array(2 ** Math.ceil(Math.log2((this.size + 1) * 2)));
    this.#values = new Uint32Array(this.#keys.length);
    for (let key = 0; key < column.length; key++) if (column[key] !== 0) this.#put(key, column[key]! - 1);
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
    if (this.#isDense) {
      const column = new Uint32Array(this.#keyMax + 1);
      for (let slot = 0; slot < keys.length; slot++) {
        if (keys[slot] !== 0) column[keys[slot]! - 1] = values[slot]! + 1;
      }
      this.#column = column;
      this.#keys = new Uint32Array(0);
      this.#values = new Uint32Array(0);
      return;
    }
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
