// What the other stores hold, as they last said. Kept by following their changes; a peer that does not answer is known as it was.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { withinTime } from '../../lib/core/time-limit.ts';
import type { Peer } from '../../lib/transport/cluster.ts';
import type { Client } from '../../lib/transport/rpc.ts';
import type { InventoryResponse, StoreReplicationDefinition } from '../../lib/wire/contracts.ts';
import { fromWire, type InventoryBlock } from './inventory-block.ts';

export type StorePeer = Peer<Client<typeof StoreReplicationDefinition>>;

/** Blocks of one store that are believed, at most: a peer cannot make this process run out of memory. */
const BLOCKS_MAX = 2_000_000;
const ANSWER_TIMEOUT_MS = 30_000;

/** What is known of one store. */
export interface PeerInventory {
  /** `<tenant>/<block id>` → block. */
  readonly blocks: Map<string, InventoryBlock>;
  /** `<tenant>/<block id>` of blocks of which deletes left nothing. */
  erased: Set<string>;
  session: string;
  version: number;
  /** The last question was answered. */
  isFresh: boolean;
}

export class PeerInventories {
  readonly #clock: Clock;
  readonly #peers = new Map<string, PeerInventory>();

  constructor(deps: { readonly clock: Clock }) {
    this.#clock = deps.clock;
  }

  /** What is known of a store; undefined before its first answer. */
  of(instance: string): PeerInventory | undefined {
    return this.#peers.get(instance);
  }

  /** All stores that ever answered and were not forgotten. */
  entries(): IterableIterator<[string, PeerInventory]> {
    return this.#peers.entries();
  }

  /** Drops what is known of stores that are not in the placement any more. */
  keepOnly(instances: ReadonlySet<string>): void {
    for (const instance of this.#peers.keys()) if (!instances.has(instance)) this.#peers.delete(instance);
  }

  /**
   * Asks all peers for what changed.
   *
   * @returns why a peer did not answer, by instance.
   */
  async refresh(peers: readonly StorePeer[], signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    for (const inventory of this.#peers.values()) inventory.isFresh = false;
    const failures = new Map<string, string>();
    await Promise.all(
      peers.map(async (peer) => {
        try {
          await this.#refreshOne(peer, signal);
        } catch (caught) {
          failures.set(peer.instance, caught instanceof Error ? caught.message : String(caught));
        }
      }),
    );
    return failures;
  }

  async #refreshOne({ instance, client }: StorePeer, signal: AbortSignal): Promise<void> {
    const known = this.#peers.get(instance);
    const request = { session: known?.session ?? '', version: known?.version ?? 0 };
    const limit = { ms: ANSWER_TIMEOUT_MS, what: 'inventory' };
    await withinTime(this.#clock, limit, signal, async (own) => {
      const parts: InventoryResponse[] = [];
      let blocks = 0;
      for await (const part of client.inventory(request, { signal: own })) {
        parts.push(part);
        blocks += part.held.length;
        if (blocks > BLOCKS_MAX)
          throw new AppError('resource_exhausted', `store ${instance} names over ${BLOCKS_MAX} blocks`);
      }
      this.#take(instance, parts);
    });
  }

  #take(instance: string, parts: readonly InventoryResponse[]): void {
    const last = parts.at(-1);
    if (last === undefined) throw new AppError('internal', `store ${instance} answered nothing`);
    let inventory = this.#peers.get(instance);
    if (inventory === undefined || last.isWhole) {
      inventory = { blocks: new Map(), erased: new Set(), session: '', version: 0, isFresh: false };
    }
    inventory.erased = new Set();
    for (const { held, gone, erased } of parts) {
      for (const { tenant, blockId } of gone) inventory.blocks.delete(`${tenant}/${blockId}`);
      for (const block of held) inventory.blocks.set(`${block.tenant}/${block.blockId}`, fromWire(block));
      for (const { tenant, blockId } of erased) inventory.erased.add(`${tenant}/${blockId}`);
    }
    inventory.session = last.session;
    inventory.version = last.version;
    inventory.isFresh = true;
    this.#peers.set(instance, inventory);
  }
}
