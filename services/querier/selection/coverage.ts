// Is the answer complete? A partition is answered for when one replica has all of it, or when so many replicas answered
// that every acknowledged sample, being on a quorum, is on one of them. A block is on several stores, so that some of them
// may be missing.
import { type Placement, quorumOf } from '../../lib/placement/placement.ts';
import type { StoreSet } from '../../lib/transport/cluster.ts';
import type { Coverage } from '../../lib/wire/contracts.ts';

export interface SourceAnswer {
  readonly kind: 'ingester' | 'store';
  readonly instance: string;
  /** What the node said that its answer accounts for; undefined when it said nothing or did not answer. */
  readonly coverage: Coverage | undefined;
  /** Why the node did not answer; undefined when it did. */
  readonly failure: string | undefined;
}

/** Partitions and members named in a message at most. */
const NAMED_MAX = 10;

/**
 * What an answer lacks, a sentence each; empty when it is complete.
 *
 * @param storeSet  Stores that may hold blocks, and copies per block; undefined: any store that fails leaves a gap.
 */
export function findGaps(
  answers: readonly SourceAnswer[],
  placement: Placement | undefined,
  replicationFactor: number,
  storeSet?: StoreSet,
): string[] {
  if (!hasGaps(answers, placement, replicationFactor, storeSet)) return [];
  const lost = missingStores(answers, storeSet);
  const gaps = lost.length >= (storeSet?.replicationFactor ?? 1) ? lost : [];
  const ingesters = answers.filter(({ kind }) => kind === 'ingester');
  if (ingesters.length === 0) gaps.push('no ingester is known');
  const failed = ingesters.filter(({ failure }) => failure !== undefined);
  const reasons = failed.map(({ instance, failure }) => `ingester ${instance} did not answer: ${failure}`);
  if (placement === undefined) return [...gaps, ...reasons];
  const open = [...openPartitions(answers, placement, replicationFactor)];
  if (ingesters.length > 0 && open.length > 0) {
    const why = [...reasons, ...absentOwners(open, placement, ingesters)];
    gaps.push(describePartitions(open, placement, why));
  }
  return gaps;
}

/** Whether findGaps() finds any, without the sentences: asked after each node's answer. */
export function hasGaps(
  answers: readonly SourceAnswer[],
  placement: Placement | undefined,
  replicationFactor: number,
  storeSet?: StoreSet,
): boolean {
  if (!answers.some(({ kind }) => kind === 'ingester')) return true;
  if (countMissingStores(answers, storeSet) >= (storeSet?.replicationFactor ?? 1)) return true;
  if (placement === undefined)
    return answers.some(({ kind, failure }) => kind === 'ingester' && failure !== undefined);
  return openPartitions(answers, placement, replicationFactor).next().done !== true;
}

/** How many missingStores() finds. */
export function countMissingStores(answers: readonly SourceAnswer[], storeSet: StoreSet | undefined): number {
  let missing = 0;
  for (const { kind, failure, coverage } of answers) {
    if (kind === 'store' && (failure !== undefined || hasLoss(coverage))) missing++;
  }
  for (const instance of storeSet?.instances ?? []) {
    const isAsked = answers.some((answer) => answer.kind === 'store' && answer.instance === instance);
    if (!isAsked) missing++;
  }
  return missing;
}

/**
 * Stores without whose blocks the answer was made, a sentence each. Only a store knows which blocks it holds: as many missing ones
 * as there are copies may have held the same block.
 */
export function missingStores(answers: readonly SourceAnswer[], storeSet: StoreSet | undefined): string[] {
  const stores = answers.filter(({ kind }) => kind === 'store');
  const missing: string[] = [];
  for (const { instance, failure, coverage } of stores) {
    const lost = lossOf(coverage);
    if (failure !== undefined) missing.push(`store ${instance} did not answer: ${failure}`);
    else if (lost !== undefined) missing.push(`store ${instance} lacks samples: ${lost}`);
  }
  const asked = new Set(stores.map(({ instance }) => instance));
  for (const instance of storeSet?.instances ?? []) {
    if (!asked.has(instance)) missing.push(`store ${instance} is not a member now`);
  }
  return missing;
}

