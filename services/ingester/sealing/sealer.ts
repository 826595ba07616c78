// Turns closed time ranges into blocks: cut (the range takes no more samples), build, ship, mark as sealed in the log; after
// a grace the head drops the range, the log its segments, and series without samples leave. Each step can be repeated
// after a crash: the log knows what was cut and what was sealed.
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import { failpoint } from '../../lib/core/failpoint.ts';
import { OneAtATime } from '../../lib/core/one-at-a-time.ts';
import type { WriteSet } from '../../lib/model/write-set.ts';
import { GROUP_SHARDS } from '../../lib/placement/block-groups.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { LeftSeries } from '../../lib/tsdb/head/head.ts';
import { sealRange } from '../../lib/tsdb/head/head-seal.ts';
import { selectHead } from '../../lib/tsdb/head/head-select.ts';
import type { HeadMask } from '../../lib/tsdb/head/masked-series.ts';
import type { RangeChunks } from '../../lib/tsdb/head/range-chunks.ts';
import type { SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import type { Deletion } from '../../lib/tsdb/tombstones/deletion.ts';
import type { IngesterMetrics } from '../ingest-metrics.ts';
import { writeCheckpoint } from '../log/checkpoint.ts';
import {
  type DeleteMark,
  encodeDelete,
  encodeUndelete,
  RECORD_DELETE,
  RECORD_UNDELETE,
} from '../log/delete-records.ts';
import type { HeadImages } from '../log/head-images.ts';
import { encodeCut, encodeSealed, RECORD_CUT, RECORD_SEALED } from '../log/log-records.ts';
import type { ResolvedOptions } from '../options.ts';
import { HEAD_DELETES_MAX } from '../reads/head-deletes.ts';
import { logHeld } from '../replication/catch-up.ts';
import type { Tenant, Tenants } from '../tenants.ts';
import type { HeldTable } from '../writes/held-table.ts';
import { isOutdated, shipBlock } from './block-shipper.ts';
import type { SealedRange, SealShares } from './seal-shares.ts';
import { SealedBlocks } from './sealed-blocks.ts';

export interface SealerDeps {
  readonly log: SegmentLog;
  readonly logFolder: string;
  readonly tenants: Tenants;
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly logger: Logger;
  readonly metrics: IngesterMetrics;
  readonly images: HeadImages;
  /** While a head image is written no range changes and no series leaves: such changes are made in turns of this. */
  readonly still: OneAtATime;
  readonly held: HeldTable;
  /** Whether this ingester is still to see to it that a partition's samples get on stores. */
  readonly keepsPartition: (partition: number) => boolean;
  /** Who else seals; absent where there is nobody else. */
  readonly shares?: SealShares | undefined;
  /** Whether no delete can have been missed: until then nothing is sealed. */
  readonly isInOrder: () => boolean;
  /** Series left a head: what refers to them by id has to forget it, now. */
  readonly onSeriesLeft: (tenant: Tenant, left: LeftSeries) => void;
}

/** Waits between attempts while stores do not take blocks. */
const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 60_000;

/** How long a placement is waited for that stores know already. */
const PLACEMENT_WAIT_MS = 5_000;
const PLACEMENT_POLL_MS = 50;

/** A frozen range that is not sealed yet. */
interface Unsealed {
  readonly sinceMs: number;
  /** Writes that may have samples of it: others are asked about these, not about what came since. Undefined: not all are known. */
  readonly writes: WriteSet | undefined;
  /** Partitions whose samples are on the stores, by this ingester or another. */
  readonly done: Set<number>;
}

export class Sealer {
  readonly #options: ResolvedOptions;
  readonly #deps: SealerDeps;
  readonly #abort = new AbortController();
  readonly #payload = new ByteWriter(256);
  /** When an open range was first seen by `#cutClosed`, monotonic ms. */
  readonly #firstSeenMs = new WeakMap<RangeChunks, number>();
  /** What is known of frozen ranges. */
  readonly #unsealed = new WeakMap<RangeChunks, Unsealed>();
  /** Sealing, and deletes that must not fall into it; also what `stop` waits for. */
  readonly #work = new OneAtATime();
  #loop: Promise<void> | undefined;
  #marks = 0;

  constructor(options: ResolvedOptions, deps: SealerDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Ends the work under way at its next step. Safe to call twice. */
  async stop(): Promise<void> {
    this.#abort.abort(new AppError('unavailable', 'the ingester is shutting down'));
    await this.#loop;
    await this.#work.idle();
  }

  /**
   * Makes blocks of everything in the heads now.
   *
   * @param tenantName  Empty means all tenants.
   * @returns Ids of the blocks made, durable on the stores.
   * @throws AppError `unavailable` when stores do not take them or the log cannot be written; they are tried again later.
   */
  sealNow(tenantName: string, signal: AbortSignal): Promise<string[]> {
    return this.#work.run(async () => {
      const tenants = this.#deps.tenants.all().filter(({ name }) => tenantName === '' || name === tenantName);
      const blockIds: string[] = [];
      for (const tenant of tenants) {
        await this.#deps.still.run(() => {
          for (const startMs of tenant.head.closedRangeStarts(Number.POSITIVE_INFINITY))
            this.#cut(tenant, startMs);
        });
        await this.#sealAtOnce(tenant, signal, blockIds);
      }
      await this.#deps.still.run(() => this.#truncate());
      return blockIds;
    });
  }

  /** Seals what is frozen; when stores know of a newer placement, again by that. */
  async #sealAtOnce(tenant: Tenant, signal: AbortSignal, blockIds: string[]): Promise<void> {
    for (;;) {
      const epoch = this.#deps.shares?.epoch;
      try {
        await this.#sealFrozen(tenant, signal, false, blockIds);
        return;
      } catch (caught) {
        if (!isOutdated(caught) || !(await this.#learnsOfAnother(epoch, signal))) throw caught;
      }
    }
  }

  /** Whether a placement with another epoch is known here, now or soon. */
  async #learnsOfAnother(epoch: number | undefined, signal: AbortSignal): Promise<boolean> {
    const { clock, shares } = this.#deps;
    if (shares === undefined) return false;
    const either = AbortSignal.any([signal, this.#abort.signal]);
    const untilMs = clock.monotonicMs() + PLACEMENT_WAIT_MS;
    while (shares.epoch === epoch) {
      if (clock.monotonicMs() >= untilMs) return false;
      await clock.sleep(PLACEMENT_POLL_MS, either);
    }
    return true;
  }

  /**
   * Hides samples that are in the head now. Waits for a seal that is under way, so that what was sealed before is on the
   * stores when this resolves, and what is sealed afterwards is without them. Asked again it hides what has come since, too.
   *
   * @returns Frozen ranges that may hold such samples.
   * @throws AppError `bad_data` on a malformed matcher, `resource_exhausted` when there are too many deletes.
   */
  deleteSamples(mark: Omit<DeleteMark, 'generationMax'>): Promise<number> {
    return this.#work.run(async () => {
      const tenant = this.#deps.tenants.get(mark.tenant);
      if (tenant === undefined) return 0;
      const before = tenant.deletes.find(mark.id);
      if (!(await this.#holds(tenant, mark, before)))
        return before === undefined ? 0 : concernedBy(tenant, before.mark);
      if (before === undefined && tenant.deletes.marks.length >= HEAD_DELETES_MAX) {
        throw new AppError(
          'resource_exhausted',
          `${HEAD_DELETES_MAX} deletes wait until ranges of the head are sealed, the limit; delete with fewer selectors, or later`,
        );
      }
      return await this.#deps.still.run(() => this.#hide(tenant, mark));
    });
  }

  /** Cuts the open ranges that a delete concerns, and notes it. Returns how many frozen ones it concerns. */
  async #hide(tenant: Tenant, mark: Omit<DeleteMark, 'generationMax'>): Promise<number> {
    for (const range of [...tenant.head.ranges()]) {
      if (range.generation === 0 && overlaps(range, mark)) this.#cut(tenant, range.startMs);
    }
    const whole = { ...mark, generationMax: tenant.generationNext - 1 };
    this.#payload.reset();
    encodeDelete(this.#payload, whole);
    const durable = this.#log(RECORD_DELETE);
    tenant.deletes.add(whole);
    await durable;
    return concernedBy(tenant, whole);
  }

  /** False when it hides nothing here any more. */
  undoDelete(tenantName: string, id: string): Promise<boolean> {
    const { still } = this.#deps;
    const undo = async (): Promise<boolean> => {
      const tenant = this.#deps.tenants.get(tenantName);
      if (tenant === undefined || !tenant.deletes.remove(id)) return false;
      this.#payload.reset();
      encodeUndelete(this.#payload, { tenant: tenantName, id });
      await this.#log(RECORD_UNDELETE);
      return true;
    };
    return this.#work.run(() => still.run(undo));
  }

  /** Logs the payload; resolves when it is durable. */
  #log(type: number): Promise<void> {
    const { bytes, length } = this.#payload;
    return this.#deps.log.append(type, 0, ++this.#marks, bytes, 0, length, true).durable;
  }

  /** True when a series of the head matches and has samples in the range, besides those that `hidden` hides. */
  async #holds(
    tenant: Tenant,
    { matchers, minTimeMs, maxTimeMs }: Deletion,
    hidden: HeadMask | undefined,
  ): Promise<boolean> {
    let found = false;
    const selection = { matchers, minTimeMs, maxTimeMs, partitions: undefined, isUnordered: true };
    const limits = { labelsOnly: true, seriesMax: Number.POSITIVE_INFINITY };
    const masks = hidden === undefined ? [] : [hidden];
    const steps = selectHead(tenant.head, { ...selection, ...limits, masks }, this.#deps.clock, {
      beginSeries: () => {
        found = true;
      },
      chunk: () => undefined,
    });
    while (!found && !steps.next().done) await nextTurn();
    steps.return(0);
    return found;
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#deps;
    const { signal } = this.#abort;
    let waitMs = this.#options.sealCheckIntervalMs;
    let backoffMs = BACKOFF_MIN_MS;
    while (!signal.aborted) {
      try {
        await clock.sleep(waitMs, signal);
        if (this.#deps.isInOrder()) await this.#work.run(() => this.#sealClosed());
        waitMs = this.#options.sealCheckIntervalMs;
        backoffMs = BACKOFF_MIN_MS;
      } catch (caught) {
        if (signal.aborted) return;
        waitMs = Math.min(backoffMs, this.#options.sealCheckIntervalMs);
        backoffMs = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
        logger.error({ err: toAppError(caught), retryInMs: waitMs }, 'sealing failed');
      }
    }
  }

  async #sealClosed(): Promise<void> {
    const { still, tenants } = this.#deps;
    for (const tenant of [...tenants.all()]) {
      await still.run(() => this.#cutClosed(tenant));
      await this.#sealFrozen(tenant, this.#abort.signal, true);
      await still.run(() => this.#dropSealed(tenant));
    }
    await still.run(() => this.#truncate());
  }

  /** Cuts ranges whose time is over. Late samples of an old range gather for a while first: blocks should not be tiny. */
  #cutClosed(tenant: Tenant): void {
    const { clock } = this.#deps;
    const { sealDelayMs, lateSealDelayMs } = this.#options;
    const monotonicMs = clock.monotonicMs();
    const closedMs = clock.nowMs() - sealDelayMs;
    for (const range of [...tenant.head.ranges()]) {
      if (range.generation !== 0) continue;
      const isClosed = range.endMs <= closedMs;
      const firstSeenMs = this.#firstSeenMs.get(range);
      if (firstSeenMs === undefined) {
        // A range that is met closed is a late one.
        this.#firstSeenMs.set(range, isClosed ? monotonicMs : Number.NEGATIVE_INFINITY);
      } else if (isClosed && monotonicMs >= firstSeenMs + lateSealDelayMs) this.#cut(tenant, range.startMs);
    }
  }

  /** Freezes a range, in the log and in the head at the same place. */
  #cut(tenant: Tenant, startMs: number): void {
    const generation = tenant.generationNext;
    this.#payload.reset();
    encodeCut(this.#payload, { tenant: tenant.name, startMs, generation });
    const { bytes, length } = this.#payload;
    this.#deps.log.append(RECORD_CUT, 0, ++this.#marks, bytes, 0, length, true);
    tenant.generationNext = generation + 1;
    tenant.head.freeze(startMs, generation);
    failpoint('seal-cut');
  }

  /**
   * Whether all that the writes have in a range is on the stores: they are all held here, and nothing of the range is left to be sealed.
   * Others let go of their samples then.
   */
  hasSealed({ tenant: name, startMs, endMs }: SealedRange, writes: WriteSet): boolean {
    const { tenants, held, keepsPartition } = this.#deps;
    const tenant = tenants.get(name);
    if (tenant === undefined || held.isRecovering || !writes.without(held.held).isEmpty) return false;
    const partitions = new Set<number>();
    writes.forEach((_origin, partition) => {
      partitions.add(partition);
    });
    if (![...partitions].every(keepsPartition)) return false;
    return [...tenant.head.ranges()].every((range) => {
      if (range.startMs >= endMs || range.endMs <= startMs) return true;
      if (range.generation === 0) return false;
      const done = this.#unsealed.get(range)?.done;
      return tenant.sealed.has(range.generation) || (done !== undefined && partitions.isSubsetOf(done));
    });
  }

  /**
   * @param waits     Whether other owners are let seal what is theirs to seal.
   * @param blockIds  Takes the ids of the blocks made, those before an error, too.
   */
  async #sealFrozen(
    tenant: Tenant,
    signal: AbortSignal,
    waits: boolean,
    blockIds: string[] = [],
  ): Promise<void> {
    for (const range of tenant.head.frozenRanges()) {
      if (tenant.sealed.has(range.generation)) continue;
      throwIfAborted(signal);
      try {
        const either = AbortSignal.any([signal, this.#abort.signal]);
        const left = await this.#partitionsLeft(tenant, range, waits, either);
        if (left === undefined) continue;
        blockIds.push(...(await this.#seal(tenant, range, left, either)));
      } catch (caught) {
        this.#deps.metrics.seals.inc({ result: 'failed' });
        throw toAppError(caught);
      }
    }
  }

  /** Partitions of a range that this ingester is to seal now; undefined while others are waited for. */
  async #partitionsLeft(
    tenant: Tenant,
    range: RangeChunks,
    waits: boolean,
    signal: AbortSignal,
  ): Promise<ReadonlySet<number> | undefined> {
    const { clock, keepsPartition, shares } = this.#deps;
    const state = this.#stateOf(range);
    const all = Array.from({ length: this.#options.partitionCount }, (_, partition) => partition);
    const left = new Set(all.filter((partition) => keepsPartition(partition) && !state.done.has(partition)));
    const isLate = clock.monotonicMs() - state.sinceMs >= this.#options.sealWaitMs;
    // What a delete hides is hidden in the block that is made here.
    const hasDeletes = tenant.deletes.marks.length > 0;
    const { writes } = state;
    if (!waits || isLate || hasDeletes || shares === undefined || writes === undefined) return left;
    const about = { tenant: tenant.name, startMs: range.startMs, endMs: range.endMs };
    let isWaiting = false;
    for (const [instance, partitions] of shares.othersOf(about, left)) {
      const theirs = writes.only((partition) => partitions.has(partition));
      const isSealed = await shares.isSealedBy(instance, about, theirs, signal);
      throwIfAborted(signal);
      for (const partition of partitions) {
        left.delete(partition);
        if (isSealed) state.done.add(partition);
      }
      isWaiting ||= !isSealed;
    }
    return isWaiting && left.size === 0 ? undefined : left;
  }

  #stateOf(range: RangeChunks): Unsealed {
    let state = this.#unsealed.get(range);
    if (state === undefined) {
      const { clock, held } = this.#deps;
      state = {
        sinceMs: clock.monotonicMs(),
        writes: held.listsAllSince(range.firstSegment) ? held.writesSince(range.firstSegment) : undefined,
        done: new Set(),
      };
      this.#unsealed.set(range, state);
    }
    return state;
  }

  /**
   * Makes and ships the blocks of some partitions. The range is sealed when nothing of it is left to others.
   *
   * @returns The blocks' ids; none when there was nothing to put into one.
   */
  async #seal(
    tenant: Tenant,
    range: RangeChunks,
    partitions: ReadonlySet<number>,
    signal: AbortSignal,
  ): Promise<string[]> {
    const { clock, logger, metrics, keepsPartition } = this.#deps;
    const startedMs = clock.monotonicMs();
    const { done } = this.#stateOf(range);
    const leftOut = new Set<number>();
    let isWhole = true;
    const built = await this.#build(tenant, range, signal, (partition) => {
      if (partitions.has(partition)) return true;
      if (done.has(partition)) return false;
      if (keepsPartition(partition)) isWhole = false;
      else leftOut.add(partition);
      return false;
    });
    for (const partition of partitions) done.add(partition);
    if (isWhole) {
      // Where deletes left nothing of it, or others own or sealed all of it, there is no block.
      await this.#deps.still.run(() => this.#markSealed(tenant, range, built.blockIds[0] ?? ''));
      failpoint('seal-mark-after');
      await this.#disown(leftOut);
      metrics.seals.inc({
        result: built.blockIds.length > 0 || partitions.size > 0 ? 'sealed' : 'by_another',
      });
    }
    const { blockIds, ...sum } = built;
    const about = { tenant: tenant.name, startMs: range.startMs, endMs: range.endMs };
    const elapsedMs = Math.round(clock.monotonicMs() - startedMs);
    if (blockIds.length === 0) {
      if (isWhole) logger.debug(about, 'range sealed by others');
      return blockIds;
    }
    metrics.sealedSamples.inc(sum.samples);
    logger.info(
      { ...about, ...sum, blockId: blockIds[0], blocks: blockIds.length, elapsedMs },
      isWhole ? 'range sealed' : 'part of a range sealed',
    );
    return blockIds;
  }

  async #build(
    tenant: Tenant,
    range: RangeChunks,
    signal: AbortSignal,
    keeps: (partition: number) => boolean,
  ): Promise<{ series: number; samples: number; bytes: number; blockIds: string[] }> {
    const { clock, cluster, logger, disk, shares } = this.#deps;
    const dir = path.join(this.#options.dataDir, 'seal', `${tenant.name}-${range.generation}`);
    await disk.remove(dir);
    const blocks = new SealedBlocks({ tenant: tenant.name, dir, shards: this.#shards() });
    const sum = { series: 0, samples: 0, bytes: 0, blockIds: [] as string[] };
    try {
      for (const _ of sealRange(tenant.head, range, clock, blocks, tenant.deletes.masks, keeps)) {
        await nextTurn();
        throwIfAborted(signal);
      }
      for await (const block of blocks.finish(signal)) {
        const shipping = { replicas: this.#options.storeReplicas, epoch: shares?.epoch };
        failpoint('block-ship-before');
        if (!this.#deps.isInOrder())
          throw new AppError(
            'unavailable',
            'the block may have samples that were deleted meanwhile; it is made anew',
          );
        await shipBlock(block, shipping, cluster, logger, signal);
        failpoint('block-ship-after');
        sum.series += block.meta.seriesCount;
        sum.samples += block.meta.sampleCount;
        sum.bytes += block.files.reduce((bytes, file) => bytes + file.sizeBytes, 0);
        sum.blockIds.push(block.meta.blockId);
      }
    } finally {
      await blocks.discard();
      await disk.remove(dir);
    }
    return sum;
  }

  /** Of partitions that were left out, since others own them, this ingester holds no write any more. */
  async #disown(partitions: ReadonlySet<number>): Promise<void> {
    const { held, log } = this.#deps;
    if (partitions.size === 0) return;
    held.forgetPartitions(partitions);
    await logHeld(log, held);
  }

  /** Where every store has a copy of everything, a share of the partitions needs no block of its own. */
  #shards(): number {
    const stores = this.#deps.cluster.storeSet?.()?.instances.length ?? 0;
    return stores > this.#options.storeReplicas ? GROUP_SHARDS : 1;
  }

  async #markSealed(tenant: Tenant, range: RangeChunks, blockId: string): Promise<void> {
    const { log, clock } = this.#deps;
    const { generation, endMs } = range;
    this.#payload.reset();
    encodeSealed(this.#payload, { tenant: tenant.name, generation, endMs, blockId });
    const { bytes, length } = this.#payload;
    await log.append(RECORD_SEALED, 0, ++this.#marks, bytes, 0, length, true).durable;
    tenant.sealed.set(generation, clock.monotonicMs() + this.#options.sealGraceMs);
  }

  #dropSealed(tenant: Tenant): void {
    const nowMs = this.#deps.clock.monotonicMs();
    for (const range of tenant.head.frozenRanges()) {
      const dropAtMs = tenant.sealed.get(range.generation);
      if (dropAtMs === undefined || nowMs < dropAtMs) continue;
      tenant.head.drop(range.generation);
      // A store whose retention was over the block already has it no more.
      tenant.changes.noteRange(range.startMs, range.endMs - 1);
      tenant.sealed.delete(range.generation);
      tenant.leftBeforeMs = Math.max(tenant.leftBeforeMs, range.endMs);
    }
    tenant.deletes.forget(tenant.head.frozenRanges().map(({ generation }) => generation));
  }

  /** Deletes log segments whose samples are all in blocks, and lets idle series go. */
  async #truncate(): Promise<void> {
    const { log, tenants, disk, logFolder, images, held } = this.#deps;
    let oldest = log.segment;
    for (const { head, sealed } of tenants.all()) {
      oldest = Math.min(
        oldest,
        head.oldestSegment((range) => sealed.has(range.generation)),
      );
    }
    if (oldest <= log.firstSegment) return;
    const collections = tenants.all().map((tenant) => ({ tenant, collection: tenant.head.collection }));
    // The image before may need segments that go now, and know series whose ids others get.
    await images.writeOrDiscard(this.#abort.signal);
    await writeCheckpoint(logFolder, tenants, log.segment, disk, held);
    for (const { tenant, collection } of collections) tenant.head.allowReuse(collection);
    await log.deleteBefore(oldest);
    held.forgetBefore(log.firstSegment);
    for (const tenant of [...tenants.all()]) await this.#collect(tenant);
  }

  async #collect(tenant: Tenant): Promise<void> {
    const { log, metrics, onSeriesLeft } = this.#deps;
    const steps = tenant.head.collectSeries(log.firstSegment);
    for (;;) {
      const step = steps.next();
      if (step.done) {
        // In the same turn: nobody may use an id in between.
        onSeriesLeft(tenant, step.value);
        metrics.seriesLeft.inc(step.value.ids.length);
        return;
      }
      await nextTurn();
    }
  }
}

function overlaps({ startMs, endMs }: RangeChunks, { minTimeMs, maxTimeMs }: Deletion): boolean {
  return startMs <= maxTimeMs && endMs > minTimeMs;
}

/** Frozen ranges of which a delete may hide something. */
function concernedBy({ head }: Tenant, mark: DeleteMark): number {
  return head
    .frozenRanges()
    .filter((range) => range.generation <= mark.generationMax && overlaps(range, mark)).length;
}
