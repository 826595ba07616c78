// Whose turn it is to remove from the bucket: one store's at a time, by a lease. A bucket knows no fencing tokens, but it has a clock: removals are
// signed so that it refuses them after the turn's end (lib/objstore/object-store.ts), wherever their sender was stopped in between.
import type { Clock } from '../../lib/core/clock.ts';
import type { RemovalRight } from '../../lib/objstore/object-store.ts';
import type { ControlPlane, Lease } from '../../lib/transport/control-plane.ts';

/** Name of the lease. */
export const REMOVAL_LEASE = 'bucket-removals';
/** Of a store that has no others: its requests end as those of others do. */
const ALONE_MS = 30_000;

/** Gives a store its turns. */
export interface RemovalTurns {
  /** Says that there is something to remove. Resolves with the right to while it is this store's turn, which may come at a later look. */
  take(): Promise<RemovalRight | undefined>;
  /** Nothing is left to remove, or others shall have their turn. */
  giveBack(): Promise<void>;
}

/** Of a store that shares its bucket with nobody. */
export function everyTurn(): RemovalTurns {
  return {
    take: () => Promise.resolve({ leftMs: () => ALONE_MS }),
    giveBack: () => Promise.resolve(),
  };
}

interface Turn extends RemovalRight {
  readonly lease: Lease;
}

/**
 * Turns by a lease. One begins only when a lease's time has passed since it was taken: after NATS was emptied the holder before may believe in its
 * own for as long, and what a former life of this process sent may be on its way.
 */
export class LeasedTurns implements RemovalTurns {
  readonly #control: Pick<ControlPlane, 'tryAcquire'>;
  readonly #clock: Clock;
  #turn: Turn | undefined;

  constructor(deps: { readonly control: Pick<ControlPlane, 'tryAcquire'>; readonly clock: Clock }) {
    this.#control = deps.control;
    this.#clock = deps.clock;
  }

  async take(): Promise<RemovalRight | undefined> {
    if (this.#turn?.lease.isHeld() !== true) this.#turn = await this.#acquire();
    return this.#turn !== undefined && this.#turn.leftMs() > 0 ? this.#turn : undefined;
  }

  async giveBack(): Promise<void> {
    const turn = this.#turn;
    this.#turn = undefined;
    await turn?.lease.release();
  }

  async #acquire(): Promise<Turn | undefined> {
    const clock = this.#clock;
    const askedAtMs = clock.monotonicMs();
    const lease = await this.#control.tryAcquire(REMOVAL_LEASE);
    if (lease === undefined) return undefined;
    const nowMs = clock.monotonicMs();
    const beginsAtMs = nowMs + (nowMs - askedAtMs) + lease.heldForMs();
    return { lease, leftMs: () => (clock.monotonicMs() < beginsAtMs ? 0 : lease.heldForMs()) };
  }
}
