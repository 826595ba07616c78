// Hash of a series' bytes as they came → its reference, so that a series which was seen before costs a hash and a probe and
// no label work. Two generations in typed arrays: a full one becomes the previous one, and what is asked for again moves
// over, so that nothing is ever rehashed in one go and what is no longer sent goes away.

/** Words of an entry: four of the hash, reference + 1 (0 = free), fingerprint of the metadata sent last. */
const ENTRY_WORDS = 6;
const REFERENCE = 4;
const FINGERPRINT = 5;
const ENTRIES_MIN = 1 << 12;
/** A table is replaced when it is fuller than this share: linear probing stays at about two steps. */
const LOAD_MAX = 0.7;

/** A cache of one tenant's series. Keys are trusted without comparing bytes: 128 bits under a seed of this process. */
export class RemoteWriteSeriesCache {
  readonly #entriesMax: number;
  #table: Uint32Array;
  #mask: number;
  #used = 0;
  #previous: Uint32Array | undefined;
  #nowMs = 0;
  #turnedOverAtMs = 0;

  /** @param seriesMax  Most series in one generation; memory is at most 24 bytes × 4 × this. */
  constructor(seriesMax: number) {
    this.#entriesMax = Math.max(ENTRIES_MIN, 2 ** Math.ceil(Math.log2(seriesMax / LOAD_MAX)));
    this.#table = new Uint32Array(ENTRIES_MIN * ENTRY_WORDS);
    this.#mask = ENTRIES_MIN - 1;
  }

  /** Bytes held, for the metric. */
  get memoryBytes(): number {
    return this.#table.byteLength + (this.#previous?.byteLength ?? 0);
  }

  /** Position of the key's entry, valid until the next `insert`; −1 when it is not known. */
  find(hash: Uint32Array): number {
    const h0 = hash[0]!;
    const h1 = hash[1]!;
    const h2 = hash[2]!;
    const h3 = hash[3]!;
    const at = probe(this.#table, this.#mask, h0, h1, h2, h3);
    if (this.#table[at + REFERENCE] !== 0) return at;
    const previous = this.#previous;
    if (previous === undefined) return -1;
    const old = probe(previous, previous.length / ENTRY_WORDS - 1, h0, h1, h2, h3);
    const stored = previous[old + REFERENCE]!;
    if (stored === 0) return -1;
    return this.insert(hash, stored - 1, previous[old + FINGERPRINT]!);
  }

  /** The reference at a position that `find` or `insert` returned. */
  referenceAt(position: number): number {
    return this.#table[position + REFERENCE]! - 1;
  }

  fingerprintAt(position: number): number {
    return this.#table[position + FINGERPRINT]!;
  }

  setFingerprint(position: number, fingerprint: number): void {
    this.#table[position + FINGERPRINT] = fingerprint;
  }

  /** Adds a key that `find` did not find; returns its position. */
  insert(hash: Uint32Array, reference: number, fingerprint: number): number {
    if (this.#used >= (this.#mask + 1) * LOAD_MAX) this.#turnOver();
    const at = probe(this.#table, this.#mask, hash[0]!, hash[1]!, hash[2]!, hash[3]!);
    if (this.#table[at + REFERENCE] === 0) this.#used++;
    this.#table[at] = hash[0]!;
    this.#table[at + 1] = hash[1]!;
    this.#table[at + 2] = hash[2]!;
    this.#table[at + 3] = hash[3]!;
    this.#table[at + REFERENCE] = reference + 1;
    this.#table[at + FINGERPRINT] = fingerprint;
    return at;
  }

  /** Forgets everything: after the distributor said that a reference is no longer known. */
  clear(): void {
    this.#table = new Uint32Array(ENTRIES_MIN * ENTRY_WORDS);
    this.#mask = ENTRIES_MIN - 1;
    this.#used = 0;
    this.#previous = undefined;
  }

  /** Lets go of the previous generation once everything that is still sent has moved over. Call now and then. */
  maintain(nowMs: number, previousKeptMs: number): void {
    this.#nowMs = nowMs;
    if (nowMs - this.#turnedOverAtMs > previousKeptMs) this.#previous = undefined;
  }

  #turnOver(): void {
    const entries = Math.min(this.#entriesMax, (this.#mask + 1) * 2);
    this.#previous = this.#table;
    this.#turnedOverAtMs = this.#nowMs;
    this.#table = new Uint32Array(entries * ENTRY_WORDS);
    this.#mask = entries - 1;
    this.#used = 0;
  }
}

/** Hot! First word of the entry that holds the key, or of the free one where it belongs. The table is never full. */
function probe(table: Uint32Array, mask: number, h0: number, h1: number, h2: number, h3: number): number {
  let slot = h0 & mask;
  for (;;) {
    const at = slot * ENTRY_WORDS;
    if (table[at + REFERENCE] === 0) return at;
    if (table[at] === h0 && table[at + 1] === h1 && table[at + 2] === h2 && table[at + 3] === h3) return at;
    slot = (slot + 1) & mask;
  }
}
