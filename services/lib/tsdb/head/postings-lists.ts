// Many growing lists of series ids in one arena. A list of one id lives in its column; longer ones are chains of blocks
// that double up to a limit, so that a short list is small and a long one is read in long runs.
import { EMPTY_POSTINGS } from '../postings/postings.ts';
import { grownU32 } from './columns.ts';

const BLOCK_IDS_MIN = 4;
const BLOCK_IDS_MAX = 1024;
/** Words of a block in front of its ids: next block or 0, ids that fit. */
const BLOCK_HEAD = 2;

/** Lists are numbered by their owner: 0, 1, 2 … without gaps. */
export class PostingsLists {
  #counts: Uint32Array = new Uint32Array(16);
  /** The only id of a list of one, else its first block. */
  #first: Uint32Array = new Uint32Array(16);
  #lastBlock: Uint32Array = new Uint32Array(16);
  #lastId: Uint32Array = new Uint32Array(16);
  /** 1 where ids did not come ascending: the list is sorted when it is read next. */
  #unsorted = new Uint8Array(16);
  #arena: Uint32Array = new Uint32Array(1024);
  /** Words in use. Word 0 is never a block: 0 means none. */
  #used = 1;

  get bytesHeld(): number {
    return this.#arena.length * 4 + this.#counts.length * 17;
  }

  /** Makes room for `share` of what another one holds. To be called before anything is appended. */
  reserveLike(other: PostingsLists, share: number): void {
    this.#growLists(Math.ceil(other.#counts.length * share));
    this.#arena = grownU32(this.#arena, Math.ceil(other.#used * share));
  }

  countOf(list: number): number {
    return this.#counts[list] ?? 0;
  }

  /** Appends an id that is not in the list. */
  append(list: number, id: number): void {
    if (list >= this.#counts.length) this.#growLists(list + 1);
    const count = this.#counts[list]!;
    if (count > 0 && id < this.#lastId[list]!) this.#unsorted[list] = 1;
    this.#lastId[list] = id;
    this.#counts[list] = count + 1;
    if (count === 0) {
      this.#first[list] = id;
      return;
    }
    if (count === 1) {
      const only = this.#first[list]!;
      const block = this.#newBlock(BLOCK_IDS_MIN);
      this.#arena[block + BLOCK_HEAD] = only;
      this.#first[list] = block;
      this.#lastBlock[list] = block;
    }
    this.#put(list, count, id);
  }

  /** A copy of the list, ascending. */
  read(list: number): Uint32Array {
    const count = this.countOf(list);
    if (count === 0) return EMPTY_POSTINGS;
    if (count === 1) return Uint32Array.of(this.#first[list]!);
    const ids = new Uint32Array(count);
    this.#copy(list, ids, false);
    if (this.#unsorted[list] !== 0) {
      ids.sort();
      this.#copy(list, ids, true);
      this.#unsorted[list] = 0;
      this.#lastId[list] = ids[count - 1]!;
    }
    return ids;
  }

  /** Copies the list's blocks into `ids`, or back. */
  #copy(list: number, ids: Uint32Array, back: boolean): void {
    let at = 0;
    for (let block = this.#first[list]!; at < ids.length; block = this.#arena[block]!) {
      const start = block + BLOCK_HEAD;
      const take = Math.min(this.#arena[block + 1]!, ids.length - at);
      if (back) this.#arena.set(ids.subarray(at, at + take), start);
      else ids.set(this.#arena.subarray(start, start + take), at);
      at += take;
    }
  }

  /** Puts the list's id number `index` behind the others. */
  #put(list: number, index: number, id: number): void {
    let block = this.#lastBlock[list]!;
    const capacity = this.#arena[block + 1]!;
    // Behind the doubling blocks come blocks of the largest size only.
    const position = (index - idsBefore(capacity)) % capacity;
    if (position === 0) {
      const next = this.#newBlock(Math.min(BLOCK_IDS_MAX, capacity * 2));
      this.#arena[block] = next;
      this.#lastBlock[list] = next;
      block = next;
    }
    this.#arena[block + BLOCK_HEAD + position] = id;
  }

  #newBlock(capacity: number): number {
    const block = this.#used;
    this.#used += BLOCK_HEAD + capacity;
    this.#arena = grownU32(this.#arena, this.#used);
    this.#arena[block] = 0;
    this.#arena[block + 1] = capacity;
    return block;
  }

  #growLists(needed: number): void {
    this.#counts = grownU32(this.#counts, needed);
    const length = this.#counts.length;
    this.#first = grownU32(this.#first, length);
    this.#lastBlock = grownU32(this.#lastBlock, length);
    this.#lastId = grownU32(this.#lastId, length);
    const unsorted = new Uint8Array(length);
    unsorted.set(this.#unsorted);
    this.#unsorted = unsorted;
  }
}

/** Ids in the blocks before the first one of this capacity: 4 + 8 + … */
function idsBefore(capacity: number): number {
  return capacity - BLOCK_IDS_MIN;
}
