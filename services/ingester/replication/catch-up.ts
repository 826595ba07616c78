// Keeps this replica complete: compares what it holds with what the other owners hold, gets from them what it lacks, and says by which
// placement it has everything. Runs all the time, for whatever the reason of a hole: a restart, a lost stream, a full window, a damaged
// log, a new disk, a partition that is newly owned.
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import type { WriteSet } from '../../lib/model/write-set.ts';
import { ownerSetsOf } from '../../lib/placement/owner-sets.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { Throttle } from '../../lib/tsdb/log/record-file.ts';
import type { SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import { decodeHeldWrites, encodeHeldWrites } from '../../lib/wire/append/held-writes.ts';
import type { AppendRequest } from '../../lib/wire/contracts.ts';
import { heldRecord } from '../log/checkpoint.ts';
import { RECORD_WRITES } from '../log/write-records.ts';
import type { HeldTable } from '../writes/held-table.ts';
import { WriterTable } from '../writes/writer-table.ts';
import type { Writes } from '../writes/writes.ts';
import { askPeers, completePartitions, countWrites, lackingOf, type PeerAnswer } from './peer-answers.ts';
import type { ReplicationMetrics } from './replication-metrics.ts';
import type { ReplicaPeer, ReplicaView } from './replication-options.ts';
import { fetchMetadata } from './shared-metadata.ts';

export interface CatchUpOptions {
  /** Between two comparisons with the others, ms. */
  readonly catchUpIntervalMs: number;
  /** Writes of others are taken no faster than this, bytes per second. */
  readonly catchUpBytesPerSecond: number;
  /** A start waits at most so long until it has caught up, ms. */
  readonly catchUpStartMs: number;
  /** After that long nothing that was lost can be on no store: it is not waited for any more, ms. */
  readonly recoveryMs: number;
}

export interface CatchUpDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly log: SegmentLog;
  readonly table: HeldTable;
  readonly writes: Writes;
  readonly metrics: ReplicationMetrics;
  readonly view: () => ReplicaView | undefined;
  readonly peers: () => readonly ReplicaPeer[];
  /** True when a placement that is not known now does not exist. */
  readonly isInformed: () => boolean;
  /** Tables of series references that must hear of series that leave. */
  readonly tables: Set<WriterTable>;
}

/** How a comparison ended. */
interface Round {
  readonly view: ReplicaView;
  readonly complete: number;
  readonly fetchedWrites: number;
}

const ASK_TIMEOUT_MS = 5_000;
/** Writes that are on their way arrive within this; they are not fetched. */
const ARRIVAL_MS = 250;
/** While something changed or is missing it is looked at more often. */
const TICK_MS = 250;
/** A start is over when a comparison took no longer: what is missing then comes while it serves. */
const QUICK_ROUND_MS = 1_000;
/** The control plane answers within this, or it is out of reach. */
const INFORMED_MS = 5_000;
/** After a fetch that failed. */
const RETRY_MS = 1_000;
/** Fetched writes wait for the disk after so many bytes. */
const FLUSH_BYTES = 4 << 20;
/** Writer number of fetched writes in the log. */
const LOG_WRITER = 0;

export class CatchUp {
  readonly #options: CatchUpOptions;
  readonly #deps: CatchUpDeps;
  readonly #abort = new AbortController();
  /** Ends the fetch under way. */
  #fetching = new AbortController();
  #loop: Promise<void> | undefined;
  #isKicked = false;
  #settledEpoch = 0;
  /** Newest placement by whose owners metadata was asked for. */
  #metadataEpoch = 0;
  #partitions = 0;
  #complete = 0;
  #lackingWrites = 0;
  #fetchedSamples = 0;
  #fetchStartedMs = 0;
  #progress = 1;
  #recoveringSinceMs: number | undefined;

