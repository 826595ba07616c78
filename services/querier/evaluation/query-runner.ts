// One query on the main thread: wait for a turn, ask the nodes for what it reads, have it evaluated in a worker thread (or here,
// where that takes less time than waking one up), and pass on the answer.

import type { Transferable } from 'node:worker_threads';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { type RunHold, runBytes, type SeriesRun } from '../../lib/model/series-run.ts';
import { namesOfFeatures } from '../../lib/query/feature-list.ts';
import type { ParsedQueries } from '../../lib/query/parsed-queries.ts';
import { openLocalTask } from '../../lib/runtime/local-task.ts';
import type { WorkerPool, WorkerTask } from '../../lib/runtime/worker-pool.ts';
import { movable, packError, type TaskChannel, unpackError } from '../../lib/runtime/worker-tasks.ts';
import {
  type AnswerCoverage,
  type QueryRequest,
  type QueryResponse,
  ResultType,
} from '../../lib/wire/contracts.ts';
import type { QuerierOptions } from '../options.ts';
import type { Horizon, PushDown } from '../push-down/push-down.ts';
import type { Sealed } from '../push-down/store-push-down.ts';
import { uniteCoverage } from '../selection/answer-coverage.ts';
import type { ClusterSelect } from '../selection/cluster-select.ts';
import type { FannedOut } from '../selection/fan-out.ts';
import type { UnionLimits } from '../selection/series-union.ts';
import type { ListedQuery } from './active-queries.ts';
import type { Deadline } from './deadline.ts';
import { EarlyAnswers, type SelectAnswer } from './early-answers.ts';
import { evaluateTask } from './evaluation.ts';
import type {
  EvaluationOrder,
  FromEvaluation,
  QueryPart,
  SentFrame,
  ToEvaluation,
} from './evaluation-messages.ts';
import type { MainThread } from './main-thread.ts';
import { MemoryBudget, type MemoryPool } from './memory-budget.ts';
import { planSelects } from './planned-selects.ts';
import type { QueryBlock } from './query-block.ts';
import type { QueryGate } from './query-gate.ts';
import { SharedBuffers } from './shared-buffers.ts';

/** Frames are collected up to so many bytes before their thread is woken for them. */
const FRAMES_BYTES_MIN = 128 * 1024;

/** Bytes of frames that are waited for before it is decided where a query is evaluated: what is small has less. */
const EARLY_BYTES_MAX = 512 * 1024;

/** How long evaluation holds the main thread, which also ingests, at one time. */
const MAIN_THREAD_SLICE_MS = 4;

/** A thread that goes on for so long after the end of its query is ended itself. */
const CANCEL_GRACE_MS = 2_000;

const RESULT_TYPES = {
  scalar: ResultType.RESULT_TYPE_SCALAR,
  string: ResultType.RESULT_TYPE_STRING,
  vector: ResultType.RESULT_TYPE_VECTOR,
  matrix: ResultType.RESULT_TYPE_MATRIX,
} as const;

export interface QueryRunnerDeps {
  readonly threads: WorkerPool;
  readonly gate: QueryGate;
  readonly pool: MemoryPool;
  readonly clock: Clock;
  /** What the query reads from. */
  readonly cluster: ClusterSelect;
  readonly limits: UnionLimits;
  readonly parsed: ParsedQueries;
  /** Has parts evaluated by ingesters and stores; absent where that is off, or there are none in other processes. */
  readonly pushDown?: PushDown;
  /** Evaluates what is small. */
  readonly mainThread: MainThread;
  readonly onMainThread: () => void;
  /** Told when series of highly available pairs are among what the query reads. */
  readonly onReplicas: () => void;
  /** The query's entry in the list of those that are under way. */
  readonly listed: ListedQuery;
  /** Told at the end, whatever the outcome. */
  readonly onEnd: (use: { readonly samplesRead: number; readonly peakBytes: number }) => void;
}

/**
 * Runs a query under a deadline that has begun.
 *
 * @throws AppError `bad_data` for a malformed query, `execution` over a limit or in evaluation, `timeout`, `canceled`,
 *         `unavailable`. Whatever the end, the turn and the memory are given back.
 */
