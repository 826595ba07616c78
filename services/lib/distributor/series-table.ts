// Every series that this process writes: canonical label bytes ↔ reference, with the partition. Typed arrays throughout:
// pages of 4096 references hold what a write needs and the label bytes; 256 hash tables find a reference by its labels. A
// reference is never used twice; series that were idle for long are forgotten, page by page.
import { assert } from '../core/assert.ts';
import { AppError } from '../core/errors.ts';
import { hash128 } from '../core/hash128.ts';

const PAGE_BITS = 12;
export const PAGE_REFERENCES = 1 << PAGE_BITS;
const PAGE_MASK = PAGE_REFERENCES - 1;

/** Words of a slot: offset and length of the label bytes, owner (below), tick of the last use. */
const SLOT_WORDS = 4;
const LABELS_AT = 0;
const LABEL_BYTES = 1;
const OWNER = 2;
const LAST_USED = 3;

/**
 * Owner word: tenant number (from 1) in the high half, partition in the low half; 0 = no series. Of a series that is withheld
 * WITHHELD in the high half, tenant number in the low half: so that a write finds it among those that are not its tenant's.
 */
export const WITHHELD = 0xffff;
const TENANTS_MAX = WITHHELD - 1;

/** References are unsigned 32-bit, the last one excluded (caches store reference + 1). */
const REFERENCES_MAX = 0xfffffffe;

/** What a write needs of a page. `slots` is shared with the hot loop of sample-sorter.ts. */
export interface SeriesPage {
  /** Uint32Array[4096 × 4]. */
  readonly slots: Uint32Array<ArrayBuffer>;
  labels: Uint8Array<ArrayBuffer>;
  labelBytes: number;
  /** References given out, from the page's first. */
  used: number;
  /** Those that are still known. */
  live: number;
}

/** Slots of one of the 256 hash tables: pairs of a hash word and reference + 1. */
interface Shard {
  table: Uint32Array<ArrayBuffer>;
  mask: number;
  used: number;
}

const SHARDS = 256;
const SHARD_SLOTS_MIN = 16;
const SHARD_LOAD_MAX = 0.7;

/** All series of all tenants. References are unique over tenants. */
export class SeriesTable {
  /** Page by `reference >>> 12`; undefined when all of its series are forgotten. */
  readonly pages: (SeriesPage | undefined)[] = [];
  readonly #shards: Shard[] = [];
  readonly #seed: number;
  readonly #hash = new Uint32Array(4);
  readonly #seriesByTenant: number[] = [0];
  #references = 0;
  #live = 0;
  #memoryBytes = 0;

  /** @param seed  Of the hash tables, unsigned 32-bit and random. */
  constructor(seed: number) {
    this.#seed = seed >>> 0;
    for (let i = 0; i < SHARDS; i++) {
      this.#shards.push({ table: new Uint32Array(SHARD_SLOTS_MIN * 2), mask: SHARD_SLOTS_MIN - 1, used: 0 });
    }
  }

  /** Series known now. */
  get live(): number {
    return this.#live;
  }

  /** References given out so far. */
  get references(): number {
    return this.#references;
  }