  constructor(options: CatchUpOptions, deps: CatchUpDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Newest placement by which everything that is owned was here. */
  get settledEpoch(): number {
    return this.#settledEpoch;
  }

  get partitions(): number {
    return this.#partitions;
  }

  get complete(): number {
    return this.#complete;
  }

  get lackingWrites(): number {
    return this.#lackingWrites;
  }

  /** Since the start. */
  get fetchedSamples(): number {
    return this.#fetchedSamples;
  }

  /** Of the fetch under way, 0 … 1. */
  get progress(): number {
    return this.#progress;
  }

  /** Of the fetch under way, as long as it goes on as it went. */
  get remainingSeconds(): number {
    if (this.#progress >= 1 || this.#progress <= 0) return 0;
    const elapsedMs = this.#deps.clock.monotonicMs() - this.#fetchStartedMs;
    return Math.round((elapsedMs * (1 - this.#progress)) / this.#progress / 1000);
  }

  /** Something is missing: look now. */
  kick(): void {
    this.#isKicked = true;
  }

  /** Ends the fetch under way, if there is one: nothing that was sent before this call is taken after it. The rest is fetched anew. */
  breakOff(): void {
    this.#fetching.abort(new AppError('canceled', 'samples were deleted meanwhile'));
  }

  /**
   * Catches up before the first request, for a bounded time; what comes meanwhile is caught up with later. Then goes on by itself.
   *
   * @throws AppError `canceled` when it is stopped meanwhile.
   */
  async start(): Promise<void> {
    const { clock, logger } = this.#deps;
    const startedMs = clock.monotonicMs();
    const isOver = () => clock.monotonicMs() - startedMs >= this.#options.catchUpStartMs;
    try {
      while (!isOver()) {
        const roundMs = clock.monotonicMs();
        const round = await this.#tryRound();
        if (round === undefined) {
          if (this.#deps.isInformed() || clock.monotonicMs() - startedMs > INFORMED_MS) break;
          await clock.sleep(20, this.#abort.signal);
          continue;
        }
        const isCaughtUp = round.complete === round.view.owned.length || round.fetchedWrites === 0;
        if (isCaughtUp || clock.monotonicMs() - roundMs < QUICK_ROUND_MS) break;
      }
    } finally {
      if (isOver()) {
        logger.warn(
          { waitedMs: this.#options.catchUpStartMs, lackingWrites: this.#lackingWrites },
          'not caught up yet: serving all the same, it goes on in the background',
        );
      }
    }
    this.#loop = this.#run().catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#abort.abort(new AppError('canceled', 'the ingester is shutting down'));
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#abort;
    let comparedMs = clock.monotonicMs();
    while (!signal.aborted) {
      try {
        await clock.sleep(TICK_MS, signal);
      } catch {
        return;
      }
      const view = this.#deps.view();
      const isDue = clock.monotonicMs() - comparedMs >= this.#options.catchUpIntervalMs;
      const isChanged = view !== undefined && view.placement.epoch > this.#settledEpoch;
      if (!isDue && !isChanged && !this.#isKicked && this.#lackingWrites === 0) continue;
      this.#isKicked = false;
      await this.#tryRound();
      comparedMs = clock.monotonicMs();
    }
  }

  async #tryRound(): Promise<Round | undefined> {
    try {
      return await this.#round();
    } catch (caught) {
      throwIfAborted(this.#abort.signal);
      this.#deps.logger.warn(
        { err: toAppError(caught) },
        'comparing with other replicas failed; tried again',
      );
      return undefined;
    }
  }

  /** Undefined while no placement is known. */
  async #round(): Promise<Round | undefined> {
    const { table, clock } = this.#deps;
    const view = this.#deps.view();
    if (view === undefined) return undefined;
    const answers = await this.#ask(view);
    if (answers.some((answer) => !lackingOf(answer, table).isEmpty))
      await clock.sleep(ARRIVAL_MS, this.#abort.signal);
    let fetchedWrites = 0;
    for (const answer of this.#bySize(answers)) {
      const lacking = lackingOf(answer, table);
      if (lacking.isEmpty) continue;
      this.#lackingWrites = countWrites(lacking);
      fetchedWrites += await this.#tryFetch(answer.peer, lacking);
    }
    if (view.placement.epoch > this.#metadataEpoch) await this.#fetchMetadata(view, answers);
    this.#conclude(view, answers);
    return { view, complete: this.#complete, fetchedWrites };
  }

  /** Who has most of what is missing first: the others then add what it lacks, too. */
  #bySize(answers: readonly PeerAnswer[]): PeerAnswer[] {
    const { table } = this.#deps;
    const sizes = new Map(answers.map((answer) => [answer, countWrites(lackingOf(answer, table))]));
    return [...answers].sort((a, b) => sizes.get(b)! - sizes.get(a)!);
  }

  async #ask(view: ReplicaView): Promise<PeerAnswer[]> {
    const { logger } = this.#deps;
    const concerned = concernedBy(view);
    const peers = this.#deps
      .peers()
      .filter(({ instance }) => instance !== view.instance && concerned.has(instance));
    return await this.#withTimeout((signal) =>
      askPeers(peers, view, signal, ({ instance }, error) =>
        logger.debug({ ingester: instance, err: error }, 'a replica did not say what it holds'),
      ),
    );
  }

  /** Best effort: an owner that does not answer is left out, and asked again only where none did. */
  async #fetchMetadata({ placement, owned }: ReplicaView, answers: readonly PeerAnswer[]): Promise<void> {
    const { logger, writes } = this.#deps;
    let told = 0;
    await this.#withTimeout((signal) =>
      Promise.all(
        answers.map(async ({ peer }) => {
          try {
            await fetchMetadata(peer, owned, writes, LOG_WRITER, signal);
            told++;
          } catch (caught) {
            logger.debug({ ingester: peer.instance, err: toAppError(caught) }, 'no metadata of a replica');
          }
        }),
      ),
    );
    if (told > 0) this.#metadataEpoch = placement.epoch;
  }

  /**
   * Gives calls to other replicas a signal that ends them in time.
   *
   * @throws AppError `canceled` when this ingester is shutting down.
   */
  async #withTimeout<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#abort.signal]);
    const limit = this.#deps.clock.sleep(ASK_TIMEOUT_MS, signal).then(
      () => over.abort(new AppError('timeout', `no answer within ${ASK_TIMEOUT_MS} ms`)),
      () => undefined,
    );
    try {
      return await call(signal);
    } finally {
      over.abort();
      await limit;
      throwIfAborted(this.#abort.signal);
    }
  }

  #conclude(view: ReplicaView, answers: readonly PeerAnswer[]): void {
    const { table, metrics } = this.#deps;
    if (table.isRecovering) this.#tryEndRecovery(view, answers);
    const complete = completePartitions(view, answers, table, !table.isRecovering);
    this.#partitions = view.owned.length;
    this.#complete = complete.size;
    const lacking = answers.map((answer) => countWrites(lackingOf(answer, table)));
    this.#lackingWrites = Math.max(0, ...lacking);
    metrics.rounds.inc();
    if (complete.size === view.owned.length && view.placement.epoch > this.#settledEpoch) {
      this.#settledEpoch = view.placement.epoch;
      this.#deps.logger.info(
        { epoch: view.placement.epoch, partitions: view.owned.length },
        'this replica has everything that its partitions have',
      );
    }
  }

  /** Everything that others hold of what was lost is here again, or can be on no disk any more. */
  #tryEndRecovery(view: ReplicaView, answers: readonly PeerAnswer[]): void {
    const { table, clock, log, logger } = this.#deps;
    this.#recoveringSinceMs ??= clock.monotonicMs();
    const isBack = completePartitions(view, answers, table, false).size === view.owned.length;
    const isAllThereIs = this.#isAllThereIs(view, answers);
    const isOld = clock.monotonicMs() - this.#recoveringSinceMs >= this.#options.recoveryMs;
    if (!isBack && !isAllThereIs && !isOld) return;
    if (!isBack) {
      logger.error(
        { owners: [...concernedBy(view)] },
        'too few other replicas had what this one lost: what only lost disks had, and no store has, is lost for good',
      );
    } else logger.info('everything that was lost here is back from other replicas');
    table.isRecovering = false;
    void logHeld(log, table);
  }

  /** Every other owner answered, and has nothing that is not here: there is no disk left to get anything from. */
  #isAllThereIs(view: ReplicaView, answers: readonly PeerAnswer[]): boolean {
    const { table } = this.#deps;
    const answered = new Set(answers.map(({ peer }) => peer.instance)).add(view.instance);
    return (
      concernedBy(view).isSubsetOf(answered) && answers.every((answer) => lackingOf(answer, table).isEmpty)
    );
  }

