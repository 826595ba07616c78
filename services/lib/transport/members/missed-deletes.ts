// Does what this node missed. A delete needs every ingester and store that the placement counts on; one that was given up and comes back with its
// old disk was not asked, and would show what was deleted. So whoever may have been away asks the stores first, which remember deletes, and answers
// nothing meanwhile: at a start, when it is listed again, when it was stopped or cut off from the control plane for about as long as it takes to be
// given up.
import type { Clock } from '../../core/clock.ts';
import { AppError, toAppError } from '../../core/errors.ts';
import { withinTime } from '../../core/time-limit.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { DoneDelete, StoreReplicationDefinition } from '../../wire/contracts.ts';
import type { Peer } from '../cluster.ts';
import type { ControlPlane } from '../control-plane.ts';
import type { Client } from '../rpc.ts';

export interface MissedDeletesOptions {
  /** Others give up a node that is gone for longer. */
  readonly absenceMs: number;
  /** Deletes that a store remembers, taken back or not: more of them are not listened to. */
  readonly toldMax: number;
}

export interface MissedDeletesDeps {
  /** The other stores that are there; undefined while there are none, and there have to be some. */
  readonly stores: () =>
    | readonly Peer<Pick<Client<typeof StoreReplicationDefinition>, 'doneDeletes'>>[]
    | undefined;
  /** The placement that is known here, where a delete needs this node by it; else undefined. */
  readonly listing: () => Listing | undefined;
  readonly control: Pick<ControlPlane, 'isConnected' | 'onChange'>;
  /** What was heard by now; 0: nothing yet, and what a new disk holds came after the deletes. */
  readonly done: { readonly heardEpoch: number };
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * Does of the deletes of stores what is missing here.
   *
   * @returns How many were done without it.
   */
  readonly make: (deletes: readonly DoneDelete[], how: MakeHow, signal: AbortSignal) => Promise<number>;
}

/** A placement that counts on a node. */
export interface Listing {
  readonly epoch: number;
  /** Stores in it. */
  readonly stores: readonly string[];
}

export interface MakeHow {
  /** Whether those that were done without this node hide samples that it holds; else they are only noted. */
  readonly hides: boolean;
  /** Epoch of the placement that lists this node, where all deletes of before are among them; else 0. */
  readonly heardEpoch: number;
}

/** Stores that are there answer within this. */
const ANSWER_MS = 3_000;
/** A start waits so long for stores that do not answer. */
const START_MS = 5_000;
const RETRY_MS = 250;
/** While stores are not reached they are asked so often. */
const OUT_OF_ORDER_MS = 1_000;
/** A node that is gone for this share of the time may be given up soon. */
const LAPSE_SHARE = 0.5;
/** Without the control plane it asks again before the time is over, so that no call waits for it. */
const AHEAD_SHARE = 0.5;
const UNKNOWN_CALL = /not implement|unimplemented/i;
/** Of the time that a lapse takes. */
const TICK_SHARE = 0.1;

export class MissedDeletes {
  readonly #deps: MissedDeletesDeps;
  readonly #toldMax: number;
  readonly #lapseMs: number;
  /** All that others did without this node is done here; later it has to be asked again. Monotonic ms. */
  #knownUntilMs = Number.NEGATIVE_INFINITY;
  /** When it was asked last this node was listed, and all stores answered: it stays so while it is there. */
  #isSettled = false;
  /** When it was asked last this node was listed, and was told of all deletes that had been acknowledged. */
  #isComplete = false;
  /** Not all could be heard: they are asked again then, and nobody waits for it. Monotonic ms. */
  #againAtMs = Number.POSITIVE_INFINITY;
  #wasListed = false;
  /** How often it came to be listed or left out. */
  #turns = 0;
  #signal: AbortSignal = new AbortController().signal;
  #asking: Promise<boolean> | undefined;

  constructor({ absenceMs, toldMax }: MissedDeletesOptions, deps: MissedDeletesDeps) {
    this.#deps = deps;
    this.#toldMax = toldMax;
    this.#lapseMs = absenceMs * LAPSE_SHARE;
  }

