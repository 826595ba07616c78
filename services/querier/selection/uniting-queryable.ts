// What PromQL reads from: series frames come from somewhere (FrameSource), are united here, and decoded as the engine asks.
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../../lib/model/queryable.ts';
import type { RunHold, SeriesRun } from '../../lib/model/series-run.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { REPLICA_REACH_MS } from '../../lib/tsdb/chunk/merge-replicas.ts';
import { SeriesUnion, type UnionLimits } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';

/** Takes series frames. Frames are given away. */
export interface FrameSink {
  /** @param from  Who sent it, for the error. */
  addFrame(frame: Uint8Array, from: string): void;
  /**
   * Takes a run of series of this process. Absent where frames are wanted only.
   *
   * @param hold  To be released when the runs are not read any more; absent where somebody else does.
   */
  addRun?(run: SeriesRun, from: string, hold?: RunHold): void;
}

/** What frames are asked for. */
export interface FrameRequest extends SelectRequest {
  /** Series of highly available pairs are among them: the range was widened by what decides between their samples. */
  readonly hasReplicas?: boolean;
  /** Only series of these. */
  readonly partitions?: readonly number[];
}

/** Equal for requests that have the same answer. */
export function selectKey(request: FrameRequest): string {
  const { minTimeMs, maxTimeMs, alignMs = 0, hasReplicas = false, partitions = [], matchers } = request;
  return JSON.stringify([
    minTimeMs,
    maxTimeMs,
    alignMs,
    hasReplicas,
    partitions,
    ...matchers.map(({ name, operator, value }) => [name, operator, value]),
  ]);
}

/**
 * Gives `sink` all frames of a selector.
 *
 * @returns What is missing, when that is allowed.
 * @throws AppError as Queryable.select.
 */
export type FrameSource = (
  request: FrameRequest,
  sink: FrameSink,
  signal: AbortSignal,
) => Promise<readonly string[]>;

/** Series of a selector, united and sorted. */
export interface United {
  readonly union: SeriesUnion;
  /** What is known to be missing. */
  readonly warnings: readonly string[];
}

export class UnitingQueryable implements Queryable {
  readonly #limits: UnionLimits;
  readonly #source: FrameSource;

  constructor(limits: UnionLimits, source: FrameSource) {
    this.#limits = limits;
    this.#source = source;
  }

  async select(request: SelectRequest, context: QueryContext): Promise<SeriesSet> {
    const { union, warnings } = await this.unite(request, context);
    return new UnitedSeriesSet(union, warnings);
  }

  /** As select(), for who wants the union itself, and releases it. */
  async unite(request: FrameRequest, context: QueryContext): Promise<United> {
    const united = await this.#uniteSamples(requestOf(request, this.#limits), context);
    if (this.#limits.expectsReplicas === true || !united.union.hasReplicas) return united;
    united.union.release();
    return this.#uniteSamples(widened(request), context);
  }

  async #uniteSamples(request: FrameRequest, context: QueryContext): Promise<United> {
    const united = await this.#uniteOnce(request, context);
    if (request.alignMs === undefined || !united.union.hasSamplesBesideAggregates()) return united;
    // Aggregates were to save work; where they may lack something, all samples are asked for.
    united.union.release();
    const { alignMs: _, ...samples } = request;
    return this.#uniteOnce(samples, context);
  }

  async #uniteOnce(request: FrameRequest, context: QueryContext): Promise<United> {
    const union = new SeriesUnion(this.#limits, { charge: (bytes) => context.chargeBytes(bytes) });
    try {
      const warnings = await this.#source(request, union, context.signal);
      await union.sort(new WorkPacer(context.signal));
      return { union, warnings };
    } catch (caught) {
      union.release();
      throw caught;
    }
  }
}

/** What nodes are asked for first. */
export function requestOf(request: SelectRequest, limits: UnionLimits): FrameRequest {
  return limits.expectsReplicas === true ? widened(request) : request;
}

function widened(request: FrameRequest): FrameRequest {
  return {
    ...request,
    minTimeMs: request.minTimeMs - REPLICA_REACH_MS,
    maxTimeMs: request.maxTimeMs + REPLICA_REACH_MS,
    hasReplicas: true,
  };
}
