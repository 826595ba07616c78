// The gateway as a whole: management endpoints, status, CORS, routing, metrics, assets, draining.
import http from 'node:http';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type GatewayRig, PLAYED_HOST, playResult, startGateway } from '../../test/support/gateway-rig.ts';
import { AppError } from '../lib/core/errors.ts';
import { ResultType } from '../lib/wire/contracts.ts';

let rigs: GatewayRig[] = [];
afterEach(async () => {
  for (const rig of rigs) await rig.close();
  rigs = [];
});

const start: typeof startGateway = async (...parameters) => {
  const rig = await startGateway(...parameters);
  rigs.push(rig);
  return rig;
};

/** Sends exactly this path: fetch would tidy it up first. */
function rawGet(rig: GatewayRig, path: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.get({ port: new URL(rig.url).port, host: '127.0.0.1', path }, (response) => {
      let text = '';
      response.on('data', (piece: Buffer) => (text += piece.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
  });
}

describe('probes', () => {
  test('healthy and ready', async () => {
    const { url } = await start();
    expect((await fetch(`${url}/-/healthy`)).status).toBe(200);
    expect((await fetch(`${url}/-/ready`)).status).toBe(200);
    const head = await fetch(`${url}/-/ready`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  test('not ready: the API waits, health and the page do not', async () => {
    const { url } = await start({}, {}, { isReady: () => false });
    for (const path of ['/-/ready', '/api/v1/query?query=1', '/api/v1/write']) {
      const response = await fetch(url + path, { method: path.endsWith('write') ? 'POST' : 'GET' });
      expect([path, response.status, await response.text()]).toEqual([path, 503, 'Service Unavailable']);
      expect(response.headers.get('x-prometheus-stopping')).toBe('false');
      expect(response.headers.get('retry-after')).not.toBeNull();
    }
    expect((await fetch(`${url}/-/healthy`)).status).toBe(200);
    expect((await fetch(`${url}/`)).status).toBe(200);
  });
});

describe('lifecycle', () => {
  test('is off by default', async () => {
    let called = 0;
    const { url } = await start({}, {}, { reload: async () => void called++, shutdown: () => void called++ });
    for (const path of ['/-/reload', '/-/quit']) {
      const response = await fetch(url + path, { method: 'POST' });
      expect([response.status, await response.text()]).toEqual([403, 'Lifecycle API is not enabled.']);
      expect((await fetch(url + path)).status).toBe(405);
    }
    expect(called).toBe(0);
  });

  test('reload says why a file is bad', async () => {
    let isBad = false;
    const reload = async () => {
      if (isBad) throw new AppError('bad_data', 'prometheus.yml:3:1: unknown key "foo"');
    };
    const { url } = await start({}, { lifecycleEnabled: true }, { reload });
    expect((await fetch(`${url}/-/reload`, { method: 'PUT' })).status).toBe(200);
    isBad = true;
    const response = await fetch(`${url}/-/reload`, { method: 'POST' });
    expect([response.status, await response.text()]).toEqual([
      500,
      'failed to reload config: prometheus.yml:3:1: unknown key "foo"\n',
    ]);
    expect((await fetch(`${url}/-/reload`)).status).toBe(405);
  });

  test('quit answers, then stops', async () => {
    let reason = '';
    const { url } = await start({}, { lifecycleEnabled: true }, { shutdown: (why) => void (reason = why) });
    const response = await fetch(`${url}/-/quit`, { method: 'POST' });
    expect([response.status, await response.text()]).toEqual([200, 'Requesting termination... Goodbye!']);
    await expect.poll(() => reason).toBe('POST /-/quit');
  });
});

describe('seal', () => {
  const ingester = { seal: async () => ({ blockIds: ['b', 'a'] }) };

  test('needs the admin API', async () => {
    const { url } = await start({ ingester });
    const response = await fetch(`${url}/api/v1/admin/tsdb/seal`, { method: 'POST' });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({
      status: 'error',
      error: expect.stringContaining('admin APIs disabled'),
    });
  });

  test('answers with the blocks', async () => {
    const { url } = await start({ ingester }, { adminApiEnabled: true });
    const response = await fetch(`${url}/api/v1/admin/tsdb/seal`, { method: 'PUT' });
    expect(await response.json()).toEqual({ status: 'success', data: { blocks: ['a', 'b'] } });
    expect((await fetch(`${url}/api/v1/admin/tsdb/seal`)).status).toBe(405);
  });
});

describe('cross-origin requests', () => {
  const origin = 'https://grafana.example';
  const preflight = async (url: string, from?: string) =>
    fetch(`${url}/api/v1/anything`, {
      method: 'OPTIONS',
      headers: from === undefined ? {} : { origin: from },
    });

  test('everybody, by default', async () => {
    const { url } = await start();
    const response = await preflight(url, origin);
    expect(response.status).toBe(204);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    expect(response.headers.get('access-control-allow-methods')).toBe('GET, POST, OPTIONS');
    expect((await preflight(url)).headers.get('access-control-allow-origin')).toBeNull();
  });

  test('only whom the pattern names, anchored', async () => {
    const { url } = await start({}, { corsOrigin: 'https://grafana\\.example' });
    expect((await preflight(url, origin)).headers.get('access-control-allow-origin')).toBe(origin);
    const other = await preflight(url, `${origin}.evil`);
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
    expect(other.headers.get('vary')).toContain('Origin');
  });

  test('a pattern that is none ends the start', async () => {
    await expect(startGateway({}, { corsOrigin: '(' })).rejects.toThrow('invalid regular expression');
  });
});

describe('routing', () => {
  test.each([
    '/api/v1/nonsense',
    '/api/v2/query',
    '/assets/../service.ts',
    '/assets/%2e%2e/service.ts',
    '/web/app.ts',
    '/../package.json',
    '//etc/passwd',
    '/favicon.ico',
  ])('%s is not found', async (path) => {
    expect(await rawGet(await start(), path)).toEqual({ status: 404, text: '404 page not found\n' });
  });

  test('a wrong method', async () => {
    const { url } = await start();
    const response = await fetch(`${url}/api/v1/targets`, { method: 'POST' });
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, OPTIONS']);
  });

  test('the path of the external URL is a prefix', async () => {
    const { url } = await start({}, { externalUrl: 'https://example.com/prom/' });
    for (const path of ['/prom/-/ready', '/prom/', '/prom', '/-/ready']) {
      expect([path, (await fetch(url + path)).status]).toEqual([path, 200]);
    }
    expect((await fetch(`${url}/promenade/-/ready`)).status).toBe(404);
  });

  test('headers over the limit', async () => {
    const rig = await start({}, { limits: { headerBytesMax: 4096 } });
    expect(await rawGet(rig, `/api/v1/query?query=${'a'.repeat(5000)}`)).toMatchObject({ status: 431 });
  });
});

describe('status', () => {
  test('configuration, flags, build', async () => {
    const { url } = await start();
    const get = async (what: string) =>
      ((await (await fetch(`${url}/api/v1/status/${what}`)).json()) as { data: unknown }).data;
    expect(await get('config')).toEqual({ yaml: 'global: {}\n' });
    expect(await get('flags')).toEqual({ 'web.listen-address': '0.0.0.0:9090' });
    expect(await get('buildinfo')).toEqual(PLAYED_HOST.buildInformation);
    expect(await get('runtimeinfo')).toMatchObject({
      startTime: '2023-11-14T22:13:20Z',
      reloadConfigSuccess: true,
      lastConfigTime: '2023-11-14T22:13:20.123Z',
      storageRetention: '15d',
    });
    expect(await (await fetch(`${url}/version`)).json()).toMatchObject({
      tidemark: '0.1.0',
      version: '3.14.0',
    });
  });

  test('the head, with a bounded list', async () => {
    let asked = 0;
    const list = [{ name: 'up', value: 2 }];
    const { url } = await start({
      querier: {
        headStatistics: async ({ limit }) => {
          asked = limit;
          return {
            series: 1,
            labelPairs: 2,
            chunks: 3,
            minTimeMs: 4,
            maxTimeMs: 5,
            seriesCountByMetricName: list,
            labelValueCountByLabelName: list,
            memoryInBytesByLabelName: list,
            seriesCountByLabelValuePair: list,
          };
        },
      },
    });
    const get = async (query: string) => (await fetch(`${url}/api/v1/status/tsdb${query}`)).json();
    expect(await get('')).toEqual({
      status: 'success',
      data: {
        headStats: { numSeries: 1, numLabelPairs: 2, chunkCount: 3, minTime: 4, maxTime: 5 },
        seriesCountByMetricName: list,
        labelValueCountByLabelName: list,
        memoryInBytesByLabelName: list,
        seriesCountByLabelValuePair: list,
      },
    });
    expect(asked).toBe(10);
    expect(await get('?limit=0')).toMatchObject({ error: 'limit must be a positive number' });
    expect(await get('?limit=10001')).toMatchObject({ error: 'limit must not exceed 10000' });
  });
});

describe('metrics', () => {
  test('labels come from fixed tables', async () => {
    const { url, registry } = await start();
    await fetch(`${url}/api/v1/label/secret/values`);
    await fetch(`${url}/no/such/${'x'.repeat(50)}`, { method: 'PROPFIND' });
    await fetch(`${url}/`);
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get('content-type')).toContain('text/plain');
    const text = await response.text();
    expect(text).toContain(
      'tidemark_gateway_http_requests_total{route="/api/v1/label/{name}/values",method="GET",code="503"} 1',
    );
    expect(text).toContain(
      'tidemark_gateway_http_requests_total{route="unknown",method="other",code="404"} 1',
    );
    expect(text).not.toContain('secret');
    expect(await registry.getSingleMetric('tidemark_gateway_http_requests_in_flight')?.get()).toMatchObject({
      values: [{ value: 0 }],
    });
  });
});

describe('the page’s files', () => {
  test('are cached by content, compressed, and locked down', async () => {
    const { url } = await start();
    const page = await fetch(`${url}/graph?g0.expr=up`);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toMatch(/^default-src 'self';(?!.*unsafe)/);
    expect(page.headers.get('x-content-type-options')).toBe('nosniff');
    expect(page.headers.get('cache-control')).toBe('no-cache');
    const html = await page.text();
    expect(html).not.toMatch(/<script>|style=|onclick=/);
    const paths = [...html.matchAll(/(?:src|href)="(assets\/[^"]+)"/g)].map(([, path]) => path!);
    expect(paths.length).toBeGreaterThan(4);
    for (const path of paths) {
      const asset = await fetch(`${url}/${path}`, { headers: { 'accept-encoding': 'gzip' } });
      expect([path, asset.status, asset.headers.get('content-encoding')]).toEqual([path, 200, 'gzip']);
      expect(asset.headers.get('cache-control')).toContain('immutable');
    }
    const etag = page.headers.get('etag')!;
    expect((await fetch(`${url}/`, { headers: { 'if-none-match': etag } })).status).toBe(304);
    expect((await fetch(`${url}/`, { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
  });

  test('scripts are JavaScript by the time they are served', async () => {
    const { url } = await start();
    const html = await (await fetch(url)).text();
    const path = /src="(assets\/[^"]+\/app\.ts)"/.exec(html)![1]!;
    const response = await fetch(`${url}/${path}`);
    expect(response.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    expect(await response.text()).not.toMatch(/: Promise<void>/);
  });
});

describe('draining', () => {
  test('lets requests in flight finish, refuses further ones', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isAsked = false;
    const rig = await start({
      querier: {
        query: async function* () {
          isAsked = true;
          await held;
          yield* playResult(ResultType.RESULT_TYPE_VECTOR, []);
        },
      },
    });
    const answer = fetch(`${rig.url}/api/v1/query?query=up`);
    await expect.poll(() => isAsked).toBe(true);
    const drained = rig.gateway.drain();
    expect(rig.gateway.isReady()).toBe(false);
    await expect(fetch(`${rig.url}/-/ready`)).rejects.toThrow();
    release();
    expect((await answer).status).toBe(200);
    await drained;
  });

  test('does not wait for connections that are kept alive', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const rig = await start({
      querier: {
        query: async function* () {
          await held;
          yield* playResult(ResultType.RESULT_TYPE_VECTOR, []);
        },
      },
    });
    const connect = () => net.connect(Number(new URL(rig.url).port), '127.0.0.1');
    const idle = connect();
    const busy = connect();
    let received = '';
    busy.on('data', (piece: Buffer) => (received += piece.toString()));
    const closed = Promise.all(
      [idle, busy].map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    );
    busy.write('GET /api/v1/query?query=up HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 200));
    const startedMs = performance.now();
    const drained = rig.gateway.drain();
    release();
    await closed;
    await drained;
    expect(performance.now() - startedMs).toBeLessThan(5000);
    expect(received).toMatch(/^HTTP\/1\.1 200 OK/);
  });

  test('cuts off what does not end', async () => {
    const rig = await start(
      {
        querier: {
          query: async function* () {
            await new Promise(() => undefined);
            yield* playResult(ResultType.RESULT_TYPE_VECTOR, []);
          },
        },
      },
      { limits: { drainTimeoutMs: 200 } },
    );
    const answer = fetch(`${rig.url}/api/v1/query?query=up`);
    answer.catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await rig.gateway.drain();
    await expect(answer).rejects.toThrow();
  });
});

test('a port in use is named', async () => {
  const { url } = await start();
  const listenAddress = url.slice('http://'.length);
  await expect(startGateway({}, { listenAddress })).rejects.toThrow(`cannot listen on ${listenAddress}`);
});
