// The query endpoints over HTTP, with a played querier. Bodies are those of Prometheus' API documentation; error texts
// those of Prometheus 3.
import http from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type GatewayRig,
  type PlayedSeries,
  playResult,
  startGateway,
} from '../../../test/support/gateway-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import { DEFAULT_FEATURES } from '../../lib/promql/features.ts';
import type { Handlers } from '../../lib/transport/rpc.ts';
import { type QuerierDefinition, type QueryRequest, ResultType } from '../../lib/wire/contracts.ts';
import type { GatewayOptions } from '../options.ts';

type QueryHandler = Handlers<typeof QuerierDefinition>['query'];

const { RESULT_TYPE_MATRIX, RESULT_TYPE_SCALAR, RESULT_TYPE_STRING, RESULT_TYPE_VECTOR } = ResultType;

let rig: GatewayRig;
let asked: QueryRequest[] = [];
afterEach(async () => {
  asked = [];
  await rig.close();
});

async function start(handler: QueryHandler, options: Partial<GatewayOptions> = {}): Promise<void> {
  const query: QueryHandler = (request, context) => {
    asked.push(request);
    return handler(request, context);
  };
  rig = await startGateway({ querier: { query } }, options);
}

async function get(path: string): Promise<{ status: number; text: string; headers: Headers }> {
  const response = await fetch(`${rig.url}/api/v1/${path}`);
  return { status: response.status, text: await response.text(), headers: response.headers };
}

const UP: PlayedSeries[] = [
  { labels: { __name__: 'up', job: 'prometheus' }, samples: [[1_435_781_451_781, 1]] },
  { labels: { __name__: 'up', job: 'node' }, samples: [[1_435_781_451_781, 0]] },
];

describe('results', () => {
  test('a vector', async () => {
    await start(() => playResult(RESULT_TYPE_VECTOR, UP));
    const { status, text, headers } = await get('query?query=up&time=2015-07-01T20:10:51.781Z');
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('application/json');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(text).toBe(
      '{"status":"success","data":{"resultType":"vector","result":[' +
        '{"metric":{"__name__":"up","job":"prometheus"},"value":[1435781451.781,"1"]},' +
        '{"metric":{"__name__":"up","job":"node"},"value":[1435781451.781,"0"]}]}}',
    );
    expect(asked).toMatchObject([
      { query: 'up', startMs: 1_435_781_451_781, endMs: 1_435_781_451_781, stepMs: 0, timeoutMs: 120_000 },
    ]);
  });

  test('a matrix, with warnings and infos', async () => {
    const samples = [
      [1000, 1],
      [16_000, 2],
    ] as const;
    await start(() =>
      playResult(RESULT_TYPE_MATRIX, [{ labels: {}, samples }], { warnings: ['half "lost"'], infos: ['hm'] }),
    );
    const { text } = await get(
      'query_range?query=up&start=1&end=16&step=15s&limit=5&timeout=10&lookback_delta=1m',
    );
    expect(text).toBe(
      '{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[16,"2"]]}]},' +
        '"warnings":["half \\"lost\\""],"infos":["hm"]}',
    );
    expect(asked).toMatchObject([
      { startMs: 1000, endMs: 16_000, stepMs: 15_000, limit: 5, timeoutMs: 10_000, lookbackMs: 60_000 },
    ]);
  });

  test.each([
    [RESULT_TYPE_SCALAR, [{ labels: {}, samples: [[2500, 1e-7]] }], '', 'scalar', '[2.5,"0.0000001"]'],
    [RESULT_TYPE_STRING, [], 'a"\n', 'string', '[2.5,"a\\"\\n"]'],
    [RESULT_TYPE_VECTOR, [], '', 'vector', '[]'],
    [RESULT_TYPE_MATRIX, [], '', 'matrix', '[]'],
  ] as const)('type %d', async (type, series, stringValue, name, result) => {
    await start(() => playResult(type, series, {}, stringValue));
    const { text } = await get('query?query=x&time=2.5');
    expect(text).toBe(`{"status":"success","data":{"resultType":"${name}","result":${result}}}`);
  });

  test('stats', async () => {
    const trailer = { samplesRead: 30, samplesPeak: 10, planMs: 1, fetchMs: 2, evaluateMs: 4, queueMs: 5 };
    await start(() => playResult(RESULT_TYPE_VECTOR, [], trailer));
    const body = JSON.parse((await get('query?query=x&stats=all')).text);
    expect(body.data.stats).toMatchObject({
      timings: {
        evalTotalTime: 0.006,
        innerEvalTime: 0.004,
        queryPreparationTime: 0.003,
        execQueueTime: 0.005,
      },
      samples: { totalQueryableSamples: 30, peakSamples: 10 },
    });
    expect(body.warnings).toBeUndefined();
    const deprecated = JSON.parse((await get('query?query=x&stats=yes')).text);
    expect(deprecated.data.stats).toBeDefined();
    expect(deprecated.warnings).toHaveLength(1);
  });

  test('stats of each step, with the feature and for stats=all', async () => {
    const trailer = {
      samplesRead: 30,
      samplesFetched: 20,
      steps: { samplesRead: [10, 20], samplesFetched: [10, 10] },
    };
    const features = { ...DEFAULT_FEATURES, perStepStats: true };
    await start(() => playResult(RESULT_TYPE_MATRIX, [], trailer), { features });
    const path = 'query_range?query=x&start=1.5&end=16.5&step=15&stats=';
    const body = JSON.parse((await get(`${path}all`)).text);
    expect(body.data.stats.samples).toEqual({
      totalQueryableSamplesPerStep: [
        [1.5, 10],
        [16.5, 20],
      ],
      totalQueryableSamples: 30,
      samplesReadPerStep: [
        [1.5, 10],
        [16.5, 10],
      ],
      samplesRead: 20,
      peakSamples: 0,
    });
    await get(`${path}true`);
    expect(asked.map(({ perStepStats }) => perStepStats)).toEqual([true, false]);
  });

  test('label values are data, whatever they hold', async () => {
    const hostile = '</script><img src=x onerror=alert(1)>"\\\u0000\u2028😀';
    const labels = JSON.parse(
      JSON.stringify({ [hostile]: hostile, constructor: 'c' }).replace('constructor', '__proto__'),
    );
    await start(() => playResult(RESULT_TYPE_VECTOR, [{ labels, samples: [[1000, 1]] }]));
    const { text } = await get('query?query=x');
    const { metric } = JSON.parse(text).data.result[0];
    expect(new Map(Object.entries(metric))).toEqual(new Map(Object.entries(labels)));
  });
});

