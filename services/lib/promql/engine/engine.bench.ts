// Microbenchmarks of the engine: `node services/lib/promql/engine/engine.bench.ts [series]`. Series have 240 samples (one
// hour at 15 s) and queries 240 steps. A chunk is decoded as storage would; figures are per run, and nanoseconds per sample
// that is read behind it. That storage is real, and the index too, is what `npm run bench` measures.
import { bench, do_not_optimize, run } from 'mitata';
import { Labels } from '../../model/labels.ts';
import { compileMatcher, type Matcher } from '../../model/matcher.ts';
import type { Queryable, SelectRequest, SeriesSet } from '../../model/queryable.ts';
import type { SampleColumns } from '../../model/sample-columns.ts';
import { DEFAULT_FEATURES } from '../features.ts';
import { parseExpr } from '../parse/parser.ts';
import { createEngine } from './engine.ts';

const STEP_MS = 15_000;
const SAMPLES = 240;
/** Runs that the figure per sample is the best of. */
const RUNS = 5;
const BUCKETS = ['0.1', '0.5', '1', '5', '+Inf'];

/** Name → query; the share of the series that it reads is counted, not assumed. */
const QUERIES: Readonly<Record<string, string>> = {
  select: 'counter_total',
  'rate 1m': 'rate(counter_total[1m])',
  'rate 5m': 'rate(counter_total[5m])',
  'sum by': 'sum by (job) (counter_total)',
  'sum by of rate': 'sum by (job) (rate(counter_total[5m]))',
  'max by': 'max by (job) (counter_total)',
  histogram_quantile: 'histogram_quantile(0.9, sum by (le, job) (rate(latency_bucket[5m])))',
  'binary join': 'counter_total / on (instance, job) other_total',
  comparison: 'counter_total > 5e5',
  topk: 'topk(10, rate(counter_total[5m]))',
  quantile: 'quantile(0.9, counter_total)',
  subquery: 'max_over_time(sum(rate(counter_total[1m]))[10m:1m])',
  'regex selection': 'count({__name__=~"counter.*", instance=~"host-0+[1-4].*"})',
  max_over_time: 'max_over_time(counter_total[5m])',
  'sum_over_time, integers': 'sum_over_time(counter_total[5m])',
  'avg_over_time, fractions': 'avg_over_time(other_total[5m])',
};

/** Series of which all have nearly the same times and values: what is measured is the engine. */
class BenchQueryable implements Queryable {
  readonly #labels: readonly Labels[];
  samplesRead = 0;

  constructor(series: number) {
    const names = ['counter_total', 'other_total'];
    const plain = names.flatMap((name) => Array.from({ length: series }, (_, i) => labelsOf(name, i)));
    const buckets = Array.from({ length: Math.ceil(series / BUCKETS.length) }, (_, i) =>
      BUCKETS.map((le) => labelsOf('latency_bucket', i).with('le', le)),
    );
    this.#labels = [...plain, ...buckets.flat()].sort((a, b) => a.compareTo(b));
  }

  select({ matchers }: SelectRequest): Promise<SeriesSet> {
    const tests = matchers.map((matcher: Matcher) => ({
      name: matcher.name,
      matches: compileMatcher(matcher),
    }));
    const found = this.#labels.filter((labels) =>
      tests.every(({ name, matches }) => matches(labels.get(name))),
    );
    return Promise.resolve({
      size: found.length,
      labels: (index) => found[index]!,
      read: (index, minTimeMs, maxTimeMs, into) => {
        const fraction = found[index]!.get('__name__') === 'other_total' ? 0.5 : 0;
        fill(into, index, fraction, minTimeMs, maxTimeMs);
        this.samplesRead += into.count;
      },
      warnings: [],
      release: () => {},
    });
  }
}

function labelsOf(name: string, index: number): Labels {
  return Labels.from([
    ['__name__', name],
    ['instance', `host-${String(index).padStart(6, '0')}`],
    ['job', `job-${index % 20}`],
  ]);
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
  for (const [name, query] of Object.entries(QUERIES)) {
    const request = {
      expr: parseExpr(query, DEFAULT_FEATURES),
      startMs: 0,
      endMs: (SAMPLES - 1) * STEP_MS,
      stepMs: STEP_MS,
    };
    const once = () => engine.execute(request, queryable, context);
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < RUNS; i++) {
      queryable.samplesRead = 0;
      const startMs = performance.now();
      await once();
      best = Math.min(best, performance.now() - startMs);
    }
    const perSample = (best * 1e6) / Math.max(1, queryable.samplesRead);
    console.log(
      `${name.padEnd(26)} ${perSample.toFixed(1).padStart(7)} ns/sample of ${queryable.samplesRead}`,
    );
    bench(name, async () => do_not_optimize(await once()));
  }
  await run();
}

await main(Number(process.argv[2] ?? 10_000));
