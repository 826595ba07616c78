// Evaluations of some steps of a query, as queries of their own, for the answer that they are a part of.
import { AppError } from '../../lib/core/errors.ts';
import type { QueryHeader, QueryRequest, QueryResponse, QueryTrailer } from '../../lib/wire/contracts.ts';
import type { Deadline } from '../evaluation/deadline.ts';
import type { MemoryBudget } from '../evaluation/memory-budget.ts';
import { QueryBlock } from '../evaluation/query-block.ts';
import { type QueryRunnerDeps, runQuery } from '../evaluation/query-runner.ts';
import type { QuerierOptions } from '../options.ts';
import type { StepRun } from './piece-grid.ts';
import type { Segment } from './stitch.ts';

/** An evaluation of some steps. */
export interface Evaluated extends Segment {
  readonly header: QueryHeader;
  readonly trailer: QueryTrailer;
}

/** Evaluations for one query, one after the other. */
export class Runs {
  readonly samplesMax: number;
  readonly #request: QueryRequest;
  readonly #options: QuerierOptions;
  readonly #deadline: Deadline;
  readonly #deps: QueryRunnerDeps;
  #count = 0;

  constructor(request: QueryRequest, options: QuerierOptions, deadline: Deadline, deps: QueryRunnerDeps) {
    this.samplesMax = options.samplesMax;
    this.#request = request;
    this.#options = options;
    this.#deadline = deadline;
    this.#deps = deps;
  }

  whole(): AsyncGenerator<QueryResponse> {
    return this.#run(this.#request);
  }

  /**
   * Evaluates some steps of the query.
   *
   * @returns Undefined when what is said of the query, or its error, may be another one than that of the whole.
   * @throws AppError what is no matter of the expression.
   */
  async evaluateAll(runs: readonly StepRun[], budget: MemoryBudget): Promise<Evaluated[] | undefined> {
    const evaluated: Evaluated[] = [];
    try {
      for (const run of runs) evaluated.push(await this.#evaluate(run, budget));
    } catch (caught) {
      const isOfExpression = caught instanceof AppError && ['bad_data', 'execution'].includes(caught.code);
      if (!isOfExpression || this.#deadline.signal.aborted) throw caught;
      return undefined;
    }
    const saying = evaluated.filter(({ trailer }) => trailer.warnings.length + trailer.infos.length > 0);
    return saying.length > 1 ? undefined : evaluated;
  }

  async #evaluate({ startMs, endMs }: StepRun, budget: MemoryBudget): Promise<Evaluated> {
    const frames: Uint8Array[] = [];
    let header: QueryHeader | undefined;
    let trailer: QueryTrailer | undefined;
    for await (const { part } of this.#run({ ...this.#request, startMs, endMs, limit: 0 })) {
      if (part?.$case === 'header') header = part.value;
      else if (part?.$case === 'trailer') trailer = part.value;
      else if (part?.$case === 'frame') {
        budget.charge(part.value.length);
        frames.push(part.value);
      }
    }
    if (header === undefined || trailer === undefined)
      throw new AppError('internal', 'an evaluation ended without a header or trailer');
    return { startMs, endMs, frames, header, trailer };
  }

  #run(request: QueryRequest): AsyncGenerator<QueryResponse> {
    const { listed } = this.#deps;
    // Threads of an evaluation before may still look at the query's own block, and be told there that theirs is over.
    const own =
      this.#count++ === 0 ? listed : { id: listed.id, killed: listed.killed, block: new QueryBlock() };
    return runQuery(request, this.#options, this.#deadline, { ...this.#deps, listed: own });
  }
}

/** The trailer of an answer that was put together: figures are those of what was evaluated. */
export function trailerOf(
  evaluated: readonly Evaluated[],
  cachedSteps: number,
  isCut: boolean,
): QueryTrailer {
  const trailers = evaluated.map(({ trailer }) => trailer);
  const sum = (of: (trailer: QueryTrailer) => number) =>
    trailers.reduce((total, trailer) => total + of(trailer), 0);
  const warnings = trailers.flatMap((trailer) => trailer.warnings);
  return {
    warnings: isCut ? [...warnings, 'results truncated due to limit'] : warnings,
    infos: trailers.flatMap(({ infos }) => infos),
    samplesRead: sum(({ samplesRead }) => samplesRead),
    samplesFetched: sum(({ samplesFetched, samplesRead }) => samplesFetched ?? samplesRead),
    samplesPeak: Math.max(0, ...trailers.map(({ samplesPeak }) => samplesPeak)),
    planMs: sum(({ planMs }) => planMs),
    fetchMs: sum(({ fetchMs }) => fetchMs),
    evaluateMs: sum(({ evaluateMs }) => evaluateMs),
    queueMs: sum(({ queueMs }) => queueMs),
    cachedSteps,
  };
}
