// The module of the threads that evaluate parts on a node: queries do not hold up what is written.
import { parentPort } from 'node:worker_threads';
import { assert } from '../core/assert.ts';
import { AppError } from '../core/errors.ts';
import type { QueryContext } from '../model/queryable.ts';
import { createEngine } from '../promql/engine/engine.ts';
import { type LastMessage, serveTasks, type TaskChannel, unpackError } from '../runtime/worker-tasks.ts';
import { encodePartialResult } from '../wire/frames/partial-result.ts';
import { FrameSeries } from './frame-series.ts';
import type { FromPart, PartOrder, ToPart } from './part-messages.ts';
import { parseForCluster, planForNodes } from './part-plan.ts';

assert(parentPort !== null, 'part-worker.ts is started as a worker thread');
serveTasks<PartOrder, ToPart, FromPart>(parentPort, evaluatePart);

/**
 * Evaluates a part over the frames that came with it.
 *
 * @throws AppError as Engine.executePart, `execution` over the memory limit.
 */
async function evaluatePart(
  order: PartOrder,
  channel: TaskChannel<ToPart, FromPart>,
): Promise<LastMessage<FromPart>> {
  const controller = new AbortController();
  channel.onMessage = ({ error }) => controller.abort(unpackError(error));
  const { query, part, startMs, endMs, stepMs, lookbackMs, features, replicaLabels } = order;
  const context = new PartContext(order.memoryBytesMax, controller.signal);
  const plan = planForNodes(parseForCluster(query, features, replicaLabels), features);
  if (plan?.parts[part] === undefined) return refused(`the query has no part ${part} here`);
  const series = new FrameSeries((bytes) => context.chargeBytes(bytes), replicaLabels);
  for (const frames of order.runs) {
    series.beginRun();
    for (const frame of frames) series.addFrame(frame);
  }
  series.settle();
  if (series.hasReplicas) return refused(`series have replica labels (${replicaLabels.join(', ')})`);
  const { samplesMax, subqueryIntervalMs } = order;
  const engine = createEngine({
    ...{ lookbackMs, samplesMax, features },
    noStepSubqueryIntervalMs: subqueryIntervalMs,
  });
  const request = { plan, part, query, startMs, endMs, stepMs, lookbackMs };
  const partial = await engine.executePart(request, { select: async () => series }, context);
  const frames = encodePartialResult(partial);
  return { message: { kind: 'partial', frames }, transfer: frames.map(({ buffer }) => buffer) };
}

function refused(reason: string): LastMessage<FromPart> {
  return { message: { kind: 'refused', reason }, transfer: [] };
}

/** The account of one part. */
class PartContext implements QueryContext {
  readonly signal: AbortSignal;
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number, signal: AbortSignal) {
    this.#bytesMax = bytesMax;
    this.signal = signal;
  }

  chargeBytes(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#bytesMax) return;
    throw new AppError(
      'execution',
      `a part of the query needs more than ${this.#bytesMax} bytes on one node (--query.max-memory); select fewer series or a shorter range`,
    );
  }
}