export async function* runQuery(
  request: QueryRequest,
  options: QuerierOptions,
  deadline: Deadline,
  deps: QueryRunnerDeps,
): AsyncGenerator<QueryResponse> {
  const { block } = deps.listed;
  const arrivedMs = deps.clock.monotonicMs();
  const leave = await deps.gate.enter(deadline.signal);
  const queueMs = deps.clock.monotonicMs() - arrivedMs;
  const horizons = deps.pushDown?.isPossible ? await horizonsOf(request, deps.pushDown) : undefined;
  deadline.phase = 'expression evaluation';
  const budget = new MemoryBudget(deps.pool, options.memoryBytesMax, block.account);
  let samplesRead = 0;
  try {
    const evaluation = new RemoteEvaluation(request, options, deadline.signal, block, budget, deps, horizons);
    try {
      await evaluation.begin();
      for (let parts = await evaluation.next(); parts !== undefined; parts = await evaluation.next()) {
        for (const part of parts) {
          if (part.kind === 'trailer') samplesRead = part.trailer.samplesRead;
          yield { part: responseOf(part, queueMs, evaluation) };
        }
      }
    } finally {
      await evaluation.close();
    }
  } finally {
    leave();
    budget.release();
    deps.onEnd({ samplesRead, peakBytes: budget.peakBytes });
  }
}

/** What decides which steps may be evaluated by nodes. */
interface Horizons {
  readonly newest: Horizon;
  /** Absent where nothing of the query is in blocks alone, or it is not known. */
  readonly sealed?: Sealed;
}

async function horizonsOf(
  { tenant, startMs }: QueryRequest,
  pushDown: PushDown,
): Promise<Horizons | undefined> {
  const newest = await pushDown.horizonOf(tenant);
  if (newest === undefined || startMs > newest.newestMs) return newest && { newest };
  const sealed = await pushDown.stores.sealedBefore(tenant);
  return sealed === undefined ? { newest } : { newest, sealed };
}

/** The evaluation in a worker thread, as the main thread sees it. */
class RemoteEvaluation {
  readonly #deps: QueryRunnerDeps;
  readonly #signal: AbortSignal;
  readonly #block: QueryBlock;
  readonly #budget: MemoryBudget;
  /** Ends what the nodes are asked for. */
  readonly #over = new AbortController();
  /** Selects under way. */
  #fetching = 0;
  /** Those that are over: what they rest on, also should something of theirs be of no use. */
  readonly #fetched = new Map<number, FannedOut>();
  /** Where the query is evaluated; undefined until that is decided. */
  #task: WorkerTask<ToEvaluation> | undefined;
  /** Answers to planned selects, until then. */
  readonly #early = new EarlyAnswers();
  /** Set while this thread evaluates the query. */
  #leaveMainThread: (() => void) | undefined;
  /** What keeps the pages as they are that runs refer to. */
  readonly #holds = new Set<RunHold>();
  /** Other threads that evaluate parts of the query. */
  readonly #assistants = new Set<WorkerTask<ToEvaluation>>();
  #order: EvaluationOrder;
  readonly #horizons: Horizons | undefined;
  /** What parts that nodes evaluated rest on. */
  readonly #pushed: AnswerCoverage[] = [];
  readonly #cancel = () => this.#tellCanceled();
  #messages: (readonly QueryPart[])[] = [];
  #isClosed = false;
  #isOver = false;
  #failure: AppError | undefined;
  #wake: (() => void) | undefined;

