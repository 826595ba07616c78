// A query in its worker thread: parsed, planned, evaluated, its result written into frames. The nodes are asked by the main
// thread, whose frames are united here.
import { getHeapStatistics } from 'node:v8';
import { assert } from '../../lib/core/assert.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import type { Queryable, QueryContext, SeriesSet } from '../../lib/model/queryable.ts';
import type { SampleColumns } from '../../lib/model/sample-columns.ts';
import type { Expr } from '../../lib/promql/ast.ts';
import { createEngine } from '../../lib/promql/engine/engine.ts';
import type { PartialResult } from '../../lib/promql/engine/parts/partial.ts';
import type { Engine, QueryResult, ResultSeries } from '../../lib/promql/engine/query.ts';
import type { SampleTotals } from '../../lib/promql/engine/select/sample-tally.ts';
import { cut } from '../../lib/promql/plan/plan.ts';
import type { ParsedQueries } from '../../lib/query/parsed-queries.ts';
import { planForNodes } from '../../lib/query/part-plan.ts';
import {
  type LastMessage,
  packError,
  type TaskChannel,
  unpackError,
} from '../../lib/runtime/worker-tasks.ts';
import type { QueryTrailer } from '../../lib/wire/contracts.ts';
import { decodePartialResult, encodePartialResult } from '../../lib/wire/frames/partial-result.ts';
import { executePushed, type PartPush, type PushedDeps, type PushedResult } from '../push-down/pushed.ts';
import type { SeriesUnion } from '../selection/series-union.ts';
import type { SharedUnion } from '../selection/shared-union.ts';
import { UnitedSeriesSet } from '../selection/united-series-set.ts';
import {
  type FrameRequest,
  type FrameSink,
  selectKey,
  type United,
  UnitingQueryable,
} from '../selection/uniting-queryable.ts';
import {
  type EvaluationOrder,
  type FromEvaluation,
  type SentFrame,
  sentBytes,
  type ToEvaluation,
} from './evaluation-messages.ts';
import { MemoryBudget, MemoryLease, MemoryPool } from './memory-budget.ts';
import { parseOrder, timesOf } from './order.ts';
import { type AssistanceOrder, executeInParallel, executeRange, KeptSet } from './parallel.ts';
import { QueryBlock } from './query-block.ts';
import { ResultSender } from './result-sender.ts';
import type { SharedBuffers } from './shared-buffers.ts';

type Channel = TaskChannel<ToEvaluation, FromEvaluation>;

/** What a thread keeps for its next queries. */
export interface KeptByThread {
  readonly buffers: SharedBuffers;
  readonly parsed: ParsedQueries;
}

/** A query, or a range of series of one of its parts. */
export function evaluateTask(
  order: EvaluationOrder,
  channel: Channel,
  kept: KeptByThread,
): Promise<LastMessage<FromEvaluation>> {
  return order.assistance === undefined
    ? evaluate(order, channel, kept)
    : assist(order, order.assistance, channel, kept);
}

/**
 * Evaluates a query and sends its answer.
 *
 * @throws AppError `bad_data` for a malformed query, `execution` over a limit or in evaluation, `canceled`, `unavailable`.
 */
