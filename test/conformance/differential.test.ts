// Generated queries over generated data, here and in Debian's Prometheus 2.42: the same answers, to 1e-9. The rules that
// keep out what 3.x means to do otherwise stand in differential-queries.ts. TIDEMARK_DIFFERENTIAL sets how many queries,
// TIDEMARK_DIFFERENTIAL_SEED chooses others.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { formatValue, parseValue } from '../../services/lib/model/number-format.ts';
import type { QueryContext } from '../../services/lib/model/queryable.ts';
import { isStaleAt, wordsOf } from '../../services/lib/model/sample-columns.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import type { QueryResult } from '../../services/lib/promql/engine/query.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, freePort, waitFor } from '../support/programs.ts';
import { randomOf } from '../support/random.ts';
import {
  encodeWriteRequest,
  postWrite,
  snappyLiterals,
  type WrittenSeries,
} from '../support/remote-write-body.ts';
import { freshFolder } from '../support/tidemark.ts';
import { BASE_MS, generateQuery, generateSeries, HOUR_MS } from './differential-queries.ts';
import { MemoryQueryable } from './memory-queryable.ts';

const QUERIES = Number(process.env.TIDEMARK_DIFFERENTIAL ?? 500);
const SEED = Number(process.env.TIDEMARK_DIFFERENTIAL_SEED ?? 1);
const TOLERANCE = 1e-9;
/** 2.42 has no compensated sums: where a mean or a variance is small beside its terms, its digits are those it keeps. */
const NEAR_ZERO = 1e-9;
const CONTEXT: QueryContext = { signal: new AbortController().signal, chargeBytes: () => {} };

/** Values by time, by label set; or the error's words. */
type Answer = ReadonlyMap<string, ReadonlyMap<number, number>> | string;

/** 2.42 refuses label sets that become equal even where their values stand at different steps; 3.x merges those. */
const SAME_LABELS = 'vector cannot contain metrics with the same labelset';

const engine = createEngine({
  lookbackMs: 300_000,
  samplesMax: 50_000_000,
  features: { ...ALL_FEATURES, delayedNameRemoval: false },
  noStepSubqueryIntervalMs: 60_000,
});

/** Debian's Prometheus, empty; ended with the test. */
async function startPrometheus(): Promise<string> {
  const folder = freshFolder();
  const config = path.join(folder, 'prometheus.yml');
  writeFileSync(config, 'global: {evaluation_interval: 1m}\n');
  const url = `http://127.0.0.1:${await freePort()}`;
  const running = startProcess('/usr/bin/prometheus', [
    `--config.file=${config}`,
    `--storage.tsdb.path=${folder}/data`,
    '--storage.tsdb.retention.time=100y',
    `--web.listen-address=${url.slice('http://'.length)}`,
    '--web.enable-remote-write-receiver',
  ]);
  await waitFor('prometheus ready', () => answers(`${url}/-/ready`), { describe: running.output });
  return url;
}

/** Restores staleness markers: a JavaScript number holds them as quiet NaNs, and 2.42 knows only the signalling one. */
function withMarkers(body: Buffer): Buffer {
  const quiet = Buffer.from([2, 0, 0, 0, 0, 0, 0xf8, 0x7f]);
  for (let at = body.indexOf(quiet); at >= 0; at = body.indexOf(quiet, at + 8)) body[at + 6] = 0xf0;
  return body;
}

function load(series: readonly WrittenSeries[]): MemoryQueryable {
  const queryable = new MemoryQueryable();
  for (const { labels, samples } of series) {
    const words = wordsOf(Float64Array.from(samples, ([, value]) => value));
    queryable.append(
      Labels.from(Object.entries(labels)),
      samples.map(([timeMs, value], i) => ({ timeMs, value, isStale: isStaleAt(words, i) })),
    );
  }
  return queryable;
}

interface Times {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

async function askUs(query: string, times: Times, storage: MemoryQueryable): Promise<Answer> {
  let result: QueryResult;
  try {
    result = await engine.execute(
      { expr: parseExpr(query, ALL_FEATURES), query, ...times },
      storage,
      CONTEXT,
    );
  } catch (caught) {
    if (caught instanceof AppError) return caught.message;
    throw caught;
  }
  return new Map(
    result.series.map(({ labels, timestampsMs, values, count }) => [
      keyOf(Object.fromEntries(labels.entries())),
      new Map(Array.from({ length: count }, (_, i) => [timestampsMs[i]!, values[i]!])),
    ]),
  );
}

interface PrometheusSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
}

