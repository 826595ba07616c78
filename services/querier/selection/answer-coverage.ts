// What an answer rests on: for each partition and time range how many replicas accounted for it. coverage.ts decides whether
// that is enough; here it is counted, united over the selects of a query, and given to whoever asked.
import { type Placement, quorumOf } from '../../lib/placement/placement.ts';
import type { StoreSet } from '../../lib/transport/cluster.ts';
import type { AnswerCoverage, PartitionGroup } from '../../lib/wire/contracts.ts';
import { completePartitions, countMissingStores, type SourceAnswer } from './coverage.ts';

/** Samples that were asked for, Unix milliseconds, both inclusive. */
export interface AskedRange {
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

export interface CoverageQuestion {
  readonly range: AskedRange;
  readonly placement: Placement | undefined;
  readonly replicationFactor: number;
  readonly storeSet: StoreSet | undefined;
  /** What findGaps() found in the same answers. */
  readonly gaps: readonly string[];
}

/** An owner that answered. */
interface Answered {
  readonly complete: ReadonlySet<number>;
  /** By partition: the oldest time that it still answers for. */
  readonly fromMs: ReadonlyMap<number, number>;
}

/** Counts what the answers of one select account for. */
export function countCoverage(
  answers: readonly SourceAnswer[],
  { range, placement, replicationFactor, storeSet, gaps }: CoverageQuestion,
): AnswerCoverage {
  const blockCopies = storeSet?.replicationFactor ?? 1;
  return {
    complete: gaps.length === 0,
    partitionCount: placement?.partitionCount ?? 0,
    ...range,
    groups: placement === undefined ? [] : groupPartitions(answers, placement, replicationFactor, range),
    blockCopies,
    blockCopiesRead: Math.max(0, blockCopies - countMissingStores(answers, storeSet)),
    missing: [...gaps],
  };
}

function groupPartitions(
  answers: readonly SourceAnswer[],
  placement: Placement,
  replicationFactor: number,
  range: AskedRange,
): PartitionGroup[] {
  const answered = new Map<string, Answered>();
  for (const { kind, instance, coverage, failure } of answers) {
    if (kind !== 'ingester' || failure !== undefined) continue;
    const fromMs = new Map<number, number>();
    for (const { partition, minTimeMs } of coverage?.partitions ?? []) {
      fromMs.set(partition, Math.min(minTimeMs, fromMs.get(partition) ?? minTimeMs));
    }
    answered.set(instance, { complete: completePartitions(coverage), fromMs });
  }
  const groups = new GroupList();
  const quorum = quorumOf(replicationFactor);
  for (const [partition, owners] of placement.replicas.entries()) {
    let there = 0;
    let complete = 0;
    let fromMs = range.maxTimeMs;
    for (const owner of owners) {
      const answer = answered.get(owner);
      if (answer === undefined) continue;
      there++;
      if (answer.complete.has(partition)) complete++;
      fromMs = Math.min(fromMs, answer.fromMs.get(partition) ?? range.minTimeMs);
    }
    const covered = complete > 0 || there >= Math.max(0, owners.length - quorum + 1);
    groups.add(partition, { owners: owners.length, answered: there, complete, covered, fromMs });
  }
  return groups.all();
}

/** Collects partitions that are alike. */
class GroupList {
  readonly #groups = new Map<string, PartitionGroup>();
  #last: PartitionGroup | undefined;

  add(partition: number, alike: Omit<PartitionGroup, 'partitions'>): void {
    const last = this.#last;
    // Neighbours are mostly alike.
    if (last !== undefined && isAlike(last, alike)) last.partitions.push(partition);
    else this.#last = this.#find(partition, alike);
  }

  #find(partition: number, alike: Omit<PartitionGroup, 'partitions'>): PartitionGroup {
    const { owners, answered, complete, covered, fromMs } = alike;
    const key = `${owners} ${answered} ${complete} ${covered} ${fromMs}`;
    const known = this.#groups.get(key);
    if (known !== undefined) {
      known.partitions.push(partition);
      return known;
    }
    const group = { partitions: [partition], ...alike };
    this.#groups.set(key, group);
    return group;
  }

  all(): PartitionGroup[] {
    return [...this.#groups.values()];
  }
}

function isAlike(a: Omit<PartitionGroup, 'partitions'>, b: Omit<PartitionGroup, 'partitions'>): boolean {
  return (
    a.owners === b.owners &&
    a.answered === b.answered &&
    a.complete === b.complete &&
    a.covered === b.covered &&
    a.fromMs === b.fromMs
  );
}

/** What the selects of a query rest on, together: the worst of each partition, over all their times. Undefined without any. */
export function uniteCoverage(selects: readonly AnswerCoverage[]): AnswerCoverage | undefined {
  const [first, ...rest] = selects;
  if (first === undefined || rest.length === 0) return first;
  return {
    complete: selects.every(({ complete }) => complete),
    partitionCount: Math.max(...selects.map(({ partitionCount }) => partitionCount)),
    minTimeMs: Math.min(...selects.map(({ minTimeMs }) => minTimeMs)),
    maxTimeMs: Math.max(...selects.map(({ maxTimeMs }) => maxTimeMs)),
    groups: uniteGroups(selects),
    blockCopies: Math.max(...selects.map(({ blockCopies }) => blockCopies)),
    blockCopiesRead: Math.min(...selects.map(({ blockCopiesRead }) => blockCopiesRead)),
    missing: [...new Set(selects.flatMap(({ missing }) => missing))],
  };
}

function uniteGroups(selects: readonly AnswerCoverage[]): PartitionGroup[] {
  const worst = new Map<number, Omit<PartitionGroup, 'partitions'>>();
  for (const { partitions, ...group } of selects.flatMap(({ groups }) => groups)) {
    for (const partition of partitions) {
      const known = worst.get(partition) ?? group;
      worst.set(partition, {
        owners: Math.max(known.owners, group.owners),
        answered: Math.min(known.answered, group.answered),
        complete: Math.min(known.complete, group.complete),
        covered: known.covered && group.covered,
        fromMs: Math.max(known.fromMs, group.fromMs),
      });
    }
  }
  const groups = new GroupList();
  for (const partition of [...worst.keys()].sort((a, b) => a - b))
    groups.add(partition, worst.get(partition)!);
  return groups.all();
}
