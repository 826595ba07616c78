// Answers Select: block after block, each in batches, frames sent as they fill. The blocks are leased for the whole answer,
// so that retention cannot take one away in between.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import { Turns } from '../../lib/core/turns.ts';
import type { ChunkSink } from '../../lib/model/chunk-sink.ts';
import type { Matcher } from '../../lib/model/matcher.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { DeletionMask } from '../../lib/tsdb/tombstones/deletion.ts';
import { labelsOnlySink, MaskingSink } from '../../lib/tsdb/tombstones/masking-sink.ts';
import type { SelectResponse, WireSelectRequest } from '../../lib/wire/contracts.ts';
import { emptySeriesFrame, SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import { ChunksUnreachableError } from '../eviction/chunk-fetcher.ts';
import type { StoreMetrics } from '../store-metrics.ts';
import type { BlockCatalog, BlockLease } from './block-catalog.ts';
import type { BlockResolutions } from './block-resolutions.ts';
import { coverageOf, type Lacking } from './coverage.ts';
import { SeriesCounter } from './series-counter.ts';

export interface SelectDeps {
  readonly catalog: BlockCatalog;
  readonly resolutions: BlockResolutions;
  readonly tombstones: Tombstones;
  readonly clock: Clock;
  readonly metrics: StoreMetrics;
  /** Seed of the hashes that count series. */
  readonly hashSeed: number;
  /** What this store is to have of a tenant, and has not. Default: nothing. */
  readonly lacking?: (tenant: string) => Lacking;
}

/**
 * @param seriesMax  The node's own limit, for requests that name none.
 * @throws AppError `bad_data` on malformed matchers, `execution` over the limit, `internal` when a block is corrupt (it is
 *         set aside: the next answer says that it is incomplete), or the signal's reason.
 */
export async function* selectBlocks(
  request: WireSelectRequest,
  seriesMax: number,
  deps: SelectDeps,
  signal: AbortSignal,
): AsyncGenerator<SelectResponse> {
  const { catalog, metrics, tombstones } = deps;
  const leases = leaseChosen(deps, request, request.alignMs ?? 0);
  // With the leases: a compaction may take a delete off a block that is still being read.
  const masks = leases.map(({ meta }) => tombstones.maskOf(meta.tenant, meta.blockId));
  const unreachable: ChunksUnreachableError[] = [];
  try {
    const [quarantined, lacking] = [catalog.quarantinedOf(request.tenant), deps.lacking?.(request.tenant)];
    // The last frame is held back: it carries the coverage.
    let held: Uint8Array | undefined;
    for await (const frame of framesOf(leases, masks, request, seriesMax, unreachable, deps, signal)) {
      if (held !== undefined) yield { frame: held, coverage: undefined };
      metrics.selectedBytes.inc(frame.length);
      held = frame;
    }
    const metas = leases.map(({ meta }) => meta);
    const coverage = coverageOf(request, metas, quarantined, lacking, unreachable);
    yield { frame: held ?? emptySeriesFrame(), coverage };
  } finally {
    for (const lease of leases) await lease.release();
  }
}

/** Leases the blocks of a tenant that answer for the range, oldest first: of samples and their aggregates, one of both. */
export function leaseChosen(
  {
    catalog,
    resolutions,
    tombstones,
  }: {
    readonly catalog: BlockCatalog;
    readonly resolutions: BlockResolutions;
    readonly tombstones: Tombstones;
  },
  range: { readonly tenant: string; readonly minTimeMs: number; readonly maxTimeMs: number },
  alignMs: number,
): BlockLease[] {
  const { tenant, minTimeMs, maxTimeMs } = range;
  if (tenant === '') throw new AppError('bad_data', 'the request names no tenant');
  const isMasked = (meta: BlockMeta) => tombstones.of(tenant, meta.blockId).length > 0;
  const leases: BlockLease[] = [];
  for (const meta of resolutions.choose(catalog.list(tenant), { minTimeMs, maxTimeMs, alignMs, isMasked })) {
    const lease = catalog.tryLease(tenant, meta.blockId);
    if (lease !== undefined) leases.push(lease);
  }
  return leases;
}

/** Leases all blocks of a tenant that overlap the range, oldest first. */
export function leaseOverlapping(
  catalog: BlockCatalog,
  range: { readonly tenant: string; readonly minTimeMs: number; readonly maxTimeMs: number },
): BlockLease[] {
  const leases: BlockLease[] = [];
  if (range.tenant === '') throw new AppError('bad_data', 'the request names no tenant');
  for (const meta of catalog.list(range.tenant)) {
    if (meta.maxTimeMs < range.minTimeMs || meta.minTimeMs > range.maxTimeMs) continue;
    const lease = catalog.tryLease(meta.tenant, meta.blockId);
    if (lease !== undefined) leases.push(lease);
  }
  return leases;
}

async function* framesOf(
  leases: readonly BlockLease[],
  masks: readonly (DeletionMask | undefined)[],
  request: WireSelectRequest,
  nodeSeriesMax: number,
  unreachable: ChunksUnreachableError[],
  deps: SelectDeps,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { clock } = deps;
  const matchers = fromWireMatchers(request.matchers);
  if (matchers.length === 0) throw new AppError('bad_data', 'a select needs at least one matcher');
  const seriesMax = request.seriesMax > 0 ? request.seriesMax : nodeSeriesMax;
  const writer = new SeriesFrameWriter();
  const sink = new LimitedSink(writer, seriesMax, leases, deps);
  const turns = new Turns(clock);
  const { minTimeMs, maxTimeMs, labelsOnly, exemplars, partitions } = request;
  const selection: BlockSelection = {
    ...{ matchers, minTimeMs, maxTimeMs, labelsOnly, exemplars: exemplars === true },
    ...(partitions.length > 0 ? { partitions: new Set(partitions) } : {}),
  };
  for (const [i, lease] of leases.entries()) {
    try {
      yield* readBlock(lease, masks[i], selection, { sink, writer, turns }, signal);
    } catch (caught) {
      // What was sent of it is right, the rest is named as missing; other blocks are read all the same.
      if (!(caught instanceof ChunksUnreachableError)) throw caught;
      unreachable.push(caught);
    }
  }
  yield* writer.finish();
}

/** What is read of a block. */
export interface BlockSelection {
  readonly matchers: readonly Matcher[];
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Absent: all. */
  readonly partitions?: ReadonlySet<number>;
  readonly labelsOnly?: boolean;
  readonly exemplars?: boolean;
}

/**
 * Frames of one block as they fill; what fills none stays in the writer, which `sink` writes to.
 *
 * @throws AppError `execution` over the sink's limit, `internal` when the block is corrupt (it is set aside), ChunksUnreachableError, or the
 *         signal's reason.
 */
export async function* readBlock(
  lease: BlockLease,
  mask: DeletionMask | undefined,
  { matchers, minTimeMs, maxTimeMs, partitions, labelsOnly = false, exemplars = false }: BlockSelection,
  {
    sink,
    writer,
    turns,
  }: { readonly sink: LimitedSink; readonly writer: SeriesFrameWriter; readonly turns: Turns },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  try {
    const reader = await lease.reader();
    const { resolutionMs = 0 } = lease.meta;
    const target = mask === undefined ? sink : maskedSink(sink, mask, labelsOnly);
    const select = reader.openSelect({
      matchers,
      // Cells that windows are widened by.
      minTimeMs: minTimeMs - resolutionMs,
      maxTimeMs: maxTimeMs + resolutionMs,
      // Whether something is left of a series that a delete cuts into, only its samples tell.
      labelsOnly: labelsOnly && mask === undefined,
      ...{ exemplars, signal },
      ...(partitions === undefined ? {} : { partitions }),
    });
    for (let more = true; more; ) {
      throwIfAborted(signal);
      more = await select.advance(target);
      yield* writer.takeFrames();
      await turns.pause();
    }
  } catch (caught) {
    throw caught instanceof ChunksUnreachableError ? caught : await lease.examine(caught);
  } finally {
    sink.report();
  }
}

function maskedSink(sink: ChunkSink, mask: DeletionMask, labelsOnly: boolean): ChunkSink {
  return new MaskingSink(labelsOnly ? labelsOnlySink(sink) : sink, mask);
}

/** Passes series on and ends the select when there are too many of them. */
export class LimitedSink implements ChunkSink {
  readonly #target: ChunkSink;
  readonly #seriesMax: number;
  /** Counts distinct series: several blocks may hold the same one. Undefined where there cannot be too many, or none comes twice. */
  readonly #counter: SeriesCounter | undefined;
  readonly #metrics: StoreMetrics;
  #given = 0;
  #reported = 0;

  /** @param leases  The blocks that are read. */
  constructor(
    target: ChunkSink,
    seriesMax: number,
    leases: readonly BlockLease[],
    { hashSeed, metrics }: Pick<SelectDeps, 'hashSeed' | 'metrics'>,
  ) {
    this.#target = target;
    this.#seriesMax = seriesMax;
    this.#metrics = metrics;
    const seriesOfAll = leases.reduce((sum, { meta }) => sum + meta.seriesCount, 0);
    if (leases.length > 1 && seriesOfAll > seriesMax) this.#counter = new SeriesCounter(hashSeed);
  }

  /** Counts in the metrics what was passed on since the last time. */
  report(): void {
    this.#metrics.selectedSeries.inc(this.#given - this.#reported);
    this.#reported = this.#given;
  }

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    this.#given++;
    const distinct = this.#counter === undefined ? this.#given : this.#counter.add(bytes, start, end);
    if (distinct > this.#seriesMax) {
      this.#metrics.limitHits.inc();
      throw new AppError(
        'execution',
        `the selector matches more than ${this.#seriesMax} series; narrow it by more matchers or a shorter range`,
      );
    }
    this.#target.beginSeries(bytes, start, end);
  }

  chunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#target.chunk(encoding, minTimeMs, maxTimeMs, bytes, start, end);
  }
}
