// Evaluation of one query in several threads: the thread that has the query unites the series of each part of its plan
// (lib/promql/plan), shares them, keeps a range of them for itself and has the others evaluated by other threads, whose partial
// results are merged. Where there is too little to do it is left alone.
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../../lib/model/queryable.ts';
import type { PartialResult } from '../../lib/promql/engine/parts/partial.ts';
import type { CutRequest, Engine, PartRequest, QueryResult } from '../../lib/promql/engine/query.ts';
import { SeriesUnion } from '../selection/series-union.ts';
import type { SharedUnion } from '../selection/shared-union.ts';
import { UnitedSeriesSet } from '../selection/united-series-set.ts';
import type { United } from '../selection/uniting-queryable.ts';

/** A range of shared series to evaluate a part over. */
export interface AssistanceOrder {
  /** Index of the part in the plan of the query's text. */
  readonly part: number;
  readonly union: SharedUnion;
  /** Series [from, to) in label order. */
  readonly from: number;
  readonly to: number;
  /** What the select lacks. */
  readonly warnings: readonly string[];
}

/** Undefined: no thread is free for it. */
export type Assist = (order: AssistanceOrder) => Promise<PartialResult | undefined>;

export interface ParallelOptions {
  /** Threads that may work on the query, its own one included. */
  readonly threads: number;
  /** Chunks that make a further thread worth while. */
  readonly chunksPerThread: number;
}

export interface ParallelDeps {
  readonly engine: Engine;
  /** Fetches and unites; the same promise for the same request. */
  readonly unite: (request: SelectRequest, context: QueryContext) => Promise<United>;
  /** All series, for what no part reads, and for evaluation in this thread alone. */
  readonly queryable: Queryable;
  readonly assist: Assist;
  /** Puts a union where other threads can read it. */
  readonly share: (union: SeriesUnion) => SharedUnion;
  /** Wraps what this thread reads. */
  readonly watch: (set: SeriesSet) => SeriesSet;
}

/** Steps of a series that take about as long as decoding a chunk. */
const STEPS_PER_CHUNK = 120;

/** Thrown by a part's select to end it: the query is evaluated in one piece. Never leaves this file; one for all, since stacks cost. */
const TOO_SMALL = new Error('too little to do for several threads');

/**
 * Evaluates a cut query.
 *
 * @returns Undefined when it is to be evaluated uncut: too little to do, or the parts cannot be merged exactly.
 * @throws AppError as Engine.execute.
 */
export async function executeInParallel(
  request: CutRequest,
  options: ParallelOptions,
  deps: ParallelDeps,
  context: QueryContext,
): Promise<QueryResult | undefined> {
  const { plan } = request;
  const decision = new Decision(plan.parts.length, options);
  const runs = plan.parts.map(({ index }) =>
    executePart({ ...request, part: index }, options, decision, deps, context),
  );
  const settled = await Promise.allSettled(runs);
  const partials: PartialResult[] = [];
  let isTooSmall = false;
  for (const outcome of settled) {
    if (outcome.status === 'fulfilled') partials.push(...outcome.value);
    else if (outcome.reason === TOO_SMALL) isTooSmall = true;
    else throw outcome.reason;
  }
  if (isTooSmall) return undefined;
  return deps.engine.executeMerge(request, partials, deps.queryable, context);
}

async function executePart(
  request: PartRequest,
  options: ParallelOptions,
  decision: Decision,
  deps: ParallelDeps,
  context: QueryContext,
): Promise<PartialResult[]> {
  const others: Promise<PartialResult | undefined>[] = [];
  const orders: AssistanceOrder[] = [];
  const queryable: Queryable = {
    select: async (select) => {
      const { union, warnings } = await deps.unite(select, context);
      const chunks = union.chunkCount + (union.size * stepsOf(request)) / STEPS_PER_CHUNK;
      if (!(await decision.isWorthWhile(request.part, chunks))) throw TOO_SMALL;
      const wanted = threadsFor(chunks, options);
      if (wanted === 1) return deps.watch(new KeptSet(new UnitedSeriesSet(union, warnings)));
      const shared = deps.share(union);
      const ends = union.rangeEnds(wanted);
      for (let i = 1; i < wanted; i++) {
        const order = { part: request.part, union: shared, from: ends[i - 1]!, to: ends[i]!, warnings: [] };
        orders.push(order);
        const other = deps.assist(order);
        // It is awaited below, unless this thread's own range fails first.
        other.catch(() => undefined);
        others.push(other);
      }
      return deps.watch(setOfRange({ part: request.part, union: shared, from: 0, to: ends[0]!, warnings }));
    },
  };
  try {
    const own = await deps.engine.executePart(request, queryable, context);
    const partials = [own];
    for (const [i, other] of others.entries()) {
      const order = orders[i]!;
      partials.push((await other) ?? (await executeRange(request, order, deps, context)));
    }
    return partials;
  } finally {
    decision.leave(request.part);
  }
}

/** Evaluates a part over the range of an order, in whatever thread. */
export function executeRange(
  request: PartRequest,
  order: AssistanceOrder,
  deps: Pick<ParallelDeps, 'engine' | 'watch'>,
  context: QueryContext,
): Promise<PartialResult> {
  const queryable: Queryable = { select: async () => deps.watch(setOfRange(order)) };
  return deps.engine.executePart(request, queryable, context);
}

function setOfRange({ union, from, to, warnings }: AssistanceOrder): SeriesSet {
  return new UnitedSeriesSet(SeriesUnion.ofShared(union, from, to), warnings);
}

function stepsOf({ startMs, endMs, stepMs }: PartRequest): number {
  return stepMs > 0 ? Math.floor((endMs - startMs) / stepMs) + 1 : 1;
}

function threadsFor(chunks: number, { threads, chunksPerThread }: ParallelOptions): number {
  return Math.max(1, Math.min(threads, Math.floor(chunks / chunksPerThread)));
}

/** Whether any part of a query is worth several threads: known once all of them have selected or gone without. */
class Decision {
  readonly #options: ParallelOptions;
  readonly #open = new Set<number>();
  readonly #made = Promise.withResolvers<boolean>();
  #isWorthWhile = false;

  constructor(parts: number, options: ParallelOptions) {
    this.#options = options;
    for (let part = 0; part < parts; part++) this.#open.add(part);
  }

  /** Answers when all parts have been heard of. */
  isWorthWhile(part: number, chunks: number): Promise<boolean> {
    if (threadsFor(chunks, this.#options) > 1) this.#isWorthWhile = true;
    this.leave(part);
    return this.#made.promise;
  }

  /** A part is over, whether it selected anything or not. */
  leave(part: number): void {
    this.#open.delete(part);
    if (this.#open.size === 0) this.#made.resolve(this.#isWorthWhile);
  }
}

/** A set whose owner releases what is behind it: several evaluations of one query read it. */
export class KeptSet implements SeriesSet {
  readonly #inner: SeriesSet;

  constructor(inner: SeriesSet) {
    this.#inner = inner;
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

  read(...args: Parameters<SeriesSet['read']>): void {
    this.#inner.read(...args);
  }

  release(): void {}
}
