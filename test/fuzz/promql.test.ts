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

async function evaluate(query: string, isRange: boolean): Promise<void> {
  const expr = parseExpr(query, ALL_FEATURES);
  parseExpr(printExpr(expr), ALL_FEATURES);
  parseExpr(formatExpr(expr), ALL_FEATURES);
  const { context, held } = limited();
  const times = isRange ? { startMs: NOW_MS - 90_000, stepMs: 30_000 } : { startMs: NOW_MS, stepMs: 0 };
  try {
    await engine.execute({ expr, query, ...times, endMs: NOW_MS }, data, context);
  } finally {
    expect(held(), 'bytes charged after the end').toBe(0);
  }
}

test(`${QUERIES} mutated queries, seed ${SEED}`, { timeout: 120_000 }, async () => {
  const random = randomOf(SEED);
  const failures: string[] = [];
  let evaluated = 0;
  const before = process.memoryUsage().rss;
  for (let i = 0; i < QUERIES && failures.length < 20; i++) {
    const query = mutate(random);
    const used = process.cpuUsage();
    try {
      await evaluate(query, i % 3 === 0);
      evaluated++;
    } catch (caught) {
      const isMeant = caught instanceof AppError && ['bad_data', 'execution'].includes(caught.code);
      if (!isMeant) failures.push(`${JSON.stringify(query.slice(0, 500))}: ${(caught as Error).stack}`);
    }
    // Processor time: other tests run beside this one.
    const { user, system } = process.cpuUsage(used);
    const tookMs = (user + system) / 1000;
    if (tookMs > LONGEST_MS)
      failures.push(`${JSON.stringify(query.slice(0, 500))}: took ${tookMs.toFixed(0)} ms`);
  }
  expect(failures).toEqual([]);
  // Mutations that never parse would show nothing.
  expect(evaluated / QUERIES, 'share of queries that have an answer').toBeGreaterThan(0.1);
  expect(process.memoryUsage().rss - before, 'growth of the process').toBeLessThan(GROWTH_MAX_BYTES);
});
