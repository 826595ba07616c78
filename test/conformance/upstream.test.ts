// Queries against a real Prometheus 3.14: the same values, labels, annotations and errors, word by word; and the same words
// for what does not parse. TIDEMARK_DIFFERENTIAL sets how many queries, TIDEMARK_DIFFERENTIAL_SEED chooses others.
// Where 3.14 itself leaves an order open, upstream-queries.ts does not ask, or a rule below says so.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import { parseValue } from '../../services/lib/model/number-format.ts';
import type { QueryContext } from '../../services/lib/model/queryable.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { formatExpr } from '../../services/lib/promql/parse/printer.ts';
import { propagateMatchers } from '../../services/lib/promql/plan/propagate.ts';
import { mutate } from '../fuzz/promql-mutations.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { pick, randomOf } from '../support/random.ts';
import { postWrite } from '../support/remote-write-body.ts';
import { freshFolder } from '../support/tidemark.ts';
import { generateUpstreamQuery } from './upstream-queries.ts';
import { FIRST_MS, generateData } from './upstream-series.ts';

/** Built from Prometheus' Go module by .ci/run; no distribution packages it. */
const PROGRAM = 'prometheus-3.14';
const QUERIES = Number(process.env.TIDEMARK_DIFFERENTIAL ?? 500);
const SEED = Number(process.env.TIDEMARK_DIFFERENTIAL_SEED ?? 1);
const TOLERANCE = 1e-9;
/** Prometheus prints no more annotations of a kind than this. */
const ANNOTATIONS_PRINTED = 10;
const FEATURES = [
  'promql-experimental-functions',
  'promql-binop-fill-modifiers',
  'promql-delayed-name-removal',
  'promql-extended-range-selectors',
  'promql-per-step-stats',
].join();
const CONTEXT: QueryContext = { signal: new AbortController().signal, chargeBytes: () => {} };
const isRunnable = hasPrograms(PROGRAM);

/** A float, or count and sum of a histogram. */
type Value = readonly [number] | readonly [number, number];

interface Answer {
  readonly error: string | undefined;
  /** Values by time, by label set. */
  readonly series: ReadonlyMap<string, ReadonlyMap<number, Value>>;
  readonly warnings: readonly string[];
  readonly infos: readonly string[];
}

