// The engine through its front: limits, cancellation, sharing of selects, shape of results. Semantics are the test
// scripts' matter (test/conformance).
import { describe, expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { Labels } from '../../model/labels.ts';
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../../model/queryable.ts';
import { putStale, wordsOf } from '../../model/sample-columns.ts';
import { ALL_FEATURES, DEFAULT_FEATURES } from '../features.ts';
import { parseExpr } from '../parse/parser.ts';
import { createEngine } from './engine.ts';
import type { EngineOptions, QueryResult } from './query.ts';

/** `count` series `m{i="…"}` with value i at 0, 1000, … 9000 ms; series 1 ends with a staleness marker. */
class FakeQueryable implements Queryable {
  readonly requests: SelectRequest[] = [];
  released = 0;
  readonly #count: number;

  constructor(count: number) {
    this.#count = count;
  }

  select(request: SelectRequest): Promise<SeriesSet> {
    this.requests.push(request);
    return Promise.resolve({
      size: this.#count,
      labels: (index) =>
        Labels.from([
          ['__name__', request.matchers.find(({ name }) => name === '__name__')!.value],
          ['i', String(index)],
        ]),
      read: (index, minTimeMs, maxTimeMs, into) => {
        into.count = 0;
        into.reserve(10);
        for (let timeMs = 0; timeMs < 10_000; timeMs += 1000) {
          if (timeMs < minTimeMs || timeMs > maxTimeMs) continue;
          into.timestampsMs[into.count] = timeMs;
          into.values[into.count] = index;
          if (index === 1 && timeMs === 9000) putStale(wordsOf(into.values), into.count);
          into.count++;
        }
      },
      warnings: ['partition 7 did not answer'],
      release: () => {
        this.released++;
      },
    });
  }
}

const OPTIONS: EngineOptions = {
  lookbackMs: 5000,
  samplesMax: 1000,
  features: DEFAULT_FEATURES,
  noStepSubqueryIntervalMs: 1000,
};

class Charges implements QueryContext {
  readonly #controller = new AbortController();
  held = 0;
  largest = 0;
  limit = Number.POSITIVE_INFINITY;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: AppError): void {
    this.#controller.abort(reason);
  }

  chargeBytes(bytes: number): void {
    this.held += bytes;
    this.largest = Math.max(this.largest, this.held);
    if (this.held > this.limit) throw new AppError('execution', 'query holds too many bytes');
  }
}

function run(
  query: string,
  times: readonly [number, number, number],
  { series = 3, options = OPTIONS, context = new Charges(), queryable = new FakeQueryable(series) } = {},
): Promise<QueryResult> {
  const [startMs, endMs, stepMs] = times;
  const engine = createEngine(options);
  return engine.execute(
    { expr: parseExpr(query, ALL_FEATURES), query, startMs, endMs, stepMs },
    queryable,
    context,
  );
}

/** `labels=values` of each series. */
function show(result: QueryResult): string[] {
  return result.series.map(
    ({ labels, values, count }) => `${labels.toString()}=${[...values.subarray(0, count)].join()}`,
  );
}

describe('results', () => {
  test('of an instant query carry the evaluation time', async () => {
    const result = await run('m', [4500, 4500, 0]);
    expect(result.type).toBe('vector');
    expect(show(result)).toEqual(['m{i="0"}=0', 'm{i="1"}=1', 'm{i="2"}=2']);
    expect(result.series[0]!.timestampsMs[0]).toBe(4500);
    expect(result.warnings).toEqual(['partition 7 did not answer']);
  });

  test('of a range query end where a series goes stale', async () => {
    const result = await run('m{i="1"}', [8000, 10_000, 1000]);
    expect(result.type).toBe('matrix');
    expect(show(result)).toEqual(['m{i="0"}=0,0,0', 'm{i="1"}=1', 'm{i="2"}=2,2,2']);
  });

  test('of a scalar, a string and a range vector have their own types', async () => {
    expect((await run('1 + 2', [0, 0, 0])).series[0]!.values[0]).toBe(3);
    expect((await run('"text"', [0, 0, 0])).text).toBe('text');
    const matrix = await run('m[2s]', [9000, 9000, 0]);
    expect(show(matrix)).toEqual(['m{i="0"}=0,0', 'm{i="1"}=1', 'm{i="2"}=2,2']);
  });

  test('of topk keep their order in instant queries and are sorted by labels in range queries', async () => {
    expect(show(await run('topk(2, m)', [4000, 4000, 0]))).toEqual(['m{i="2"}=2', 'm{i="1"}=1']);
    expect(show(await run('topk(2, m)', [4000, 5000, 1000]))).toEqual(['m{i="1"}=1,1', 'm{i="2"}=2,2']);
  });
});

