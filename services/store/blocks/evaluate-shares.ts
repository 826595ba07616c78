// Evaluates parts of queries over blocks, for a querier that then needs no chunks. Only for partitions of which all sealed blocks that
// the querier found on any store are here: services/lib/wire/docs/part-evaluation.md.
import { AppError } from '../../lib/core/errors.ts';
import { Turns } from '../../lib/core/turns.ts';
import { tryFeaturesOf } from '../../lib/query/feature-list.ts';
import type { EvaluatedPart, PartEvaluator } from '../../lib/query/part-evaluator.ts';
import { parseForCluster, planForNodes } from '../../lib/query/part-plan.ts';
import type { EvaluatePartResponse, EvaluateSharesRequest } from '../../lib/wire/contracts.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { ChunksUnreachableError } from '../eviction/chunk-fetcher.ts';
import type { BlockLease } from './block-catalog.ts';
import { LimitedSink, leaseOverlapping, readBlock, type SelectDeps } from './select-blocks.ts';
import { hasAggregates, wholePartitions } from './window-leaves.ts';

export interface EvaluateSharesDeps extends Omit<SelectDeps, 'resolutions' | 'lacking'> {
  readonly evaluator: PartEvaluator;
  /** Most series that a selector may find here. */
  readonly seriesMax: number;
}

type Chosen = Pick<Parameters<typeof readBlock>[2], 'matchers' | 'partitions'>;

/**
 * Answers EvaluateShares.
 *
 * @throws AppError the query's own errors, `bad_data` without a part, `internal` when a block is corrupt (it is set aside), or the signal's
 *         reason. What this store cannot answer for is refused.
 */
export async function* evaluateShares(
  { part: request, shares }: EvaluateSharesRequest,
  deps: EvaluateSharesDeps,
  signal: AbortSignal,
): AsyncGenerator<EvaluatePartResponse> {
  if (request === undefined) throw new AppError('bad_data', 'the request names no part of a query');
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
  const { catalog, tombstones } = deps;
  // All of one turn: what is held, what is leased, and what deletes hide of it.
  const metas = catalog.list(request.tenant);
  const leases = leaseOverlapping(catalog, request);
  const masks = leases.map(({ meta }) => tombstones.maskOf(meta.tenant, meta.blockId));
  try {
    if (hasAggregates(metas, request)) {
      yield refusal('samples of the range are downsampled');
      return;
    }
    const partitions = wholePartitions(shares, metas);
    if (partitions.length === 0) {
      yield refusal('some sealed block is not here any more');
      return;
    }
    // It may take as long as it takes: whoever asked knows that this store is at work.
    yield { frame: Buffer.alloc(0), partitions: [] };
    const { query, startMs, endMs, stepMs, lookbackMs, subqueryIntervalMs, replicaLabels } = request;
    const chosen = { matchers: part.selector.matchers, partitions: new Set(partitions) };
    const evaluated = await refusingUnreachable(() =>
      deps.evaluator.evaluate(
        {
          ...{ query, part: part.index, startMs, endMs, stepMs, lookbackMs },
          ...{ subqueryIntervalMs, features, replicaLabels },
          samplesMax: request.samplesMax,
          memoryBytesMax: request.memoryMaxBytes,
        },
        runsOf(leases, masks, request, chosen, deps, signal),
        signal,
      ),
    );
    if (evaluated.kind === 'refused') {
      yield refusal(evaluated.reason);
      return;
    }
    for (const frame of evaluated.frames) {
      yield { frame: Buffer.from(frame.buffer, frame.byteOffset, frame.length), partitions: [] };
    }
    const asked = shares.reduce((sum, each) => sum + each.partitions.length, 0);
    const isAll = partitions.length === asked;
    yield {
      frame: Buffer.alloc(0),
      partitions,
      ...(isAll ? {} : { refusal: 'some sealed block is not here any more' }),
    };
  } finally {
    for (const lease of leases) await lease.release();
  }
}

function refusal(reason: string): EvaluatePartResponse {
  return { frame: Buffer.alloc(0), partitions: [], refusal: reason };
}

/** Chunks that object storage does not give: whoever reads by chunks may get them from another store. */
async function refusingUnreachable(evaluate: () => Promise<EvaluatedPart>): Promise<EvaluatedPart> {
  try {
    return await evaluate();
  } catch (caught) {
    if (!(caught instanceof ChunksUnreachableError)) throw caught;
    return { kind: 'refused', reason: caught.message };
  }
}

/** The series of each block that is read, in label order. */
function* runsOf(
  leases: readonly BlockLease[],
  masks: readonly Parameters<typeof readBlock>[1][],
  request: NonNullable<EvaluateSharesRequest['part']>,
  chosen: Chosen,
  deps: EvaluateSharesDeps,
  signal: AbortSignal,
): Generator<AsyncGenerator<Uint8Array>> {
  const { seriesMax, clock } = deps;
  const writer = new SeriesFrameWriter();
  const limit = request.seriesMax > 0 ? Math.min(request.seriesMax, seriesMax) : seriesMax;
  const sink = new LimitedSink(writer, limit, leases, deps);
  const turns = new Turns(clock);
  const { minTimeMs, maxTimeMs } = request;
  for (const [i, lease] of leases.entries()) {
    // Nothing of most blocks where partitions have blocks of their own.
    if (!lease.meta.partitions.some((partition) => chosen.partitions?.has(partition))) continue;
    yield (async function* () {
      yield* readBlock(lease, masks[i], { ...chosen, minTimeMs, maxTimeMs }, { sink, writer, turns }, signal);
      yield* writer.finish();
    })();
  }
}
