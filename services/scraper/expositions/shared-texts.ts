// Texts of series, each once however many targets expose it: the targets of a job mostly say the same. A text has a number that never
// changes while somebody uses it; what nobody uses is dropped when there is twice as much as was in use the last time.

/** Texts lie in pages, so that growing copies none. A longer text has a page for itself. */
const PAGE_BITS = 20;
const PAGE_BYTES = 1 << PAGE_BITS;
const OFFSET_MASK = PAGE_BYTES - 1;
/** Below so many texts nothing is dropped. */
const SWEEP_MIN = 16_384;

const USERS_MIN = 1024;

/** Who uses texts. */
export interface TextUser {
  /** Sets `marks[text]` to 1 for each text in use. */
  markTexts(marks: Uint8Array): void;
}

export class SharedTexts {
  #pages: Uint8Array[] = [];
  /** Bytes used of the last page, and of all texts that there are. */
  #pageUsed = PAGE_BYTES;
  #bytes = 0;
  /** By text: page and offset in one number. */
  #place = new Uint32Array(1024);
  #length = new Uint32Array(1024);
  #hash = new Uint32Array(1024);
  /** Numbers given out so far; those that are free again are in `#free`. */
  #numbers = 0;
  #free: number[] = [];
  /** Open addressing: text + 1, 0 is free. Size is a power of two, at most half full. */
  #buckets = new Int32Array(2048);
  #sweepAt = SWEEP_MIN;
  /** Whoever is gone without a word uses nothing. */
  #users: WeakRef<TextUser>[] = [];
  /** With so many, those that are gone are dropped from the list. */
  #usersMax = USERS_MIN;

  /** Texts that there are. */
  get count(): number {
    return this.#numbers - this.#free.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  addUser(user: TextUser): void {
    if (this.#users.length >= this.#usersMax) {
      this.#users = this.#users.filter((each) => each.deref() !== undefined);
      this.#usersMax = Math.max(USERS_MIN, 2 * this.#users.length);
    }
    this.#users.push(new WeakRef(user));
  }

  lengthOf(text: number): number {
    return this.#length[text]!;
  }

  hashOf(text: number): number {
    return this.#hash[text]!;
  }

  /** The bytes of a text: valid until the next `intern`. */
  bytesOf(text: number): Uint8Array {
    const place = this.#place[text]!;
    const offset = place & OFFSET_MASK;
    return this.#pages[place >>> PAGE_BITS]!.subarray(offset, offset + this.#length[text]!);
  }

  /** Whether the bytes from `start` on are that text; the caller knows that there are as many. */
  isAt(text: number, bytes: Uint8Array, start: number): boolean {
    const place = this.#place[text]!;
    const page = this.#pages[place >>> PAGE_BITS]!;
    const from = place & OFFSET_MASK;
    // Back to front: neighbours differ in their last label more often than in their name.
    for (let i = this.#length[text]! - 1; i >= 0; i--) if (page[from + i] !== bytes[start + i]) return false;
    return true;
  }

  /** The number of a text; −1 when nobody has said it. @param hash  As hashText() gives it. */
  find(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const mask = this.#buckets.length - 1;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const text = this.#buckets[at]! - 1;
      if (text < 0) return -1;
      if (this.#hash[text] === hash && this.#length[text] === end - start && this.isAt(text, bytes, start))
        return text;
    }
  }

  /** The number of a text, which is copied when it is new. The caller is a user that marks it from now on. */
  intern(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const known = this.find(bytes, start, end, hash);
    if (known >= 0) return known;
    if (this.count >= this.#sweepAt) this.#sweep();
    const text = this.#free.pop() ?? this.#numbers++;
    if (text >= this.#length.length) this.#grow();
    this.#place[text] = this.#store(bytes.subarray(start, end));
    this.#length[text] = end - start;
    this.#hash[text] = hash;
    this.#bytes += end - start;
    if (this.count * 2 > this.#buckets.length) this.#index(this.#buckets.length * 2);
    else this.#putInTable(text);
    return text;
  }

  #store(text: Uint8Array): number {
    if (this.#pageUsed + Math.max(1, text.length) > PAGE_BYTES) {
      this.#pages.push(new Uint8Array(Math.max(PAGE_BYTES, text.length)));
      this.#pageUsed = 0;
    }
    const page = this.#pages.length - 1;
    const offset = this.#pageUsed;
    this.#pages[page]!.set(text, offset);
    this.#pageUsed += text.length;
    return page * PAGE_BYTES + offset;
  }

  #grow(): void {
    const size = this.#length.length * 2;
    const larger = (column: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> => {
      const copy = new Uint32Array(size);
      copy.set(column);
      return copy;
    };
    this.#place = larger(this.#place);
    this.#length = larger(this.#length);
    this.#hash = larger(this.#hash);
  }

  #putInTable(text: number): void {
    const mask = this.#buckets.length - 1;
    let at = this.#hash[text]! & mask;
    while (this.#buckets[at] !== 0) at = (at + 1) & mask;
    this.#buckets[at] = text + 1;
  }

  /** Puts all texts into a table of that size. */
  #index(size: number): void {
    this.#buckets = new Int32Array(size);
    const isFree = new Uint8Array(this.#numbers);
    for (const text of this.#free) isFree[text] = 1;
    for (let text = 0; text < this.#numbers; text++) if (isFree[text] === 0) this.#putInTable(text);
  }

  /** Drops what nobody uses, and brings the rest together. */
  #sweep(): void {
    const marks = new Uint8Array(this.#numbers);
    this.#users = this.#users.filter((reference) => {
      const user = reference.deref();
      user?.markTexts(marks);
      return user !== undefined;
    });
    const pages = this.#pages;
    this.#pages = [];
    this.#pageUsed = PAGE_BYTES;
    this.#bytes = 0;
    this.#free = [];
    for (let text = this.#numbers - 1; text >= 0; text--) {
      if (marks[text] === 0) {
        this.#free.push(text);
        continue;
      }
      const place = this.#place[text]!;
      const offset = place & OFFSET_MASK;
      const length = this.#length[text]!;
      this.#place[text] = this.#store(pages[place >>> PAGE_BITS]!.subarray(offset, offset + length));
      this.#bytes += length;
    }
    this.#index(this.#buckets.length);
    this.#sweepAt = Math.max(SWEEP_MIN, 2 * this.count);
  }
}

/** FNV-1a over bytes; only spreads, equality is checked on the bytes. */
export function hashText(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}