describe('limits', () => {
  test('an expression of label_replace that is dear to compile is refused at once, by name of the limit', async () => {
    const regex = 'a{1000}'.repeat(50);
    await expect(run(`label_replace(m, "x", "$1", "i", "${regex}")`, [0, 0, 0])).rejects.toThrow(
      /more than the limit of 8192/,
    );
  });

  test('samplesMax counts what Prometheus counts and fails in its words', async () => {
    const options = { ...OPTIONS, samplesMax: 28 };
    await expect(run('m', [0, 9000, 1000], { options })).rejects.toThrow(
      'query processing would load too many samples into memory in query execution',
    );
    const result = await run('m', [0, 9000, 1000], { options: { ...OPTIONS, samplesMax: 29 } });
    // Series 1 is stale at the last step.
    expect(result.stats).toMatchObject({ samples: { used: 29, fetched: 29 }, samplesPeak: 29 });
  });

  test('all charged bytes are given back, also after an error', async () => {
    const context = new Charges();
    await run('sum by (i) (rate(m[3s])) + m', [0, 9000, 1000], { context });
    expect(context.largest).toBeGreaterThan(0);
    expect(context.held).toBe(0);
    const tight = new Charges();
    tight.limit = 100;
    await expect(run('m + m', [0, 9000, 1000], { context: tight })).rejects.toThrow('too many bytes');
    expect(tight.held).toBeLessThanOrEqual(tight.largest);
  });

  test('a cancelled query throws the reason', async () => {
    const context = new Charges();
    context.abort(new AppError('timeout', 'query timed out in expression evaluation'));
    await expect(run('m', [0, 0, 0], { context })).rejects.toMatchObject({ code: 'timeout' });
  });

  test('a long evaluation lets others run and notices that it was cancelled', async () => {
    let nowMs = 0;
    const context = new Charges();
    const options = { ...OPTIONS, sliceMs: 10, nowMs: () => (nowMs += 1), samplesMax: 1e6 };
    let others = 0;
    const timer = setInterval(() => {
      others++;
      if (others === 3) context.abort(new AppError('canceled', 'client left'));
    }, 0);
    try {
      await expect(run('sum(m)', [0, 9000, 10], { series: 2000, options, context })).rejects.toMatchObject({
        code: 'canceled',
      });
      expect(others).toBe(3);
    } finally {
      clearInterval(timer);
    }
  });
});

describe('selects', () => {
  test('identical selectors are fetched once and released once', async () => {
    const queryable = new FakeQueryable(3);
    await run('rate(m[3s]) / rate(m[3s]) + m', [0, 9000, 1000], { queryable });
    expect(queryable.requests.map(({ minTimeMs, maxTimeMs }) => [minTimeMs, maxTimeMs])).toEqual([
      [-2999, 9000],
      [-4999, 9000],
    ]);
    expect(queryable.released).toBe(2);
  });

  test('offset, @ and subqueries ask for the samples that they need', async () => {
    const queryable = new FakeQueryable(1);
    await run('m offset 1s', [5000, 9000, 1000], { queryable });
    await run('m @ 3', [5000, 9000, 1000], { queryable });
    await run('sum_over_time(m[4s:3s])', [5000, 9000, 1000], { queryable });
    expect(queryable.requests.map(({ minTimeMs, maxTimeMs }) => [minTimeMs, maxTimeMs])).toEqual([
      [-999, 8000],
      [-1999, 3000],
      // Steps of the subquery: multiples of 3 s in (1 s, 9 s].
      [-1999, 9000],
    ]);
  });
});

// Prometheus 3.14 has no result for these (its issue 18610, mended in 3.15), so it cannot be asked. The subquery's values are
// its times: 2, 3, 4 and 5 s.
describe('a subquery at a fixed time', () => {
  test('predicts from there for each step', async () => {
    const result = await run('predict_linear(timestamp(m)[4s:1s] @ 5, 60)', [6000, 8000, 1000], {
      series: 1,
    });
    expect(show(result)).toEqual(['{i="0"}=66,67,68']);
  });

  test('is asked for another quantile at each step', async () => {
    const query = 'quantile_over_time((time() - 6) / 2, timestamp(m)[4s:1s] @ end() offset 3s)';
    const result = await run(query, [6000, 8000, 1000], { series: 1 });
    expect(show(result)).toEqual(['{i="0"}=2,3.5,5']);
    // Of four values each; the sample of each was fetched once.
    expect(result.stats).toMatchObject({ samples: { used: 12, fetched: 4 } });
  });
});

describe('annotations', () => {
  test('carry their position, and no position without a text', async () => {
    const words =
      'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "m"';
    const result = await run('sum(rate(m[3s]))', [5000, 5000, 0]);
    expect(result.infos).toEqual([`${words} (1:10)`]);
    const engine = createEngine(OPTIONS);
    const expr = parseExpr('rate(m[3s])', ALL_FEATURES);
    const bare = await engine.execute(
      { expr, startMs: 5000, endMs: 5000, stepMs: 0 },
      new FakeQueryable(1),
      new Charges(),
    );
    expect(bare.infos).toEqual([words]);
  });
});

describe('matching errors', () => {
  test('name the group, the side and both series', async () => {
    await expect(run('a + on () b', [5000, 5000, 0])).rejects.toThrow(
      'found duplicate series for the match group {} on the right hand-side of the operation: ' +
        '[{__name__="b", i="1"}, {__name__="b", i="0"}];many-to-many matching not allowed: matching labels must be unique on one side',
    );
    await expect(run('a + on () group_left () sum(b) + on () a', [5000, 5000, 0])).rejects.toThrow(
      'many-to-many matching not allowed',
    );
    await expect(run('a + on () sum(b)', [5000, 5000, 0])).rejects.toThrow(
      'multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)',
    );
    await expect(run('a + on () group_left (i) max(b)', [5000, 5000, 0])).rejects.toThrow(
      'multiple matches for labels: grouping labels must ensure unique matches',
    );
  });
});
