// Mutated queries against parser, printer and evaluator: every one either has an answer or an error that is meant for
// the user, within a second, within its memory. TIDEMARK_FUZZ_SEED chooses others, TIDEMARK_FUZZ_QUERIES sets how many.
import { expect, test } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import type { QueryContext } from '../../services/lib/model/queryable.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { formatExpr, printExpr } from '../../services/lib/promql/parse/printer.ts';
import { parseHistogram } from '../conformance/histogram-notation.ts';
import { MemoryQueryable } from '../conformance/memory-queryable.ts';
import { randomOf } from '../support/random.ts';
import { mutate } from './promql-mutations.ts';

const QUERIES = Number(process.env.TIDEMARK_FUZZ_QUERIES ?? 50_000);
const SEED = Number(process.env.TIDEMARK_FUZZ_SEED ?? 1);
const LONGEST_MS = 1000;
const BUDGET_BYTES = 32 * 1024 * 1024;
const GROWTH_MAX_BYTES = 512 * 1024 * 1024;
const NOW_MS = 1_700_000_000_000;

/** Floats, buckets, histograms, and one series that holds both kinds. */
function storage(): MemoryQueryable {
  const queryable = new MemoryQueryable();
  const { histogram } = parseHistogram('{{schema:1 sum:5 count:10 z_bucket:2 buckets:[1 3 4]}}');
  const names = ['requests_total', 'memory_bytes', 'latency_seconds_bucket', 'latency_seconds', 'mixed'];
  for (const [n, name] of names.entries()) {
    for (let i = 0; i < 4; i++) {
      const pairs: [string, string][] = [
        ['__name__', name],
        ['job', `job-${i % 2}`],
        ['instance', `host-${i}`],
      ];
      if (name === 'latency_seconds_bucket') pairs.push(['le', ['0.1', '1', '10', '+Inf'][i]!]);
      queryable.append(
        Labels.from(pairs),
        Array.from({ length: 30 }, (_, at) => {
          const sample = { timeMs: NOW_MS - (30 - at) * 15_000 + n, value: at * (i - 1), isStale: at === 20 };
          const isHistogram = at !== 20 && (name === 'latency_seconds' || (name === 'mixed' && at % 7 === 0));
          return isHistogram ? { ...sample, histogram: histogram.copy().scale(at) } : sample;
        }),
      );
    }
  }
  return queryable;
}

/** A budget that throws as the querier's does, and knows what is still charged. */
function limited(): { context: QueryContext; held: () => number } {
  let held = 0;
  const chargeBytes = (bytes: number): void => {
    held += bytes;
    if (held <= BUDGET_BYTES) return;
    held -= bytes;
    throw new AppError('execution', 'query needs more memory than --query.memory-max allows');
  };
  return { context: { signal: new AbortController().signal, chargeBytes }, held: () => held };
}

const engine = createEngine({
  lookbackMs: 300_000,
  samplesMax: 200_000,
  features: ALL_FEATURES,
  noStepSubqueryIntervalMs: 60_000,
});
const data = storage();

/** What the mutations reached: a run in which all of them fail alike would show nothing. */
interface Reached {
  evaluated: number;
  withSeries: number;
  refused: number;
  readonly functions: Set<string>;
  readonly messages: Set<string>;
}

async function evaluate(query: string, isRange: boolean, reached: Reached): Promise<void> {
  const expr = parseExpr(query, ALL_FEATURES);
  parseExpr(printExpr(expr), ALL_FEATURES);
  parseExpr(formatExpr(expr), ALL_FEATURES);
  const { context, held } = limited();
  const times = isRange ? { startMs: NOW_MS - 90_000, stepMs: 30_000 } : { startMs: NOW_MS, stepMs: 0 };
  try {
    const result = await engine.execute({ expr, query, ...times, endMs: NOW_MS }, data, context);
    reached.evaluated++;
    if (result.series.length > 0) reached.withSeries++;
    for (const [name] of query.matchAll(/\b[a-z_]+(?=\s*\()/g)) reached.functions.add(name);
  } finally {
    expect(held(), 'bytes charged after the end').toBe(0);
  }
}

/** Processor time of one query, milliseconds: other tests run beside this one. A failure that is not meant is thrown. */
async function timeOf(query: string, isRange: boolean, reached: Reached): Promise<number> {
  const used = process.cpuUsage();
  try {
    await evaluate(query, isRange, reached);
  } catch (caught) {
    const isMeant = caught instanceof AppError && ['bad_data', 'execution'].includes(caught.code);
    if (!isMeant) throw caught;
    reached.refused++;
    reached.messages.add(caught.message.replaceAll(/[\d"'`].*/gsu, ''));
  }
  const { user, system } = process.cpuUsage(used);
  return (user + system) / 1000;
}

/** The wait is for machines that are busy; alone it takes half a minute. */
test(`${QUERIES} mutated queries, seed ${SEED}`, { timeout: 60_000 + QUERIES * 12 }, async () => {
  const random = randomOf(SEED);
  const failures: string[] = [];
  const newReached = (): Reached => ({
    ...{ evaluated: 0, withSeries: 0, refused: 0 },
    ...{ functions: new Set<string>(), messages: new Set<string>() },
  });
  const reached = newReached();
  const before = process.memoryUsage().rss;
  let mutated = 0;
  for (; mutated < QUERIES && failures.length < 20; mutated++) {
    const query = mutate(random);
    const isRange = mutated % 3 === 0;
    const shown = JSON.stringify(query.slice(0, 500));
    try {
      let tookMs = await timeOf(query, isRange, reached);
      // Compiling and collecting garbage of other queries happen once: what is slow is slow again.
      for (let again = 0; again < 2 && tookMs > LONGEST_MS; again++) {
        tookMs = Math.min(tookMs, await timeOf(query, isRange, newReached()));
      }
      if (tookMs > LONGEST_MS) failures.push(`${shown}: took ${tookMs.toFixed(0)} ms`);
    } catch (caught) {
      failures.push(`${shown}: ${(caught as Error).stack}`);
    }
  }
  expect(failures).toEqual([]);
  expect(reached.evaluated + reached.refused, 'every query has an answer or an error').toBe(QUERIES);
  // Mutations that never parse, or never select anything, would show nothing.
  expect(reached.evaluated / QUERIES, 'share of queries that have an answer').toBeGreaterThan(0.1);
  expect(reached.withSeries / QUERIES, 'share of queries that answer series').toBeGreaterThan(0.05);
  expect(reached.refused / QUERIES, 'share of queries that are refused').toBeGreaterThan(0.1);
  if (QUERIES >= 10_000) {
    expect(reached.functions.size, 'functions and aggregations evaluated').toBeGreaterThan(40);
    expect(reached.messages.size, 'kinds of errors').toBeGreaterThan(12);
  }
  expect(process.memoryUsage().rss - before, 'growth of the process').toBeLessThan(GROWTH_MAX_BYTES);
});