  /** Bytes of pages and hash tables. */
  get memoryBytes(): number {
    let tables = 0;
    for (const shard of this.#shards) tables += shard.table.byteLength;
    return this.#memoryBytes + tables;
  }

  /** A number for a new tenant. */
  addTenant(): number {
    if (this.#seriesByTenant.length > TENANTS_MAX) {
      throw new AppError('resource_exhausted', `more than ${TENANTS_MAX} tenants write through this process`);
    }
    return this.#seriesByTenant.push(0) - 1;
  }

  seriesOf(tenant: number): number {
    return this.#seriesByTenant[tenant]!;
  }

  /** The reference of a series, marked as used now; −1 when it is not known. */
  find(tenant: number, bytes: Uint8Array, start: number, end: number, tick: number): number {
    this.#hashOf(tenant, bytes, start, end);
    const shard = this.#shards[this.#hash[0]! & (SHARDS - 1)]!;
    const word = this.#hash[1]!;
    for (let slot = word & shard.mask; ; slot = (slot + 1) & shard.mask) {
      const stored = shard.table[2 * slot + 1]!;
      if (stored === 0) return -1;
      if (shard.table[2 * slot] !== word) continue;
      if (!this.#equals(stored - 1, tenant, bytes, start, end)) continue;
      const page = this.pages[(stored - 1) >>> PAGE_BITS]!;
      page.slots[((stored - 1) & PAGE_MASK) * SLOT_WORDS + LAST_USED] = tick;
      return stored - 1;
    }
  }

  /** Adds a series that `find` did not find; the label bytes are copied. Returns its reference. */
  add(
    tenant: number,
    partition: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    tick: number,
  ): number {
    if (this.#references >= REFERENCES_MAX) {
      throw new AppError('unavailable', 'this process has used up its series references; restart it');
    }
    assert(partition >= 0 && partition <= 0xffff, 'a partition fits 16 bits');
    const reference = this.#references++;
    const page = this.#pageFor(reference);
    const at = (reference & PAGE_MASK) * SLOT_WORDS;
    this.#reserveLabels(page, end - start);
    // Not set(): a view on so few bytes costs more than they do.
    const shift = page.labelBytes - start;
    for (let i = start; i < end; i++) page.labels[shift + i] = bytes[i]!;
    page.slots[at + LABELS_AT] = page.labelBytes;
    page.slots[at + LABEL_BYTES] = end - start;
    page.slots[at + OWNER] = (tenant << 16) | partition;
    page.slots[at + LAST_USED] = tick;
    page.labelBytes += end - start;
    page.used++;
    page.live++;
    this.#live++;
    this.#seriesByTenant[tenant]!++;
    if (page.used === PAGE_REFERENCES) this.#trim(page);
    this.#hashOf(tenant, bytes, start, end);
    this.#index(this.#hash[0]!, this.#hash[1]!, reference);
    return reference;
  }

  /** Keeps writes from sending the series' samples until `release`. */
  withhold(reference: number): void {
    const page = this.pages[reference >>> PAGE_BITS]!;
    const at = (reference & PAGE_MASK) * SLOT_WORDS + OWNER;
    page.slots[at] = ((WITHHELD << 16) | tenantOf(page.slots[at]!)) >>> 0;
  }

  /** Lets writes send the series' samples again, as those of `partition`. */
  release(reference: number, partition: number): void {
    const page = this.pages[reference >>> PAGE_BITS]!;
    const at = (reference & PAGE_MASK) * SLOT_WORDS + OWNER;
    page.slots[at] = (tenantOf(page.slots[at]!) << 16) | partition;
  }

  /** False for what was forgotten, too. */
  isWithheld(reference: number): boolean {
    const page = this.pages[reference >>> PAGE_BITS];
    return (
      page !== undefined && page.slots[(reference & PAGE_MASK) * SLOT_WORDS + OWNER]! >>> 16 === WITHHELD
    );
  }

  /** Whether the reference was given out and not forgotten. */
  knows(reference: number): boolean {
    const page = this.pages[reference >>> PAGE_BITS];
    return page !== undefined && page.slots[(reference & PAGE_MASK) * SLOT_WORDS + OWNER] !== 0;
  }

  /** The label bytes of a known series. */
  labelsOf(reference: number): { readonly bytes: Uint8Array; readonly start: number; readonly end: number } {
    const page = this.pages[reference >>> PAGE_BITS];
    assert(page !== undefined, `reference ${reference} is known`);
    const at = (reference & PAGE_MASK) * SLOT_WORDS;
    const start = page.slots[at + LABELS_AT]!;
    return { bytes: page.labels, start, end: start + page.slots[at + LABEL_BYTES]! };
  }

  /**
   * Forgets the series of one page that were last used before `oldestTick`, those that are withheld before `oldestWithheldTick`.
   *
   * @returns Series forgotten. Cost: O(4096).
   */
  forgetIdle(pageIndex: number, oldestTick: number, oldestWithheldTick: number = oldestTick): number {
    const page = this.pages[pageIndex];
    if (page === undefined) return 0;
    const first = pageIndex * PAGE_REFERENCES;
    let forgotten = 0;
    for (let i = 0; i < page.used; i++) {
      const at = i * SLOT_WORDS;
      const owner = page.slots[at + OWNER]!;
      if (owner === 0) continue;
      const oldest = owner >>> 16 === WITHHELD ? oldestWithheldTick : oldestTick;
      if (page.slots[at + LAST_USED]! >= oldest) continue;
      const tenant = tenantOf(owner);
      const start = page.slots[at + LABELS_AT]!;
      this.#hashOf(tenant, page.labels, start, start + page.slots[at + LABEL_BYTES]!);
      this.#unindex(this.#hash[0]!, this.#hash[1]!, first + i);
      page.slots[at + OWNER] = 0;
      page.live--;
      this.#live--;
      this.#seriesByTenant[tenant]!--;
      forgotten++;
    }
    if (forgotten === 0) return 0;
    if (page.live === 0 && page.used === PAGE_REFERENCES) {
      this.pages[pageIndex] = undefined;
      this.#memoryBytes -= page.slots.byteLength + page.labels.byteLength;
    } else if (page.used === PAGE_REFERENCES) this.#trim(page);
    return forgotten;
  }

  #pageFor(reference: number): SeriesPage {
    const index = reference >>> PAGE_BITS;
    let page = this.pages[index];
    if (page === undefined) {
      page = {
        slots: new Uint32Array(PAGE_REFERENCES * SLOT_WORDS),
        labels: new Uint8Array(16 * 1024),
        labelBytes: 0,
        used: 0,
        live: 0,
      };
      this.pages[index] = page;
      this.#memoryBytes += page.slots.byteLength + page.labels.byteLength;
    }
    return page;
  }

  #reserveLabels(page: SeriesPage, extra: number): void {
    if (page.labelBytes + extra <= page.labels.length) return;
    const grown = new Uint8Array(Math.max(page.labels.length * 2, page.labelBytes + extra));
    grown.set(page.labels.subarray(0, page.labelBytes));
    this.#memoryBytes += grown.length - page.labels.length;
    page.labels = grown;
  }

