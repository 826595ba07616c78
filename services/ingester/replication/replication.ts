// The replica among others: joins what it holds, catch-up, proofs and hand-over, and answers the calls of the other replicas
// (proto/tidemark/v1/ingester_replication.proto).
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { WriteSet } from '../../lib/model/write-set.ts';
import { countsOn, fencesOf, ownedBy } from '../../lib/placement/owner-sets.ts';
import { type Placement, quorumOf } from '../../lib/placement/placement.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { ReplicaRecord } from '../../lib/transport/control-plane.ts';
import type { Handlers } from '../../lib/transport/rpc.ts';
import type { SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import { samplesOfBatch } from '../../lib/wire/append/append-batch.ts';
import { decodeHeldWrites, encodeHeldWrites } from '../../lib/wire/append/held-writes.ts';
import type {
  HeldWritesResponse,
  IngesterReplicationDefinition,
  LeaveRequest,
  LeaveResponse,
} from '../../lib/wire/contracts.ts';
import type { SealedRange } from '../sealing/seal-shares.ts';
import type { Tenants } from '../tenants.ts';
import type { Fences } from '../writes/fences.ts';
import type { HeldTable } from '../writes/held-table.ts';
import type { WriteReader } from '../writes/write-reader.ts';
import type { WriterTable } from '../writes/writer-table.ts';
import type { Writes } from '../writes/writes.ts';
import { CatchUp, type CatchUpOptions, logHeld } from './catch-up.ts';
import { CompletenessProver } from './completeness-prover.ts';
import { FenceWatch } from './fence-watch.ts';
import type { ReplicationMetrics } from './replication-metrics.ts';
import type { ReplicationDeps, ReplicaView } from './replication-options.ts';
import { metadataOf } from './shared-metadata.ts';

export interface ReplicaDeps extends ReplicationDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly table: HeldTable;
  readonly fences: Pick<Fences, 'all' | 'learn' | 'isForgetful' | 'recall'>;
  readonly metrics: ReplicationMetrics;
  /** Whether no delete can have been missed: until then nothing is taken from others, given to them or proven. */
  readonly isInOrder: () => boolean;
}

/** What is there once the log is open. */
export interface ReplicaParts {
  readonly log: SegmentLog;
  readonly tenants: Tenants;
  readonly writes: Writes;
  readonly reader: WriteReader;
  /** Tables of series references that hear of series that leave. */
  readonly tables: Set<WriterTable>;
  /** Whether all that some writes have in a range is on the stores. */
  readonly hasSealed: (range: SealedRange, writes: WriteSet) => boolean;
}

const STATUS_INTERVAL_MS = 500;
const INFORMED_POLL_MS = 50;

export class Replica {
  readonly handlers: Handlers<typeof IngesterReplicationDefinition>;
  readonly #options: CatchUpOptions;
  readonly #deps: ReplicaDeps;
  readonly #stopping = new AbortController();
  #parts: ReplicaParts | undefined;
  #catchUp: CatchUp | undefined;
  #prover: CompletenessProver | undefined;
  readonly #fenceWatch: FenceWatch;
  #isLeaving = false;
  /** Newest placement that anybody mentioned. */
  #seenEpoch = 0;
  #fencedPlacement: Placement | undefined;
  #fences: Float64Array = new Float64Array(0);
  #statusLoop: Promise<void> | undefined;
  #lastStatus = '';

