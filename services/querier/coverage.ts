// Is the answer complete? A partition is answered for when one replica has all of it, or when so many replicas answered
// that every acknowledged sample, being on a quorum, is on one of them.
import { type Placement, quorumOf } from '../lib/placement/placement.ts';
import type { Coverage } from '../lib/wire/contracts.ts';

export interface SourceAnswer {
  readonly kind: 'ingester' | 'store';
  readonly instance: string;
  /** What the node said that its answer accounts for; undefined when it said nothing or did not answer. */
  readonly coverage: Coverage | undefined;
  /** Why the node did not answer; undefined when it did. */
  readonly failure: string | undefined;
}

/** Partition numbers named in a message at most. */
const NAMED_MAX = 10;

/**
 * What an answer lacks, a sentence each; empty when it is complete.
 *
 * A store that does not answer always leaves a gap: only it knows which blocks it holds.
 */
export function findGaps(
  answers: readonly SourceAnswer[],
  placement: Placement | undefined,
  replicationFactor: number,
): string[] {
  const gaps: string[] = [];
  for (const { kind, instance, failure } of answers) {
    if (kind === 'store' && failure !== undefined) gaps.push(`store ${instance} did not answer: ${failure}`);
  }
  const ingesters = answers.filter(({ kind }) => kind === 'ingester');
  if (ingesters.length === 0) gaps.push('no ingester is known');
  const failed = ingesters.filter(({ failure }) => failure !== undefined);
  const reasons = failed.map(({ instance, failure }) => `ingester ${instance} did not answer: ${failure}`);
  if (placement === undefined) return [...gaps, ...reasons];
  const open = openPartitions(ingesters, placement, replicationFactor);
  if (ingesters.length > 0 && open.length > 0) gaps.push(describePartitions(open, placement, reasons));
  return gaps;
}

function openPartitions(
  ingesters: readonly SourceAnswer[],
  placement: Placement,
  replicationFactor: number,
): number[] {
  const answered = new Map<string, ReadonlySet<number>>();
  for (const { instance, failure, coverage } of ingesters) {
    if (failure === undefined) answered.set(instance, completePartitions(coverage));
  }
  const needed = replicationFactor - quorumOf(replicationFactor) + 1;
  const open: number[] = [];
  for (let partition = 0; partition < placement.partitionCount; partition++) {
    const owners = placement.replicas[partition]!.filter((owner) => answered.has(owner));
    const isComplete = owners.some((owner) => answered.get(owner)!.has(partition));
    if (!isComplete && owners.length < needed) open.push(partition);
  }
  return open;
}

function completePartitions(coverage: Coverage | undefined): ReadonlySet<number> {
  const complete = (coverage?.partitions ?? []).filter((partition) => partition.complete);
  return new Set(complete.map(({ partition }) => partition));
}

function describePartitions(
  open: readonly number[],
  placement: Placement,
  reasons: readonly string[],
): string {
  const named = open.slice(0, NAMED_MAX).join(', ');
  const more = open.length > NAMED_MAX ? `, and ${open.length - NAMED_MAX} more` : '';
  const why = reasons.length > 0 ? reasons.join('; ') : 'their owners are not members now';
  return `recent samples of ${open.length} of ${placement.partitionCount} partitions are missing (${named}${more}): ${why}`;
}
