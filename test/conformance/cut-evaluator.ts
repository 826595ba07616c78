// Evaluates queries cut, over shards of the series and through the byte form of partial results, beside the same query uncut,
// and says where the two differ.
import { expect } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import type { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import type { Queryable } from '../../services/lib/model/queryable.ts';
import type { Expr } from '../../services/lib/promql/ast.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import type { PartialResult } from '../../services/lib/promql/engine/parts/partial.ts';
import type {
  CutRequest,
  Engine,
  EngineOptions,
  QueryRequest,
  QueryResult,
  ResultSeries,
} from '../../services/lib/promql/engine/query.ts';
import { type CutOptions, cut, type Plan } from '../../services/lib/promql/plan/plan.ts';
import { decodePartialResult, encodePartialResult } from '../../services/lib/wire/frames/partial-result.ts';
import { executePushed } from '../../services/querier/push-down/pushed.ts';
import { isAlmostEqual, isSameHistogram } from './script-answer.ts';
import { CONTEXT } from './script-subject.ts';
import { ShardQueryable, SharedSelections } from './sharded-queryable.ts';

/** What came of the evaluations so far. */
export class CutReport {
  evaluations = 0;
  /** Nothing to cut. */
  whole = 0;
  declined = 0;
  failed = 0;
  /** Cut, and equal bit by bit. */
  exact = 0;
  /** Cut, and equal within the tolerance of upstream's own runner. */
  close = 0;
  peaksDiffer = 0;
  /** Cut and merged evaluations by operator. */
  readonly merged = new Map<string, number>();
  readonly declinedBecause = new Map<string, number>();
  /** Times that steps were pushed down, by where to. */
  readonly pushed = new Map<string, number>();
  readonly differences: string[] = [];

  print(): string {
    const sorted = (counts: ReadonlyMap<string, number>): string => {
      return [...counts]
        .map(([name, times]) => `${name} ${times}`)
        .sort((a, b) => (a < b ? -1 : 1))
        .join(', ');
    };
    return (
      `${this.evaluations} evaluations: ${this.exact} cut and bit-identical, ${this.close} cut and close, ` +
      `${this.failed} with the same error, ${this.declined} declined, ${this.whole} with nothing to cut; ` +
      `peak of samples differs in ${this.peaksDiffer}; pushed: ${sorted(this.pushed)}\n  cut: ${sorted(this.merged)}\n  declined: ${sorted(this.declinedBecause)}`
    );
  }
}

/** A way of cutting, and what came of it. */
export interface CutVariant {
  readonly shards: number;
  readonly parts: NonNullable<CutOptions['parts']>;
  readonly report: CutReport;
  /**
   * As a querier does with ingesters: the last steps are evaluated by all shards but the last, which refuses, and its series and the
   * steps before are read by whoever merges.
   */
  readonly isPushed?: boolean;
}

/** Evaluates a query uncut and in several ways cut; the last way's answer is the answer. */
export class CutEvaluator {
  readonly #options: EngineOptions;
  readonly #engine: Engine;
  readonly #variants: readonly CutVariant[];

  constructor(options: EngineOptions, variants: readonly CutVariant[]) {
    this.#options = options;
    this.#engine = createEngine(options);
    this.#variants = variants;
  }

  async evaluate(request: QueryRequest, storage: Queryable): Promise<QueryResult> {
    const shared = new SharedSelections(storage);
    const wanted = await settle(this.#engine.execute(request, shared, CONTEXT));
    let answer = wanted;
    for (const variant of this.#variants) {
      const got = await this.#evaluateCut(request, variant, shared);
      answer = got ?? wanted;
      if (got !== undefined) compareOutcomes(request, variant, wanted, got);
    }
    if (answer.error !== undefined) throw answer.error;
    return answer.result!;
  }

  /** Undefined when there was nothing to cut, or a part declined. */
  async #evaluateCut(
    request: QueryRequest,
    variant: CutVariant,
    storage: Queryable,
  ): Promise<Outcome | undefined> {
    const { report, parts } = variant;
    report.evaluations++;
    const plan = cut(request.expr, { features: this.#options.features, parts });
    if (plan === undefined) {
      report.whole++;
      return undefined;
    }
    const outcome = await settle(this.#merge(request, plan, variant, storage));
    if (outcome.error === undefined && outcome.result === undefined) {
      report.declined++;
      return undefined;
    }
    if (outcome.result !== undefined) {
      for (const operator of new Set(plan.parts.map(({ root }) => operatorOf(root)))) {
        count(report.merged, operator);
      }
    }
    return {
      ...outcome,
      mayRound: variant.shards > 1 && plan.parts.some(({ root }) => dependsOnOrder(root)),
    };
  }

  async #merge(
    request: QueryRequest,
    plan: Plan,
    { shards, report, isPushed }: CutVariant,
    storage: Queryable,
  ): Promise<QueryResult | undefined> {
    if (isPushed === true) return this.#push({ ...request, plan }, shards, report, storage);
    const partials: PartialResult[] = [];
    for (const { index } of plan.parts) {
      for (let shard = 0; shard < shards; shard++) {
        const own = new ShardQueryable(storage, shard, shards);
        const partial = await this.#engine.executePart({ ...request, plan, part: index }, own, CONTEXT);
        if (partial.declined !== '') count(report.declinedBecause, partial.declined);
        partials.push(decodePartialResult(encodePartialResult(partial)));
      }
    }
    // Nobody is promised an order of the parts' results.
    partials.reverse();
    return this.#engine.executeMerge({ ...request, plan }, partials, storage, CONTEXT);
  }

  #push(
    request: CutRequest,
    shards: number,
    report: CutReport,
    storage: Queryable,
  ): Promise<QueryResult | undefined> {
    const lookbackMs = request.lookbackMs ?? this.#options.lookbackMs;
    const horizonMs =
      request.startMs +
      (request.endMs - request.startMs) * HORIZON_SHARE -
      lookbackMs * (request.stepMs > 0 ? 0.5 : 2);
    // Of the first steps all is in blocks; between the two neither is so.
    const sealedBeforeMs = request.startMs + (request.endMs - request.startMs) * SEALED_SHARE;
    const refused = shards - 1;
    return executePushed(
      { ...request, lookbackMs },
      { horizonMs, sealedBeforeMs },
      {
        engine: this.#engine,
        queryable: storage,
        selectOf: (select, partitions, context) => {
          expect(partitions).toEqual([refused]);
          return new ShardQueryable(storage, refused, shards).select(select, context);
        },
        push: async ({ to, part, startMs, endMs, minTimeMs, maxTimeMs }) => {
          if (to === 'stores') expect(maxTimeMs).toBeLessThan(sealedBeforeMs);
          else expect(minTimeMs).toBeGreaterThan(horizonMs);
          count(report.pushed, to);
          const partials: PartialResult[] = [];
          for (let shard = 0; shard < refused; shard++) {
            const own = within(new ShardQueryable(storage, shard, shards), minTimeMs, maxTimeMs);
            const partial = await this.#engine.executePart(
              { ...request, startMs, endMs, part },
              own,
              CONTEXT,
            );
            partials.push(decodePartialResult(encodePartialResult(partial)));
          }
          return { partials, refused: [refused] };
        },
      },
      CONTEXT,
    );
  }
}

/** Some way into the windows of the steps in the middle: some of them are beyond it. */
const HORIZON_SHARE = 0.4;
/** Of the steps before it the windows are, as far as they do not reach ahead. */
const SEALED_SHARE = 0.3;

function compareOutcomes(
  request: QueryRequest,
  { report, shards, parts, isPushed }: CutVariant,
  wanted: Outcome,
  got: Outcome,
): void {
  const say = (difference: string): void => {
    const at = `[${request.startMs}, ${request.endMs}] every ${request.stepMs} ms`;
    report.differences.push(`${request.query} ${at}, ${shards} shards, ${parts}: ${difference}`);
  };
  if (wanted.result === undefined || got.result === undefined) {
    if (wanted.error?.message === got.error?.message) report.failed++;
    else say(`error ${wanted.error?.message ?? 'none'} uncut, ${got.error?.stack ?? 'none'} cut`);
    return;
  }
  if (wanted.result.stats.samplesPeak !== got.result.stats.samplesPeak) report.peaksDiffer++;
  const result = isPushed ? withFetchedOf(wanted.result, got.result) : got.result;
  const difference = differenceOf(wanted.result, result, isIdentical);
  if (difference === undefined) {
    report.exact++;
    return;
  }
  const tolerated = got.mayRound ? differenceOf(wanted.result, result, isClose) : difference;
  if (tolerated === undefined) report.close++;
  else say(tolerated);
}

/** The first step that is pushed down reads its whole window anew: what was fetched is not compared. */
function withFetchedOf({ stats: { samples } }: QueryResult, got: QueryResult): QueryResult {
  const own = { ...got.stats.samples, fetched: samples.fetched };
  return { ...got, stats: { ...got.stats, samples: own } };
}

/** What a node holds of the window that it was told: nothing is read beyond it. */
function within(all: Queryable, minTimeMs: number, maxTimeMs: number): Queryable {
  return {
    select: (select, context) => {
      expect(select.minTimeMs).toBeGreaterThanOrEqual(minTimeMs);
      expect(select.maxTimeMs).toBeLessThanOrEqual(maxTimeMs);
      return all.select(select, context);
    },
  };
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

interface Outcome {
  readonly result: QueryResult | undefined;
  readonly error: AppError | undefined;
  /** Sums of several parts' sums are among it. */
  readonly mayRound: boolean;
}

async function settle(pending: Promise<QueryResult | undefined>): Promise<Outcome> {
  try {
    return { result: await pending, error: undefined, mayRound: false };
  } catch (caught) {
    if (!(caught instanceof AppError)) throw caught;
    return { result: undefined, error: caught, mayRound: false };
  }
}

/** What a part is counted as. */
function operatorOf(root: Expr): string {
  if (root.kind === 'aggregation') return root.operator;
  return root.kind === 'call' ? root.func : root.kind;
}

/** Sums and moments of floats: their last bits depend on the order of additions. */
function dependsOnOrder(root: Expr): boolean {
  return root.kind === 'aggregation' && ['sum', 'avg', 'stddev', 'stdvar'].includes(root.operator);
}

type Compare = (
  a: number,
  b: number,
  x: FloatHistogram | undefined,
  y: FloatHistogram | undefined,
) => boolean;

const isIdentical: Compare = (a, b, x, y) => {
  if (x === undefined || y === undefined) return x === y && Object.is(a, b);
  return x.hint === y.hint && x.equals(y);
};

const isClose: Compare = (a, b, x, y) => {
  if (x === undefined || y === undefined) return x === y && isAlmostEqual(a, b);
  return isSameHistogram(x, y, true);
};

function differenceOf(wanted: QueryResult, got: QueryResult, compare: Compare): string | undefined {
  if (wanted.type !== got.type || wanted.text !== got.text) return `type ${got.type}, not ${wanted.type}`;
  const { used, fetched } = wanted.stats.samples;
  if (used !== got.stats.samples.used || fetched !== got.stats.samples.fetched) {
    return `used ${got.stats.samples.used} and fetched ${got.stats.samples.fetched} samples, not ${used} and ${fetched}`;
  }
  // Prometheus keeps annotations in a map: they have no order.
  const said = ({ warnings, infos }: QueryResult): string => [...warnings, ...infos].sort().join('; ');
  if (said(wanted) !== said(got)) return `says "${said(got)}", not "${said(wanted)}"`;
  if (wanted.series.length !== got.series.length) {
    return `${got.series.length} series, not ${wanted.series.length}`;
  }
  for (const [i, series] of wanted.series.entries()) {
    const difference = seriesDifference(series, got.series[i]!, compare);
    if (difference !== undefined) return `series ${i}: ${difference}`;
  }
  return undefined;
}

function seriesDifference(wanted: ResultSeries, got: ResultSeries, compare: Compare): string | undefined {
  if (wanted.labels.key !== got.labels.key)
    return `${got.labels.toString()}, not ${wanted.labels.toString()}`;
  const name = wanted.labels.toString();
  if (wanted.count !== got.count) return `${name}: ${got.count} samples, not ${wanted.count}`;
  for (let k = 0; k < wanted.count; k++) {
    if (wanted.timestampsMs[k] !== got.timestampsMs[k]) return `${name}: times differ at ${k}`;
    const a = wanted.values[k]!;
    const b = got.values[k]!;
    const x = wanted.histograms?.[k];
    const y = got.histograms?.[k];
    if (!compare(a, b, x, y))
      return `${name}: ${JSON.stringify(y ?? b)}, not ${JSON.stringify(x ?? a)} at ${k}`;
  }
  return undefined;
}
