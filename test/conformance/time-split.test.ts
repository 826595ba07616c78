// What the result cache takes for granted: an expression that may be cut by time (querier/result-cache/cacheable.ts), evaluated in pieces that are put together, is
// bit for bit what one evaluation answers, says what that says, and fails where that fails. Every expression of the shared scripts over what they load, and generated ones.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import { wordsOf } from '../../services/lib/model/sample-columns.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import type { QueryRequest, QueryResult } from '../../services/lib/promql/engine/query.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { typeOf } from '../../services/lib/promql/parse/expression-type.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { ResultFrameWriter } from '../../services/lib/wire/frames/result-frame.ts';
import { obstacleOf } from '../../services/querier/result-cache/cacheable.ts';
import { stitch } from '../../services/querier/result-cache/stitch.ts';
import { type Random, randomOf } from '../support/random.ts';
import { hasShared, sharedPath } from '../support/shared.ts';
import type { MemoryQueryable } from './memory-queryable.ts';
import { generatePushDownQuery, generateStorage, SERIES_END_MS } from './push-down-queries.ts';
import { runScript } from './script-runner.ts';
import { CONTEXT, memorySubject, SCRIPT_ENGINE } from './script-subject.ts';
import { generateUpstreamQuery } from './upstream-queries.ts';
import { FIRST_MS, generateData } from './upstream-series.ts';

const FOLDERS = [
  'conformance/promql/prometheus+prometheus/promql/promqltest/testdata',
  'conformance/promql/thanos-io+thanos/pkg/query/testdata/promql/thanos',
];
const SCRIPTS = FOLDERS.filter((folder) => hasShared(folder)).flatMap((folder) =>
  readdirSync(sharedPath(folder))
    .filter((file) => file.endsWith('.test'))
    .map((file) => path.join(sharedPath(folder), file)),
);
/** Generated queries of each kind. */
const QUERIES = 800;
const STEPS = 24;

const features = { ...ALL_FEATURES, delayedNameRemoval: false };
const engine = createEngine({ ...SCRIPT_ENGINE, samplesMax: 50_000_000, features });
const scriptEngine = createEngine(SCRIPT_ENGINE);

/** What came of the comparisons. */
class Report {
  compared = 0;
  /** Evaluated whole, since some piece fails or several say something. */
  whole = 0;
  /** Of those that were compared: with values in more than one piece. */
  spread = 0;
  readonly obstacles = new Map<string, number>();
  readonly differences: string[] = [];

  print(): string {
    const obstacles = [...this.obstacles].map(([name, times]) => `${name} ${times}`).join(', ');
    return `${this.compared} compared, ${this.spread} of them spread over pieces; ${this.whole} left whole; not cut: ${obstacles}`;
  }
}

type Range = Omit<QueryRequest, 'expr' | 'query'> & { readonly query: string };

async function tryEvaluate(range: Range, storage: MemoryQueryable): Promise<QueryResult | undefined> {
  try {
    return await engine.execute({ ...range, expr: parseExpr(range.query, features) }, storage, CONTEXT);
  } catch (caught) {
    if (caught instanceof AppError) return undefined;
    throw caught;
  }
}

function framesOf({ series }: QueryResult): Uint8Array[] {
  const writer = new ResultFrameWriter();
  const frames = series.map(({ labels, timestampsMs, values, count, histograms }) =>
    writer.add(labels, timestampsMs, withOneNaN(values, count), count, histograms),
  );
  return [...frames, writer.finish()].filter((frame) => frame !== undefined);
}

/** Which bits a NaN has that was computed differs between interpreted and compiled code; it is written as "NaN" in either case. */
function withOneNaN(values: Float64Array, count: number): Float64Array<ArrayBuffer> {
  const own = values.slice(0, count) as Float64Array<ArrayBuffer>;
  const words = wordsOf(own);
  for (let i = 0; i < count; i++) {
    if (!Number.isNaN(own[i])) continue;
    words[2 * i] = 0;
    words[2 * i + 1] = 0x7ff80000;
  }
  return own;
}

