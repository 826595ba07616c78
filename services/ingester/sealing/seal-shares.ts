// One owner of a partition makes the block of a range; the others ask it and let go of theirs. Who it is follows from the placement, which is
// the lease: one holder writes it, by compare-and-set, and its epoch goes with every block (store: blocks/publish-fence.ts). Nothing
// rests on all agreeing about it: an ingester lets go of what the one it asks has said to be on the stores, write by write, and makes the
// block itself when nobody says so in time.

import { ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import type { WriteSet } from '../../lib/model/write-set.ts';
import { type Placement, rendezvousScore } from '../../lib/placement/placement.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { encodeHeldWrites } from '../../lib/wire/append/held-writes.ts';
import type { ReplicaPeer } from '../replication/replication-options.ts';

export interface SealSharesDeps {
  /** This ingester in the placement. */
  readonly instance: string;
  readonly placement: () => Placement | undefined;
  /** Live ingesters; this one may be among them. */
  readonly peers: () => readonly ReplicaPeer[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A range of a tenant. */
export interface SealedRange {
  readonly tenant: string;
  readonly startMs: number;
  readonly endMs: number;
}

const ASK_TIMEOUT_MS = 10_000;

export class SealShares {
  readonly #deps: SealSharesDeps;

  constructor(deps: SealSharesDeps) {
    this.#deps = deps;
  }

  /** Epoch of the placement that decides; 0 while none is known. */
  get epoch(): number {
    return this.#deps.placement()?.epoch ?? 0;
  }

  /**
   * Which partitions others are to seal, by ingester; those that are not named are this one's. The best in the order of the range among the
   * live owners: so one ingester seals all that it shares with others, and ranges and tenants spread the work.
   */
  othersOf({ tenant, startMs }: SealedRange, partitions: Iterable<number>): Map<string, Set<number>> {
    const { instance, placement, peers } = this.#deps;
    const live = new Set(peers().map((peer) => peer.instance)).add(instance);
    const key = `seal ${tenant}/${startMs}`;
    const scores = new Map([...live].map((each) => [each, rendezvousScore(key, each)]));
    const replicas = placement()?.replicas;
    const others = new Map<string, Set<number>>();
    for (const partition of partitions) {
      const owners = (replicas?.[partition] ?? []).filter((owner) => live.has(owner));
      const best = owners.reduce((a, b) => (scores.get(b)! > scores.get(a)! ? b : a), owners[0] ?? instance);
      if (best === instance) continue;
      others.set(best, (others.get(best) ?? new Set()).add(partition));
    }
    return others;
  }

  /** Whether `instance` says that all that the writes have in the range is on the stores. */
  async isSealedBy(
    instance: string,
    range: SealedRange,
    writes: WriteSet,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { clock, logger, peers } = this.#deps;
    const peer = peers().find((each) => each.instance === instance);
    if (peer === undefined) return false;
    const held = new ByteWriter(1024);
    encodeHeldWrites(held, writes);
    const over = new AbortController();
    const late = clock.sleep(ASK_TIMEOUT_MS, over.signal).then(
      () => over.abort(),
      () => undefined,
    );
    const cancel = (): void => over.abort();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const request = { ...range, held: Buffer.from(held.take()) };
      const { covered } = await peer.client.sealedWrites(request, { signal: over.signal });
      return covered;
    } catch (caught) {
      // An earlier version does not know the call.
      logger.debug({ ingester: instance, err: toAppError(caught) }, 'no word about a sealed range');
      return false;
    } finally {
      signal.removeEventListener('abort', cancel);
      over.abort();
      await late;
    }
  }
}
