// Sets of writes, by the distributor that numbered them and by partition (wire/docs/held-writes.md): what a replica holds, what it
// lacks, what it asks for. Intervals of numbers, since a replica that missed nothing has one per distributor and partition.

/** Ascending intervals that do not touch, flat: begin, end, begin, end …; each holds the writes begin + 1 … end. */
export type Intervals = readonly number[];

const NONE: Intervals = [];

/** Called with each non-empty list of intervals; the list is the set's own. */
export type IntervalsVisitor = (origin: string, partition: number, intervals: Intervals) => void;

export class WriteSet {
  /** Origin → partition → intervals. */
  readonly #origins = new Map<string, (number[] | undefined)[]>();

  get isEmpty(): boolean {
    return this.#origins.size === 0;
  }

  get originCount(): number {
    return this.#origins.size;
  }

  origins(): IterableIterator<string> {
    return this.#origins.keys();
  }

  intervalsOf(origin: string, partition: number): Intervals {
    return this.#origins.get(origin)?.[partition] ?? NONE;
  }

  /** Number of the newest write of an origin's partition; 0 when there is none. */
  newestOf(origin: string, partition: number): number {
    return this.intervalsOf(origin, partition).at(-1) ?? 0;
  }

  /** Adds the writes begin + 1 … end, which may be there in part or whole. Cost: O(1) behind the newest ones. */
  add(origin: string, partition: number, begin: number, end: number): void {
    if (end <= begin) return;
    let partitions = this.#origins.get(origin);
    if (partitions === undefined) {
      partitions = [];
      this.#origins.set(origin, partitions);
    }
    const intervals = partitions[partition];
    if (intervals === undefined) partitions[partition] = [begin, end];
    else addInterval(intervals, begin, end);
  }

  addAll(other: WriteSet): void {
    other.forEach((origin, partition, intervals) => {
      for (let i = 0; i < intervals.length; i += 2)
        this.add(origin, partition, intervals[i]!, intervals[i + 1]!);
    });
  }

  /** Leaves only the newest `most` intervals of a partition. */
  trim(origin: string, partition: number, most: number): void {
    const intervals = this.#origins.get(origin)?.[partition];
    if (intervals !== undefined && intervals.length > 2 * most)
      intervals.splice(0, intervals.length - 2 * most);
  }

  remove(origin: string): void {
    this.#origins.delete(origin);
  }

  clear(): void {
    this.#origins.clear();
  }

  /** By origin in no order, by partition ascending. */
  forEach(visit: IntervalsVisitor): void {
    for (const [origin, partitions] of this.#origins) {
      for (const [partition, intervals] of partitions.entries()) {
        if (intervals !== undefined && intervals.length > 0) visit(origin, partition, intervals);
      }
    }
  }

  /** What is here and not in `other`. */
  without(other: WriteSet): WriteSet {
    const rest = new WriteSet();
    this.forEach((origin, partition, intervals) => {
      const taken = other.intervalsOf(origin, partition);
      for (let i = 0; i < intervals.length; i += 2) {
        let begin = intervals[i]!;
        const end = intervals[i + 1]!;
        for (let j = 0; j < taken.length && taken[j]! < end; j += 2) {
          if (taken[j + 1]! <= begin) continue;
          rest.add(origin, partition, begin, taken[j]!);
          begin = taken[j + 1]!;
        }
        rest.add(origin, partition, begin, end);
      }
    });
    return rest;
  }

  /** What is here and in `other`. */
  within(other: WriteSet): WriteSet {
    return this.without(this.without(other));
  }

  /** What is here of some partitions. */
  only(isWanted: (partition: number) => boolean): WriteSet {
    const rest = new WriteSet();
    this.forEach((origin, partition, intervals) => {
      if (!isWanted(partition)) return;
      for (let i = 0; i < intervals.length; i += 2)
        rest.add(origin, partition, intervals[i]!, intervals[i + 1]!);
    });
    return rest;
  }

  /** True when a write of `origin` with a number in [first, last] is here, of whatever partition. */
  touches(origin: string, first: number, last: number): boolean {
    return (this.#origins.get(origin) ?? []).some((intervals) =>
      overlaps(intervals ?? NONE, first - 1, last),
    );
  }

  /** Whether write `number` is here. */
  has(origin: string, partition: number, number: number): boolean {
    return overlaps(this.intervalsOf(origin, partition), number - 1, number);
  }
}

function overlaps(intervals: Intervals, begin: number, end: number): boolean {
  for (let i = 0; i < intervals.length; i += 2) {
    if (intervals[i]! < end && intervals[i + 1]! > begin) return true;
  }
  return false;
}

function addInterval(intervals: number[], begin: number, end: number): void {
  const last = intervals.length - 1;
  // Nearly always the next write.
  if (begin >= intervals[last - 1]! && begin <= intervals[last]!) {
    if (end > intervals[last]!) intervals[last] = end;
    return;
  }
  if (begin > intervals[last]!) {
    intervals.push(begin, end);
    return;
  }
  let from = 0;
  while (intervals[from + 1]! < begin) from += 2;
  let to = from;
  let first = begin;
  let newest = end;
  for (; to < intervals.length && intervals[to]! <= newest; to += 2) {
    first = Math.min(first, intervals[to]!);
    newest = Math.max(newest, intervals[to + 1]!);
  }
  intervals.splice(from, to - from, first, newest);
}
