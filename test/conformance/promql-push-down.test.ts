// Push-down against none: every evaluation of the shared scripts cut at what is distributive, its parts evaluated over shards
// of the series with overlapping replicas and passed on as bytes, and compared with the same evaluation uncut and with what
// the script expects.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { randomOf } from '../support/random.ts';
import { hasShared, sharedPath } from '../support/shared.ts';
import { CutEvaluator, CutReport, type CutVariant } from './cut-evaluator.ts';
import { generatePushDownQuery, generateStorage, SERIES_END_MS } from './push-down-queries.ts';
import { runScript } from './script-runner.ts';
import { memorySubject, SCRIPT_ENGINE } from './script-subject.ts';

const FOLDERS = [
  'conformance/promql/prometheus+prometheus/promql/promqltest/testdata',
  'conformance/promql/thanos-io+thanos/pkg/query/testdata/promql/thanos',
];

const SCRIPTS = FOLDERS.filter((folder) => hasShared(folder)).flatMap((folder) =>
  readdirSync(sharedPath(folder))
    .filter((file) => file.endsWith('.test'))
    .map((file) => path.join(sharedPath(folder), file)),
);

/** Evaluations that have to be cut and merged at least, so that nothing passes by not being cut. */
const FLOORS: Readonly<Record<string, number>> = {
  sum: 400,
  avg: 150,
  count: 30,
  min: 25,
  max: 30,
  group: 10,
  stddev: 60,
  stdvar: 60,
  topk: 80,
  bottomk: 50,
  limitk: 60,
  limit_ratio: 10,
  rate: 400,
  increase: 300,
  sum_over_time: 300,
  histogram_count: 300,
  label_replace: 20,
  binary: 500,
  'vector-selector': 2000,
};

/** The same where steps are pushed down. */
const PUSHED_FLOORS: Readonly<Record<string, number>> = { sum: 100, avg: 40, count: 10, max: 10, topk: 20 };

/** The same for generated queries, each way of cutting. */
const GENERATED_FLOORS: Readonly<Record<string, number>> = {
  sum: 10,
  avg: 10,
  count: 10,
  min: 10,
  max: 10,
  group: 10,
  stddev: 10,
  stdvar: 10,
  topk: 10,
  bottomk: 10,
  limitk: 10,
  count_values: 10,
};

/** Comparing evaluations in their thousands, on machines that are busy. */
const SCRIPT_TIMEOUT_MS = 180_000;

/** Generated queries for each set of features. */
const QUERIES = 1000;
const storages = [1, 2, 3, 4].map((seed) => generateStorage(randomOf(seed)));

test('the scripts are there', () => {
  if (process.env.CI === 'true') expect(SCRIPTS.length).toBeGreaterThan(0);
});

describe.skipIf(SCRIPTS.length === 0)('upstream scripts', () => {
  const variants: CutVariant[] = [1, 3, 8].map((shards) => ({
    shards,
    parts: 'all',
    report: new CutReport(),
  }));
  const pushed: CutVariant = { shards: 3, parts: 'reducing', report: new CutReport(), isPushed: true };
  variants.push(pushed);
  const evaluator = new CutEvaluator(SCRIPT_ENGINE, variants);

  test.each(SCRIPTS)('%s', { timeout: SCRIPT_TIMEOUT_MS }, async (file) => {
    const from = variants.map(({ report }) => report.differences.length);
    const results = await runScript(
      readFileSync(file, 'utf8'),
      memorySubject((request, storage) => evaluator.evaluate(request, storage)),
    );
    expect(variants.flatMap(({ report }, i) => report.differences.slice(from[i]))).toEqual([]);
    expect(results.filter(({ failure }) => failure !== undefined)).toEqual([]);
  });

  test('every operator was pushed down', () => {
    const { report } = pushed;
    for (const to of ['ingesters', 'stores']) expect(report.pushed.get(to) ?? 0, to).toBeGreaterThan(50);
    console.log(`scripts pushed down: ${report.print()}`);
    for (const [operator, floor] of Object.entries(PUSHED_FLOORS)) {
      expect(report.merged.get(operator) ?? 0, operator).toBeGreaterThanOrEqual(floor);
    }
  });

  test.each(variants.slice(0, 3))('every operator was cut over $shards shards', ({ shards, report }) => {
    console.log(`scripts over ${shards} shards: ${report.print()}`);
    for (const [operator, floor] of Object.entries(FLOORS)) {
      expect(report.merged.get(operator) ?? 0, operator).toBeGreaterThanOrEqual(floor);
    }
  });
});

describe.each([
  ['all features', ALL_FEATURES],
  ['names dropped at once', { ...ALL_FEATURES, delayedNameRemoval: false }],
])('generated queries, %s', (_name, features) => {
  const variants: readonly CutVariant[] = [
    { shards: 1, parts: 'all', report: new CutReport() },
    { shards: 3, parts: 'all', report: new CutReport() },
    { shards: 3, parts: 'reducing', report: new CutReport() },
    { shards: 8, parts: 'all', report: new CutReport() },
    { shards: 3, parts: 'reducing', report: new CutReport(), isPushed: true },
  ];
  const evaluator = new CutEvaluator({ ...SCRIPT_ENGINE, samplesMax: 50_000_000, features }, variants);

  test('answer the same cut and uncut', { timeout: SCRIPT_TIMEOUT_MS }, async () => {
    for (let seed = 1; seed <= QUERIES; seed++) {
      const random = randomOf(seed);
      const storage = storages[seed % storages.length]!;
      const query = generatePushDownQuery(random);
      const expr = parseExpr(query, features);
      const startMs = Math.floor(random() * SERIES_END_MS);
      const isRange = random() < 0.5;
      const times = isRange
        ? { startMs, endMs: startMs + 600_000, stepMs: 60_000 }
        : { startMs, endMs: startMs, stepMs: 0 };
      await evaluator.evaluate({ expr, query, ...times }, storage).catch((caught: unknown) => {
        if (!(caught instanceof AppError)) throw caught;
      });
      const found = variants.flatMap(({ report }) => report.differences);
      expect(found, `seed ${seed}`).toEqual([]);
    }
    for (const { shards, parts, report, isPushed } of variants) {
      for (const to of isPushed === true ? ['ingesters', 'stores'] : [])
        expect(report.pushed.get(to) ?? 0, to).toBeGreaterThan(50);
      console.log(`generated over ${shards} shards, ${parts}: ${report.print()}`);
      for (const [operator, floor] of Object.entries(GENERATED_FLOORS)) {
        expect(report.merged.get(operator) ?? 0, operator).toBeGreaterThanOrEqual(floor);
      }
    }
  });
});
