// Which nodes own a partition: rendezvous (highest-random-weight) hashing over live members, zone-aware, and the record
// that carries the result with its epoch.
import { assert } from '../core/assert.ts';
import { encodeUtf8 } from '../core/bytes.ts';
import { hash128 } from '../core/hash128.ts';

/** A node that can own partitions. */
export interface Member {
  /** Unique in the cluster: `--cluster.instance`. */
  readonly instance: string;
  /** Failure domain: `--cluster.zone`; empty when unknown. */
  readonly zone: string;
}

/** Who owns what, at one epoch. */
export interface Placement {
  /** Grows with every change. */
  readonly epoch: number;
  /** Number of partitions P, fixed when the cluster is made. */
  readonly partitionCount: number;
  /** Owners of each partition, best first; as many as the replication factor, fewer when there are fewer members. */
  readonly replicas: readonly (readonly string[])[];
  /** Owners at earlier epochs that may still hold samples which are on no store, partition by partition. */
  readonly former?: readonly (readonly (readonly string[])[])[];
  /** By entry of `former`: the last epoch at which they were the owners. */
  readonly formerEpochs?: readonly number[];
  /** Writes by placements before this epoch are refused for every partition. */
  readonly fence?: number;
}

/** Seed of partition and placement hashes. Part of the data format: never change it. */
export const PLACEMENT_SEED = 0x7d3a11c5;

/** Copies that make a write durable: a majority of the replication factor. */
export function quorumOf(replicationFactor: number): number {
  return Math.floor(replicationFactor / 2) + 1;
}

/**
 * Computes the owners of every partition.
 *
 * Law: with one member more or fewer, only partitions that it gains or loses change owners.
 */
export function computePlacement(
  members: readonly Member[],
  options: { readonly epoch: number; readonly partitionCount: number; readonly replicationFactor: number },
): Placement {
  assert(options.partitionCount > 0, `partitionCount ${options.partitionCount} > 0`);
  const replicas: string[][] = [];
  for (let partition = 0; partition < options.partitionCount; partition++) {
    const ranked = rankMembers(members, `partition ${partition}`);
    replicas.push(spreadOverZones(ranked, options.replicationFactor));
  }
  return { epoch: options.epoch, partitionCount: options.partitionCount, replicas };
}

/** Members by falling rendezvous weight for `key`; ties break by instance. */
export function rankMembers(members: readonly Member[], key: string): Member[] {
  const weighted = members.map((member) => ({ member, weight: hashOf(key, member.instance) }));
  weighted.sort((a, b) => b.weight - a.weight || (a.member.instance < b.member.instance ? -1 : 1));
  return weighted.map(({ member }) => member);
}

/** 53 bits of the hash of a key and a member. */
export function hashOf(key: string, instance: string): number {
  const words = new Uint32Array(4);
  const bytes = encodeUtf8(`${key}\u0000${instance}`);
  hash128(bytes, 0, bytes.length, PLACEMENT_SEED, words);
  return words[0]! * 0x200000 + (words[1]! >>> 11);
}

/**
 * Score of a member for a key, 0 or more: multiply it by the member's weight, and the highest wins in proportion to the weights.
 * Source: weighted rendezvous hashing, Schindelhauer and Schomaker 2005: w / -ln(u).
 */
export function rendezvousScore(key: string, instance: string): number {
  return -1 / Math.log(hashOf(key, instance) / 2 ** 53);
}

/** All members in the order in which copies of `key` go to them: by rank, each zone once before any zone twice. */
export function orderForCopies(members: readonly Member[], key: string): string[] {
  return spreadOverZones(rankMembers(members, key), members.length);
}

/** The first `count` members in rank order, each zone once before any zone twice. */
function spreadOverZones(ranked: readonly Member[], count: number): string[] {
  const chosen: string[] = [];
  const rest = [...ranked];
  while (chosen.length < count && rest.length > 0) {
    const zones = new Set<string>();
    for (let i = 0; i < rest.length && chosen.length < count; ) {
      const member = rest[i]!;
      if (zones.has(member.zone) && member.zone !== '') {
        i++;
        continue;
      }
      zones.add(member.zone);
      chosen.push(member.instance);
      rest.splice(i, 1);
    }
  }
  return chosen;
}

/** Partition of a series, from the hash128 of its canonical label bytes mixed with the tenant's (seed PLACEMENT_SEED). */
export function partitionOf(labelHashWord: number, tenantHashWord: number, partitionCount: number): number {
  return ((labelHashWord ^ tenantHashWord) >>> 0) % partitionCount;
}

/** Partition of a metric's metadata: by the name alone. */
export function partitionOfMetric(metric: string, partitionCount: number): number {
  const bytes = encodeUtf8(metric);
  const words = new Uint32Array(4);
  hash128(bytes, 0, bytes.length, PLACEMENT_SEED, words);
  return partitionOf(words[0]!, 0, partitionCount);
}