interface Times {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

const engine = createEngine({
  lookbackMs: 300_000,
  samplesMax: 50_000_000,
  features: ALL_FEATURES,
  noStepSubqueryIntervalMs: 60_000,
});
const { storage, request } = generateData();
let url = '';

beforeAll(async () => {
  if (!isRunnable) return;
  const folder = freshFolder();
  const config = path.join(folder, 'prometheus.yml');
  writeFileSync(
    config,
    'global: {evaluation_interval: 1m}\nstorage: {tsdb: {out_of_order_time_window: 100y}}\n',
  );
  url = `http://127.0.0.1:${await freePort()}`;
  const running = startProcess(findProgram(PROGRAM)!, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${folder}/data`,
    '--storage.tsdb.retention.time=100y',
    `--web.listen-address=${url.slice('http://'.length)}`,
    '--web.enable-remote-write-receiver',
    `--enable-feature=${FEATURES}`,
  ]);
  await waitFor('prometheus ready', () => answers(`${url}/-/ready`), { describe: running.output });
  const { status, text } = await postWrite(url, request);
  expect(status, text).toBe(204);
  return () => running.end('SIGKILL');
}, 60_000);

async function askUs(query: string, times: Times): Promise<Answer> {
  try {
    const result = await engine.execute(
      { expr: propagateMatchers(parseExpr(query, ALL_FEATURES)), query, ...times },
      storage,
      CONTEXT,
    );
    const series = result.series.map(({ labels, timestampsMs, values, histograms, count }) => {
      const points = Array.from({ length: count }, (_, i): [number, Value] => {
        const histogram = histograms?.[i];
        return [timestampsMs[i]!, histogram === undefined ? [values[i]!] : [histogram.count, histogram.sum]];
      });
      return [keyOf(Object.fromEntries(labels.entries())), new Map(points)] as const;
    });
    return {
      error: undefined,
      series: new Map(series),
      warnings: result.warnings.toSorted(),
      infos: result.infos.toSorted(),
    };
  } catch (caught) {
    if (caught instanceof AppError) return failed(caught.message);
    throw caught;
  }
}

function failed(error: string): Answer {
  return { error, series: new Map(), warnings: [], infos: [] };
}

interface PrintedHistogram {
  readonly count: string;
  readonly sum: string;
}

interface PrintedSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
  readonly histogram?: readonly [number, PrintedHistogram];
  readonly histograms?: readonly (readonly [number, PrintedHistogram])[];
}

interface PrintedAnswer {
  readonly status: string;
  readonly error?: string;
  readonly data?: { readonly resultType: string; readonly result: unknown; readonly stats?: PrintedStats };
  readonly warnings?: readonly string[];
  readonly infos?: readonly string[];
}

type StepNumbers = readonly (readonly [timeSeconds: number, samples: number])[];

interface PrintedStats {
  readonly samples: {
    readonly totalQueryableSamples: number;
    readonly totalQueryableSamplesPerStep: StepNumbers;
    readonly samplesRead: number;
    readonly samplesReadPerStep: StepNumbers;
  };
}

async function post(endpoint: string, form: Record<string, string>): Promise<PrintedAnswer> {
  const response = await fetch(`${url}/api/v1/${endpoint}`, {
    method: 'POST',
    body: new URLSearchParams(form),
  });
  return (await response.json()) as PrintedAnswer;
}

async function askPrometheus(query: string, { startMs, endMs, stepMs }: Times): Promise<Answer> {
  const [start, end, step] = [startMs, endMs, stepMs].map((ms) => `${ms / 1000}`) as [string, string, string];
  const body = await (stepMs > 0
    ? post('query_range', { query, start, end, step })
    : post('query', { query, time: end }));
  if (body.status !== 'success') return failed(withoutParameter(body.error ?? ''));
  const { resultType, result } = body.data!;
  const printed = (resultType === 'scalar' ? [{ metric: {}, value: result }] : result) as PrintedSeries[];
  return {
    error: undefined,
    series: new Map(printed.map((one) => [keyOf(one.metric), pointsOf(one)])),
    warnings: (body.warnings ?? []).toSorted(),
    infos: (body.infos ?? []).toSorted(),
  };
}

function pointsOf({ value, values, histogram, histograms }: PrintedSeries): Map<number, Value> {
  const points = new Map<number, Value>();
  for (const [time, text] of values ?? (value === undefined ? [] : [value])) {
    points.set(Math.round(time * 1000), [parseValue(text)!]);
  }
  for (const [time, { count, sum }] of histograms ?? (histogram === undefined ? [] : [histogram])) {
    points.set(Math.round(time * 1000), [parseValue(count)!, parseValue(sum)!]);
  }
  return points;
}

function withoutParameter(error: string): string {
  return error.replace(/^invalid parameter "query": /, '');
}

function keyOf(metric: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What differs, or undefined. */
function difference(ours: Answer, theirs: Answer): string | undefined {
  if (ours.error !== undefined || theirs.error !== undefined) {
    return isSameError(ours.error, theirs.error)
      ? undefined
      : `error ${ours.error} here, ${theirs.error} there`;
  }
  for (const key of new Set([...ours.series.keys(), ...theirs.series.keys()])) {
    const a = ours.series.get(key);
    const b = theirs.series.get(key);
    if (a === undefined || b === undefined) return `${key}: only ${a === undefined ? 'there' : 'here'}`;
    for (const timeMs of new Set([...a.keys(), ...b.keys()])) {
      const [x, y] = [a.get(timeMs), b.get(timeMs)];
      if (!isSameValue(x, y)) return `${key} at ${timeMs}: ${String(x)} here, ${String(y)} there`;
    }
  }
  for (const kind of ['warnings', 'infos'] as const) {
    const printed = theirs[kind];
    if (printed.length < ANNOTATIONS_PRINTED && JSON.stringify(ours[kind]) !== JSON.stringify(printed)) {
      return `${kind} ${JSON.stringify(ours[kind])} here, ${JSON.stringify(printed)} there`;
    }
  }
  return undefined;
}

const EITHER_FAULT = /^found duplicate series for the match|modifier can only be used with/;

/**
 * Of the duplicates of a join either may be named. A modifier that its function does not take is found here before anything is read, and
 * the right side of an operator is read before the left one.
 */
function isSameError(ours: string | undefined, theirs: string | undefined): boolean {
  if (ours === theirs) return true;
  if (ours === undefined || theirs === undefined) return false;
  const areTwoFaults = [ours, theirs].every((text) => text.startsWith('invalid smoothing factor'));
  return areTwoFaults || [ours, theirs].some((text) => EITHER_FAULT.test(text));
}

function isSameValue(a: Value | undefined, b: Value | undefined): boolean {
  if (a === undefined || b === undefined || a.length !== b.length) return false;
  return a.every((part, i) => isClose(part, b[i]!));
}

function isClose(a: number, b: number): boolean {
  if (Object.is(a, b) || a === b) return true;
  const distance = Math.abs(a - b);
  return distance <= 1e-11 || distance <= TOLERANCE * Math.max(Math.abs(a), Math.abs(b));
}

test.skipIf(!isRunnable)(
  `${QUERIES} queries as Prometheus 3.14 answers them, seed ${SEED}`,
  { timeout: 60_000 + QUERIES * 100 },
  async () => {
    const random = randomOf(SEED);
    const differences: string[] = [];
    let results = 0;
    for (let i = 0; i < QUERIES; i++) {
      const query = generateUpstreamQuery(random);
      const startMs = FIRST_MS + 900_000 + Math.floor(random() * 80) * 15_000;
      const stepMs = pick(random, [15_000, 30_000, 60_000, 37_000]);
      for (const times of [
        { startMs, endMs: startMs, stepMs: 0 },
        { startMs, endMs: startMs + 600_000, stepMs },
      ]) {
        const theirs = await askPrometheus(query, times);
        if (theirs.series.size > 0) results++;
        const found = difference(await askUs(query, times), theirs);
        if (found !== undefined) differences.push(`${query} (step ${times.stepMs}, ${startMs}): ${found}`);
      }
    }
    expect(differences).toEqual([]);
    expect(results / (2 * QUERIES), 'share of queries with a result').toBeGreaterThan(0.5);
  },
);

/** Samples used and fetched, in all and by step; undefined when the query fails. */
async function countedThere(query: string, { startMs, endMs, stepMs }: Times) {
  const [start, end, step] = [startMs, endMs, stepMs].map((ms) => `${ms / 1000}`) as [string, string, string];
  const { data } = await (stepMs > 0
    ? post('query_range', { query, start, end, step, stats: 'all' })
    : post('query', { query, time: end, stats: 'all' }));
  const samples = data?.stats?.samples;
  const numbers = (pairs: StepNumbers) => pairs.map(([, count]) => count);
  return (
    samples && {
      used: [samples.totalQueryableSamples, ...numbers(samples.totalQueryableSamplesPerStep)],
      fetched: [samples.samplesRead, ...numbers(samples.samplesReadPerStep)],
    }
  );
}

async function countedHere(query: string, times: Times) {
  const expr = parseExpr(query, ALL_FEATURES);
  const { stats } = await engine.execute({ expr, query, ...times, isPerStepWanted: true }, storage, CONTEXT);
  const { used, fetched, usedPerStep, fetchedPerStep } = stats.samples;
  return { used: [used, ...usedPerStep!], fetched: [fetched, ...fetchedPerStep!] };
}

test.skipIf(!isRunnable)(
  `stats of ${Math.ceil(QUERIES / 4)} queries: samples of each step, seed ${SEED}`,
  { timeout: 60_000 + QUERIES * 50 },
  async () => {
    const random = randomOf(SEED);
    const counts: unknown[] = [];
    const expected: unknown[] = [];
    for (let i = 0; i < Math.ceil(QUERIES / 4); i++) {
      const query = generateUpstreamQuery(random);
      const startMs = FIRST_MS + 900_000 + Math.floor(random() * 80) * 15_000;
      const stepMs = pick(random, [15_000, 30_000, 60_000, 37_000]);
      // Their chunks hold gauges with the empty buckets of their neighbours, which count.
      if (/latency_gauge|lat\.\*/.test(query)) continue;
      for (const times of [
        { startMs, endMs: startMs, stepMs: 0 },
        { startMs, endMs: startMs + 600_000, stepMs },
      ]) {
        const there = await countedThere(query, times);
        if (there === undefined) continue;
        expected.push([query, times, there]);
        counts.push([query, times, await countedHere(query, times)]);
      }
    }
    expect(counts).toEqual(expected);
    expect(counts.length).toBeGreaterThan(QUERIES / 4);
  },
);

/** What 3.14 prints of a query: formatted, or the error. */
async function formattedThere(query: string): Promise<string> {
  const { status, data, error } = await post('format_query', { query });
  return status === 'success' ? (data as unknown as string) : withoutParameter(error ?? '');
}

function formattedHere(query: string): string {
  try {
    return formatExpr(parseExpr(query, ALL_FEATURES));
  } catch (caught) {
    if (caught instanceof AppError) return caught.message;
    throw caught;
  }
}

/**
 * Left out: bytes that are no UTF-8, which a string here cannot hold; times of `@` beyond 64 bits of milliseconds and offsets of
 * NaN, which overflow there; and what is nested too deeply for us.
 */
function isComparable(query: string): boolean {
  if (query.length >= 400 || query.includes('\\xff')) return false;
  return !/@\s*[-+]?\S*e\d\d/.test(query) && !/offset\W*nan/i.test(query);
}

test.skipIf(!isRunnable)(
  `${4 * QUERIES} mangled queries are formatted or refused in 3.14's words`,
  { timeout: 60_000 + QUERIES * 100 },
  async () => {
    const random = randomOf(SEED);
    const differences: string[] = [];
    let refused = 0;
    for (let i = 0; i < 4 * QUERIES; i++) {
      const query = mutate(random);
      if (!isComparable(query)) continue;
      const [here, there] = [formattedHere(query), await formattedThere(query)];
      if (there.includes('parse error')) refused++;
      if (here !== there) differences.push(`${JSON.stringify(query)}: ${here} here, ${there} there`);
    }
    expect(differences).toEqual([]);
    expect(refused, 'queries that do not parse').toBeGreaterThan(QUERIES);
  },
);
