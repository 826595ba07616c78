// Removes from the bucket what others took the place of, what retention is over for, and what uploads have left that broke off. Only a store whose
// turn it is does so, by a listing of its own turn: nobody else removes meanwhile, so what a removal counts on stays there.
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import type { BlockBucket, BlockKey, ListedBlock } from '../../lib/objstore/block-bucket.ts';
import type { RemovalRight } from '../../lib/objstore/object-store.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { BlockCatalog } from '../blocks/block-catalog.ts';
import type { BucketContents } from './bucket-contents.ts';
import type { BucketMetrics } from './bucket-metrics.ts';
import type { BucketPlan } from './bucket-plan.ts';
import type { RemovalTurns } from './removal-turns.ts';

export interface BucketRemoverOptions {
  /** How long a block stays after others took its place, or its retention was over. */
  readonly deleteGraceMs: number;
}

export interface BucketRemoverDeps {
  readonly bucket: BlockBucket;
  readonly contents: BucketContents;
  readonly catalog: BlockCatalog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: BucketMetrics;
  readonly turns: RemovalTurns;
  /** Lists the bucket now and says what there is to do. @throws AppError when it cannot be listed. */
  readonly planAnew: (signal: AbortSignal) => Promise<BucketPlan>;
}

/** A folder without a whole block that nobody wrote to for so long is of an upload that broke off and was not taken up again. */
const LEFTOVER_AGE_MS = 24 * 3_600_000;
/** By one listing; others have their turn in between. */
const REMOVALS_PER_TURN = 200;

/** A block that is to go, and why. */
interface Doomed {
  readonly key: BlockKey;
  readonly reason: 'retention' | 'superseded';
}

export class BucketRemover {
  readonly #options: BucketRemoverOptions;
  readonly #deps: BucketRemoverDeps;
  /** Since when a block is to go, monotonic. */
  readonly #doomedSinceMs = new Map<string, number>();

  constructor(options: BucketRemoverOptions, deps: BucketRemoverDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Removes what is due, if it is this store's turn; asks for the turn when it is not. What others may be copying just now stays for the grace,
   * and nothing goes for a clock that is wrong for a moment.
   *
   * @param plan             By what was last known.
   * @param keepsLeftovers   Whose uploads broke off cannot be seen, so one store looks after all of them.
   */
  async runOnce(plan: BucketPlan, keepsLeftovers: boolean, signal: AbortSignal): Promise<void> {
    const { logger, planAnew, turns } = this.#deps;
    if (this.#due(plan).length === 0 && !(keepsLeftovers && this.#dueLeftovers().length > 0)) {
      await turns.giveBack();
      return;
    }
    const right = await turns.take();
    if (right === undefined) return;
    try {
      const due = this.#due(await planAnew(signal)).slice(0, REMOVALS_PER_TURN);
      const leftovers = keepsLeftovers ? this.#dueLeftovers().slice(0, REMOVALS_PER_TURN) : [];
      for (const doomed of due) await this.#remove(doomed, right, signal);
      for (const leftover of leftovers) await this.#removeLeftover(leftover, right, signal);
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code !== 'failed_precondition') throw error;
      logger.info({ err: error }, 'this store’s turn to remove from object storage is over');
    } finally {
      await turns.giveBack();
    }
  }

  #due({ expired, superseded }: BucketPlan): Doomed[] {
    const nowMs = this.#deps.clock.monotonicMs();
    const doomed = new Map<string, Doomed>();
    for (const key of expired) doomed.set(nameOf(key), { key, reason: 'retention' });
    for (const key of superseded) doomed.set(nameOf(key), { key, reason: 'superseded' });
    for (const name of this.#doomedSinceMs.keys()) if (!doomed.has(name)) this.#doomedSinceMs.delete(name);
    return [...doomed].flatMap(([name, one]) => {
      const sinceMs = this.#doomedSinceMs.get(name) ?? nowMs;
      this.#doomedSinceMs.set(name, sinceMs);
      return nowMs - sinceMs >= this.#options.deleteGraceMs ? [one] : [];
    });
  }

  #dueLeftovers(): ListedBlock[] {
    const { catalog, clock, contents } = this.#deps;
    return contents.leftovers.filter(
      (block) =>
        clock.nowMs() - block.modifiedMs >= LEFTOVER_AGE_MS &&
        !catalog.has(block.tenant, block.blockId) &&
        contents.find(block) === undefined,
    );
  }

  async #remove({ key, reason }: Doomed, right: RemovalRight, signal: AbortSignal): Promise<void> {
    const { bucket, contents, logger, metrics } = this.#deps;
    const { tenant, blockId } = key;
    await bucket.removeBlock(key, right, signal);
    contents.remove(key);
    metrics.removed.inc({ reason });
    logger.info({ tenant, blockId, reason }, 'block removed from object storage');
  }

  async #removeLeftover(
    { tenant, blockId }: BlockKey,
    right: RemovalRight,
    signal: AbortSignal,
  ): Promise<void> {
    const { bucket, clock, metrics } = this.#deps;
    const beforeMs = clock.nowMs() - LEFTOVER_AGE_MS;
    if (await bucket.removeLeftover({ tenant, blockId }, beforeMs, right, signal))
      metrics.removed.inc({ reason: 'broken_off' });
  }
}

const nameOf = ({ tenant, blockId }: BlockKey): string => `${tenant}/${blockId}`;