describe('a form body', () => {
  beforeEach(() => start(() => playResult(RESULT_TYPE_VECTOR, []), { limits: { formBytesMax: 2000 } }));

  test('is merged with the query string, and wins', async () => {
    const response = await fetch(`${rig.url}/api/v1/query?query=from_url&time=7`, {
      method: 'POST',
      body: new URLSearchParams({ query: 'from_body+{a="b c"}' }),
    });
    expect(response.status).toBe(200);
    expect(asked).toMatchObject([{ query: 'from_body+{a="b c"}', startMs: 7000 }]);
  });

  test('of another type is not read', async () => {
    const response = await fetch(`${rig.url}/api/v1/query?query=from_url`, {
      method: 'POST',
      body: 'query=from_body',
      headers: { 'content-type': 'text/plain' },
    });
    expect(response.status).toBe(200);
    expect(asked).toMatchObject([{ query: 'from_url' }]);
  });

  test.each([true, false])('over the limit is refused (length declared: %s)', async (declared) => {
    const body = `query=${'a'.repeat(3000)}`;
    const request = http.request(`${rig.url}/api/v1/query`, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        ...(declared ? { 'content-length': body.length } : {}),
      },
    });
    const answered = new Promise<http.IncomingMessage>((resolve) => request.once('response', resolve));
    request.end(body);
    const response = await answered;
    response.resume();
    expect(response.statusCode).toBe(400);
    expect(asked).toEqual([]);
  });
});

