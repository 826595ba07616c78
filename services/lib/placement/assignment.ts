// Which ingesters own which partitions, from who owned them before: as even as whole partitions allow, zones once before any zone twice,
// and no partition moves that need not. Hashing alone gives one of six ingesters half as many partitions again as another, with 64 of
// them; so the owners stand in the placement record. Pure; the holder of the placement's lease calls it.
import { assert } from '../core/assert.ts';
import { hashOf, type Member } from './placement.ts';

/** A member that can own partitions. */
export interface OwnerMember extends Member {
  /** Its share of the partitions compared with others'; absent means 1. */
  readonly weight?: number;
}

export interface AssignmentOptions {
  readonly partitionCount: number;
  readonly replicationFactor: number;
}

/**
 * Owners of every partition.
 *
 * Laws: as many distinct owners as the replication factor, fewer when there are fewer members; as many zones among them as there can be;
 * a partition changes owners only where one of them is gone, where it gets into a further zone, or where an owner has more than its
 * share and another less.
 *
 * @param previous  Owners before, by partition; members that are gone may be among them. Empty: there were none.
 * Cost: members × partitions, mostly; a second for 1,000 members and 8,192 partitions.
 */
export function assignPartitions(
  members: readonly OwnerMember[],
  previous: readonly (readonly string[])[],
  options: AssignmentOptions,
): string[][] {
  const assignment = new Assignment(members, options);
  assignment.keep(previous);
  assignment.fill();
  assignment.level();
  return assignment.owners();
}

interface Load {
  readonly member: OwnerMember;
  readonly weight: number;
  /** Members without a zone are a zone each. */
  readonly zone: string;
  /** Decides among equals, with that of the partition. */
  readonly hash: number;
  partitions: number;
}

class Assignment {
  readonly #loads: readonly Load[];
  readonly #copies: number;
  /** By partition. */
  readonly #owners: Load[][] = [];
  readonly #zones: number;
  /** By partition: owners that were it before. */
  readonly #before: ReadonlySet<Load>[] = [];

  constructor(members: readonly OwnerMember[], { partitionCount, replicationFactor }: AssignmentOptions) {
    assert(partitionCount > 0, `partitionCount ${partitionCount} > 0`);
    this.#loads = members.map((member) => {
      const { weight = 1, instance } = member;
      assert(weight > 0, `weight ${weight} of ${instance} > 0`);
      const hash = hashOf('', instance) >>> 0;
      return { member, weight, zone: member.zone || `\u0000${instance}`, hash, partitions: 0 };
    });
    this.#copies = Math.min(replicationFactor, members.length);
    this.#zones = new Set(this.#loads.map(({ zone }) => zone)).size;
    for (let partition = 0; partition < partitionCount; partition++) this.#owners.push([]);
  }

  /** Former owners stay, but for those whose zone another owner has while a further zone could have a copy instead. */
  keep(previous: readonly (readonly string[])[]): void {
    const loads = new Map(this.#loads.map((load) => [load.member.instance, load]));
    const zonesMax = Math.min(this.#zones, this.#copies);
    for (const [partition, owners] of this.#owners.entries()) {
      const staying = new Set((previous[partition] ?? []).map((instance) => loads.get(instance)));
      staying.delete(undefined);
      this.#before.push(staying as ReadonlySet<Load>);
      const add = (isWanted: (load: Load) => boolean): void => {
        for (const load of staying)
          if (load !== undefined && owners.length < this.#copies && !owners.includes(load) && isWanted(load))
            this.#add(partition, load);
      };
      add(({ zone }) => !hasZone(owners, zone));
      const zones = owners.length;
      // The copies that are still to be placed must be enough for all zones that have none.
      add(() => zones + this.#copies - (owners.length + 1) >= zonesMax);
    }
  }

  /** Missing owners are those with the least for their weight. */
  fill(): void {
    for (const [partition, owners] of this.#owners.entries()) {
      while (owners.length < this.#copies) {
        const free = this.#loads.filter((load) => !owners.includes(load));
        const further = free.filter(({ zone }) => !hasZone(owners, zone));
        this.#add(partition, this.#leastOf(further.length > 0 ? further : free, partition));
      }
    }
  }

  /** Partitions go from who has most for its weight to who has least, as long as that makes them more alike. */
  level(): void {
    while (this.#moveOne());
  }

  owners(): string[][] {
    return this.#owners.map((owners, partition) =>
      owners
        .toSorted((a, b) => this.#scoreOf(b, partition) - this.#scoreOf(a, partition))
        .map(({ member }) => member.instance),
    );
  }

  #moveOne(): boolean {
    const ascending = [...this.#loads].sort((a, b) => a.partitions / a.weight - b.partitions / b.weight);
    for (const to of ascending) {
      for (let i = ascending.length - 1; i >= 0; i--) {
        const from = ascending[i]!;
        if (from.partitions / from.weight <= (to.partitions + 1) / to.weight) break;
        const partition = this.#bestMove(from, to);
        if (partition < 0) continue;
        const owners = this.#owners[partition]!;
        owners[owners.indexOf(from)] = to;
        from.partitions--;
        to.partitions++;
        return true;
      }
    }
    return false;
  }

  /** A partition that may go from one to the other without fewer zones, the cheapest first; -1 when there is none. */
  #bestMove(from: Load, to: Load): number {
    let best = -1;
    let bestScore = -1;
    for (const [partition, owners] of this.#owners.entries()) {
      if (!owners.includes(from) || owners.includes(to)) continue;
      if (from.zone !== to.zone && hasZone(owners, to.zone) && !hasZone(owners, from.zone, from)) continue;
      const score = this.#scoreOf(to, partition) + this.#gainOf(from, to, partition) * 2 ** 32;
      if (score <= bestScore) continue;
      best = partition;
      bestScore = score;
    }
    return best;
  }

  /** Copies that have to be moved less often when the partition goes from one to the other, and one more: 0 … 2. */
  #gainOf(from: Load, to: Load, partition: number): number {
    const before = this.#before[partition]!;
    return 1 + (before.has(to) ? 1 : 0) - (before.has(from) ? 1 : 0);
  }

  #leastOf(loads: readonly Load[], partition: number): Load {
    return loads.reduce((least, load) => {
      const difference = (load.partitions + 1) / load.weight - (least.partitions + 1) / least.weight;
      if (difference !== 0) return difference < 0 ? load : least;
      return this.#scoreOf(load, partition) > this.#scoreOf(least, partition) ? load : least;
    });
  }

  #scoreOf(load: Load, partition: number): number {
    return mix(load.hash ^ mix(partition + 1));
  }

  #add(partition: number, load: Load): void {
    this.#owners[partition]!.push(load);
    load.partitions++;
  }
}

/** Whether an owner other than `but` is in the zone. */
function hasZone(owners: readonly Load[], zone: string, but?: Load): boolean {
  return owners.some((owner) => owner.zone === zone && owner !== but);
}

/** Spreads 32 bits over 32 bits, one to one. Source: the finalizer of MurmurHash3. */
function mix(bits: number): number {
  let h = bits >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
