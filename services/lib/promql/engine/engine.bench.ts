// Microbenchmarks of the engine: `node services/lib/promql/engine/engine.bench.ts [series]`. Series have 240 samples
// (one hour at 15 s) and queries 240 steps; figures are nanoseconds per sample of storage, best of five runs.
import { Labels } from '../../model/labels.ts';
import type { Queryable, SelectRequest, SeriesSet } from '../../model/queryable.ts';
import type { SampleColumns } from '../../model/sample-columns.ts';
import { DEFAULT_FEATURES } from '../features.ts';
import { parseExpr } from '../parse/parser.ts';
import { createEngine } from './engine.ts';

const STEP_MS = 15_000;
const SAMPLES = 240;
const RUNS = 5;

const QUERIES = [
  'counter_total',
  'rate(counter_total[1m])',
  'rate(counter_total[5m])',
  'sum(rate(counter_total[5m]))',
  'sum by (job) (rate(counter_total[5m]))',
  'max by (job) (counter_total)',
  'topk(10, rate(counter_total[5m]))',
  'counter_total / on (instance, job) other_total',
  'counter_total > 5e5',
  'max_over_time(counter_total[5m])',
  'sum_over_time(counter_total[5m])',
  'avg_over_time(other_total[5m])',
  'quantile(0.9, counter_total)',
];

/** Series of which all have the same times and values: what is measured is the engine. */
class BenchQueryable implements Queryable {
  readonly #series: number;

  constructor(series: number) {
    this.#series = series;
  }

  select({ matchers }: SelectRequest): Promise<SeriesSet> {
    const name = matchers.find((matcher) => matcher.name === '__name__')!.value;
    const labels = Array.from({ length: this.#series }, (_, i) =>
      Labels.from([
        ['__name__', name],
        ['instance', `host-${String(i).padStart(6, '0')}`],
        ['job', `job-${i % 20}`],
      ]),
    );
    const fraction = name === 'other_total' ? 0.5 : 0;
    return Promise.resolve({
      size: labels.length,
      labels: (index) => labels[index]!,
      read: (index, minTimeMs, maxTimeMs, into) => fill(into, index, fraction, minTimeMs, maxTimeMs),
      warnings: [],
      release: () => {},
    });
  }
}

function fill(into: SampleColumns, index: number, fraction: number, minMs: number, maxMs: number): void {
  into.count = 0;
  into.reserve(SAMPLES);
  for (let i = 0; i < SAMPLES; i++) {
    const timeMs = i * STEP_MS + (index % 100);
    if (timeMs < minMs || timeMs > maxMs) continue;
    into.timestampsMs[into.count] = timeMs;
    into.values[into.count++] = (i % 200) * (index + 1) + fraction;
  }
}

async function main(series: number): Promise<void> {
  const engine = createEngine({
    lookbackMs: 300_000,
    samplesMax: 50_000_000,
    features: DEFAULT_FEATURES,
    noStepSubqueryIntervalMs: 60_000,
  });
  const queryable = new BenchQueryable(series);
  const context = { signal: new AbortController().signal, chargeBytes: () => {} };
  for (const query of QUERIES) {
    const request = {
      expr: parseExpr(query, DEFAULT_FEATURES),
      startMs: 0,
      endMs: (SAMPLES - 1) * STEP_MS,
      stepMs: STEP_MS,
    };
    let best = Number.POSITIVE_INFINITY;
    for (let run = 0; run < RUNS; run++) {
      const start = performance.now();
      await engine.execute(request, queryable, context);
      best = Math.min(best, performance.now() - start);
    }
    const perSample = (best * 1e6) / (series * SAMPLES);
    console.log(
      `${query.padEnd(50)} ${best.toFixed(0).padStart(6)} ms ${perSample.toFixed(1).padStart(7)} ns/sample`,
    );
  }
}

await main(Number(process.argv[2] ?? 10_000));
