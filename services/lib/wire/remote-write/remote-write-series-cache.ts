// Hash of a series' bytes as they came → its reference, so that a series which was seen before costs a hash and a comparison
// and no label work. Entries lie in order of first use: senders repeat their order, so the entry behind the last one found is
// tried first; of most series it is even found without a hash (remembered-series.ts). Generations: a full one becomes a previous one,
// and what is asked for again moves over, so that nothing is rehashed in one go and what is no longer sent goes away. One that filled
// up within minutes was too small; the next is twice as large, and what came before it stays, too.

/** Words of an entry: four of the hash, the reference, the fingerprint of the metadata sent last. */
const ENTRY_WORDS = 6;
const REFERENCE = 4;
const FINGERPRINT = 5;
const ENTRIES_MIN = 1 << 12;

/** One generation: entries, and a hash table of entry numbers + 1 (0 = free) with twice as many slots. */
interface Generation {
  readonly entries: Uint32Array;
  readonly slots: Uint32Array;
  readonly capacity: number;
  used: number;
  /** Entries that were asked for again since it is a previous one, and stand in a newer one. Invariant: moved <= used. */
  moved: number;
}

/** A cache of one tenant's series. Keys are trusted without comparing bytes: 128 bits under a seed of this process. */
export class RemoteWriteSeriesCache {
  readonly #entriesMax: number;
  #current = createGeneration(ENTRIES_MIN);
  /** Newest first. Invariant: together they have room for no more entries than the current one. */
  readonly #previous: Generation[] = [];
  /** Entry of the current generation that is due next, and tried first. */
  next = 0;
  #generation = 0;
  #nowMs = 0;
  #previousKeptMs = 0;
  #turnedOverAtMs = 0;

  /**
   * @param seriesMax  Most series in one generation, rounded up to a power of two; 32 bytes each, and as much again while
   *                   generations before are kept.
   */
  constructor(seriesMax: number) {
    this.#entriesMax = Math.max(ENTRIES_MIN, 2 ** Math.ceil(Math.log2(seriesMax)));
  }

  /** Bytes held, for the metric. */
  get memoryBytes(): number {
    return this.#previous.reduce((sum, generation) => sum + bytesOf(generation), bytesOf(this.#current));
  }

  /** Number of the current generation: with another one all positions have another meaning. */
  get generation(): number {
    return this.#generation;
  }

  /** Entries that the current generation has room for. */
  get capacity(): number {
    return this.#current.capacity;
  }

  /** Position of the key's entry, valid until the next `insert`; −1 when it is not known. */
  find(hash: Uint32Array): number {
    const h0 = hash[0]!;
    const h1 = hash[1]!;
    const h2 = hash[2]!;
    const h3 = hash[3]!;
    const { entries, used } = this.#current;
    const next = this.next;
    if (next < used) {
      const at = next * ENTRY_WORDS;
      if (entries[at] === h0 && entries[at + 1] === h1 && entries[at + 2] === h2 && entries[at + 3] === h3) {
        this.next = next + 1;
        return next;
      }
    }
    const found = probe(this.#current, h0, h1, h2, h3);
    if (found >= 0) {
      this.next = found + 1;
      return found;
    }
    for (const [i, previous] of this.#previous.entries()) {
      const old = probe(previous, h0, h1, h2, h3);
      if (old < 0) continue;
      // Its last one: nothing will be found here any more.
      if (++previous.moved === previous.used) this.#previous.splice(i, 1);
      const at = old * ENTRY_WORDS;
      return this.insert(hash, previous.entries[at + REFERENCE]!, previous.entries[at + FINGERPRINT]!);
    }
    return -1;
  }

  /** The reference at a position that `find` or `insert` returned. */
  referenceAt(position: number): number {
    return this.#current.entries[position * ENTRY_WORDS + REFERENCE]!;
  }

  fingerprintAt(position: number): number {
    return this.#current.entries[position * ENTRY_WORDS + FINGERPRINT]!;
  }

  setFingerprint(position: number, fingerprint: number): void {
    this.#current.entries[position * ENTRY_WORDS + FINGERPRINT] = fingerprint;
  }

  /** Adds a key that `find` did not find; returns its position. */
  insert(hash: Uint32Array, reference: number, fingerprint: number): number {
    if (this.#current.used === this.#current.capacity) this.#turnOver();
    const { entries, slots } = this.#current;
    const entry = this.#current.used++;
    const at = entry * ENTRY_WORDS;
    entries.set(hash, at);
    entries[at + REFERENCE] = reference;
    entries[at + FINGERPRINT] = fingerprint;
    const mask = slots.length - 1;
    let slot = hash[0]! & mask;
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    slots[slot] = entry + 1;
    this.next = entry + 1;
    return entry;
  }

  /** Forgets everything: after the distributor said that a reference is no longer known. */
  clear(): void {
    this.#current = createGeneration(ENTRIES_MIN);
    this.#previous.length = 0;
    this.#generation++;
    this.next = 0;
  }

  /** Before each request: lets go of previous generations once everything that is still sent has moved over. */
  maintain(nowMs: number, previousKeptMs: number): void {
    this.#nowMs = nowMs;
    this.#previousKeptMs = previousKeptMs;
    if (nowMs - this.#turnedOverAtMs > previousKeptMs) this.#previous.length = 0;
  }

  #turnOver(): void {
    const { capacity } = this.#current;
    // One that lasted is full of what is no longer sent.
    const wasTooSmall =
      this.#nowMs - this.#turnedOverAtMs <= this.#previousKeptMs || this.#turnedOverAtMs === 0;
    this.#previous.unshift(this.#current);
    this.#current = createGeneration(wasTooSmall ? Math.min(this.#entriesMax, capacity * 2) : capacity);
    let kept = 0;
    let entries = 0;
    for (const previous of this.#previous) {
      entries += previous.capacity;
      if (entries <= this.#current.capacity) kept++;
    }
    this.#previous.length = kept;
    this.#generation++;
    this.next = 0;
    this.#turnedOverAtMs = this.#nowMs;
  }
}

function createGeneration(capacity: number): Generation {
  return {
    entries: new Uint32Array(capacity * ENTRY_WORDS),
    slots: new Uint32Array(capacity * 2),
    capacity,
    used: 0,
    moved: 0,
  };
}

function bytesOf({ entries, slots }: Generation): number {
  return entries.byteLength + slots.byteLength;
}

/** Number of the entry that holds the key; −1 when there is none. At least half of the slots are free. */
function probe(generation: Generation, h0: number, h1: number, h2: number, h3: number): number {
  const { entries, slots } = generation;
  const mask = slots.length - 1;
  for (let slot = h0 & mask; ; slot = (slot + 1) & mask) {
    const entry = slots[slot]! - 1;
    if (entry < 0) return -1;
    const at = entry * ENTRY_WORDS;
    if (entries[at] === h0 && entries[at + 1] === h1 && entries[at + 2] === h2 && entries[at + 3] === h3) {
      return entry;
    }
  }
}
