// Which writes this ingester holds (lib/wire/docs/held-writes.md), and what makes that list untrustworthy. Kept in memory, made again
// from the log at a start: each logged write carries its own place in it.
import { WriteSet } from '../../lib/model/write-set.ts';
import { INTERVALS_MAX, ORIGINS_MAX } from '../../lib/wire/append/held-writes.ts';

/** The sections of one write. */
export interface WriteSections {
  readonly origin: string;
  readonly write: number;
  /** Ascending. */
  readonly partitions: readonly number[];
  /** By section: writes since the origin's one before with samples of the partition. */
  readonly steps: readonly number[];
}

export class HeldTable {
  readonly held = new WriteSet();
  /** Origin → newest log segment with samples of its writes. */
  readonly #lastSegments = new Map<string, number>();
  /**
   * What was acknowledged here is lost in part, and has not come back yet: this replica does not count as one that holds a write,
   * and is not to be read.
   */
  isRecovering = false;
  /** Whether the log has said at least once what is held: a data directory where it has not is new, or of an earlier version. */
  isKnown = false;
  /** Newest log segment with samples that belong to no numbered write; 0 when there is none. */
  untrackedSegment = 0;
  /** Newest log segment that may have samples of numbered writes which are not listed any more; 0 when there is none. */
  #unlistedSegment = 0;
  #newestSegment = 0;

  take({ origin, write, partitions, steps }: WriteSections, segment: number): void {
    if (!this.#lastSegments.has(origin) && this.#lastSegments.size >= ORIGINS_MAX) this.#evict();
    this.#lastSegments.set(origin, segment);
    this.#newestSegment = segment;
    for (let i = 0; i < partitions.length; i++) {
      const partition = partitions[i]!;
      this.held.add(origin, partition, write - steps[i]!, write);
      this.#trim(origin, partition);
    }
  }

  /** Whether the samples of all these sections are here, on the stores, or deleted. */
  holdsAll({ origin, write, partitions }: WriteSections): boolean {
    return !this.isRecovering && partitions.every((partition) => this.held.has(origin, partition, write));
  }

  /** Adds writes whose samples are here or on the stores. */
  account(writes: WriteSet): void {
    writes.forEach((origin, partition, intervals) => {
      if (!this.#lastSegments.has(origin)) {
        if (this.#lastSegments.size >= ORIGINS_MAX) this.#evict();
        this.#lastSegments.set(origin, 0);
      }
      for (let i = 0; i < intervals.length; i += 2) {
        this.held.add(origin, partition, intervals[i]!, intervals[i + 1]!);
      }
      this.#trim(origin, partition);
    });
  }

  /** Whether every write with samples in a segment of the log from `segment` on is listed. */
  listsAllSince(segment: number): boolean {
    return !this.isRecovering && Math.max(this.untrackedSegment, this.#unlistedSegment) < segment;
  }

  /** A copy of the writes of origins that have samples in a segment of the log from `segment` on. */
  writesSince(segment: number): WriteSet {
    const writes = new WriteSet();
    this.held.forEach((origin, partition, intervals) => {
      if ((this.#lastSegments.get(origin) ?? 0) < segment) return;
      for (let i = 0; i < intervals.length; i += 2)
        writes.add(origin, partition, intervals[i]!, intervals[i + 1]!);
    });
    return writes;
  }

  /** What this ingester had of them is neither here nor on the stores by its own doing. */
  forgetPartitions(partitions: ReadonlySet<number>): void {
    const rest = this.held.only((partition) => !partitions.has(partition));
    this.held.clear();
    this.held.addAll(rest);
  }

  /** Puts another list in place of this one: what the log said at `segment`. */
  replace(writes: WriteSet, isRecovering: boolean, segment: number): void {
    this.held.clear();
    this.#lastSegments.clear();
    this.held.addAll(writes);
    for (const origin of this.held.origins()) this.#lastSegments.set(origin, segment);
    this.#newestSegment = segment;
    // What is on this disk and was lost from the list may be of any write.
    if (isRecovering) this.#unlistedSegment = segment;
    this.isRecovering = isRecovering;
    this.isKnown = true;
  }

  /** Forgets everything. */
  clear(): void {
    this.held.clear();
    this.#lastSegments.clear();
    this.isRecovering = false;
    this.isKnown = false;
    this.untrackedSegment = 0;
    this.#unlistedSegment = 0;
  }

  /** After a start: what an image or a checkpoint named may have samples up to the log's newest segment. */
  settle(segment: number): void {
    for (const [origin, last] of this.#lastSegments) if (last === 0) this.#lastSegments.set(origin, segment);
  }

  /** The log begins at `segment` now: what was before it is on the stores, and nobody has to be told of its origins. */
  forgetBefore(segment: number): void {
    for (const [origin, last] of this.#lastSegments) if (last < segment) this.#forget(origin);
    if (this.untrackedSegment < segment) this.untrackedSegment = 0;
  }

  #trim(origin: string, partition: number): void {
    if (this.held.intervalsOf(origin, partition).length <= 2 * INTERVALS_MAX) return;
    this.held.trim(origin, partition, INTERVALS_MAX);
    this.#unlistedSegment = this.#newestSegment;
  }

  #evict(): void {
    this.#unlistedSegment = this.#newestSegment;
    let oldest: string | undefined;
    for (const [origin, last] of this.#lastSegments) {
      if (oldest === undefined || last < this.#lastSegments.get(oldest)!) oldest = origin;
    }
    if (oldest !== undefined) this.#forget(oldest);
  }

  #forget(origin: string): void {
    this.#lastSegments.delete(origin);
    this.held.remove(origin);
  }
}