  /** Brings the label bytes of a complete page's live series together in a buffer of just their size. */
  #trim(page: SeriesPage): void {
    let total = 0;
    for (let i = 0; i < page.used; i++) {
      if (page.slots[i * SLOT_WORDS + OWNER] !== 0) total += page.slots[i * SLOT_WORDS + LABEL_BYTES]!;
    }
    const packed = new Uint8Array(total);
    let position = 0;
    for (let i = 0; i < page.used; i++) {
      const at = i * SLOT_WORDS;
      if (page.slots[at + OWNER] === 0) continue;
      const start = page.slots[at + LABELS_AT]!;
      const count = page.slots[at + LABEL_BYTES]!;
      for (let j = 0; j < count; j++) packed[position + j] = page.labels[start + j]!;
      page.slots[at + LABELS_AT] = position;
      position += count;
    }
    this.#memoryBytes += packed.length - page.labels.length;
    page.labels = packed;
    page.labelBytes = total;
  }

  #hashOf(tenant: number, bytes: Uint8Array, start: number, end: number): void {
    hash128(bytes, start, end, (this.#seed + Math.imul(tenant, 0x9e3779b1)) >>> 0, this.#hash);
  }

  #equals(reference: number, tenant: number, bytes: Uint8Array, start: number, end: number): boolean {
    const page = this.pages[reference >>> PAGE_BITS]!;
    const at = (reference & PAGE_MASK) * SLOT_WORDS;
    const count = page.slots[at + LABEL_BYTES]!;
    if (tenantOf(page.slots[at + OWNER]!) !== tenant || count !== end - start) return false;
    const own = page.slots[at + LABELS_AT]!;
    for (let i = 0; i < count; i++) if (page.labels[own + i] !== bytes[start + i]) return false;
    return true;
  }

  #index(shardWord: number, word: number, reference: number): void {
    const shard = this.#shards[shardWord & (SHARDS - 1)]!;
    if (shard.used >= (shard.mask + 1) * SHARD_LOAD_MAX) growShard(shard);
    putInShard(shard.table, shard.mask, word, reference + 1);
    shard.used++;
  }

  /** Removes an entry and closes the gap, so that probing never meets a tombstone. */
  #unindex(shardWord: number, word: number, reference: number): void {
    const { table, mask } = this.#shards[shardWord & (SHARDS - 1)]!;
    let gap = word & mask;
    while (table[2 * gap + 1] !== reference + 1) {
      assert(table[2 * gap + 1] !== 0, `reference ${reference} is indexed`);
      gap = (gap + 1) & mask;
    }
    for (let slot = (gap + 1) & mask; table[2 * slot + 1] !== 0; slot = (slot + 1) & mask) {
      const home = table[2 * slot]! & mask;
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
      table[2 * gap] = table[2 * slot]!;
      table[2 * gap + 1] = table[2 * slot + 1]!;
      gap = slot;
    }
    table[2 * gap + 1] = 0;
    this.#shards[shardWord & (SHARDS - 1)]!.used--;
  }
}

/** Tenant number of an owner word. */
function tenantOf(owner: number): number {
  return owner >>> 16 === WITHHELD ? owner & 0xffff : owner >>> 16;
}

function growShard(shard: Shard): void {
  const table = new Uint32Array(shard.table.length * 2);
  const mask = shard.mask * 2 + 1;
  for (let slot = 0; slot <= shard.mask; slot++) {
    const stored = shard.table[2 * slot + 1]!;
    if (stored !== 0) putInShard(table, mask, shard.table[2 * slot]!, stored);
  }
  shard.table = table;
  shard.mask = mask;
}

function putInShard(table: Uint32Array, mask: number, word: number, stored: number): void {
  let slot = word & mask;
  while (table[2 * slot + 1] !== 0) slot = (slot + 1) & mask;
  table[2 * slot] = word;
  table[2 * slot + 1] = stored;
}
