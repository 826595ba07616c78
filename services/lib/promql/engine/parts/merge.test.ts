// What the corpus does not show of parts and merge: limits, cancelling, malformed rows. Equal answers are the business of
// test/conformance/promql-push-down.test.ts.
import { expect, test } from 'vitest';
import { Labels } from '../../../model/labels.ts';
import type { Queryable, SelectRequest } from '../../../model/queryable.ts';
import { ALL_FEATURES } from '../../features.ts';
import { parseExpr } from '../../parse/parser.ts';
import { cut } from '../../plan/plan.ts';
import { createEngine } from '../engine.ts';
import type { CutRequest, Engine } from '../query.ts';
import type { PartialResult } from './partial.ts';

const CONTEXT = { signal: new AbortController().signal, chargeBytes: () => {} };

/** Series `x{i="from"}` … `x{i="to - 1"}` with a sample of `value` at time 0. */
function seriesOf(from: number, to: number, value = 1): Queryable {
  return {
    select: (_request: SelectRequest) =>
      Promise.resolve({
        size: to - from,
        labels: (index) =>
          Labels.from([
            ['__name__', 'x'],
            ['i', String(from + index)],
          ]),
        read: (_index, _minTimeMs, _maxTimeMs, into) => {
          into.timestampsMs[0] = 0;
          into.values[0] = value;
          into.count = 1;
          into.histograms = undefined;
        },
        warnings: [`of ${from}`],
        release: () => {},
      }),
  };
}

function engineOf(samplesMax: number): Engine {
  return createEngine({
    lookbackMs: 300_000,
    samplesMax,
    features: ALL_FEATURES,
    noStepSubqueryIntervalMs: 60_000,
  });
}

function requestOf(query: string): CutRequest {
  const plan = cut(parseExpr(query, ALL_FEATURES), { features: ALL_FEATURES })!;
  return { plan, query, startMs: 0, endMs: 0, stepMs: 0 };
}

async function halves(engine: Engine, request: CutRequest, value = 1): Promise<PartialResult[]> {
  return Promise.all(
    [seriesOf(0, 5, value), seriesOf(5, 10, value)].map((series) =>
      engine.executePart({ ...request, part: 0 }, series, CONTEXT),
    ),
  );
}

test('parts below the sample limit are over it together', async () => {
  const request = requestOf('sum(x)');
  const partials = await halves(engineOf(10), request);
  const merged = await engineOf(10).executeMerge(request, partials, seriesOf(0, 10), CONTEXT);
  expect(merged?.series[0]?.values[0]).toBe(10);
  expect(merged?.stats).toMatchObject({ samples: { used: 10, fetched: 10 }, samplesPeak: 10 });
  expect(merged?.warnings).toEqual(['of 0', 'of 5']);
  await expect(engineOf(9).executeMerge(request, partials, seriesOf(0, 10), CONTEXT)).rejects.toThrow(
    'too many samples',
  );
});

test('a part over the sample limit is over it by itself', async () => {
  const request = requestOf('x');
  await expect(halves(engineOf(4), request)).rejects.toThrow('too many samples');
});

test('sums of parts that overflow together are not merged', async () => {
  const request = requestOf('sum(x)');
  const partials = await halves(engineOf(10), request, Number.MAX_VALUE / 5);
  expect(partials.map(({ declined }) => declined)).toEqual(['', '']);
  expect(await engineOf(10).executeMerge(request, partials, seriesOf(0, 10), CONTEXT)).toBeUndefined();
});

test('a part whose own sum overflows declines', async () => {
  const [partial] = await halves(engineOf(10), requestOf('sum(x)'), Number.MAX_VALUE);
  expect(partial?.declined).toContain('depends on the order of series');
  expect(partial?.rows).toEqual([]);
});

test('a cancelled query stops in parts and merge', async () => {
  const request = requestOf('sum(x)');
  const partials = await halves(engineOf(10), request);
  const cancelled = { ...CONTEXT, signal: AbortSignal.abort(new Error('cancelled')) };
  const engine = engineOf(10);
  await expect(engine.executePart({ ...request, part: 0 }, seriesOf(0, 5), cancelled)).rejects.toThrow(
    'cancelled',
  );
  await expect(engine.executeMerge(request, partials, seriesOf(0, 5), cancelled)).rejects.toThrow(
    'cancelled',
  );
});

test.each([
  ['a time that is no step', { timestampsMs: Float64Array.of(1) }],
  ['columns of another operator', { columns: [] }],
  ['a sum of histograms without what it lost', { tag: 1 }],
  ['an unknown tag', { tag: 9 }],
])('%s is refused', async (_name, change) => {
  const request = requestOf('sum(x)');
  const [partial] = await halves(engineOf(10), request);
  const rows = partial!.rows.map((row) => ({ ...row, ...change }));
  const merging = engineOf(10).executeMerge(request, [{ ...partial!, rows }], seriesOf(0, 5), CONTEXT);
  await expect(merging).rejects.toThrow('partial result: ');
});
