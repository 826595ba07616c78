// What becomes of a store that is gone. Its blocks have other copies, which the rest spread among themselves again; once each of them
// says that nothing is missing without it, it is taken out of the placement record, and queries do not wait for it any more. A store
// that left in order holds nothing and goes as soon as it is stopped.
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { withinTime } from '../../lib/core/time-limit.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { ControlPlane } from '../../lib/transport/control-plane.ts';
import { forgetStore } from '../../lib/transport/members/forget-store.ts';
import type { PeerInventories } from './peer-inventories.ts';
import type { StoreView } from './store-view.ts';

export interface LostStoresDeps {
  readonly control: ControlPlane;
  readonly clock: Clock;
  readonly logger: Logger;
}

const ANSWER_TIMEOUT_MS = 10_000;

export class LostStores {
  readonly #instance: string;
  readonly #deps: LostStoresDeps;
  #reported = '';

  constructor(options: { readonly instance: string }, deps: LostStoresDeps) {
    this.#instance = options.instance;
    this.#deps = deps;
  }

  /** To be called after a look at which nothing was missing here and all live stores answered. One store of all acts. */
  async settle(view: StoreView, inventories: PeerInventories, signal: AbortSignal): Promise<void> {
    const counted = view.counted.map(({ instance }) => instance).sort();
    if (counted[0] !== this.#instance || !this.#deps.control.isConnected()) return;
    const isEmpty = (instance: string) => inventories.of(instance)?.blocks.size === 0;
    const left = view.known
      .filter(({ instance, leaving }) => leaving === true && !view.live.has(instance) && isEmpty(instance))
      .map(({ instance }) => instance);
    const lost = view.lost.filter((instance) => !left.includes(instance));
    for (const instance of left) await this.#forget(instance, 'it left in order');
    if (lost.length === 0) return;
    const obstacle = this.#obstacleOf(lost, view) ?? (await this.#unsettled(lost, view, signal));
    if (obstacle !== undefined) {
      if (obstacle !== this.#reported)
        this.#deps.logger.warn({ lost, reason: obstacle }, 'stores are gone and still counted on');
      this.#reported = obstacle;
      return;
    }
    for (const instance of lost) await this.#forget(instance, 'all of its blocks are on other stores again');
  }

  /** Why nobody may decide it but an operator. */
  #obstacleOf(lost: readonly string[], { counted, copies }: StoreView): string | undefined {
    if (lost.length >= copies)
      return `${lost.length} stores are gone, and a block has ${copies} copies: they may have had blocks that nobody else has. Bring one back, or forget them`;
    if (counted.length < copies)
      return `${counted.length} stores are left for ${copies} copies of each block: add a store`;
    return undefined;
  }

  /** A store that does not say that nothing is missing without the lost ones; undefined when all of them do. */
  async #unsettled(
    lost: readonly string[],
    view: StoreView,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    for (const { instance } of view.counted) {
      if (instance === this.#instance) continue;
      const peer = view.peers.find((each) => each.instance === instance);
      if (peer === undefined) return `store ${instance} is not there`;
      try {
        const limit = { ms: ANSWER_TIMEOUT_MS, what: 'answer' };
        const ask = (own: AbortSignal) => peer.client.replicationStatus({}, { signal: own });
        const status = await withinTime(this.#deps.clock, limit, signal, ask);
        const isSettled = lost.every((each) => status.settledWithout.includes(each));
        if (!isSettled || status.missingBlocks > 0)
          return `store ${instance} does not have all that it should have yet`;
      } catch (caught) {
        return `store ${instance} does not answer: ${toAppError(caught).message}`;
      }
    }
    return undefined;
  }

  async #forget(instance: string, reason: string): Promise<void> {
    try {
      await forgetStore(instance, this.#deps.control);
      this.#deps.logger.info({ store: instance, reason }, 'store taken out of the placement');
    } catch (caught) {
      // Another was quicker, or it came back.
      this.#deps.logger.debug(
        { store: instance, err: toAppError(caught) },
        'store not taken out of the placement',
      );
    }
  }
}