async function evaluate(
  order: EvaluationOrder,
  channel: Channel,
  { buffers, parsed }: KeptByThread,
): Promise<LastMessage<FromEvaluation>> {
  const thread = new EvaluationThread(order, channel);
  const startedMs = performance.now();
  thread.block.enter('planning');
  const expr = order.local?.expr ?? parseOrder(order, parsed);
  const planMs = performance.now() - startedMs;
  const { request } = order;
  const selects = new QuerySelects(
    new UnitingQueryable(order.limits, (select, sink, signal) => thread.fetch(select, sink, signal)),
    thread.block,
    buffers,
  );
  const evaluationMs = performance.now();
  let result: QueryResult;
  try {
    result = await execute(order, expr, selects, thread);
  } finally {
    await selects.close();
  }
  thread.chargeBytes(resultBytes(result.series));
  const elapsedMs = performance.now() - evaluationMs;
  // On the main thread the answer, up to its text, is work of the same turn.
  const { sliceMs } = order.engine;
  if (sliceMs !== undefined && elapsedMs >= sliceMs) await new Promise((resolve) => setImmediate(resolve));
  thread.block.enter('sending');
  const isCut = request.limit > 0 && result.series.length > request.limit;
  const { sender } = thread;
  // Bytes that are no text (promql/parse/go-quote.ts) are U+FFFD to whoever asked.
  sender.add({ kind: 'header', type: result.type, text: result.text.toWellFormed() });
  await sender.addSeries(isCut ? result.series.slice(0, request.limit) : result.series);
  const { fetchMs } = selects;
  const { samples, samplesPeak } = result.stats;
  sender.add({
    kind: 'trailer',
    trailer: {
      warnings: [...result.warnings, ...(isCut ? ['results truncated due to limit'] : [])],
      infos: [...result.infos],
      samplesRead: samples.used,
      samplesFetched: samples.fetched,
      ...stepStatistics(samples),
      samplesPeak,
      planMs,
      fetchMs,
      evaluateMs: Math.max(0, elapsedMs - fetchMs),
    },
  });
  // Only now: labels of the result were views of it. After an error another thread may still read.
  selects.recycle();
  return sender.last();
}

/** In several threads where that is worth while, else in this one. */
async function execute(
  order: EvaluationOrder,
  expr: Expr,
  selects: QuerySelects,
  thread: EvaluationThread,
): Promise<QueryResult> {
  const engine = createEngine(order.engine);
  const times = timesOf(order);
  if (order.horizonMs !== undefined && order.request.perStepStats !== true) {
    const nodePlan = planForNodes(expr, order.engine.features);
    const result =
      nodePlan &&
      (await executePushed(
        { ...times, plan: nodePlan },
        { horizonMs: order.horizonMs, sealedBeforeMs: order.sealedBeforeMs },
        pushedDeps(engine, selects, thread),
        thread,
      ));
    if (result !== undefined) return result;
  }
  // What a step used is counted where all of it is read.
  const isCuttable = order.parallel.threads > 1 && order.request.perStepStats !== true;
  const plan = isCuttable ? cut(expr, order.engine) : undefined;
  if (plan !== undefined) {
    const result = await executeInParallel(
      { ...times, plan },
      order.parallel,
      {
        engine,
        unite: (request, context) => selects.unite(request, context),
        queryable: selects,
        assist: (assistance) => thread.assist(assistance),
        share: (union) => selects.share(union),
        watch: (set) => selects.watch(set),
      },
      thread,
    );
    if (result !== undefined) return result;
  }
  return engine.execute({ ...times, expr }, selects, thread);
}

function pushedDeps(engine: Engine, selects: QuerySelects, thread: EvaluationThread): PushedDeps {
  return {
    engine,
    queryable: selects,
    selectOf: (request, partitions, context) => selects.select({ ...request, partitions }, context),
    push: (push) => thread.push(push),
  };
}

/** Evaluates a range of series of a part of somebody else's query. */
async function assist(
  order: EvaluationOrder,
  assistance: AssistanceOrder,
  channel: Channel,
  { parsed }: KeptByThread,
): Promise<LastMessage<FromEvaluation>> {
  const thread = new EvaluationThread(order, channel);
  const plan = cut(parseOrder(order, parsed), order.engine);
  assert(plan !== undefined, 'a query whose parts are evaluated has parts');
  const partial = await executeRange(
    { ...timesOf(order), plan, part: assistance.part },
    assistance,
    {
      engine: createEngine(order.engine),
      watch: (set) => new WatchedSeriesSet(set, thread.block),
    },
    thread,
  );
  const frames = encodePartialResult(partial);
  return { message: { kind: 'partial', frames }, transfer: frames.map(({ buffer }) => buffer) };
}

