// Expanded pages of block indexes, least recently used first out: shared by all open blocks of a process, so that index
// memory has one bound. Pages of chunks are not kept here: the operating system keeps the file's.

/** Pages of one owner are numbered by section and page; see `keyOf`. */
const PAGES_PER_SECTION_MAX = 2 ** 24;
const SECTIONS_PER_OWNER = 8;

export class PageCache {
  readonly #bytesMax: number;
  /** Insertion order is order of use. */
  readonly #pages = new Map<number, Uint8Array>();
  #bytesHeld = 0;
  #owners = 0;
  hits = 0;
  misses = 0;

  /** @param bytesMax  Raw bytes held at most; one page may stand alone above it. */
  constructor(options: { readonly bytesMax: number }) {
    this.#bytesMax = options.bytesMax;
  }

  get bytesHeld(): number {
    return this.#bytesHeld;
  }

  /** A number for a newly opened block, never given twice. */
  addOwner(): number {
    return this.#owners++;
  }

  get(owner: number, section: number, page: number): Uint8Array | undefined {
    const key = keyOf(owner, section, page);
    const found = this.#pages.get(key);
    if (found === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    this.#pages.delete(key);
    this.#pages.set(key, found);
    return found;
  }

  /** Retains `raw`, which nobody changes afterwards. */
  put(owner: number, section: number, page: number, raw: Uint8Array): void {
    const added = keyOf(owner, section, page);
    this.#bytesHeld += raw.length - (this.#pages.get(added)?.length ?? 0);
    this.#pages.set(added, raw);
    for (const [key, oldest] of this.#pages) {
      if (this.#bytesHeld <= this.#bytesMax || this.#pages.size === 1) break;
      this.#pages.delete(key);
      this.#bytesHeld -= oldest.length;
    }
  }

  /** Forgets the pages of a block that was closed. */
  dropOwner(owner: number): void {
    for (const [key, page] of this.#pages) {
      if (Math.floor(key / (PAGES_PER_SECTION_MAX * SECTIONS_PER_OWNER)) !== owner) continue;
      this.#pages.delete(key);
      this.#bytesHeld -= page.length;
    }
  }
}

function keyOf(owner: number, section: number, page: number): number {
  return (owner * SECTIONS_PER_OWNER + section) * PAGES_PER_SECTION_MAX + page;
}
