// The ingester: makes samples durable in its log, keeps recent ones in memory, answers for them, and turns closed time
// ranges into blocks. This file joins the parts; each part's work is in the file named after it.
import { randomInt, randomUUID } from 'node:crypto';
import path from 'node:path';
import type { Registry } from 'prom-client';
import type { Clock } from '../lib/core/clock.ts';
import { type Disk, systemDisk } from '../lib/core/disk.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import { OneAtATime } from '../lib/core/one-at-a-time.ts';
import { PartEvaluator } from '../lib/query/part-evaluator.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { Service } from '../lib/runtime/service.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import type { CallContext, Handlers } from '../lib/transport/rpc.ts';
import type { SegmentLog } from '../lib/tsdb/log/segment-log.ts';
import { UndoneDeletes } from '../lib/tsdb/tombstones/undone-deletes.ts';
import type {
  AppendRequest,
  AppendResponse,
  EvaluatePartRequest,
  IngesterDefinition,
  IngesterReplicationDefinition,
  PartEvaluationDefinition,
  RangeVersionsDefinition,
  SelectResponse,
  WireSelectRequest,
} from '../lib/wire/contracts.ts';
import { deleteOfRequest } from '../lib/wire/told-deletes.ts';
import { createIngesterMetrics, type IngesterMetrics } from './ingest-metrics.ts';
import { createDiskGauges, shareOfDisk } from './log/disk-gauges.ts';
import { HeadImages } from './log/head-images.ts';
import { ImageLoop } from './log/image-loop.ts';
import { openHeads } from './log/open-heads.ts';
import { type IngesterOptions, type ResolvedOptions, withDefaults } from './options.ts';
import { markOfDelete, pendingDeletes } from './reads/delete-requests.ts';
import { evaluatePart, type PartEvaluationDeps } from './reads/part-evaluation.ts';
import { rangeVersions } from './reads/range-versions.ts';
import { Reads } from './reads/reads.ts';
import { unsealed } from './reads/unsealed.ts';
import { MissedHeadDeletes } from './replication/missed-head-deletes.ts';
import { Replica } from './replication/replication.ts';
import { createReplicationMetrics } from './replication/replication-metrics.ts';
import type { ReplicationDeps } from './replication/replication-options.ts';
import { SealShares } from './sealing/seal-shares.ts';
import { Sealer } from './sealing/sealer.ts';
import { Tenants } from './tenants.ts';
import { admitSeries, type SeriesAdmissionDeps, seriesLimitOf } from './writes/admit-series.ts';
import { AppendStream } from './writes/append-stream.ts';
import { answerFence, Fences } from './writes/fences.ts';
import { HeldTable } from './writes/held-table.ts';
import { SeriesGrants } from './writes/series-grants.ts';
import { WriteReader } from './writes/write-reader.ts';
import type { WriterTable } from './writes/writer-table.ts';
import { type Applied, Writes } from './writes/writes.ts';

export interface IngesterDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  /** Where the log is. Default: the machine's own. */
  readonly disk?: Disk;
  readonly logger: Logger;
  readonly registry: Registry;
  /** The other ingesters of a cluster; absent: this is the only one. */
  readonly replication?: ReplicationDeps;
  /** The fencing token of a lease's holder, as the control plane says; absent where there is none. */
  readonly leaseToken?: (name: string) => number | undefined;
  /** The log can no longer be trusted: must end the process at once. Default: exit with status 1. */
  readonly onFatal?: (error: AppError) => void;
}

/** A running ingester and the calls that it answers. */
export interface Ingester extends Service {
  readonly handlers: Handlers<typeof IngesterDefinition>;
  /** What queriers in other processes have evaluated here. */
  readonly partHandlers: Handlers<typeof PartEvaluationDefinition>;
  /** What queriers ask before they use their result caches. */
  readonly versionHandlers: Handlers<typeof RangeVersionsDefinition>;
  /** What other ingesters ask; undefined where there are none. */
  readonly replicationHandlers: Handlers<typeof IngesterReplicationDefinition> | undefined;
}