function stepStatistics({ usedPerStep, fetchedPerStep }: SampleTotals): Pick<QueryTrailer, 'steps'> {
  if (usedPerStep === undefined || fetchedPerStep === undefined) return {};
  return { steps: { samplesRead: [...usedPerStep], samplesFetched: [...fetchedPerStep] } };
}

/** The engine charges what it works with, not what it answers. */
function resultBytes(series: readonly ResultSeries[]): number {
  let samples = 0;
  for (const { count } of series) samples += count;
  return samples * 16;
}

/** Bytes charged between two looks at the heap. */
const HEAP_LOOK_BYTES = 1 << 20;
/** V8 ends the whole process when an object that does not fit is wanted at once: a query ends well before that. */
const HEAP_USED_MAX = 0.75;

type PushAnswer = ToEvaluation & { readonly kind: 'pushed' };
type AssistanceResult = Omit<ToEvaluation & { readonly kind: 'assisted' }, 'kind' | 'assistance'>;

interface OpenSelect {
  readonly sink: FrameSink;
  /** Nodes whose frames were malformed: what else they send is of no use. */
  readonly discarded: Map<string, AppError>;
  readonly resolve: (gaps: readonly string[]) => void;
  readonly reject: (error: unknown) => void;
}

/** What belongs to one query on its thread: the conversation with the main thread, and the engine's context. */
class EvaluationThread implements QueryContext {
  readonly block: QueryBlock;
  readonly sender: ResultSender;
  readonly #channel: Channel;
  readonly #controller = new AbortController();
  readonly #lease: MemoryLease;
  readonly #selects = new Map<number, OpenSelect>();
  readonly #pushes = new Map<number, PromiseWithResolvers<PushAnswer>>();
  readonly #assists = new Map<number, PromiseWithResolvers<AssistanceResult>>();
  /** Numbers of planned selects that were not asked for yet, by their keys, and what came for them. */
  readonly #planned = new Map<string, number>();
  readonly #early = new Map<number, ToEvaluation[]>();
  #requestCount = 0;
  #unseenBytes = 0;