/** Compares a range query with its pieces, where it may be cut. */
async function compare(
  range: Range,
  storage: MemoryQueryable,
  random: Random,
  report: Report,
): Promise<void> {
  const expr = parseExpr(range.query, features);
  if (!['vector', 'scalar'].includes(typeOf(expr))) return;
  const obstacle = obstacleOf(expr, features);
  if (obstacle !== undefined) {
    report.obstacles.set(obstacle, (report.obstacles.get(obstacle) ?? 0) + 1);
    return;
  }
  const { startMs, endMs, stepMs } = range;
  const steps = (endMs - startMs) / stepMs + 1;
  const first = 1 + Math.floor(random() * (steps - 2));
  const second = first + 1 + Math.floor(random() * (steps - first - 1));
  const bounds = [0, first, second, steps];
  const runs = bounds.slice(1).map((to, i) => ({
    ...{ startMs: startMs + bounds[i]! * stepMs, endMs: startMs + (to - 1) * stepMs },
  }));
  const pieces = await Promise.all(runs.map((run) => tryEvaluate({ ...range, ...run }, storage)));
  const whole = await tryEvaluate(range, storage);
  const answered = pieces.filter((piece) => piece !== undefined);
  const saying = answered.filter(({ warnings, infos }) => warnings.length + infos.length > 0);
  if (answered.length < pieces.length || saying.length > 1) {
    report.whole++;
    return;
  }
  report.compared++;
  if (answered.filter(({ series }) => series.length > 0).length > 1) report.spread++;
  const where = `${range.query} from ${startMs} to ${endMs}, cut at ${first} and ${second}`;
  if (whole === undefined) {
    report.differences.push(`${where}: only the whole fails`);
    return;
  }
  const said = ({ warnings, infos }: QueryResult) => JSON.stringify([warnings, infos]);
  const expected = saying[0] === undefined ? '[[],[]]' : said(saying[0]);
  if (said(whole) !== expected)
    report.differences.push(`${where}: says ${expected} instead of ${said(whole)}`);
  const rows = await stitch(
    range,
    runs.map((run, i) => ({ ...run, frames: framesOf(answered[i]!) })),
    () => undefined,
    () => undefined,
  );
  const stitched = await Array.fromAsync(rows.frames(rows.size, () => undefined));
  if (!Buffer.concat(stitched).equals(Buffer.concat(framesOf(whole))))
    report.differences.push(`${where}: other values`);
}

test('the scripts are there', () => {
  if (process.env.CI === 'true') expect(SCRIPTS.length).toBeGreaterThan(0);
});

const scripted = new Report();

test.each(SCRIPTS)('%s', { timeout: 180_000 }, async (file) => {
  const random = randomOf(1);
  const from = scripted.differences.length;
  await runScript(
    readFileSync(file, 'utf8'),
    memorySubject(async (request, storage) => {
      const { startMs, endMs, stepMs, query } = request;
      if (query !== undefined) {
        const times =
          stepMs > 0 && endMs > startMs + 2 * stepMs
            ? { startMs, endMs: startMs + Math.floor((endMs - startMs) / stepMs) * stepMs, stepMs }
            : { startMs: startMs - 600_000, endMs: startMs + 600_000, stepMs: 60_000 };
        await compare({ query, ...times }, storage, random, scripted).catch((caught: unknown) => {
          // Refused at once: nothing is evaluated.
          if (!(caught instanceof AppError)) throw caught;
        });
      }
      return scriptEngine.execute(request, storage, CONTEXT);
    }),
  );
  expect(scripted.differences.slice(from)).toEqual([]);
});

test.skipIf(SCRIPTS.length === 0)('much of the scripts is cut', () => {
  console.log(`scripts: ${scripted.print()}`);
  expect(scripted.spread).toBeGreaterThan(1000);
});

test.each([
  [
    'over floats and histograms with gaps',
    generatePushDownQuery,
    [1, 2, 3, 4].map((seed) => generateStorage(randomOf(seed))),
    { fromMs: -300_000, toMs: SERIES_END_MS, stepMs: 30_000 },
  ],
  [
    'as upstream takes them',
    generateUpstreamQuery,
    [generateData().storage],
    { fromMs: FIRST_MS - 300_000, toMs: FIRST_MS + 3_600_000, stepMs: 30_000 },
  ],
] as const)(
  'generated queries, %s',
  { timeout: 180_000 },
  async (_name, generate, storages, { fromMs, toMs, stepMs }) => {
    const report = new Report();
    for (let seed = 1; seed <= QUERIES; seed++) {
      const random = randomOf(seed);
      const query = generate(random);
      const startMs = fromMs + Math.floor((random() * (toMs - fromMs)) / 1000) * 1000;
      const range = { query, startMs, endMs: startMs + (STEPS - 1) * stepMs, stepMs };
      try {
        await compare(range, storages[seed % storages.length]!, random, report);
      } catch (caught) {
        if (!(caught instanceof AppError)) throw caught;
      }
    }
    console.log(report.print());
    expect(report.differences).toEqual([]);
    expect(report.spread).toBeGreaterThan(QUERIES / 20);
  },
);
