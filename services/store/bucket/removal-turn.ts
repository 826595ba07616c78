// Whose turn it is to remove from the bucket: one store's at a time, by a lease. A bucket knows no fencing tokens, but it has a clock: removals are
// signed so that it refuses them after the turn's end (lib/objstore/object-store.ts), wherever their sender was stopped in between.
import type { Clock } from '../../lib/core/clock.ts';
import type { RemovalRight } from '../../lib/objstore/object-store.ts';
import type { ControlPlane, Lease } from '../../lib/transport/control-plane.ts';

/** Name of the lease. */
export const REMOVAL_LEASE = 'bucket-removals';
/** Of a store that has no others: its requests end as those of others do. */
const ALONE_MS = 30_000;

/** A turn that is taken, kept and given back. */
export interface RemovalTurn extends RemovalRight {
  /** Says that there is something to remove; the turn may come at a later look. Resolves whether it is here. */
  take(): Promise<boolean>;
  /** Nothing is left to remove. */
  giveBack(): Promise<void>;
}

/** Of a store that shares its bucket with nobody. */
export function everyTurn(): RemovalTurn {
  return {
    leftMs: () => ALONE_MS,
    take: () => Promise.resolve(true),
    giveBack: () => Promise.resolve(),
  };
}

/**
 * The turn by a lease. It begins only when a lease's time has passed since it was taken: after NATS was emptied the holder before may believe in its
 * own for as long, and what a former life of this process sent may be on its way.
 */
export class LeasedTurn implements RemovalTurn {
  readonly #control: Pick<ControlPlane, 'tryAcquire'>;
  readonly #clock: Clock;
  #lease: Lease | undefined;
  /** Monotonic. */
  #beginsAtMs = 0;

  constructor(deps: { readonly control: Pick<ControlPlane, 'tryAcquire'>; readonly clock: Clock }) {
    this.#control = deps.control;
    this.#clock = deps.clock;
  }

  leftMs(): number {
    if (this.#clock.monotonicMs() < this.#beginsAtMs) return 0;
    return this.#lease?.heldForMs() ?? 0;
  }

  async take(): Promise<boolean> {
    if (this.#lease?.isHeld() !== true) {
      const askedAtMs = this.#clock.monotonicMs();
      this.#lease = await this.#control.tryAcquire(REMOVAL_LEASE);
      const tookMs = this.#clock.monotonicMs() - askedAtMs;
      this.#beginsAtMs = this.#clock.monotonicMs() + tookMs + (this.#lease?.heldForMs() ?? 0);
    }
    return this.leftMs() > 0;
  }

  async giveBack(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    await lease?.release();
  }
}