  constructor(order: EvaluationOrder, channel: Channel) {
    this.block = order.local?.block ?? new QueryBlock(order.block);
    const pool = order.local?.pool ?? new MemoryPool(order.memoryTotalBytesMax, order.pool);
    this.#lease = new MemoryLease(new MemoryBudget(pool, order.memoryBytesMax, this.block.account));
    this.#channel = channel;
    this.sender = new ResultSender(
      (parts, transfer) => channel.post({ kind: 'parts', parts }, transfer),
      this.signal,
    );
    channel.onMessage = (message) => this.#receive(message);
    for (const key of order.planned ?? []) {
      this.#early.set(this.#requestCount, []);
      this.#planned.set(key, this.#requestCount++);
    }
    for (const message of order.early ?? []) this.#receive(message);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Loops charge as they go, and so learn here that the query is over before the message of it gets through. */
  chargeBytes(bytes: number): void {
    if (bytes > 0) {
      this.block.throwIfCanceled();
      this.#unseenBytes += bytes;
      if (this.#unseenBytes >= HEAP_LOOK_BYTES) this.#lookAtHeap();
    }
    this.#lease.charge(bytes);
  }

  throwIfOver(): void {
    this.block.throwIfCanceled();
  }

  #lookAtHeap(): void {
    this.#unseenBytes = 0;
    const { used_heap_size: usedBytes, heap_size_limit: bytesMax } = getHeapStatistics();
    if (usedBytes <= bytesMax * HEAP_USED_MAX) return;
    throw new AppError(
      'execution',
      `the heap of the query's thread holds ${usedBytes} bytes, of at most ${bytesMax}; select fewer series, or run fewer queries at one time`,
    );
  }

  /** Asks the main thread for the frames of a selector, unless it knew without. */
  async fetch(request: FrameRequest, sink: FrameSink, signal: AbortSignal): Promise<readonly string[]> {
    throwIfAborted(signal);
    const key = selectKey(request);
    const planned = this.#planned.get(key);
    const select = planned ?? this.#requestCount++;
    const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
    this.#selects.set(select, { sink, discarded: new Map(), resolve, reject });
    this.block.enter('fetching');
    if (planned === undefined) {
      this.#channel.post({ kind: 'select', select, request: toMessage(request) });
    } else {
      // Whoever asks again gets an answer of his own.
      this.#planned.delete(key);
      const early = this.#early.get(planned)!;
      this.#early.delete(planned);
      for (const message of early) this.#receive(message);
    }
    try {
      return await promise;
    } finally {
      this.#selects.delete(select);
    }
  }

  /** Has a part evaluated by another thread. */
  async assist(order: AssistanceOrder): Promise<PartialResult | undefined> {
    throwIfAborted(this.signal);
    const assistance = this.#requestCount++;
    const answered = Promise.withResolvers<AssistanceResult>();
    this.#assists.set(assistance, answered);
    this.#channel.post({ kind: 'assist', assistance, order });
    const { frames, error } = await answered.promise;
    this.#assists.delete(assistance);
    if (error !== undefined) throw unpackError(error);
    return frames === undefined ? undefined : decodePartialResult(frames);
  }

  /** Has a part evaluated by ingesters or stores. */
  async push(order: PartPush): Promise<PushedResult> {
    throwIfAborted(this.signal);
    const push = this.#requestCount++;
    const answered = Promise.withResolvers<PushAnswer>();
    this.#pushes.set(push, answered);
    this.block.enter('fetching');
    this.#channel.post({ kind: 'push', push, order });
    const { results, refused, error } = await answered.promise;
    this.#pushes.delete(push);
    if (error !== undefined) throw unpackError(error);
    for (const frames of results) {
      for (const { length } of frames) this.#lease.adopt(length);
    }
    return { partials: results.map(decodePartialResult), refused };
  }

  #receive(message: ToEvaluation): void {
    switch (message.kind) {
      case 'frames':
      case 'select-failed':
        this.#takeAnswer(message);
        break;
      case 'assisted':
        this.#assists.get(message.assistance)?.resolve(message);
        break;
      case 'pushed':
        this.#pushes.get(message.push)?.resolve(message);
        break;
      case 'taken':
        this.sender.taken();
        break;
      case 'cancel':
        this.#cancel(unpackError(message.error));
        break;
    }
  }

