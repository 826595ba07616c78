// Deletes that this ingester missed while it was given up, done in its heads: what stores tell of them, and which it has heard of before.
// When to ask is lib/transport/members/missed-deletes.ts.
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';
import { countsOn } from '../../lib/placement/owner-sets.ts';
import type { Placement } from '../../lib/placement/placement.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { type Listing, type MakeHow, MissedDeletes } from '../../lib/transport/members/missed-deletes.ts';
import { DoneDeletes } from '../../lib/tsdb/tombstones/done-deletes.ts';
import type { UndoneDeletes } from '../../lib/tsdb/tombstones/undone-deletes.ts';
import type { DoneDelete as WireDoneDelete } from '../../lib/wire/contracts.ts';
import { newsOf, TOLD_MAX } from '../../lib/wire/told-deletes.ts';
import { markOfDelete } from '../reads/delete-requests.ts';
import type { Sealer } from '../sealing/sealer.ts';
import type { Membership } from './replication-options.ts';

export interface MissedHeadDeletesDeps extends Membership {
  /** This process in the placement. */
  readonly instance: string;
  readonly dataDir: string;
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly logger: Logger;
  readonly undone: UndoneDeletes;
}

export class MissedHeadDeletes {
  readonly #deps: MissedHeadDeletesDeps;
  readonly #done: DoneDeletes;
  readonly #missed: MissedDeletes;
  readonly #stopping = new AbortController();
  #sealer: Pick<Sealer, 'deleteSamples' | 'undoDelete'> | undefined;
  #running: Promise<void> | undefined;
  /** What was looked at last, at each write. */
  #looked: { readonly placement: Placement; readonly listing: Listing | undefined } | undefined;

  constructor(deps: MissedHeadDeletesDeps) {
    this.#deps = deps;
    const { absenceMs, clock, cluster, control, dataDir, disk, logger } = deps;
    this.#done = new DoneDeletes({ folder: dataDir }, { disk, clock });
    this.#missed = new MissedDeletes(
      { absenceMs, toldMax: TOLD_MAX },
      {
        ...{ control, clock, logger, done: this.#done },
        listing: () => this.#listing(),
        stores: () => {
          const stores = cluster.storeReplication?.() ?? [];
          return stores.length > 0 ? stores : undefined;
        },
        make: (told, how) => this.#make(told, how),
      },
    );
  }

  /** Resolves when the ingester may answer, and asks again by itself from then on. Nothing may be written or read before. */
  async begin(sealer: Pick<Sealer, 'deleteSamples' | 'undoDelete'>): Promise<void> {
    this.#sealer = sealer;
    await this.#done.load();
    await this.#missed.begin(this.#stopping.signal);
    this.#running = this.#missed.run(this.#stopping.signal);
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new AppError('canceled', 'the ingester is shutting down'));
    await this.#running;
  }

  /** Whether nothing can have been missed. */
  isInOrder(): boolean {
    return this.#missed.isInOrder();
  }

  /** Resolves when nothing can have been missed, or those who know cannot be reached. */
  inOrder(): Promise<void> {
    return this.#missed.inOrder();
  }

  #listing(): Listing | undefined {
    const { cluster, instance } = this.#deps;
    const placement = cluster.placement();
    if (placement === undefined) return undefined;
    if (this.#looked?.placement !== placement) {
      const isListed = placement.replicas.some((_, partition) => countsOn(placement, partition, instance));
      const stores = cluster.storeSet?.()?.instances ?? [];
      this.#looked = { placement, listing: isListed ? { epoch: placement.epoch, stores } : undefined };
    }
    return this.#looked.listing;
  }

  /** Whatever is in the heads now is older than what was missed. */
  async #make(told: readonly WireDoneDelete[], { hides, heardEpoch }: MakeHow): Promise<number> {
    const { instance, undone } = this.#deps;
    const news = newsOf(told, { instance, done: this.#done, undone: undone.all });
    for (const { tenant, id } of news.undone) {
      await undone.add(tenant, id);
      await this.#sealer!.undoDelete(tenant, id);
    }
    const missed = hides ? news.missed : [];
    for (const one of missed) await this.#sealer!.deleteSamples(markOfDelete(one));
    await this.#done.add(news.done, heardEpoch);
    return missed.length;
  }
}