export function createIngester(options: IngesterOptions, deps: IngesterDeps): Ingester {
  return new DurableIngester(withDefaults(options), deps);
}

/** What exists while the log is open. */
interface Running {
  readonly log: SegmentLog;
  readonly writes: Writes;
  readonly sealer: Sealer;
  readonly images: HeadImages;
  readonly imageLoop: ImageLoop;
}

/** Between two warnings that a tenant has too many series. */
const LIMIT_WARNING_MS = 60_000;

/** Parts of queries that are evaluated at one time: as many as a querier has queries. */
const PARTS_MAX = 20;

class DurableIngester implements Ingester {
  readonly name = 'ingester';
  readonly handlers: Handlers<typeof IngesterDefinition>;
  readonly partHandlers: Handlers<typeof PartEvaluationDefinition>;
  readonly versionHandlers: Handlers<typeof RangeVersionsDefinition>;
  readonly #options: ResolvedOptions;
  readonly #deps: IngesterDeps;
  readonly #disk: Disk;
  readonly #logger: Logger;
  readonly #metrics: IngesterMetrics;
  readonly #tenants: Tenants;
  readonly #reads: Reads;
  readonly #parts: PartEvaluator;
  readonly #held = new HeldTable();
  readonly #fences: Fences;
  readonly #seriesGrants = new SeriesGrants();
  readonly #undone: UndoneDeletes;
  readonly #replica: Replica | undefined;
  /** Undefined where nobody gives this ingester up. */
  readonly #missed: MissedHeadDeletes | undefined;
  /** Of append streams and of fetches from other replicas. */
  readonly #tables = new Set<WriterTable>();
  readonly #streams = new Set<AppendStream>();
  #running: Running | undefined;
  #draining = false;
  #limitWarnedMs = Number.NEGATIVE_INFINITY;
  #stopped: Promise<void> | undefined;