  /** Whether nothing can have been missed. */
  isInOrder(): boolean {
    const { clock, control } = this.#deps;
    const nowMs = clock.monotonicMs();
    const isListed = this.#deps.listing() !== undefined;
    if (isListed !== this.#wasListed) {
      this.#knownUntilMs = Number.NEGATIVE_INFINITY;
      this.#turns++;
    }
    this.#wasListed = isListed;
    if (nowMs > this.#knownUntilMs) return false;
    if (this.#isSettled && isListed && control.isConnected()) this.#knownUntilMs = nowMs + this.#lapseMs;
    return true;
  }

  /** Whether every delete that was acknowledged is known here: this node was told of all, and is asked for each since. */
  isComplete(): boolean {
    return this.#isComplete && this.isInOrder() && this.#deps.control.isConnected();
  }

  /** Resolves when nothing can have been missed, or those who know cannot be reached. */
  async inOrder(): Promise<void> {
    if (!this.isInOrder()) await this.#ask();
  }

  /** Before the first call is answered. @param signal  Ends all that it does from then on. */
  async begin(signal: AbortSignal): Promise<void> {
    const { clock, control, done, logger, stores } = this.#deps;
    this.#signal = signal;
    const startedMs = clock.monotonicMs();
    this.isInOrder();
    while (!signal.aborted) {
      const isWhole = await this.#ask();
      // Before it is connected members may not be known, and the placement may be an old one.
      if (isWhole && control.isConnected()) return;
      // A new disk in a cluster that is only just made.
      if (done.heardEpoch === 0 && stores() === undefined) return;
      const isOver = clock.monotonicMs() - startedMs >= START_MS;
      // Nobody counts on one that was given up, and what it takes from now on must not be taken for what it had before.
      const isGivenUp = control.isConnected() && this.#deps.listing() === undefined && done.heardEpoch > 0;
      if (isOver && !isGivenUp) {
        if (!isWhole)
          logger.warn(
            'not all stores said which deletes were done: serving all the same, they are asked again',
          );
        return;
      }
      await clock.sleep(RETRY_MS, signal).catch(() => undefined);
    }
  }

  /** Until the signal aborts, and nothing is written any more. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, control } = this.#deps;
    const unsubscribe = control.onChange(() => void this.inOrder());
    while (!signal.aborted) {
      const isInOrder = this.isInOrder();
      const nowMs = clock.monotonicMs();
      const isAhead = nowMs > this.#knownUntilMs - this.#lapseMs * AHEAD_SHARE && this.#wasListed;
      if (!isInOrder || isAhead || nowMs >= this.#againAtMs) await this.#ask();
      await clock.sleep(Math.min(OUT_OF_ORDER_MS, this.#lapseMs * TICK_SHARE), signal).catch(() => undefined);
    }
    unsubscribe();
    await this.#asking;
  }

  /** True when all stores that are there were heard. */
  #ask(): Promise<boolean> {
    this.#asking ??= this.#askAll(this.#signal).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #askAll(signal: AbortSignal): Promise<boolean> {
    const { clock, done, logger, make, stores } = this.#deps;
    this.isInOrder();
    const turns = this.#turns;
    const listing = this.#deps.listing();
    const epoch = listing?.epoch ?? 0;
    const hides = done.heardEpoch > 0;
    const peers = stores();
    let isWhole = peers !== undefined;
    const heard = new Set<string>();
    let hasComplete = false;
    const askAll = (own: AbortSignal) =>
      Promise.all(
        (peers ?? []).map(async ({ instance: store, client }) => {
          const deletes: DoneDelete[] = [];
          try {
            for await (const one of client.doneDeletes({ epoch }, { signal: own })) {
              if (one.complete) {
                hasComplete = true;
                continue;
              }
              if (deletes.length === this.#toldMax)
                throw new AppError(
                  'resource_exhausted',
                  `store ${store} names over ${this.#toldMax} deletes`,
                );
              deletes.push(one);
            }
            heard.add(store);
          } catch (caught) {
            // A store of an earlier version knows of none.
            if (UNKNOWN_CALL.test(String(caught))) return deletes;
            isWhole = false;
            logger.debug({ store, err: toAppError(caught) }, 'a store did not say which deletes were done');
          }
          // What was heard before is true.
          return deletes;
        }),
      );
    const answers = await withinTime(clock, { ms: ANSWER_MS, what: 'answer' }, signal, askAll);
    try {
      const isComplete =
        hasComplete || (isWhole && listing?.stores.every((store) => heard.has(store)) === true);
      const heardEpoch = isComplete ? epoch : 0;
      const made = await make(answers.flat(), { hides, heardEpoch }, signal);
      this.#isComplete = heardEpoch > 0;
      if (made > 0)
        logger.warn(
          { deletes: made },
          'deletes were done while this node was given up: they are done here now',
        );
    } catch (caught) {
      isWhole = false;
      this.#isComplete = false;
      if (!signal.aborted)
        logger.error({ err: toAppError(caught) }, 'missed deletes could not be done; tried again');
    }
    this.isInOrder();
    // Whoever is not listed can miss another one at any moment, so it asks for each answer; who is only just listed may have.
    const isNews = turns !== this.#turns;
    this.#isSettled = isWhole && this.#wasListed && !isNews;
    const nowMs = clock.monotonicMs();
    this.#againAtMs = this.#isComplete ? Number.POSITIVE_INFINITY : nowMs + this.#lapseMs * TICK_SHARE;
    if (!isWhole) this.#againAtMs = nowMs + OUT_OF_ORDER_MS;
    const restMs = isNews ? Number.NEGATIVE_INFINITY : this.#wasListed ? this.#lapseMs : 0;
    this.#knownUntilMs = nowMs + restMs;
    return isWhole;
  }
}