describe('refusals', () => {
  const NOT_A_TIME = 'cannot parse \\"x\\" to a valid timestamp';
  test.each([
    ['query?query=up&time=x', `invalid parameter \\"time\\": invalid time value for 'time': ${NOT_A_TIME}`],
    ['query?query=up&limit=-1', 'invalid parameter \\"limit\\": limit must be non-negative'],
    ['query?query=up&timeout=x', 'invalid parameter \\"timeout\\": cannot parse \\"x\\" to a valid duration'],
    [
      'query?query=up&lookback_delta=x',
      'error parsing lookback delta duration: cannot parse \\"x\\" to a valid duration',
    ],
    ['query_range?query=up&start=x&end=2&step=1', `invalid parameter \\"start\\": ${NOT_A_TIME}`],
    ['query_range?query=up&start=1&end=x&step=1', `invalid parameter \\"end\\": ${NOT_A_TIME}`],
    [
      'query_range?query=up&step=1',
      'invalid parameter \\"start\\": cannot parse \\"\\" to a valid timestamp',
    ],
    [
      'query_range?query=up&start=2&end=1&step=1',
      'invalid parameter \\"end\\": end timestamp must not be before start time',
    ],
    [
      'query_range?query=up&start=1&end=2&step=0',
      'invalid parameter \\"step\\": zero or negative query resolution step widths are not accepted. Try a positive integer',
    ],
    [
      'query_range?query=up&start=0&end=11001&step=1',
      'exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)',
    ],
    ['format_query?query=a%2B', 'invalid parameter \\"query\\": 1:3: parse error: unexpected end of input'],
  ])('%s', async (path, message) => {
    await start(() => playResult(RESULT_TYPE_VECTOR, []));
    expect(await get(path)).toMatchObject({
      status: 400,
      text: `{"status":"error","errorType":"bad_data","error":"${message}"}`,
    });
    expect(asked).toEqual([]);
  });

  test('11,000 steps are accepted', async () => {
    await start(() => playResult(RESULT_TYPE_MATRIX, []));
    expect((await get('query_range?query=up&start=0&end=11000&step=1')).status).toBe(200);
  });

  test.each([
    ['bad_data', 400, 'bad_data', 'invalid parameter "query": boom'],
    ['execution', 422, 'execution', 'boom'],
    ['resource_exhausted', 422, 'execution', 'boom'],
    ['timeout', 503, 'timeout', 'boom'],
    ['canceled', 499, 'canceled', 'boom'],
    ['internal', 500, 'internal', 'boom'],
    ['not_found', 404, 'not_found', 'boom'],
    ['unavailable', 503, 'unavailable', 'boom'],
  ] as const)('the querier’s %s is HTTP %d', async (code, status, errorType, error) => {
    await start(() => {
      throw new AppError(code, 'boom');
    });
    const answer = await get('query?query=up');
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text)).toEqual({ status: 'error', errorType, error });
    expect(answer.headers.get('retry-after')).toBe(code === 'unavailable' ? '5' : null);
  });

  test('an error behind the header still has its status', async () => {
    await start(async function* () {
      yield { part: { $case: 'header', value: { resultType: RESULT_TYPE_MATRIX, stringValue: '' } } };
      throw new AppError('execution', 'too many samples');
    });
    expect(await get('query?query=up')).toMatchObject({ status: 422 });
  });

  test('no querier', async () => {
    rig = await startGateway();
    const answer = await get('query?query=up');
    expect(JSON.parse(answer.text)).toMatchObject({ errorType: 'unavailable' });
  });

  test('a time-out of zero has passed', async () => {
    await start(() => playResult(RESULT_TYPE_VECTOR, []));
    expect(await get('query?query=up&timeout=0')).toMatchObject({
      status: 503,
      text: '{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}',
    });
  });

  test('a time-out is no longer than the flag allows', async () => {
    await start(() => playResult(RESULT_TYPE_VECTOR, []), { queryTimeoutMs: 5000 });
    await get('query?query=up&timeout=1h');
    expect(asked).toMatchObject([{ timeoutMs: 5000 }]);
  });
});