  constructor(
    request: QueryRequest,
    options: QuerierOptions,
    signal: AbortSignal,
    block: QueryBlock,
    budget: MemoryBudget,
    deps: QueryRunnerDeps,
    horizons: Horizons | undefined,
  ) {
    this.#deps = deps;
    this.#horizons = horizons;
    this.#signal = signal;
    this.#block = block;
    this.#budget = budget;
    this.#order = orderOf(request, options, block, deps, horizons);
    signal.addEventListener('abort', this.#cancel, { once: true });
  }

  /** What the selects so far rest on, those of the whole query once its header is there. */
  coverage(): AnswerCoverage | undefined {
    const fetched = [...this.#fetched.values()].map((each) => each.coverage());
    return uniteCoverage([...fetched, ...this.#pushed]);
  }

  /**
   * The next parts of the answer, once those before are taken; undefined at its end.
   *
   * @throws AppError what the thread threw, or the signal's reason.
   */
  async next(): Promise<readonly QueryPart[] | undefined> {
    for (;;) {
      if (this.#signal.aborted) throw toAppError(this.#signal.reason);
      const parts = this.#messages.shift();
      if (parts !== undefined) {
        this.#task?.post({ kind: 'taken' });
        return parts;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#isOver) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Ends the evaluation if it is under way, and waits until its thread has let go of it. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#signal.removeEventListener('abort', this.#cancel);
    if (!this.#isOver || this.#assistants.size > 0) {
      this.#tellCanceled();
      await Promise.all(this.#tasks().map((task) => task.endWithin(CANCEL_GRACE_MS)));
    }
    this.#leaveMainThread?.();
    // No thread reads any more.
    for (const hold of this.#holds) hold.release();
    this.#holds.clear();
    if (this.#fetching > 0) this.#over.abort(new AppError('canceled', 'query is over'));
  }

  /**
   * Asks the nodes for what the query is known to select. A query that turned out to be large is given to a thread before that; of
   * others it is decided by what the nodes answer. Where nodes evaluate parts of it, what is left to select shows later.
   */
  async begin(): Promise<void> {
    const isLarge = this.#deps.mainThread.isKnownLarge(this.#identity, this.#isAlone);
    const plan =
      this.#horizons === undefined
        ? await planSelects(this.#order, this.#deps.parsed, this.#signal)
        : undefined;
    if (this.#signal.aborted) return;
    if (plan !== undefined) this.#order = { ...this.#order, planned: plan.keys };
    if (plan === undefined || isLarge) this.#openInThread();
    else this.#early.expect(plan);
    for (const [select, request] of plan?.selects.entries() ?? [])
      void this.#fetch({ kind: 'select', select, request });
    if (plan?.selects.length === 0 && !isLarge) this.#decide();
  }

  /** What nodes answered, to where the query is evaluated; kept until that is decided. */
  #deliver(message: SelectAnswer, transfer: readonly Transferable[] = []): void {
    if (this.#task !== undefined) {
      this.#task.post(message, transfer);
      return;
    }
    this.#early.add(message, transfer);
    if (this.#early.isWhole || this.#early.bytes > EARLY_BYTES_MAX) this.#decide();
  }

  #decide(): void {
    if (this.#isClosed || this.#signal.aborted) return;
    const { mainThread, onMainThread, parsed, pool } = this.#deps;
    if (this.#early.isSmall(mainThread.limits(this.#isAlone))) this.#leaveMainThread = mainThread.tryEnter();
    else mainThread.noteLarge(this.#identity, !this.#early.isSmall(mainThread.limits(true)));
    if (this.#leaveMainThread === undefined) {
      this.#openInThread();
      return;
    }
    onMainThread();
    const order: EvaluationOrder = {
      ...this.#order,
      engine: { ...this.#order.engine, sliceMs: MAIN_THREAD_SLICE_MS },
      parallel: { ...this.#order.parallel, threads: 1 },
      early: this.#early.messages,
      local: { expr: this.#early.plan!.expr, block: this.#block, pool },
    };
    const run = (first: EvaluationOrder, channel: TaskChannel<ToEvaluation, FromEvaluation>) =>
      evaluateTask(first, channel, { buffers: new SharedBuffers(), parsed });
    this.#setTask(openLocalTask(order, run, (message) => this.#receive(message)));
  }

  #openInThread(): void {
    const { messages, transfer } = this.#early;
    const order = messages.length === 0 ? this.#order : { ...this.#order, early: messages };
    const onMessage = (message: FromEvaluation) => this.#receive(message);
    this.#setTask(
      this.#deps.threads.open<EvaluationOrder, ToEvaluation, FromEvaluation>(order, onMessage, transfer),
    );
  }

  #setTask(task: WorkerTask<ToEvaluation>): void {
    this.#task = task;
    void task.ended.then((failure) => {
      this.#isOver = true;
      this.#failure = failure;
      this.#leaveMainThread?.();
      this.#wake?.();
    });
  }

  /** No other query is under way. */
  get #isAlone(): boolean {
    return this.#deps.gate.running <= 1;
  }

  /** What is equal for a query that is asked again, a little later. */
  get #identity(): string {
    const { tenant, query, startMs, endMs, stepMs } = this.#order.request;
    return `${tenant};${stepMs};${endMs - startMs};${query}`;
  }

  #tasks(): WorkerTask<ToEvaluation>[] {
    return [...(this.#task === undefined ? [] : [this.#task]), ...this.#assistants];
  }

  #tellCanceled(): void {
    const reason = this.#signal.aborted ? this.#signal.reason : new AppError('canceled', 'query is over');
    this.#block.cancel();
    for (const task of this.#tasks()) {
      task.post({ kind: 'cancel', error: packError(reason) });
    }
    this.#over.abort(reason);
    this.#wake?.();
  }

  #receive(message: FromEvaluation): void {
    switch (message.kind) {
      case 'select':
        void this.#fetch(message);
        break;
      case 'discarded':
        this.#discard(message);
        break;
      case 'assist':
        void this.#assist(message);
        break;
      case 'push':
        void this.#push(message);
        break;
      case 'parts':
        this.#messages.push(message.parts);
        this.#wake?.();
        break;
      case 'partial':
        throw new Error('the thread of a query sent a partial result');
    }
  }

  /** Has a thread that is free evaluate a part, and passes on what it answers. */
  async #assist({ assistance, order }: FromEvaluation & { kind: 'assist' }): Promise<void> {
    const { threads } = this.#deps;
    // It would read what nobody holds any more.
    if (this.#isClosed) return;
    if (threads.idle === 0) {
      threads.grow();
      this.#task?.post({ kind: 'assisted', assistance });
      return;
    }
    const first: EvaluationOrder = { ...this.#order, assistance: order };
    const task = threads.open<EvaluationOrder, ToEvaluation, FromEvaluation>(first, (message) => {
      if (message.kind !== 'partial') throw new Error(`an assistant sent ${message.kind}`);
      const { frames } = message;
      const buffers = frames.map(({ buffer }) => buffer);
      this.#task?.post({ kind: 'assisted', assistance, frames }, buffers);
    });
    this.#assistants.add(task);
    const failure = await task.ended;
    this.#assistants.delete(task);
    if (failure !== undefined) {
      this.#task?.post({ kind: 'assisted', assistance, error: packError(failure) });
    }
  }

  /** Has a part evaluated by ingesters or stores, and passes on what they answer. */
  async #push({ push, order }: FromEvaluation & { kind: 'push' }): Promise<void> {
    const { request, engine, limits, memoryBytesMax } = this.#order;
    this.#fetching++;
    try {
      const { to, ...part } = order;
      const what = {
        ...part,
        ...{ tenant: request.tenant, query: request.query, stepMs: request.stepMs },
        lookbackMs: request.lookbackMs > 0 ? request.lookbackMs : engine.lookbackMs,
        subqueryIntervalMs: engine.noStepSubqueryIntervalMs,
        features: namesOfFeatures(engine.features),
        ...{ samplesMax: engine.samplesMax, memoryMaxBytes: memoryBytesMax, seriesMax: limits.seriesMax },
        replicaLabels: [...(limits.replicaLabels ?? [])],
      };
      const pushDown = this.#deps.pushDown!;
      const pushed = await (to === 'ingesters'
        ? pushDown.evaluate(what, this.#horizons!.newest, this.#over.signal)
        : pushDown.stores.evaluate(what, this.#horizons!.sealed!, this.#over.signal));
      if (pushed.coverage !== undefined) this.#pushed.push(pushed.coverage);
      const results = pushed.results.map((frames) => frames.map(movable));
      for (const { bytes } of results.flat()) this.#budget.charge(bytes.length);
      this.#task?.post(
        {
          ...{ kind: 'pushed', push, refused: pushed.refused },
          results: results.map((frames) => frames.map(({ bytes }) => bytes)),
        },
        results.flatMap((frames) => frames.flatMap(({ transfer }) => [...transfer])),
      );
    } catch (caught) {
      this.#task?.post({ kind: 'pushed', push, results: [], refused: [], error: packError(caught) });
    } finally {
      this.#fetching--;
    }
  }

  async #fetch({ select, request }: FromEvaluation & { kind: 'select' }): Promise<void> {
    const batch = new FrameBatch((frames, transfer, gaps) => {
      const ending = gaps === undefined ? {} : { gaps };
      this.#deliver({ kind: 'frames', select, frames, ...ending }, transfer);
    });
    const sink = {
      addFrame: (frame: Uint8Array, from: string) => {
        this.#budget.charge(frame.length);
        batch.add(frame, from);
      },
      addRun: (run: SeriesRun, from: string, hold?: RunHold) => {
        if (this.#isClosed) throw new AppError('canceled', 'query is over');
        if (hold !== undefined) this.#holds.add(hold);
        this.#budget.charge(runBytes(run));
        batch.addRun(run, from);
      },
    };
    if (request.hasReplicas === true) this.#deps.onReplicas();
    this.#fetching++;
    try {
      const how = { signal: this.#over.signal, isLabelsOnly: false };
      const fetched = await this.#deps.cluster.fetch(sink, request, how);
      this.#fetched.set(select, fetched);
      batch.end(fetched.gaps);
    } catch (caught) {
      this.#deliver({ kind: 'select-failed', select, error: packError(caught) });
    } finally {
      this.#fetching--;
    }
  }

  /** The answer of a select without that of some nodes, whose frames were malformed. */
  #discard({ select, nodes }: FromEvaluation & { kind: 'discarded' }): void {
    try {
      const failures = new Map(nodes.map(({ from, error }) => [from, unpackError(error)]));
      const fetched = this.#fetched.get(select)!.without(failures);
      this.#fetched.set(select, fetched);
      this.#deliver({ kind: 'frames', select, frames: [], gaps: fetched.gaps });
    } catch (caught) {
      this.#deliver({ kind: 'select-failed', select, error: packError(caught) });
    }
  }
}

const NO_BYTES = new Uint8Array(0);

type SendFrames = (
  frames: readonly SentFrame[],
  transfer: readonly Transferable[],
  gaps: readonly string[] | undefined,
) => void;

/** Collects the frames of a select into messages: those of a small one leave together with its end. */
class FrameBatch {
  readonly #send: SendFrames;
  #frames: SentFrame[] = [];
  #transfer: Transferable[] = [];
  #bytes = 0;

  constructor(send: SendFrames) {
    this.#send = send;
  }

  add(frame: Uint8Array, from: string): void {
    const moved = movable(frame);
    this.#frames.push({ from, frame: moved.bytes });
    this.#transfer.push(...moved.transfer);
    this.#bytes += frame.length;
    if (this.#bytes >= FRAMES_BYTES_MIN) this.end(undefined);
  }

  /** Only what is the run's own is moved: the rest is in shared memory. */
  addRun(run: SeriesRun, from: string): void {
    this.#frames.push({ from, frame: NO_BYTES, run });
    this.#transfer.push(run.words.buffer, run.open.buffer, run.openTimesMs.buffer);
    this.#bytes += runBytes(run);
    if (this.#bytes >= FRAMES_BYTES_MIN) this.end(undefined);
  }

  /** Sends what was collected. @param gaps  Set: that was all. */
  end(gaps: readonly string[] | undefined): void {
    const frames = this.#frames;
    const transfer = this.#transfer;
    this.#frames = [];
    this.#transfer = [];
    this.#bytes = 0;
    this.#send(frames, transfer, gaps);
  }
}

function orderOf(
  request: QueryRequest,
  options: QuerierOptions,
  block: QueryBlock,
  { limits, pool, threads }: QueryRunnerDeps,
  horizons: Horizons | undefined,
): EvaluationOrder {
  const { lookbackMs, samplesMax, features, memoryBytesMax, memoryTotalBytesMax } = options;
  const { noStepSubqueryIntervalMs: step } = options;
  return {
    request,
    engine: {
      lookbackMs,
      samplesMax,
      features,
      noStepSubqueryIntervalMs: typeof step === 'number' ? step : step(),
    },
    limits,
    parallel: { threads: threads.size, chunksPerThread: options.chunksPerThread },
    memoryBytesMax,
    memoryTotalBytesMax,
    block: block.shared,
    pool: pool.shared,
    ...(horizons === undefined ? {} : { horizonMs: horizons.newest.newestMs }),
    ...(horizons?.sealed === undefined ? {} : { sealedBeforeMs: horizons.sealed.beforeMs }),
  };
}

function responseOf(
  part: QueryPart,
  queueMs: number,
  evaluation: RemoteEvaluation,
): NonNullable<QueryResponse['part']> {
  switch (part.kind) {
    case 'header': {
      const header = { resultType: RESULT_TYPES[part.type], stringValue: part.text };
      const coverage = evaluation.coverage();
      return { $case: 'header', value: coverage === undefined ? header : { ...header, coverage } };
    }
    case 'frame':
      return { $case: 'frame', value: part.frame };
    case 'trailer':
      return { $case: 'trailer', value: { ...part.trailer, queueMs } };
  }
}