function hasLoss(coverage: Coverage | undefined): boolean {
  if (coverage === undefined) return false;
  return coverage.missing !== undefined || coverage.partitions.some(({ complete }) => !complete);
}

/** Why a store that answered does not account for all that was shipped to it; undefined when it does. */
function lossOf(coverage: Coverage | undefined): string | undefined {
  if (coverage?.missing !== undefined) return coverage.missing;
  const open = (coverage?.partitions ?? []).filter(({ complete }) => !complete);
  if (open.length === 0) return undefined;
  return `of partitions ${listNames(open.map(({ partition }) => partition))} not all is there`;
}

/** Partitions for which, by the placement now or one that was in force lately, an acknowledged sample may be missing. */
function* openPartitions(
  answers: readonly SourceAnswer[],
  placement: Placement,
  replicationFactor: number,
): Generator<number> {
  const answered = new Map<string, Coverage | undefined>();
  for (const { kind, instance, failure, coverage } of answers) {
    if (kind === 'ingester' && failure === undefined) answered.set(instance, coverage);
  }
  const quorum = quorumOf(replicationFactor);
  const complete = new Map<string, ReadonlySet<number>>();
  const isComplete = (owner: string, partition: number): boolean => {
    let partitions = complete.get(owner);
    if (partitions === undefined) {
      partitions = completePartitions(answered.get(owner));
      complete.set(owner, partitions);
    }
    return partitions.has(partition);
  };
  const lacks = (partition: number, owners: readonly string[]): boolean => {
    let there = 0;
    for (const owner of owners) if (answered.has(owner)) there++;
    // Of so few owners no quorum could be had, and nothing was acknowledged, where `owners` are less than the quorum.
    if (there >= Math.max(0, owners.length - quorum + 1)) return false;
    return !owners.some((owner) => isComplete(owner, partition));
  };
  const { former = [], partitionCount, replicas } = placement;
  for (let partition = 0; partition < partitionCount; partition++) {
    const isOpen =
      lacks(partition, replicas[partition]!) || former.some((epoch) => lacks(partition, epoch[partition]!));
    if (isOpen) yield partition;
  }
}

/** Partitions of which a node holds all that it is to account for, at all times that it names. */
export function completePartitions(coverage: Coverage | undefined): ReadonlySet<number> {
  const partitions = coverage?.partitions ?? [];
  const complete = new Set<number>();
  for (const each of partitions) if (each.complete) complete.add(each.partition);
  for (const each of partitions) if (!each.complete) complete.delete(each.partition);
  return complete;
}

/** Owners of partitions that could not be asked, as a reason. */
function absentOwners(
  partitions: readonly number[],
  placement: Placement,
  ingesters: readonly SourceAnswer[],
): string[] {
  const asked = new Set(ingesters.map(({ instance }) => instance));
  const absent = new Set<string>();
  for (const replicas of [placement.replicas, ...(placement.former ?? [])]) {
    for (const owner of partitions.flatMap((partition) => replicas[partition]!)) {
      if (!asked.has(owner)) absent.add(owner);
    }
  }
  if (absent.size === 0) return [];
  return [`not members now: ingesters ${listNames([...absent].sort())}`];
}

function describePartitions(
  open: readonly number[],
  placement: Placement,
  reasons: readonly string[],
): string {
  return `recent samples of ${open.length} of ${placement.partitionCount} partitions are missing (${listNames(open)}): ${reasons.join('; ')}`;
}

function listNames(names: readonly (string | number)[]): string {
  const more = names.length > NAMED_MAX ? `, and ${names.length - NAMED_MAX} more` : '';
  return `${names.slice(0, NAMED_MAX).join(', ')}${more}`;
}