  /** Writes taken; what did not come is asked for again. */
  async #tryFetch(peer: ReplicaPeer, lacking: WriteSet): Promise<number> {
    const { clock, logger, metrics } = this.#deps;
    const startedMs = clock.monotonicMs();
    this.#fetchStartedMs = startedMs;
    this.#progress = 0;
    const fetched = { writes: 0, samples: 0, bytes: 0 };
    try {
      await this.#fetch(peer, lacking, fetched);
      metrics.fetches.inc({ result: 'done' });
    } catch (caught) {
      throwIfAborted(this.#abort.signal);
      metrics.fetches.inc({ result: 'failed' });
      logger.warn(
        { ingester: peer.instance, err: toAppError(caught), ...fetched },
        'fetching writes from another replica broke off; the rest is fetched later',
      );
      await clock.sleep(RETRY_MS, this.#abort.signal);
    }
    this.#progress = 1;
    const elapsedMs = Math.round(clock.monotonicMs() - startedMs);
    if (fetched.writes > 0)
      logger.info({ ingester: peer.instance, ...fetched, elapsedMs }, 'writes fetched from another replica');
    return fetched.writes;
  }

  async #fetch(
    peer: ReplicaPeer,
    lacking: WriteSet,
    fetched: { writes: number; samples: number; bytes: number },
  ): Promise<void> {
    const { clock, table, log, writes, metrics, tables } = this.#deps;
    this.#fetching = new AbortController();
    const signal = AbortSignal.any([this.#abort.signal, this.#fetching.signal]);
    const throttle = new Throttle(this.#options.catchUpBytesPerSecond, clock, signal);
    const wanted = new ByteWriter(1024);
    encodeHeldWrites(wanted, lacking);
    const references = new WriterTable();
    tables.add(references);
    let durable: Promise<void> = Promise.resolve();
    let unflushed = 0;
    try {
      for await (const { part } of peer.client.fetchWrites(
        { wanted: Buffer.from(wanted.take()) },
        { signal },
      )) {
        // It may have been under way when it was broken off.
        throwIfAborted(signal);
        if (part?.$case === 'progress') {
          this.#progress = part.value.readBytes / Math.max(1, part.value.totalBytes);
        } else if (part?.$case === 'write') {
          const bytes = sizeOf(part.value);
          const applied = writes.applyFetched(part.value, references, LOG_WRITER);
          ({ durable } = applied);
          // A failure is seen where it is waited for.
          durable.catch(() => undefined);
          fetched.writes++;
          fetched.samples += applied.samples;
          fetched.bytes += bytes;
          this.#fetchedSamples += applied.samples;
          metrics.fetchedSamples.inc(applied.samples);
          metrics.fetchedBytes.inc(bytes);
          unflushed += bytes;
          if (unflushed >= FLUSH_BYTES) {
            await durable;
            await throttle.written(unflushed);
            unflushed = 0;
          }
        } else if (part?.$case === 'done') {
          await durable;
          table.account(decodeHeldWrites(part.value.accounted).within(lacking));
          await logHeld(log, table);
        }
      }
    } finally {
      tables.delete(references);
    }
  }
}

/** Who owns, or owned, what this replica owns; itself among them. */
function concernedBy({ placement, owned }: ReplicaView): Set<string> {
  return new Set(owned.flatMap((partition) => ownerSetsOf(placement, partition).flat()));
}

function sizeOf({ batch, extras }: AppendRequest): number {
  return batch.length + (extras?.length ?? 0);
}

/** Notes in the log what is held; durable when it resolves. */
export function logHeld(log: SegmentLog, table: HeldTable): Promise<void> {
  table.isKnown = true;
  const { bytes, length } = heldRecord(table);
  return log.append(RECORD_WRITES, LOG_WRITER, 0, bytes, 0, length, true).durable;
}