async function askPrometheus(url: string, query: string, times: Times): Promise<Answer> {
  const isRange = times.stepMs > 0;
  const parameters = isRange
    ? {
        query,
        start: `${times.startMs / 1000}`,
        end: `${times.endMs / 1000}`,
        step: `${times.stepMs / 1000}`,
      }
    : { query, time: `${times.endMs / 1000}` };
  const response = await fetch(`${url}/api/v1/${isRange ? 'query_range' : 'query'}`, {
    method: 'POST',
    body: new URLSearchParams(parameters),
  });
  const body = (await response.json()) as {
    status: string;
    error?: string;
    data?: { result: readonly PrometheusSeries[] };
  };
  if (body.status !== 'success') return body.error ?? 'error';
  return new Map(
    body.data!.result.map(({ metric, value, values }) => [
      keyOf(metric),
      new Map((values ?? [value!]).map(([time, text]) => [Math.round(time * 1000), parseValue(text)!])),
    ]),
  );
}

function keyOf(metric: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What differs, or undefined. */
function difference(ours: Answer, theirs: Answer, isRange: boolean): string | undefined {
  if (typeof ours === 'string' || typeof theirs === 'string') {
    if (typeof ours === typeof theirs || (isRange && theirs === SAME_LABELS)) return undefined;
    return typeof ours === 'string'
      ? `only we answer with an error: ${ours}`
      : `only Prometheus answers with an error: ${typeof theirs === 'string' ? theirs : ''}`;
  }
  for (const key of new Set([...ours.keys(), ...theirs.keys()])) {
    const a = ours.get(key);
    const b = theirs.get(key);
    if (a === undefined || b === undefined)
      return `${key}: only ${a === undefined ? 'Prometheus has' : 'we have'} it`;
    for (const timeMs of new Set([...a.keys(), ...b.keys()])) {
      const x = a.get(timeMs);
      const y = b.get(timeMs);
      if (x === undefined || y === undefined || !isClose(x, y)) {
        const [mine, other] = [x, y].map((value) => (value === undefined ? 'nothing' : formatValue(value)));
        return `${key} at ${timeMs}: ${mine} here, ${other} there`;
      }
    }
  }
  return undefined;
}

function isClose(a: number, b: number): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  const distance = Math.abs(a - b);
  return distance <= NEAR_ZERO || distance <= TOLERANCE * Math.max(Math.abs(a), Math.abs(b));
}

test.skipIf(!hasPrograms('prometheus'))(
  `${QUERIES} queries as Prometheus 2.42 answers them, seed ${SEED}`,
  { timeout: 60_000 + QUERIES * 100 },
  async () => {
    const random = randomOf(SEED);
    const series = generateSeries(random);
    const url = await startPrometheus();
    const { status, text } = await postWrite(url, snappyLiterals(withMarkers(encodeWriteRequest(series))));
    expect(status, text).toBe(204);
    const storage = load(series);
    const differences: string[] = [];
    let results = 0;
    for (let i = 0; i < QUERIES; i++) {
      const { query, old } = generateQuery(random);
      // Half a second behind a whole one: see generateSeries().
      const startMs = BASE_MS + 600_500 + Math.floor(random() * 2400) * 1000;
      const instant = { startMs, endMs: startMs, stepMs: 0 };
      const span = { startMs, endMs: Math.min(startMs + 900_000, BASE_MS + HOUR_MS + 500), stepMs: 37_000 };
      for (const times of [instant, span]) {
        const ours = await askUs(query, times, storage);
        const found = difference(ours, await askPrometheus(url, old, times), times.stepMs > 0);
        if (typeof ours !== 'string' && ours.size > 0) results++;
        if (found !== undefined) {
          differences.push(`${query} (${times.stepMs === 0 ? 'instant' : 'range'} ${startMs}): ${found}`);
        }
      }
    }
    expect(differences).toEqual([]);
    expect(results / (2 * QUERIES), 'share of queries with a result').toBeGreaterThan(0.7);
  },
);
