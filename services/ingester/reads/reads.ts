// The read path: selects as streams of series frames, labels, metadata and statistics.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import { Turns } from '../../lib/core/turns.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import { type HeadSelection, labelsOfHead, selectHead } from '../../lib/tsdb/head/head-select.ts';
import { headStatistics, type TopEntry } from '../../lib/tsdb/head/head-statistics.ts';
import { SeriesRunWriter } from '../../lib/tsdb/head/series-run-writer.ts';
import type {
  Coverage,
  HeadStatisticsRequest,
  HeadStatisticsResponse,
  LabelsRequest,
  LabelsResponse,
  MetadataRequest,
  MetadataResponse,
  NamedCount,
  SelectResponse,
  WireSelectRequest,
} from '../../lib/wire/contracts.ts';
import { SERIES_FRAME_BYTES_TARGET, SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { IngesterMetrics } from '../ingest-metrics.ts';
import type { Tenant, Tenants } from '../tenants.ts';

export interface ReadsDeps {
  readonly tenants: Tenants;
  readonly clock: Clock;
  readonly metrics: Pick<IngesterMetrics, 'selectedSeries' | 'limitHits'>;
  readonly seriesPerSelectMax: number;
  /** Partitions that this ingester answers for now. */
  readonly ownedPartitions: () => number[];
  /**
   * Partitions of which nothing can have been acknowledged without this ingester.
   *
   * @param isWanted  Whether it is worth asking others, where there are some: none is said to be complete otherwise.
   */
  readonly completePartitions: (isWanted: boolean) => Promise<(partition: number) => boolean>;
}

const STATISTICS_LIMIT_MAX = 10_000;

/** Writers that wait for the next select: their buffers are costly to grow, page by page. */
const IDLE_WRITERS_MAX = 2;
const IDLE_WRITER_BYTES_MAX = 4 * SERIES_FRAME_BYTES_TARGET;

export class Reads {
  readonly #deps: ReadsDeps;
  readonly #writers: SeriesFrameWriter[] = [];

  constructor(deps: ReadsDeps) {
    this.#deps = deps;
  }

  /** Frames as they fill, runs to a caller that takes them; the last message has the coverage. */
  async *select(
    request: WireSelectRequest,
    { signal, takeRun }: CallContext,
  ): AsyncGenerator<SelectResponse> {
    const { tenants, clock, metrics, seriesPerSelectMax } = this.#deps;
    const matchers = fromWireMatchers(request.matchers);
    if (matchers.length === 0) throw new AppError('bad_data', 'a select needs at least one matcher');
    // Before anything is read: what is read afterwards has all that was proven to be here.
    const isComplete = await this.#deps.completePartitions(request.proveComplete === true);
    const tenant = tenants.get(request.tenant);
    if (tenant !== undefined) {
      const { minTimeMs, maxTimeMs, labelsOnly, partitions, seriesMax, exemplars } = request;
      const selection: HeadSelection = {
        matchers,
        minTimeMs,
        maxTimeMs,
        labelsOnly,
        exemplars,
        partitions: partitions.length > 0 ? new Set(partitions) : undefined,
        masks: tenant.deletes.masks,
        seriesMax: seriesMax > 0 ? Math.min(seriesMax, seriesPerSelectMax) : seriesPerSelectMax,
      };
      const writer = this.#writers.pop() ?? new SeriesFrameWriter();
      const runs =
        takeRun === undefined || labelsOnly ? undefined : new RunsOut(minTimeMs, maxTimeMs, takeRun);
      try {
        const steps = selectHead(tenant.head, selection, clock, writer, runs?.writer);
        const series = yield* this.#frames(steps, writer, runs, signal);
        metrics.selectedSeries.inc(series);
        const isKept = this.#writers.length < IDLE_WRITERS_MAX && writer.bytesHeld <= IDLE_WRITER_BYTES_MAX;
        if (isKept) this.#writers.push(writer);
      } catch (caught) {
        if (caught instanceof AppError && caught.code === 'execution') metrics.limitHits.inc();
        throw caught;
      } finally {
        runs?.end();
      }
    }
    yield { frame: Buffer.alloc(0), coverage: this.#coverageOf(tenant, request, isComplete) };
  }

  async *#frames(
    steps: Generator<void, number>,
    writer: SeriesFrameWriter,
    runs: RunsOut | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<SelectResponse, number> {
    const turns = new Turns(this.#deps.clock);
    try {
      for (;;) {
        throwIfAborted(signal);
        const step = steps.next();
        runs?.hand(step.done === true);
        const frames = step.done ? writer.finish() : writer.takeFrames();
        for (const frame of frames) yield { frame: asBuffer(frame), coverage: undefined };
        if (step.done) return step.value;
        await turns.pause();
      }
    } finally {
      // Left early: the selection gives its ids free.
      steps.return(0);
    }
  }

  /** What is in memory or was acknowledged here and is not on a store; before `leftBeforeMs` stores have the rest. */
  #coverageOf(
    tenant: Tenant | undefined,
    { partitions, minTimeMs, maxTimeMs }: WireSelectRequest,
    isComplete: (partition: number) => boolean,
  ): Coverage {
    const asked = partitions.length > 0 ? new Set(partitions) : undefined;
    const from = Math.max(minTimeMs, Math.min(maxTimeMs, tenant?.leftBeforeMs ?? minTimeMs));
    return {
      partitions: this.#deps
        .ownedPartitions()
        .filter((partition) => asked === undefined || asked.has(partition))
        .map((partition) => ({ partition, minTimeMs: from, maxTimeMs, complete: isComplete(partition) })),
    };
  }

  async labels(request: LabelsRequest, signal: AbortSignal): Promise<LabelsResponse> {
    const { tenants, clock } = this.#deps;
    const matchers = fromWireMatchers(request.matchers);
    const tenant = tenants.get(request.tenant);
    if (tenant === undefined) return { values: [], truncated: false };
    const { minTimeMs, maxTimeMs, labelName, limit } = request;
    const seriesMax = Number.POSITIVE_INFINITY;
    const selection = { matchers, minTimeMs, maxTimeMs, labelsOnly: true, partitions: undefined, seriesMax };
    const { masks } = tenant.deletes;
    const steps = labelsOfHead(tenant.head, { ...selection, masks }, labelName, limit, clock);
    const turns = new Turns(clock);
    try {
      for (;;) {
        throwIfAborted(signal);
        const step = steps.next();
        if (step.done) return step.value;
        await turns.pause();
      }
    } finally {
      steps.return({ values: [], truncated: false });
    }
  }

  metadata({ tenant, metric, limit }: MetadataRequest): MetadataResponse {
    return { metadata: this.#deps.tenants.get(tenant)?.metadata.list(metric, limit) ?? [] };
  }

  headStatistics({ tenant, limit }: HeadStatisticsRequest): HeadStatisticsResponse {
    const head = this.#deps.tenants.get(tenant)?.head;
    const statistics = head && headStatistics(head, Math.min(Math.max(limit, 1), STATISTICS_LIMIT_MAX));
    return {
      series: statistics?.series ?? 0,
      labelPairs: statistics?.labelPairs ?? 0,
      chunks: statistics?.chunks ?? 0,
      minTimeMs: statistics?.minTimeMs ?? 0,
      maxTimeMs: statistics?.maxTimeMs ?? 0,
      seriesCountByMetricName: toCounts(statistics?.seriesByMetric),
      labelValueCountByLabelName: toCounts(statistics?.valuesByLabel),
      memoryInBytesByLabelName: toCounts(statistics?.valueBytesByLabel),
      seriesCountByLabelValuePair: toCounts(statistics?.seriesByPair),
    };
  }
}

/** Runs on their way to a caller in this process. */
class RunsOut {
  readonly writer: SeriesRunWriter;
  readonly #take: NonNullable<CallContext['takeRun']>;
  #isTaken = false;

  constructor(minTimeMs: number, maxTimeMs: number, take: NonNullable<CallContext['takeRun']>) {
    this.writer = new SeriesRunWriter(minTimeMs, maxTimeMs);
    this.#take = take;
  }

  /** Hands over what there is. @param isLast  However little it is. */
  hand(isLast: boolean): void {
    const run = this.writer.take(isLast);
    if (run === undefined) return;
    this.#take(run, this.writer);
    this.#isTaken = true;
  }

  /** What nobody took is held no longer. */
  end(): void {
    if (!this.#isTaken) this.writer.release();
  }
}

function toCounts(entries: readonly TopEntry[] | undefined): NamedCount[] {
  return (entries ?? []).map(({ name, value }) => ({ name, value }));
}

function asBuffer(bytes: Uint8Array<ArrayBuffer>): Buffer<ArrayBuffer> {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
