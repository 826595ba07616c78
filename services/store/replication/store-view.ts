// The stores of the cluster as one of them sees them: who counts for placement, who is there to be asked.
import type { Clock } from '../../lib/core/clock.ts';
import { GroupPlacement } from '../../lib/placement/block-groups.ts';
import type { StoreMember } from '../../lib/placement/store-slots.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { ControlPlane } from '../../lib/transport/control-plane.ts';
import type { PeerInventories, StorePeer } from './peer-inventories.ts';

/** Stores at one moment. */
export interface StoreView {
  /** All that may hold blocks. */
  readonly known: readonly StoreMember[];
  /** Those that blocks are placed on: neither leaving nor gone for long. */
  readonly counted: readonly StoreMember[];
  /** Those that blocks are not placed on, though they may hold some. */
  readonly uncounted: readonly string[];
  /** Uncounted ones that are not there. */
  readonly lost: readonly string[];
  readonly live: ReadonlySet<string>;
  /** The other live stores. */
  readonly peers: readonly StorePeer[];
  readonly copies: number;
  readonly placement: GroupPlacement;
}

export interface StoreViewOptions {
  readonly instance: string;
  /** A store that is gone for longer is not counted on any more. */
  readonly rebuildDelayMs: number;
}

export interface StoreViewDeps {
  readonly cluster: Pick<Cluster, 'storeReplication'>;
  readonly control: Pick<ControlPlane, 'members' | 'placement'>;
  readonly clock: Clock;
}

/** What a store sees around it, and what it does once nothing is missing. */
export interface Surroundings {
  readonly look: () => StoreView | undefined;
  readonly onSettled: (view: StoreView, inventories: PeerInventories, signal: AbortSignal) => Promise<void>;
}

/** Name of a store that has no others. */
export const ALONE = 'this-store';

/** Of a store in one process with everything else: it owns every block. */
export function aloneOf(): Surroundings {
  const members = [{ instance: ALONE, zone: '' }];
  const view: StoreView = {
    ...{ known: members, counted: members, uncounted: [], lost: [], live: new Set([ALONE]), peers: [] },
    ...{ copies: 1, placement: new GroupPlacement(members, 1) },
  };
  return { look: () => view, onSettled: () => Promise.resolve() };
}

/** Follows the membership; ask it at least every few seconds, since it measures how long a store is gone. */
export class StoreViews {
  readonly #options: StoreViewOptions;
  readonly #deps: StoreViewDeps;
  readonly #absentSinceMs = new Map<string, number>();
  #placement: { readonly key: string; readonly placement: GroupPlacement } | undefined;

  constructor(options: StoreViewOptions, deps: StoreViewDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Undefined before a placement record is known, or while it does not list this store. */
  look(): StoreView | undefined {
    const record = this.#deps.control.placement();
    const { instance } = this.#options;
    if (record?.stores.some((store) => store.instance === instance) !== true) return undefined;
    const live = new Set([instance]);
    for (const member of this.#deps.control.members())
      if (member.service === 'store' && member.state !== 'starting') live.add(member.instance);
    const lost: string[] = [];
    const counted: StoreMember[] = [];
    const uncounted: string[] = [];
    for (const store of record.stores) {
      const isLost = this.#isLost(store.instance, live.has(store.instance));
      if (isLost) lost.push(store.instance);
      if (isLost || store.leaving === true) uncounted.push(store.instance);
      else counted.push(store);
    }
    const known = new Set(record.stores.map((store) => store.instance));
    const peers = (this.#deps.cluster.storeReplication?.() ?? []).filter(
      (peer) => peer.instance !== instance && live.has(peer.instance) && known.has(peer.instance),
    );
    const copies = record.storeReplicationFactor;
    const placement = this.#placementOf(counted, copies);
    return { known: record.stores, counted, uncounted, lost, live, peers, copies, placement };
  }

  /** How long the store is gone, milliseconds; 0 while it is there. */
  absentMs(instance: string): number {
    const since = this.#absentSinceMs.get(instance);
    return since === undefined ? 0 : this.#deps.clock.monotonicMs() - since;
  }

  #isLost(instance: string, isLive: boolean): boolean {
    const nowMs = this.#deps.clock.monotonicMs();
    if (isLive) this.#absentSinceMs.delete(instance);
    else if (!this.#absentSinceMs.has(instance)) this.#absentSinceMs.set(instance, nowMs);
    return this.absentMs(instance) > this.#options.rebuildDelayMs;
  }

  #placementOf(counted: readonly StoreMember[], copies: number): GroupPlacement {
    const key = JSON.stringify([counted, copies]);
    if (this.#placement?.key !== key)
      this.#placement = { key, placement: new GroupPlacement(counted, copies) };
    return this.#placement.placement;
  }
}