  /** Of a select; what nobody has asked for waits. */
  #takeAnswer(message: ToEvaluation & { kind: 'frames' | 'select-failed' }): void {
    const early = this.#early.get(message.select);
    if (early !== undefined) early.push(message);
    else if (message.kind === 'frames') this.#addFrames(message);
    else this.#selects.get(message.select)?.reject(unpackError(message.error));
  }

  #addFrames({ select, frames, gaps }: ToEvaluation & { kind: 'frames' }): void {
    const open = this.#selects.get(select);
    if (open === undefined) return;
    try {
      for (const frame of frames) this.#addFrame(open, frame);
    } catch (caught) {
      this.#selects.delete(select);
      open.reject(caught);
      return;
    }
    if (gaps === undefined) return;
    if (open.discarded.size === 0) {
      open.resolve(gaps);
      return;
    }
    const nodes = [...open.discarded].map(([from, error]) => ({ from, error: packError(error) }));
    open.discarded.clear();
    this.#channel.post({ kind: 'discarded', select, nodes });
  }

  #addFrame({ sink, discarded }: OpenSelect, sent: SentFrame): void {
    const { from, frame, run } = sent;
    this.block.throwIfCanceled();
    this.#lease.adopt(sentBytes(sent));
    if (discarded.has(from)) return;
    try {
      if (run === undefined) sink.addFrame(frame, from);
      else sink.addRun!(run, from);
    } catch (caught) {
      const error = toAppError(caught);
      // Limits end the query; a node that answers nonsense did not answer.
      if (error.code !== 'internal') throw error;
      discarded.set(from, error);
    }
  }

  #cancel(error: AppError): void {
    this.#controller.abort(error);
    for (const { reject } of this.#selects.values()) reject(error);
    for (const { reject } of this.#assists.values()) reject(error);
    for (const { reject } of this.#pushes.values()) reject(error);
  }
}

/** Matchers and the like as plain data. */
function toMessage({ matchers, ...rest }: FrameRequest): FrameRequest {
  const plain = matchers.map(({ name, operator, value }) => ({ name, operator, value }));
  return { ...rest, matchers: plain };
}

/**
 * What one query reads: each selector is fetched once, whoever asks, and kept until the query is evaluated. Measures how long
 * at least one fetch was under way, and counts what is read.
 */
class QuerySelects implements Queryable {
  readonly #inner: UnitingQueryable;
  readonly #block: QueryBlock;
  readonly #united = new Map<string, Promise<United>>();
  #underWay = 0;
  #sinceMs = 0;
  readonly #buffers: SharedBuffers;
  readonly #taken: SharedArrayBuffer[] = [];
  fetchMs = 0;

  constructor(inner: UnitingQueryable, block: QueryBlock, buffers: SharedBuffers) {
    this.#inner = inner;
    this.#block = block;
    this.#buffers = buffers;
  }

  async select(request: FrameRequest, context: QueryContext): Promise<SeriesSet> {
    const { union, warnings } = await this.unite(request, context);
    return this.watch(new KeptSet(new UnitedSeriesSet(union, warnings)));
  }

  unite(request: FrameRequest, context: QueryContext): Promise<United> {
    const key = selectKey(request);
    let united = this.#united.get(key);
    if (united === undefined) {
      united = this.#fetch(request, context);
      this.#united.set(key, united);
    }
    return united;
  }

  /** Counts what is read of a set. */
  watch(set: SeriesSet): SeriesSet {
    return new WatchedSeriesSet(set, this.#block);
  }

  share(union: SeriesUnion): SharedUnion {
    return union.share((bytes) => {
      const buffer = this.#buffers.take(bytes);
      this.#taken.push(buffer);
      return buffer;
    });
  }

  /** Leaves what was shared to the next queries, once no thread reads it and the answer is written. */
  recycle(): void {
    for (const buffer of this.#taken.splice(0)) this.#buffers.give(buffer);
  }

  /** Gives back what was charged; nothing may be read afterwards but labels of the result. */
  async close(): Promise<void> {
    for (const outcome of await Promise.allSettled(this.#united.values())) {
      if (outcome.status === 'fulfilled') outcome.value.union.release();
    }
  }

  async #fetch(request: FrameRequest, context: QueryContext): Promise<United> {
    if (this.#underWay++ === 0) this.#sinceMs = performance.now();
    try {
      return await this.#inner.unite(request, context);
    } finally {
      if (--this.#underWay === 0) {
        this.fetchMs += performance.now() - this.#sinceMs;
        this.#block.enter('evaluating');
      }
    }
  }
}

/** Series between two notes of progress: so many that a note costs nothing, so few that people see it move. */
const SERIES_PER_NOTE = 16;

/** A series set whose reading counts, and ends with the query. */
class WatchedSeriesSet implements SeriesSet {
  readonly #inner: SeriesSet;
  readonly #block: QueryBlock;
  #series = 0;
  #samples = 0;

  constructor(inner: SeriesSet, block: QueryBlock) {
    this.#inner = inner;
    this.#block = block;
  }

  get size(): number {
    return this.#inner.size;
  }

  get warnings(): readonly string[] {
    return this.#inner.warnings;
  }

  labels(index: number) {
    return this.#inner.labels(index);
  }

  read(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    this.#block.throwIfCanceled();
    this.#inner.read(index, minTimeMs, maxTimeMs, into);
    this.#samples += into.count;
    if (++this.#series >= SERIES_PER_NOTE) this.#note();
  }

  release(): void {
    this.#note();
    this.#inner.release();
  }

  #note(): void {
    this.#block.addProgress(this.#series, this.#samples);
    this.#series = 0;
    this.#samples = 0;
  }
}
