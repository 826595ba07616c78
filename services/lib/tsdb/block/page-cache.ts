// Expanded pages of blocks, least recently used first out: shared by all open blocks of a process, so that their memory has one bound. A
// store has two: of indexes, with the series that selectors found in them, and of chunks.

/** Pages of one owner are numbered by section and page; see `keyOf`. */
const PAGES_PER_SECTION_MAX = 2 ** 24;
const SECTIONS_PER_OWNER = 8;
/** Ids of one selector take this part of the cache at most: few selectors find everything, and they are dear in other ways. */
const IDS_SHARE_MAX = 1 / 16;
/** Bytes past a page in its buffer that are kept with it rather than copied away from. */
const SLACK_BYTES_MAX = 1024;

/** The pages of one section. */
export interface SectionPages {
  get(page: number): Uint8Array | undefined;
  put(page: number, raw: Uint8Array): void;
}

/** Series that selectors found in one block. */
export interface FoundSeries {
  get(selector: string): Uint32Array | undefined;
  put(selector: string, ids: Uint32Array): void;
}

export class PageCache {
  readonly #bytesMax: number;
  /** Pages by number, ids by selector. Insertion order is order of use. */
  readonly #entries = new Map<number | string, Uint8Array | Uint32Array>();
  #bytesHeld = 0;
  #owners = 0;
  hits = 0;
  misses = 0;

  /** @param bytesMax  Bytes held at most; one page may stand alone above it. */
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
    const found = this.#use(keyOf(owner, section, page)) as Uint8Array | undefined;
    if (found === undefined) this.misses++;
    else this.hits++;
    return found;
  }

  /** Retains `raw`, which nobody changes afterwards, or a copy where it is a small part of its buffer. */
  put(owner: number, section: number, page: number, raw: Uint8Array): void {
    const isPart = raw.buffer.byteLength > raw.length + SLACK_BYTES_MAX;
    this.#keep(keyOf(owner, section, page), isPart ? new Uint8Array(raw) : raw);
  }

  pagesOf(owner: number, section: number): SectionPages {
    return {
      get: (page) => this.get(owner, section, page),
      put: (page, raw) => this.put(owner, section, page, raw),
    };
  }

  /** A block never changes, so what a selector found in it holds as long as it is open. */
  foundIn(owner: number): FoundSeries {
    return {
      get: (selector) => this.#use(`${owner} ${selector}`) as Uint32Array | undefined,
      put: (selector, ids) => {
        if (ids.byteLength > this.#bytesMax * IDS_SHARE_MAX) return;
        this.#keep(`${owner} ${selector}`, new Uint32Array(ids));
      },
    };
  }

  /** Forgets all of a block that was closed. */
  dropOwner(owner: number): void {
    for (const [key, entry] of this.#entries) {
      if (ownerOf(key) !== owner) continue;
      this.#entries.delete(key);
      this.#bytesHeld -= bytesOf(key, entry);
    }
  }

  #use(key: number | string): Uint8Array | Uint32Array | undefined {
    const found = this.#entries.get(key);
    if (found === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, found);
    return found;
  }

  #keep(added: number | string, entry: Uint8Array | Uint32Array): void {
    const before = this.#entries.get(added);
    this.#bytesHeld += bytesOf(added, entry) - (before === undefined ? 0 : bytesOf(added, before));
    this.#entries.set(added, entry);
    for (const [key, oldest] of this.#entries) {
      if (this.#bytesHeld <= this.#bytesMax || this.#entries.size === 1) break;
      this.#entries.delete(key);
      this.#bytesHeld -= bytesOf(key, oldest);
    }
  }
}

function keyOf(owner: number, section: number, page: number): number {
  return (owner * SECTIONS_PER_OWNER + section) * PAGES_PER_SECTION_MAX + page;
}

function ownerOf(key: number | string): number {
  if (typeof key === 'string') return Number(key.slice(0, key.indexOf(' ')));
  return Math.floor(key / (PAGES_PER_SECTION_MAX * SECTIONS_PER_OWNER));
}

/** Selectors are text that clients choose: they count. */
function bytesOf(key: number | string, entry: Uint8Array | Uint32Array): number {
  return entry.byteLength + (typeof key === 'string' ? 2 * key.length : 0);
}