  constructor(options: CatchUpOptions, deps: ReplicaDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#fenceWatch = new FenceWatch({
      ...{ clock: deps.clock, fences: deps.fences, peers: deps.peers },
      view: () => this.#view(),
      isRecovering: () => this.isRecovering,
      onEpoch: (epoch) => {
        this.#seenEpoch = Math.max(this.#seenEpoch, epoch);
      },
    });
    this.handlers = {
      fences: async () => ({
        tokens: deps.fences.all(),
        epoch: this.#knownEpoch(),
        recovering: this.isRecovering || deps.fences.isForgetful,
      }),
      heldWrites: async ({ partitions }) => this.#heldWrites(partitions),
      fetchWrites: (request, { signal }) => this.#fetchWrites(request.wanted, signal),
      fetchMetadata: (request) => this.#fetchMetadata(request.partitions),
      sealedWrites: async ({ tenant, startMs, endMs, held }) => ({
        covered: this.#mustRun().hasSealed({ tenant, startMs, endMs }, decodeHeldWrites(held)),
      }),
      leave: async (request) => this.leave(request),
    };
  }

  /** Whether others may have what this one lost: it must not be read then. */
  get isRecovering(): boolean {
    return this.#deps.table.isRecovering && this.#deps.cluster.replicationFactor > 1;
  }

  get status(): ReplicaRecord {
    const catchUp = this.#catchUp;
    return {
      settledEpoch: catchUp?.settledEpoch ?? 0,
      partitions: catchUp?.partitions ?? 0,
      complete: catchUp?.complete ?? 0,
      recovering: this.isRecovering,
      leaving: this.#isLeaving,
      lackingWrites: catchUp?.lackingWrites ?? 0,
      fetchedSamples: catchUp?.fetchedSamples ?? 0,
      progress: catchUp?.progress ?? 0,
      remainingSeconds: catchUp?.remainingSeconds ?? 0,
    };
  }

  /**
   * Decides what a new data directory is, then catches up.
   *
   * @param isFresh  Nothing was ever written here.
   * @param isDamaged  Something of what was acknowledged is lost.
   */
  async start(parts: ReplicaParts, isFresh: boolean, isDamaged: boolean): Promise<void> {
    const { table, logger, clock, metrics } = this.#deps;
    this.#parts = parts;
    if (isFresh) await this.#judgeFresh(parts.log);
    else if (isDamaged) {
      logger.error(
        'the log was damaged: all that others hold is compared, and this replica is not read before',
      );
      table.replace(new WriteSet(), true, parts.log.segment);
      await logHeld(parts.log, table);
    } else if (!table.isKnown) await logHeld(parts.log, table);
    const deps = {
      clock,
      logger,
      table,
      metrics,
      view: () => this.#view(),
      peers: this.#deps.peers,
    };
    this.#catchUp = new CatchUp(this.#options, { ...deps, ...parts, isInformed: this.#deps.isInformed });
    this.#prover = new CompletenessProver({
      ...deps,
      onLacking: () => this.#catchUp?.kick(),
      onRound: (elapsedMs, isComplete) => {
        metrics.proofs.inc({ outcome: isComplete ? 'complete' : 'incomplete' });
        metrics.proofSeconds.observe(elapsedMs / 1000);
      },
    });
    await this.#catchUp.start();
    this.#fenceWatch.start();
    this.#statusLoop = this.#tellStatus();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#catchUp?.stop();
    await this.#fenceWatch.stop();
    await this.#statusLoop;
  }

  /** Whether a later holder of any lease would be known here by now. */
  hearsOfFences(): boolean {
    return this.#deps.cluster.replicationFactor === 1 || this.#fenceWatch.isCurrent();
  }

  /** Samples under leases are about to come: resolves once others were asked who holds them. */
  async hearOfFences(): Promise<void> {
    if (this.#deps.cluster.replicationFactor > 1) await this.#fenceWatch.hear();
  }

  /** Partitions of which every acknowledged write is here. */
  async prove(): Promise<ReadonlySet<number>> {
    return (await this.#prover?.prove()) ?? new Set();
  }

  /** Nothing that another replica sent before this call is taken after it; the rest is fetched anew. */
  breakOffFetches(): void {
    this.#catchUp?.breakOff();
  }

  /** Whether a section of a write that was routed by the placement of `epoch` may be taken. */
  takes(partition: number, epoch: number): boolean {
    if (epoch > this.#seenEpoch && Number.isFinite(epoch)) this.#seenEpoch = epoch;
    const placement = this.#deps.cluster.placement();
    if (placement === undefined) return true;
    if (placement !== this.#fencedPlacement) this.#raiseFences(placement);
    if (epoch >= this.#fences[partition]!) return true;
    this.#deps.metrics.staleSections.inc();
    return false;
  }

  /** Whether somebody may count on this replica's copy of a partition. */
  isCountedOn(partition: number): boolean {
    const placement = this.#deps.cluster.placement();
    return placement === undefined || countsOn(placement, partition, this.#deps.instance);
  }

  leave({ leave, onlyAsk }: LeaveRequest): LeaveResponse {
    if (!onlyAsk && leave !== this.#isLeaving) {
      this.#isLeaving = leave;
      this.#deps.logger.info(leave ? 'leaving: partitions are handed over' : 'staying after all');
      this.#announce();
    }
    const placement = this.#deps.cluster.placement();
    const left = this.#isLeaving ? this.#partitionsLeft(placement) : 0;
    const isReleased = this.#isLeaving && placement !== undefined && left === 0;
    return { leaving: this.#isLeaving, released: isReleased, state: this.#describe(placement, left) };
  }

  /** Partitions for which somebody counts on this replica. */
  #partitionsLeft(placement: Placement | undefined): number {
    if (placement === undefined) return 0;
    return placement.replicas.filter((_, partition) => countsOn(placement, partition, this.#deps.instance))
      .length;
  }

  #describe(placement: Placement | undefined, left: number): string {
    if (!this.#isLeaving) return 'a member; nothing is handed over';
    if (placement === undefined) return 'no placement is known';
    if (left === 0) return 'all is handed over; it may be stopped for good';
    if (ownedBy(placement, this.#deps.instance).length > 0) {
      return `waiting for a placement without it: ${left} of ${placement.partitionCount} partitions`;
    }
    return `the new owners are getting what they lack: ${left} of ${placement.partitionCount} partitions are not confirmed`;
  }

  #raiseFences(placement: Placement): void {
    this.#fencedPlacement = placement;
    const fences = fencesOf(placement);
    for (const [partition, known] of this.#fences.entries()) {
      // What was refused once stays refused: owners may rely on it.
      if (partition < fences.length) fences[partition] = Math.max(fences[partition]!, known);
    }
    this.#fences = fences;
  }

  /** A new disk under the name of an owner is one that lost what was on the old one. */
  async #judgeFresh(log: SegmentLog): Promise<void> {
    const { cluster, clock, instance, table, logger, isInformed } = this.#deps;
    let isReported = false;
    while (cluster.placement() === undefined && !isInformed()) {
      if (!isReported)
        logger.info(
          'a new data directory: waiting for the control plane to say whether this ingester is known',
        );
      isReported = true;
      await clock.sleep(INFORMED_POLL_MS, this.#stopping.signal);
    }
    const placement = cluster.placement();
    const isKnown =
      placement?.replicas.some((_, partition) => countsOn(placement, partition, instance)) === true;
    if (isKnown) {
      logger.error(
        'an owner of partitions with an empty disk: all is got back from other replicas, and this one is not read before',
      );
    }
    table.isRecovering = isKnown;
    await logHeld(log, table);
  }

  #view(): ReplicaView | undefined {
    const { cluster, instance } = this.#deps;
    const placement = cluster.placement();
    // Somebody knows a newer one: owners that we have not heard of may acknowledge.
    if (placement === undefined || placement.epoch < this.#seenEpoch) return undefined;
    if (!this.#deps.isInOrder()) return undefined;
    return {
      placement,
      instance,
      quorum: quorumOf(cluster.replicationFactor),
      owned: ownedBy(placement, instance),
    };
  }

  #knownEpoch(): number {
    return Math.max(this.#deps.cluster.placement()?.epoch ?? 0, this.#seenEpoch);
  }

  #heldWrites(partitions: readonly number[]): HeldWritesResponse {
    const { table } = this.#deps;
    const { log } = this.#mustRun();
    const epoch = this.#knownEpoch();
    const wanted = new Set(partitions);
    const set = wanted.size === 0 ? table.held : table.held.only((partition) => wanted.has(partition));
    const held = new ByteWriter(1024);
    encodeHeldWrites(held, set);
    return {
      epoch,
      held: Buffer.from(held.take()),
      untracked: table.untrackedSegment >= log.firstSegment,
      recovering: this.isRecovering,
    };
  }

  async *#fetchWrites(wanted: Uint8Array, signal: AbortSignal) {
    const { metrics } = this.#deps;
    this.#mustBeInOrder();
    for await (const message of this.#mustRun().reader.fetch(decodeHeldWrites(wanted), signal)) {
      this.#mustBeInOrder();
      if (message.part?.$case === 'write')
        metrics.servedSamples.inc(samplesOfBatch(message.part.value.batch));
      yield message;
    }
  }

  async *#fetchMetadata(partitions: readonly number[]) {
    const partitionCount = this.#deps.cluster.placement()?.partitionCount;
    if (partitionCount === undefined) throw new AppError('unavailable', 'no placement is known here yet');
    yield* metadataOf(this.#mustRun().tenants, new Set(partitions), partitionCount);
  }

  /** @throws AppError `unavailable` when samples of the log may be deleted elsewhere. */
  #mustBeInOrder(): void {
    if (!this.#deps.isInOrder())
      throw new AppError('unavailable', 'the ingester was away and asks which deletes were done meanwhile');
  }

  #mustRun(): ReplicaParts {
    if (this.#stopping.signal.aborted) throw new AppError('unavailable', 'the ingester is shutting down');
    if (this.#parts === undefined) throw new AppError('unavailable', 'the ingester is replaying its log');
    return this.#parts;
  }

  async #tellStatus(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#announce();
      await this.#deps.clock.sleep(STATUS_INTERVAL_MS, signal).catch(() => undefined);
    }
  }

  #announce(): void {
    const { status } = this;
    const text = JSON.stringify(status);
    if (text === this.#lastStatus) return;
    this.#lastStatus = text;
    this.#deps.onStatus?.(status);
  }
}
