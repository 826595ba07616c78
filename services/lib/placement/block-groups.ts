// Which stores should hold a block. Blocks are placed by group: a tenant, an aligned window of two days, a share of the partitions.
// Stores merge blocks of one group only, so the owners of a group come to hold the same sealed blocks, merged as each of them
// likes, and no merge ever ties blocks of different owners together.
import { assert } from '../core/assert.ts';
import { type Member, rankMembers, rendezvousScore } from './placement.ts';

/** The largest range that stores merge. Part of placement: with another value every block would move. */
export const GROUP_WINDOW_MS = 48 * 3_600_000;
/** Shares of the partitions. Enough that the stores of a cluster of usual size hold equal parts of each window. */
export const GROUP_SHARDS = 16;
/**
 * How much more than its part of a window a store takes. A tight bound keeps stores equal and moves more than it has to when one
 * joins. Over 15 days of ten tenants, moved of the optimum and fullest store over the mean: 2 to 4 stores 1.00 and 1.06, 3 to 4
 * 1.06 and 1.06, 4 to 5 1.08 and 1.14; with 1.25 3 to 4 is 1.03 and 1.09, with 1.0 it is 1.12 and 1.03.
 */
const LOAD_SLACK = 1.1;
/** Rows kept; a row is a few hundred bytes, and only the windows of the retention are asked for. */
const ROWS_MAX = 4096;

/** A store that can own blocks. */
export interface StoreMember extends Member {
  /** It gives its blocks away and takes none. */
  readonly leaving?: boolean;
  /** Its share compared with others'; absent means 1. */
  readonly weight?: number;
}

/** What of a block decides its group. */
export interface PlacedBlock {
  readonly tenant: string;
  readonly minTimeMs: number;
  readonly partitions: readonly number[];
}

/** The part of a group's name that stands before its shard: `<tenant>/<window>`. */
export function rowOf({ tenant, minTimeMs }: PlacedBlock): string {
  return `${tenant}/${Math.floor(minTimeMs / GROUP_WINDOW_MS)}`;
}

/** `<tenant>/<window>/<shard>`; the shard is `mixed` where a block has partitions of several. */
export function groupOf(block: PlacedBlock): string {
  return `${rowOf(block)}/${shardOf(block.partitions) ?? 'mixed'}`;
}

/** Share that all of the partitions are in; undefined when there are several, or no partition at all. */
export function shardOf(partitions: readonly number[]): number | undefined {
  const first = partitions[0];
  if (first === undefined) return undefined;
  const shard = first % GROUP_SHARDS;
  return partitions.every((partition) => partition % GROUP_SHARDS === shard) ? shard : undefined;
}

/** Owners of groups among given stores. Pure: the same for all who know the same stores. */
export class GroupPlacement {
  readonly #stores: readonly StoreMember[];
  readonly #copies: number;
  readonly #rows = new Map<string, readonly (readonly string[])[]>();

  /**
   * @param stores  Those that can own blocks, in any order; leaving ones are left out.
   * @param copies  Stores that should hold each block.
   */
  constructor(stores: readonly StoreMember[], copies: number) {
    assert(copies > 0, `copies ${copies} > 0`);
    this.#stores = stores.filter(({ leaving }) => leaving !== true);
    this.#copies = Math.min(copies, this.#stores.length);
  }

  /** Stores that should hold the blocks of a group, best first: as many as there should be copies, fewer when there are fewer stores. */
  ownersOf(group: string): readonly string[] {
    const slash = group.lastIndexOf('/');
    const shard = group.slice(slash + 1);
    const row = group.slice(0, slash);
    if (shard === 'mixed') return this.#rowOwners(`${row}/mixed`, 1)[0]!;
    return this.#rowOwners(row, GROUP_SHARDS)[Number(shard)]!;
  }

  /** All stores in the order in which copies go to them: the owners, then who takes the place of one that fails. */
  orderFor(group: string): string[] {
    const owners = this.ownersOf(group);
    const others = rankMembers(this.#stores, `blocks ${group}`).map(({ instance }) => instance);
    return [...owners, ...others.filter((instance) => !owners.includes(instance))];
  }

  #rowOwners(row: string, shards: number): readonly (readonly string[])[] {
    let owners = this.#rows.get(row);
    if (owners === undefined) {
      owners = placeRow(row, shards, this.#stores, this.#copies);
      if (this.#rows.size >= ROWS_MAX) this.#rows.clear();
      this.#rows.set(row, owners);
    }
    return owners;
  }
}

interface Candidate {
  readonly shard: number;
  readonly store: StoreMember;
  readonly score: number;
}

/**
 * Owners of each shard of one row: every pair of shard and store in order of its weighted rendezvous score, taken where the shard
 * lacks copies, its zone is new to the shard, and the store is below its bound. Once a shard has every zone, stores passed over for
 * their zone may be wanted, so passes go on until one takes nothing. What is left open then is filled in the same order, zones first,
 * without bounds.
 */
function placeRow(row: string, shards: number, stores: readonly StoreMember[], copies: number): string[][] {
  const owners: StoreMember[][] = Array.from({ length: shards }, () => []);
  const candidates = candidatesOf(row, shards, stores);
  const zones = new Set(stores.map(zoneOf)).size;
  const weights = stores.reduce((sum, store) => sum + weightOf(store), 0);
  const load = new Map<string, number>();
  const take = ({ shard, store }: Candidate): void => {
    owners[shard]!.push(store);
    load.set(store.instance, (load.get(store.instance) ?? 0) + 1);
  };
  const isWanted = ({ shard, store }: Candidate): boolean => {
    const taken = owners[shard]!;
    if (taken.length >= copies || taken.includes(store)) return false;
    return taken.length >= zones || taken.every((other) => zoneOf(other) !== zoneOf(store));
  };
  const hasRoom = ({ store }: Candidate): boolean => {
    const bound = Math.ceil((shards * copies * weightOf(store) * LOAD_SLACK) / weights);
    return (load.get(store.instance) ?? 0) < bound;
  };
  const pass = (mayTake: (candidate: Candidate) => boolean): number => {
    let taken = 0;
    for (const candidate of candidates) {
      if (!isWanted(candidate) || !mayTake(candidate)) continue;
      take(candidate);
      taken++;
    }
    return taken;
  };
  while (pass(hasRoom) > 0);
  while (pass(() => true) > 0);
  return owners.map((taken) => taken.map(({ instance }) => instance));
}

/** A store without a zone is a zone of its own. */
function zoneOf({ zone, instance }: StoreMember): string {
  return zone === '' ? `instance ${instance}` : `zone ${zone}`;
}

function weightOf({ weight }: StoreMember): number {
  return weight !== undefined && weight > 0 ? weight : 1;
}

/** All pairs, best first. */
function candidatesOf(row: string, shards: number, stores: readonly StoreMember[]): Candidate[] {
  const candidates: Candidate[] = [];
  for (let shard = 0; shard < shards; shard++) {
    for (const store of stores) {
      const score = weightOf(store) * rendezvousScore(`blocks ${row}/${shard}`, store.instance);
      candidates.push({ shard, store, score });
    }
  }
  return candidates.sort(
    (a, b) => b.score - a.score || a.shard - b.shard || (a.store.instance < b.store.instance ? -1 : 1),
  );
}
