// Does what this store missed. A delete needs every node of the placement; a store that was given up and comes back with its old disk was not
// asked, and would show what was deleted. So whoever may have been away asks the others first, and answers nothing meanwhile: at a start, when
// it is listed again, when it was stopped or cut off from the control plane for about as long as it takes to be given up.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { ControlPlane } from '../../lib/transport/control-plane.ts';
import { UNDONE_MAX } from '../../lib/tsdb/tombstones/undone-deletes.ts';
import type { DoneDelete } from '../../lib/wire/contracts.ts';
import { DONE_MAX, type DoneDeletes } from '../deletes/done-deletes.ts';

export interface MissedDeletesOptions {
  /** Others give up a store that is gone for longer. */
  readonly rebuildDelayMs: number;
}

export interface MissedDeletesDeps {
  /** Name of this store. */
  readonly instance: string;
  readonly cluster: Pick<Cluster, 'storeReplication'>;
  readonly control: Pick<ControlPlane, 'placement' | 'isConnected' | 'onChange'>;
  readonly done: Pick<DoneDeletes, 'isWhole'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * Does of another store's deletes what is missing here.
   *
   * @param hides  Whether those that were done without this store hide samples of its blocks; else they are only noted.
   * @returns How many were done without it.
   */
  readonly make: (deletes: readonly DoneDelete[], hides: boolean, signal: AbortSignal) => Promise<number>;
}

/** Deletes that a store remembers, taken back or not. */
const TOLD_MAX = DONE_MAX + UNDONE_MAX;
/** Others that are there answer within this. */
const ANSWER_MS = 3_000;
/** A start waits so long for others that do not answer. */
const START_MS = 5_000;
const RETRY_MS = 250;
/** While others are not reached, or do not list this store, they are asked so often. */
const OUT_OF_ORDER_MS = 1_000;
/** A store that is gone for this share of the time may be given up soon. */
const LAPSE_SHARE = 0.5;
const UNKNOWN_CALL = /not implement|unimplemented/i;
/** Of the time that a lapse takes. */
const TICK_SHARE = 0.1;

export class MissedDeletes {
  readonly #deps: MissedDeletesDeps;
  readonly #lapseMs: number;
  /** All that others did without this store is done here; later it has to be asked again. Monotonic ms. */
  #knownUntilMs = Number.NEGATIVE_INFINITY;
  /** When it was asked last this store was listed, and all others answered: it stays so while it is there. */
  #isSettled = false;
  /** Not all could be heard: they are asked again then, and nobody waits for it. Monotonic ms. */
  #againAtMs = Number.POSITIVE_INFINITY;
  #wasListed = false;
  #signal: AbortSignal = new AbortController().signal;
  #asking: Promise<boolean> | undefined;

  constructor({ rebuildDelayMs }: MissedDeletesOptions, deps: MissedDeletesDeps) {
    this.#deps = deps;
    this.#lapseMs = rebuildDelayMs * LAPSE_SHARE;
  }

  /** Whether nothing can have been missed. */
  isInOrder(): boolean {
    const { clock, control, instance } = this.#deps;
    const nowMs = clock.monotonicMs();
    const isListed = control.placement()?.stores.some((store) => store.instance === instance) === true;
    if (isListed && !this.#wasListed) this.#knownUntilMs = Number.NEGATIVE_INFINITY;
    this.#wasListed = isListed;
    if (nowMs > this.#knownUntilMs) return false;
    if (this.#isSettled && isListed && control.isConnected()) this.#knownUntilMs = nowMs + this.#lapseMs;
    return true;
  }

  /** Resolves when nothing can have been missed, or those who know cannot be reached. */
  async inOrder(): Promise<void> {
    if (!this.isInOrder()) await this.#ask();
  }

  /** Before the first call is answered. @param signal  Ends all that it does from then on. */
  async begin(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#deps;
    this.#signal = signal;
    const startedMs = clock.monotonicMs();
    this.isInOrder();
    while (!signal.aborted && !(await this.#ask())) {
      if (clock.monotonicMs() - startedMs >= START_MS) {
        logger.warn(
          'not all other stores said which deletes were done: serving all the same, they are asked again',
        );
        return;
      }
      await clock.sleep(RETRY_MS, signal).catch(() => undefined);
    }
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, control } = this.#deps;
    const unsubscribe = control.onChange(() => void this.isInOrder());
    while (!signal.aborted) {
      if (clock.monotonicMs() >= this.#againAtMs) await this.#ask();
      await this.inOrder();
      await clock.sleep(Math.min(OUT_OF_ORDER_MS, this.#lapseMs * TICK_SHARE), signal).catch(() => undefined);
    }
    unsubscribe();
  }

  /** True when all others that are there were heard. */
  #ask(): Promise<boolean> {
    this.#asking ??= this.#askAll(this.#signal).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #askAll(signal: AbortSignal): Promise<boolean> {
    const { clock, cluster, done, instance, logger, make } = this.#deps;
    const peers = (cluster.storeReplication?.() ?? []).filter((peer) => peer.instance !== instance);
    const wasListed = this.#wasListed;
    const hides = done.isWhole;
    const over = new AbortController();
    const limit = clock.sleep(ANSWER_MS, over.signal).then(
      () => over.abort(new AppError('timeout', `no answer within ${ANSWER_MS} ms`)),
      () => undefined,
    );
    const either = AbortSignal.any([signal, over.signal]);
    let isWhole = true;
    const answers = await Promise.all(
      peers.map(async ({ instance: peer, client }) => {
        const deletes: DoneDelete[] = [];
        try {
          for await (const one of client.doneDeletes({}, { signal: either })) {
            if (deletes.length === TOLD_MAX)
              throw new AppError('resource_exhausted', `store ${peer} names over ${TOLD_MAX} deletes`);
            deletes.push(one);
          }
        } catch (caught) {
          // A store of an earlier version knows of none.
          if (UNKNOWN_CALL.test(String(caught))) return deletes;
          isWhole = false;
          logger.debug(
            { store: peer, err: toAppError(caught) },
            'a store did not say which deletes were done',
          );
        }
        // What was heard before is true.
        return deletes;
      }),
    );
    over.abort();
    await limit;
    try {
      // A new disk takes over what all others know, or nothing yet.
      const made = !hides && !isWhole ? 0 : await make(answers.flat(), hides, signal);
      if (made > 0)
        logger.warn(
          { deletes: made },
          'deletes were done while this store was given up: they are done here now',
        );
    } catch (caught) {
      isWhole = false;
      if (!signal.aborted)
        logger.error({ err: toAppError(caught) }, 'missed deletes could not be done; tried again');
    }
    this.isInOrder();
    // Whoever is not listed can miss another one at any moment, and who is only just listed may have.
    this.#isSettled = isWhole && wasListed && this.#wasListed;
    const isNews = this.#wasListed && !wasListed;
    const nowMs = clock.monotonicMs();
    this.#againAtMs = isWhole ? Number.POSITIVE_INFINITY : nowMs + OUT_OF_ORDER_MS;
    const restMs = isNews ? Number.NEGATIVE_INFINITY : this.#wasListed ? this.#lapseMs : OUT_OF_ORDER_MS;
    this.#knownUntilMs = nowMs + restMs;
    return isWhole;
  }
}