  constructor(options: ResolvedOptions, deps: IngesterDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#disk = deps.disk ?? systemDisk;
    this.#logger = deps.logger.child({ service: 'ingester' });
    this.#tenants = new Tenants(options, randomInt(0, 2 ** 32));
    this.#metrics = this.#createMetrics();
    this.#undone = new UndoneDeletes(options.dataDir, { disk: this.#disk, clock: deps.clock });
    this.#fences = new Fences({
      ...{ folder: options.dataDir, clock: deps.clock, disk: this.#disk, logger: this.#logger },
      heard: (name) => deps.leaseToken?.(name),
      onRefusal: () => this.#metrics.fenced.inc(),
    });
    this.#reads = new Reads({
      tenants: this.#tenants,
      clock: deps.clock,
      metrics: this.#metrics,
      seriesPerSelectMax: options.seriesPerSelectMax,
      ownedPartitions: () => this.#ownedPartitions(),
      completePartitions: (isWanted) => this.#completePartitions(isWanted),
    });
    this.#parts = new PartEvaluator(
      {
        threads: options.partThreads,
        concurrencyMax: PARTS_MAX,
        memoryBytesMax: options.partMemoryBytesMax,
      },
      this.#logger,
    );
    this.handlers = this.#createHandlers();
    this.partHandlers = this.#createPartHandlers();
    this.versionHandlers = this.#createVersionHandlers();
    this.#missed = this.#createMissed();
    this.#replica = this.#createReplica();
  }

  get replicationHandlers(): Handlers<typeof IngesterReplicationDefinition> | undefined {
    return this.#replica?.handlers;
  }

  #createReplica(): Replica | undefined {
    const { replication, cluster, clock, registry } = this.#deps;
    if (replication === undefined) return undefined;
    const replica: Replica = new Replica(this.#options, {
      ...replication,
      ...{ cluster, clock, logger: this.#logger, table: this.#held, fences: this.#fences },
      metrics: createReplicationMetrics(registry, () => replica.status),
      isInOrder: () => this.#isInOrder(),
    });
    return replica;
  }

  #createMissed(): MissedHeadDeletes | undefined {
    const { replication, cluster, clock } = this.#deps;
    if (replication?.membership === undefined) return undefined;
    const { instance, membership } = replication;
    const { dataDir } = this.#options;
    return new MissedHeadDeletes({
      ...{ ...membership, instance, dataDir, cluster, clock },
      ...{ disk: this.#disk, logger: this.#logger, undone: this.#undone },
    });
  }

  #isInOrder(): boolean {
    return this.#missed?.isInOrder() ?? true;
  }

  /** Undefined where nobody else could seal. */
  #createShares(): SealShares | undefined {
    const { replication, cluster, clock } = this.#deps;
    if (replication === undefined || this.#options.sealWaitMs <= 0) return undefined;
    const { instance, peers } = replication;
    const placement = () => cluster.placement();
    return new SealShares({ instance, peers, placement, clock, logger: this.#logger });
  }

  async #completePartitions(isWanted: boolean): Promise<(partition: number) => boolean> {
    if (this.#deps.cluster.replicationFactor === 1) return () => true;
    if (!isWanted || this.#replica === undefined) return () => false;
    const complete = await this.#replica.prove();
    return (partition) => complete.has(partition);
  }

  /** What was acknowledged before a delete must be here before it: arriving later, it would be seen again. */
  async #mustLackNothing(): Promise<void> {
    if (this.#replica === undefined) return;
    const isComplete = await this.#completePartitions(true);
    const lacking = this.#ownedPartitions().filter((partition) => !isComplete(partition));
    if (lacking.length > 0)
      throw new AppError(
        'unavailable',
        `it is not known to hold all that other replicas acknowledged of ${lacking.length} partitions (${lacking.slice(0, 5).join(', ')}…), ` +
          'and what came after the delete would be seen again; it is catching up, try again',
      );
  }

  async start(): Promise<void> {
    const { clock } = this.#deps;
    const logFolder = path.join(this.#options.dataDir, 'log');
    await this.#disk.makeFolder(logFolder);
    const watermark = this.#options.diskFreeBytesMin ?? (await shareOfDisk(logFolder, this.#disk));
    createDiskGauges(logFolder, watermark, { disk: this.#disk, registry: this.#deps.registry });
    await this.#fences.load();
    // There is nobody who could know more.
    if (this.#replica === undefined || this.#deps.cluster.replicationFactor === 1) this.#fences.recall();
    await this.#undone.load();
    await this.#disk.remove(path.join(this.#options.dataDir, 'seal'));
    const imageFolder = path.join(this.#options.dataDir, 'head');
    const { log, loaded, replayed, done } = await openHeads(
      this.#options,
      { logFolder, imageFolder },
      {
        ...{ tenants: this.#tenants, held: this.#held, disk: this.#disk, clock, logger: this.#logger },
        ...{ metrics: this.#metrics, onFatal: (error) => this.#onFatal(error) },
      },
    );
    const still = new OneAtATime();
    const images = new HeadImages(
      this.#options,
      {
        folder: imageFolder,
        log,
        tenants: this.#tenants,
        held: this.#held,
        disk: this.#disk,
        clock,
        logger: this.#logger,
        metrics: this.#metrics,
      },
      loaded,
      done,
    );
    await images.sweep();
    const { headBytesMax } = this.#options;
    const writes = new Writes({
      log,
      tenants: this.#tenants,
      headBytesMax,
      held: this.#held,
      ownsPartition: (partition, epoch) =>
        this.#ownsPartition(partition) && (this.#replica?.takes(partition, epoch) ?? true),
    });
    const reader = new WriteReader({
      ...{ log, logFolder, tenants: this.#tenants, held: this.#held, disk: this.#disk, clock },
      firstKnownSegment: replayed.isRenumbered ? log.segment : 0,
    });
    const sealer = new Sealer(this.#options, {
      log,
      logFolder,
      tenants: this.#tenants,
      cluster: this.#deps.cluster,
      clock,
      disk: this.#disk,
      logger: this.#logger,
      metrics: this.#metrics,
      ...{ images, still },
      held: this.#held,
      keepsPartition: (partition) => this.#replica?.isCountedOn(partition) ?? true,
      shares: this.#createShares(),
      isInOrder: () => this.#isInOrder(),
      onSeriesLeft: (tenant, left) => {
        for (const table of this.#tables) table.forget(tenant, left);
        reader.seriesLeft();
      },
    });
    await this.#missed?.begin(sealer);
    await this.#replica?.start(
      {
        ...{ log, tenants: this.#tenants, writes, reader, tables: this.#tables },
        hasSealed: (range, held) => sealer.hasSealed(range, held),
      },
      replayed.isFresh,
      replayed.isDamaged,
    );
    const imageDeps = { images, still, clock, logger: this.#logger };
    const imageLoop = new ImageLoop(this.#options.imageCheckIntervalMs, imageDeps);
    this.#running = { log, writes, sealer, images, imageLoop };
    sealer.start();
    imageLoop.start();
  }

  isReady(): boolean {
    return this.#running !== undefined && !this.#draining;
  }

  async drain(): Promise<void> {
    this.#draining = true;
    await this.#running?.log.flush();
  }

  async stop(): Promise<void> {
    this.#draining = true;
    this.#stopped ??= this.#stopRunning();
    await this.#stopped;
  }

  #createPartHandlers(): Handlers<typeof PartEvaluationDefinition> {
    const deps: PartEvaluationDeps = {
      ...{ tenants: this.#tenants, clock: this.#deps.clock, metrics: this.#metrics, evaluator: this.#parts },
      seriesPerSelectMax: this.#options.seriesPerSelectMax,
      ownedPartitions: () => this.#ownedPartitions(),
      completePartitions: () => this.#completePartitions(true),
    };
    const evaluate = async (request: EvaluatePartRequest, signal: AbortSignal) => {
      await this.#mustRead();
      return evaluatePart(request, deps, signal);
    };
    return {
      evaluatePart: async function* (request, { signal }) {
        yield* await evaluate(request, signal);
      },
      unsealed: async (request) => {
        await this.#mustRead();
        return unsealed(request, this.#tenants);
      },
    };
  }

  #createVersionHandlers(): Handlers<typeof RangeVersionsDefinition> {
    const deps = {
      tenants: this.#tenants,
      origin: randomUUID(),
      epoch: () => this.#deps.cluster.placement()?.epoch ?? 0,
    };
    return {
      versions: async (request) => {
        await this.#mustRead();
        return rangeVersions(request, deps);
      },
    };
  }

  async #stopRunning(): Promise<void> {
    await this.#parts.stop();
    await this.#missed?.stop();
    await this.#replica?.stop();
    await Promise.all([this.#running?.sealer.stop(), this.#running?.imageLoop.stop()]);
    if (this.#running !== undefined) await this.#writeLastImage(this.#running.images);
    await this.#running?.log.close();
  }

  /** What cannot be written in time is replayed by the next start. */
  async #writeLastImage(images: HeadImages): Promise<void> {
    const { imageAtStopMs } = this.#options;
    if (imageAtStopMs === 0) return;
    const [late, written] = [new AbortController(), new AbortController()];
    const limit = this.#deps.clock.sleep(imageAtStopMs, written.signal).then(
      () => late.abort(new AppError('unavailable', `no head image within ${imageAtStopMs} ms`)),
      () => undefined,
    );
    try {
      await images.writeLast(late.signal);
    } catch (caught) {
      this.#logger.warn(
        { err: toAppError(caught) },
        'no head image could be written before the end: the next start replays the log',
      );
    } finally {
      written.abort();
      await limit;
    }
  }

  #onFatal(error: AppError): void {
    this.#logger.fatal({ err: error }, 'the log cannot be written; this process ends');
    if (this.#deps.onFatal !== undefined) this.#deps.onFatal(error);
    else process.exit(1);
  }

  #ownsPartition(partition: number): boolean {
    const { instance, partitionCount } = this.#options;
    if (partition >= partitionCount) return false;
    if (instance === undefined) return true;
    const placement = this.#deps.cluster.placement();
    return placement === undefined || placement.replicas[partition]!.includes(instance);
  }

  #ownedPartitions(): number[] {
    const owned: number[] = [];
    for (let partition = 0; partition < this.#options.partitionCount; partition++) {
      if (this.#ownsPartition(partition)) owned.push(partition);
    }
    return owned;
  }

  /** @throws AppError `unavailable` while the log is replayed. */
  #mustRun(): Running {
    if (this.#running === undefined) {
      throw new AppError('unavailable', 'the ingester is replaying its log; try again later');
    }
    return this.#running;
  }

  /** Resolves once what others deleted without this ingester is deleted here. @throws AppError `unavailable` while the log is replayed. */
  async #mustBeInOrder(): Promise<Running> {
    const running = this.#mustRun();
    if (!this.#isInOrder()) await this.#missed?.inOrder();
    return running;
  }

  /** @throws AppError `unavailable` while something that was acknowledged here is missing: an answer would be taken for all of it. */
  async #mustRead(): Promise<Running> {
    const running = await this.#mustBeInOrder();
    if (this.#replica?.isRecovering !== true) return running;
    throw new AppError(
      'unavailable',
      'this ingester lost what it held and is getting it back from other replicas; ask them',
    );
  }

  #createHandlers(): Handlers<typeof IngesterDefinition> {
    return {
      append: (requests, { signal }) => this.#append(requests, signal),
      select: (request, context) => this.#select(request, context),
      labels: async (request, { signal }) => {
        await this.#mustRead();
        return await this.#reads.labels(request, signal);
      },
      metadata: async (request) => {
        this.#mustRun();
        return this.#reads.metadata(request);
      },
      headStatistics: async (request) => {
        this.#mustRun();
        return { ...this.#reads.headStatistics(request), seriesLimit: seriesLimitOf(this.#admissionDeps()) };
      },
      admitSeries: async (request) => {
        this.#mustRun();
        return admitSeries(request, this.#admissionDeps());
      },
      fence: async (request) => {
        this.#mustRun();
        return answerFence(request, this.#fences, this.#replica);
      },
      deleteSeries: async (request) => {
        const { sealer } = await this.#mustBeInOrder();
        this.#undone.mustNotBe(request.tenant, request.deleteId);
        await this.#mustLackNothing();
        // What others took out of their logs before they knew of the delete.
        this.#replica?.breakOffFetches();
        return { concerned: await sealer.deleteSamples(markOfDelete(deleteOfRequest(request))) };
      },
      undoDelete: async ({ tenant, deleteId }) => {
        const { sealer } = await this.#mustBeInOrder();
        // First: a delete that comes from now on is refused, one that came before is taken back behind it.
        await this.#undone.add(tenant, deleteId);
        return { undone: await sealer.undoDelete(tenant, deleteId) };
      },
      listDeletes: async ({ tenant }) => {
        this.#mustRun();
        return { deletes: pendingDeletes(this.#tenants.get(tenant)) };
      },
      seal: async ({ tenant }, { signal }) => ({
        blockIds: await (await this.#mustBeInOrder()).sealer.sealNow(tenant, signal),
      }),
    };
  }

  async *#select(request: WireSelectRequest, context: CallContext): AsyncGenerator<SelectResponse> {
    await this.#mustRead();
    yield* this.#reads.select(request, context);
  }

  async *#append(
    requests: AsyncIterable<AppendRequest>,
    signal: AbortSignal,
  ): AsyncGenerator<AppendResponse> {
    const { writes } = this.#mustRun();
    const stream = new AppendStream(
      { requestsMax: this.#options.streamRequestsMax },
      {
        ready: () => (this.#isInOrder() ? undefined : this.#inOrderAtLast()),
        apply: (request, table, writer) => {
          if (this.#draining)
            throw new AppError('unavailable', 'the ingester is shutting down; try another replica');
          this.#mustTakeWrites();
          return this.#applyFenced(request, () => writes.apply(request, table, writer));
        },
        metrics: this.#metrics,
        signal,
      },
    );
    this.#streams.add(stream);
    this.#tables.add(stream.table);
    try {
      yield* stream.serve(requests);
    } finally {
      this.#streams.delete(stream);
      this.#tables.delete(stream.table);
    }
  }

  /** Once more where the placement came to count on this ingester while it asked. */
  async #inOrderAtLast(): Promise<void> {
    await this.#missed?.inOrder();
    await this.#missed?.inOrder();
  }

  /** @throws AppError `unavailable` while samples that come now would be taken for what others deleted without this ingester. */
  #mustTakeWrites(): void {
    if (this.#isInOrder()) return;
    throw new AppError('unavailable', 'the ingester was away and asks which deletes were done meanwhile');
  }

  /** Samples that were made under a lease are kept only while nobody is known who took it later, and acknowledged once that is on disk. */
  #applyFenced(request: AppendRequest, apply: () => Applied): Applied {
    if (request.fence === undefined) return apply();
    const noted = this.#fences.take(request.fence, request.fenceToken ?? 0);
    // Looked at below, unless nothing is applied.
    noted.catch(() => undefined);
    if (this.#replica?.hearsOfFences() === false) {
      this.#metrics.unheardFences.inc();
      throw new AppError(
        'unavailable',
        `too few other ingesters have said lately who holds lease ${request.fence}; a later holder may be at work`,
      );
    }
    const applied = apply();
    return { ...applied, durable: Promise.all([applied.durable, noted]).then(() => undefined) };
  }

  #admissionDeps(): SeriesAdmissionDeps {
    const { seriesPerTenantMax, partitionCount } = this.#options;
    return {
      seriesMax: seriesPerTenantMax,
      ownedShare: this.#ownedPartitions().length / partitionCount,
      tenants: this.#tenants,
      grants: this.#seriesGrants,
      nowMs: this.#deps.clock.monotonicMs(),
      metrics: this.#metrics,
      onRefusal: (tenant, refused, limit) => this.#warnOfLimit(tenant, refused, limit),
    };
  }

  /** Once a minute: whoever sends too many series does so all the time. */
  #warnOfLimit(tenant: string, refused: number, limit: number): void {
    const nowMs = this.#deps.clock.monotonicMs();
    if (nowMs - this.#limitWarnedMs < LIMIT_WARNING_MS) return;
    this.#limitWarnedMs = nowMs;
    this.#logger.warn(
      { tenant, refused, limit },
      'new series of a tenant are refused: it has as many in memory as --ingest.max-series allows',
    );
  }

  #createMetrics(): IngesterMetrics {
    const sum = (read: (tenant: ReturnType<Tenants['byNumber']>) => number) => () =>
      this.#tenants.all().reduce((total, tenant) => total + read(tenant), 0);
    return createIngesterMetrics(this.#deps.registry, {
      series: sum(({ head }) => head.seriesCount),
      chunks: sum(({ head }) => head.chunkCount),
      headBytes: () => this.#tenants.bytesHeld,
      logBytes: () => this.#running?.log.bytesOnDisk ?? 0,
      imageBytes: () => this.#running?.images.bytesOnDisk ?? 0,
      replayBytes: () => this.#running?.images.replayBytes ?? 0,
      startSeconds: () => (this.#running?.images.startMs ?? 0) / 1000,
      logBytesInFlight: () => this.#running?.log.bytesInFlight ?? 0,
      streams: () => this.#streams.size,
      samples: sum(({ head }) => head.counters.appended),
      duplicates: sum(({ head }) => head.counters.duplicates),
      outOfOrder: sum(({ head }) => head.counters.outOfOrder),
      exemplars: sum(({ head }) => head.counters.exemplars),
    });
  }
}
