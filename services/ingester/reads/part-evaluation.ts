// Evaluates parts of queries over what is in memory, for a querier that then needs no chunks. Only for partitions of which all
// samples of the range are here: services/lib/wire/docs/part-evaluation.md.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import { Turns } from '../../lib/core/turns.ts';
import { tryFeaturesOf } from '../../lib/query/feature-list.ts';
import type { PartEvaluator } from '../../lib/query/part-evaluator.ts';
import { parseForCluster, planForNodes } from '../../lib/query/part-plan.ts';
import { type HeadSelection, selectHead } from '../../lib/tsdb/head/head-select.ts';
import type { EvaluatePartRequest, EvaluatePartResponse } from '../../lib/wire/contracts.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import type { IngesterMetrics } from '../ingest-metrics.ts';
import type { Tenant, Tenants } from '../tenants.ts';

export interface PartEvaluationDeps {
  readonly tenants: Tenants;
  readonly clock: Clock;
  readonly metrics: IngesterMetrics;
  readonly seriesPerSelectMax: number;
  readonly evaluator: PartEvaluator;
  /** Partitions that this ingester answers for now. */
  readonly ownedPartitions: () => number[];
  /** Partitions of which nothing can have been acknowledged without this ingester; asks others where there are some. */
  readonly completePartitions: () => Promise<(partition: number) => boolean>;
}

/**
 * Answers EvaluatePart.
 *
 * @throws AppError the query's own errors, or the signal's reason. What this ingester cannot answer for is refused.
 */
export async function* evaluatePart(
  request: EvaluatePartRequest,
  deps: PartEvaluationDeps,
  signal: AbortSignal,
): AsyncGenerator<EvaluatePartResponse> {
  const features = tryFeaturesOf(request.features);
  if (features === undefined) {
    yield refusal(`some feature of ${request.features.join(', ')} is not known here`);
    return;
  }
  const plan = planForNodes(parseForCluster(request.query, features, request.replicaLabels), features);
  const part = plan?.parts[request.part];
  if (part === undefined) {
    yield refusal(`the query has no part ${request.part} here`);
    return;
  }
  // Before anything is read: what is read afterwards has all that was proven to be here.
  const isComplete = await deps.completePartitions();
  const owned = new Set(deps.ownedPartitions());
  const partitions = request.partitions.filter((partition) => owned.has(partition) && isComplete(partition));
  const tenant = deps.tenants.get(request.tenant);
  if (tenant !== undefined && tenant.leftBeforeMs > request.minTimeMs) {
    yield refusal(`samples before ${tenant.leftBeforeMs} ms are not in memory any more`);
    return;
  }
  if (partitions.length === 0) {
    yield refusal('not known to be complete');
    return;
  }
  // It may take as long as it takes: whoever asked knows that this ingester is at work.
  yield { frame: Buffer.alloc(0), partitions: [] };
  const { query, startMs, endMs, stepMs, lookbackMs, subqueryIntervalMs, replicaLabels } = request;
  const evaluated = await deps.evaluator.evaluate(
    {
      ...{
        query,
        part: part.index,
        startMs,
        endMs,
        stepMs,
        lookbackMs,
        subqueryIntervalMs,
        features,
        replicaLabels,
      },
      samplesMax: request.samplesMax,
      memoryBytesMax: request.memoryMaxBytes,
    },
    [
      framesOf(
        tenant,
        request,
        { matchers: part.selector.matchers, partitions: new Set(partitions) },
        deps,
        signal,
      ),
    ],
    signal,
  );
  if (evaluated.kind === 'refused') {
    yield refusal(evaluated.reason);
    return;
  }
  for (const frame of evaluated.frames) yield { frame: asBuffer(frame), partitions: [] };
  const isAll = partitions.length === request.partitions.length;
  yield {
    frame: Buffer.alloc(0),
    partitions,
    ...(isAll ? {} : { refusal: 'some are not known to be complete' }),
  };
}

function refusal(reason: string): EvaluatePartResponse {
  return { frame: Buffer.alloc(0), partitions: [], refusal: reason };
}

/** All series of the part's selector, in label order. */
async function* framesOf(
  tenant: Tenant | undefined,
  { minTimeMs, maxTimeMs, seriesMax }: EvaluatePartRequest,
  chosen: Pick<HeadSelection, 'matchers' | 'partitions'>,
  { clock, metrics, seriesPerSelectMax }: PartEvaluationDeps,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  if (tenant === undefined) return;
  const writer = new SeriesFrameWriter();
  const turns = new Turns(clock);
  const steps = selectHead(
    tenant.head,
    {
      ...chosen,
      ...{ minTimeMs, maxTimeMs, labelsOnly: false, masks: tenant.deletes.masks },
      seriesMax: seriesMax > 0 ? Math.min(seriesMax, seriesPerSelectMax) : seriesPerSelectMax,
    },
    clock,
    writer,
  );
  try {
    for (;;) {
      throwIfAborted(signal);
      const step = steps.next();
      yield* step.done ? writer.finish() : writer.takeFrames();
      if (step.done) {
        metrics.selectedSeries.inc(step.value);
        return;
      }
      await turns.pause();
    }
  } catch (caught) {
    if (caught instanceof AppError && caught.code === 'execution') metrics.limitHits.inc();
    throw caught;
  } finally {
    // Left early: the selection gives its ids free.
    steps.return(0);
  }
}

function asBuffer(bytes: Uint8Array<ArrayBuffer>): Buffer<ArrayBuffer> {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