describe('long answers', () => {
  const steps = Array.from({ length: 1000 }, (_, i) => [i * 1000, i / 7] as const);
  const many = (count: number): PlayedSeries[] =>
    Array.from({ length: count }, (_, i) => ({ labels: { series: `${i}` }, samples: steps }));

  test.each(['identity', 'gzip'])('arrive whole (%s)', async (encoding) => {
    await start(() => playResult(RESULT_TYPE_MATRIX, many(300), { warnings: ['last'] }));
    const response = await fetch(`${rig.url}/api/v1/query?query=x`, {
      headers: { 'accept-encoding': encoding },
    });
    expect(response.headers.get('content-encoding')).toBe(encoding === 'gzip' ? 'gzip' : null);
    expect(response.headers.get('vary')).toContain('Accept-Encoding');
    const body = (await response.json()) as { data: { result: { values: unknown[] }[] }; warnings: string[] };
    expect(body.data.result.map(({ values }) => values.length)).toEqual(
      Array.from({ length: 300 }, () => 1000),
    );
    expect(body.data.result[299]).toMatchObject({ metric: { series: '299' } });
    expect(body.data.result[299]!.values.at(-1)).toEqual([999, String(999 / 7)]);
    expect(body.warnings).toEqual(['last']);
  });

  test('small ones are not compressed', async () => {
    await start(() => playResult(RESULT_TYPE_VECTOR, UP));
    const { headers } = await get('query?query=x');
    expect(headers.get('content-encoding')).toBeNull();
    expect(Number(headers.get('content-length'))).toBeGreaterThan(100);
  });

  test('that fail half-way are cut off, never ended as if whole', async () => {
    await start(async function* () {
      for await (const message of playResult(RESULT_TYPE_MATRIX, many(300))) {
        if (message.part?.$case === 'trailer') throw new AppError('internal', 'lost a store');
        yield message;
      }
    });
    const response = await fetch(`${rig.url}/api/v1/query?query=x`);
    expect(response.status).toBe(200);
    await expect(response.text()).rejects.toThrow();
  });

  test('wait for the client, and end with it', async () => {
    let sent = 0;
    let ended: string | undefined;
    await start(async function* (_request, { signal }) {
      signal.addEventListener('abort', () => {
        ended = (signal.reason as AppError).code;
      });
      for (let i = 0; i < 1000; i++) {
        for await (const message of playResult(RESULT_TYPE_MATRIX, many(70))) {
          if (i > 0 && message.part?.$case === 'header') continue;
          if (message.part?.$case === 'trailer') continue;
          sent++;
          yield message;
        }
      }
    });
    const response = await new Promise<http.IncomingMessage>((resolve) => {
      http.get(`${rig.url}/api/v1/query?query=x`, resolve);
    });
    await expect.poll(() => sent, { timeout: 5000 }).toBeGreaterThan(1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const stalledAt = sent;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(sent).toBe(stalledAt);
    expect(sent).toBeLessThan(200);
    response.destroy();
    await expect.poll(() => ended, { timeout: 5000 }).toBe('canceled');
  });

  test('do not wait for ever', async () => {
    let ended: string | undefined;
    await start(
      async function* (_request, { signal }) {
        signal.addEventListener('abort', () => {
          ended = (signal.reason as AppError).code;
        });
        yield { part: { $case: 'header', value: { resultType: RESULT_TYPE_MATRIX, stringValue: '' } } };
        for (let i = 0; i < 1000; i++) {
          for await (const message of playResult(RESULT_TYPE_MATRIX, many(70))) {
            if (message.part?.$case === 'frame') yield message;
          }
        }
      },
      { limits: { stallTimeoutMs: 300 } },
    );
    const response = await new Promise<http.IncomingMessage>((resolve) => {
      http.get(`${rig.url}/api/v1/query?query=x`, resolve);
    });
    response.on('error', () => undefined);
    await expect.poll(() => ended, { timeout: 5000 }).toBe('canceled');
    response.destroy();
  });

  test('a client that leaves cancels the query', async () => {
    let reason: AppError | undefined;
    await start(async function* (_request, { signal }) {
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason as AppError;
          resolve();
        });
      });
      yield* playResult(RESULT_TYPE_VECTOR, []);
    });
    const leave = new AbortController();
    const response = fetch(`${rig.url}/api/v1/query?query=x`, { signal: leave.signal });
    await expect.poll(() => asked.length).toBe(1);
    leave.abort();
    await expect(response).rejects.toThrow();
    await expect.poll(() => reason?.code).toBe('canceled');
  });
});

test('a malformed frame is a fault of ours, not of the query', async () => {
  await start(async function* () {
    yield { part: { $case: 'header', value: { resultType: RESULT_TYPE_VECTOR, stringValue: '' } } };
    yield { part: { $case: 'frame', value: Buffer.from([9, 0, 0, 0]) } };
  });
  const { status, text } = await get('query?query=up');
  expect(status).toBe(500);
  expect(JSON.parse(text)).toMatchObject({ errorType: 'internal' });
});

test('format_query', async () => {
  await start(() => playResult(RESULT_TYPE_VECTOR, []));
  expect((await get('format_query?query=foo/bar')).text).toBe('{"status":"success","data":"foo / bar"}');
});

test('parse_query', async () => {
  await start(() => playResult(RESULT_TYPE_VECTOR, []));
  const { text } = await get('parse_query?query=-up%20offset%201m');
  const node = {
    type: 'unaryExpr',
    op: '-',
    expr: {
      type: 'vectorSelector',
      name: 'up',
      offset: 60_000,
      offsetExpr: null,
      matchers: [{ name: '__name__', value: 'up', type: '=' }],
      timestamp: null,
      startOrEnd: null,
      anchored: false,
      smoothed: false,
    },
  };
  expect(JSON.parse(text)).toEqual({ status: 'success', data: node });
  const { status, text: refused } = await get('parse_query?query=a%2B');
  expect([status, JSON.parse(refused).error]).toEqual([
    400,
    'invalid parameter "query": 1:3: parse error: unexpected end of input',
  ]);
});
