// The endpoint on a real HTTP server, with a real distributor and an ingester that records.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { constants, zstdCompressSync } from 'node:zlib';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  clusterOf,
  createRecordingIngester,
  type RecordingIngester,
} from '../../../test/support/recording-ingester.ts';
import {
  field,
  labelV1,
  metadataV1,
  type Pair,
  requestV2,
  sample,
  seriesV1,
} from '../../../test/support/remote-write-encoder.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { createDistributor, type DistributorOptions } from '../../lib/distributor/distributor.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { compressSnappy } from '../../lib/wire/compression/snappy-compress.ts';
import { createRemoteWriteHandler, type RemoteWriteOptions } from './remote-write.ts';

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

interface Rig {
  readonly port: number;
  readonly ingester: RecordingIngester;
  readonly registry: Registry;
  close(): Promise<void>;
}

const V2 = 'application/x-protobuf;proto=io.prometheus.write.v2.Request';
let rigs: Rig[] = [];

beforeEach(() => {
  rigs = [];
});
afterEach(async () => {
  for (const rig of rigs) await rig.close();
});

async function start(
  options: RemoteWriteOptions = {},
  distributorOptions: Partial<DistributorOptions> = {},
): Promise<Rig> {
  const ingester = createRecordingIngester('a');
  const registry = new Registry();
  const logger = createSilentLogger();
  const distributor = createDistributor(
    { outOfOrderWindowMs: 86_400_000, writeTimeoutMs: 500, ...distributorOptions },
    { cluster: clusterOf([ingester], { replicationFactor: 1 }), clock: systemClock, logger, registry },
  );
  const handler = createRemoteWriteHandler(options, { distributor, clock: systemClock, logger, registry });
  const server = http.createServer((req, res) => void handler(req, res, 'anonymous'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const rig = {
    port: (server.address() as AddressInfo).port,
    ingester,
    registry,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await distributor.stop();
    },
  };
  rigs.push(rig);
  return rig;
}

function post(
  rig: Rig,
  body: Uint8Array,
  headers: http.OutgoingHttpHeaders = {},
  method = 'POST',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = http.request(
      {
        host: '127.0.0.1',
        port: rig.port,
        path: '/api/v1/write',
        method,
        headers: { 'content-length': body.length, ...headers },
      },
      (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('end', () =>
          resolve({ status: res.statusCode!, headers: res.headers, text: Buffer.concat(chunks).toString() }),
        );
      },
    );
    req.on('error', reject);
    req.end(body);
  });
}

const metric = (name: string, ...labels: Pair[]): Pair[] => [['__name__', name], ...labels];
const byFirst = (a: readonly unknown[], b: readonly unknown[]): number =>
  String(a[0]) < String(b[0]) ? -1 : 1;
const now = (): number => Date.now();
const v1 = (...parts: Uint8Array[]): Uint8Array => compressSnappy(Buffer.concat(parts));
const v2 = (...series: Parameters<typeof requestV2>[0][number][]): Uint8Array =>
  compressSnappy(requestV2(series));

async function metricValues(rig: Rig, name: string): Promise<Record<string, number>> {
  const found = await rig.registry.getSingleMetric(name)!.get();
  return Object.fromEntries(
    found.values.map(({ labels, value }) => [Object.values(labels).join(' '), value]),
  );
}

describe('what is accepted', () => {
  test('1.0: samples arrive with their labels, times and bits', async () => {
    const rig = await start();
    const t = now();
    const body = v1(
      seriesV1(metric('up', ['job', 'node']), [
        [1, t],
        [{ high: 0x7ff00000, low: 2 }, t + 1],
      ]),
      seriesV1(metric('down', ['job', 'node']), [[-0, t]]),
    );
    const answer = await post(rig, body, {
      'content-type': 'application/x-protobuf',
      'content-encoding': 'snappy',
    });
    expect(answer).toMatchObject({ status: 204, text: '' });
    expect(answer.headers['x-prometheus-remote-write-samples-written']).toBeUndefined();
    const sorted = rig.ingester.samples.toSorted((a, b) =>
      a.series < b.series ? -1 : a.timestampMs - b.timestampMs,
    );
    expect(sorted.map(({ series, timestampMs, high, low }) => [series, timestampMs, high, low])).toEqual([
      ['down{job="node"}', t, 0x80000000, 0],
      ['up{job="node"}', t, 0x3ff00000, 0],
      ['up{job="node"}', t + 1, 0x7ff00000, 2],
    ]);
    expect(await metricValues(rig, 'tidemark_gateway_remote_write_requests_total')).toEqual({ '204 1.0': 1 });
    expect(await metricValues(rig, 'tidemark_gateway_remote_write_samples_total')).toEqual({ '1.0': 3 });
    expect(await metricValues(rig, 'tidemark_gateway_remote_write_body_bytes_total')).toEqual({
      '': body.length,
    });
  });

  test.each([
    [1, undefined, () => seriesV1(metric('up'), [[{ high: 0x7ff00000, low: 2 }, now()]])],
    [2, V2, () => requestV2([{ labels: metric('up'), samples: [[{ high: 0x7ff00000, low: 2 }, now()]] }])],
  ] as const)(
    'version %i in zstd, as a sender of Prometheus 3 compresses it',
    async (_, contentType, make) => {
      const rig = await start();
      const request = make();
      const params = { [constants.ZSTD_c_checksumFlag]: 1 };
      const answer = await post(rig, zstdCompressSync(request, { params }), {
        'content-encoding': 'zstd',
        ...(contentType === undefined ? {} : { 'content-type': contentType }),
      });
      expect(answer).toMatchObject({ status: 204, text: '' });
      expect(rig.ingester.samples.map(({ series, high, low }) => [series, high, low])).toEqual([
        ['up', 0x7ff00000, 2],
      ]);
    },
  );

  test.each([
    ['nothing is said', {}],
    ['the media type is in capitals', { 'content-type': 'Application/X-Protobuf' }],
    ['proto names 1.0', { 'content-type': 'application/x-protobuf; proto=prometheus.WriteRequest' }],
    [
      'proto is quoted',
      { 'content-type': 'application/x-protobuf; charset=x; Proto="prometheus.WriteRequest"' },
    ],
  ])('is taken as 1.0 when %s', async (_name, headers) => {
    const rig = await start();
    const answer = await post(rig, v1(seriesV1(metric('up'), [[1, now()]])), headers);
    expect(answer.status).toBe(204);
    expect(rig.ingester.samples).toHaveLength(1);
  });

  test('2.0: samples, the three headers, metadata once', async () => {
    const rig = await start();
    const series = {
      labels: metric('latency_bucket', ['le', '0.1']),
      samples: [[3, now()]] as const,
      metadata: { type: 3, help: 'How long.', unit: 'seconds' },
    };
    for (let i = 0; i < 3; i++) {
      const answer = await post(rig, v2(series), { 'content-type': V2, 'content-encoding': 'snappy' });
      expect(answer.status).toBe(204);
      expect(answer.headers).toMatchObject({
        'x-prometheus-remote-write-samples-written': '1',
        'x-prometheus-remote-write-histograms-written': '0',
        'x-prometheus-remote-write-exemplars-written': '0',
      });
    }
    expect(rig.ingester.metadata).toEqual([
      { metric: 'latency', type: 'histogram', help: 'How long.', unit: 'seconds' },
    ]);
  });

  test('histograms and exemplars: how many are written stands in the headers', async () => {
    const rig = await start();
    const t = now();
    const exemplars = [
      { labels: [['trace_id', 'a']] as const, value: 1, timestampMs: t },
      { labels: [['trace_id', 'x'.repeat(130)]] as const, value: 1, timestampMs: t },
    ];
    const histograms = [
      { timestampMs: t, count: 2, sum: 1 },
      { timestampMs: t + 1, count: 2, sum: 1, positive: { spans: [[0, 1]] as const, deltas: [2] } },
      { timestampMs: t - 2 * 86_400_000, count: 0, sum: 0 },
      { timestampMs: t + 2, count: 0, sum: 0 },
    ];
    const answer = await post(
      rig,
      v2({ labels: metric('h', ['a', 'b']), histograms, exemplars, samples: [[1, t + 9]] }),
      { 'content-type': V2 },
    );
    // The first one's buckets do not hold its count, the third one is older than the window.
    expect(answer.status).toBe(400);
    expect(answer.text).toMatch(
      /2 of 5 samples were refused; 3 samples were written; first refusal: invalid native/,
    );
    expect(answer.text).toMatch(/hold 0 observations, its count is 2 \(series .*h.*a="b"/);
    expect(answer.headers).toMatchObject({
      'x-prometheus-remote-write-samples-written': '1',
      'x-prometheus-remote-write-histograms-written': '2',
      'x-prometheus-remote-write-exemplars-written': '1',
    });
    expect(await metricValues(rig, 'tidemark_gateway_remote_write_refused_total')).toEqual({
      'histogram invalid': 1,
      'exemplar invalid': 1,
    });
    expect(await metricValues(rig, 'tidemark_gateway_remote_write_histograms_total')).toEqual({ '2.0': 4 });
  });

  test('1.0 metadata alone', async () => {
    const rig = await start();
    const answer = await post(
      rig,
      v1(metadataV1(1, 'a_total', 'As.', ''), metadataV1(2, 'b', 'Bs.', 'bytes')),
    );
    expect(answer.status).toBe(204);
    expect(rig.ingester.metadata).toEqual([
      { metric: 'a_total', type: 'counter', help: 'As.', unit: '' },
      { metric: 'b', type: 'gauge', help: 'Bs.', unit: 'bytes' },
    ]);
  });

  test('an empty request, in many chunks', async () => {
    const rig = await start();
    expect((await post(rig, v1())).status).toBe(204);
    const body = v1(
      ...Array.from({ length: 500 }, (_, i) => seriesV1(metric('m', ['i', `${i}`]), [[i, now()]])),
    );
    const status = await new Promise((resolve, reject) => {
      const req = http.request({ host: '127.0.0.1', port: rig.port, method: 'POST' }, (res) => {
        res.resume();
        resolve(res.statusCode);
      });
      req.on('error', reject);
      for (let at = 0; at < body.length; at += 100) req.write(body.subarray(at, at + 100));
      req.end();
    });
    expect(status).toBe(204);
    expect(rig.ingester.samples).toHaveLength(500);
  });
});

describe('what is refused', () => {
  test('methods other than POST', async () => {
    const rig = await start();
    const answer = await post(rig, Buffer.alloc(0), {}, 'GET');
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe('POST');
  });

  test.each([
    [
      { 'content-type': 'application/json' },
      /Content-Type "application\/json" is not supported; supported: .*snappy/,
    ],
    [
      { 'content-type': 'application/x-protobuf;proto=some.Other' },
      /proto=some.Other.*io\.prometheus\.write\.v2\.Request/,
    ],
    [{ 'content-type': 'application/x-protobuf;proto=toString' }, /not supported/],
    [{ 'content-encoding': 'gzip' }, /Content-Encoding "gzip" is not supported/],
  ])('415 for %j', async (headers, expected) => {
    const rig = await start();
    const answer = await post(rig, v1(seriesV1(metric('up'), [[1, now()]])), headers);
    expect(answer.status).toBe(415);
    expect(answer.text).toMatch(expected);
    expect(rig.ingester.samples).toHaveLength(0);
  });

  test('malformed bodies: 400 with the offset, 2.0 with zeroes in the headers', async () => {
    const rig = await start();
    const snappy = await post(rig, Buffer.from('08086162631200000', 'hex'));
    expect(snappy.status).toBe(400);
    expect(snappy.text).toMatch(
      /malformed snappy block: a copy from 0 bytes back with 3 written \(at offset 5\)/,
    );
    const protobuf = await post(rig, compressSnappy(Buffer.from([0x0a, 0x05, 0x0a])));
    expect(protobuf.status).toBe(400);
    expect(protobuf.text).toMatch(
      /malformed remote write request: a field of 5 bytes passes its message, 1 are left \(at offset 1\)/,
    );
    const version2 = await post(rig, compressSnappy(field(5, '')), { 'content-type': V2 });
    expect(version2.status).toBe(400);
    expect(version2.headers['x-prometheus-remote-write-samples-written']).toBe('0');
  });

  test('some samples inadmissible: the rest is durable, 400 says how many and why', async () => {
    const rig = await start();
    const t = now();
    const old = t - 2 * 86_400_000;
    const good = { labels: metric('good'), samples: [[1, t]] as const };
    const answer = await post(
      rig,
      v2(
        {
          labels: metric('late'),
          samples: [
            [7, old],
            [8, t],
          ],
        },
        good,
        { labels: metric('dup', ['a', '1'], ['a', '2']), samples: [[1, t]] },
        { labels: metric('native'), histograms: [{ timestampMs: t, count: 2, sum: 1 }] },
      ),
      { 'content-type': V2 },
    );
    expect(answer.status).toBe(400);
    expect(answer.text).toMatch(/3 of 5 samples were refused; 2 samples were written/);
    expect(answer.text).toMatch(/label name "a" occurs twice \(series dup\{a="1", a="2"\}\)/);
    expect(answer.headers['x-prometheus-remote-write-samples-written']).toBe('2');
    expect(rig.ingester.samples.map(({ series, value }) => [series, value]).toSorted(byFirst)).toEqual([
      ['good', 1],
      ['late', 8],
    ]);
    const again = await post(rig, v2({ labels: metric('late'), samples: [[7, old]] }), {
      'content-type': V2,
    });
    expect(again.status).toBe(400);
    expect(again.text).toMatch(/older than the out-of-order window of 1d .*series late\{\}, value 7/);
    const future = await post(rig, v1(seriesV1(metric('future'), [[7, t + 700_000]])));
    expect(future.status).toBe(400);
    expect(future.text).toMatch(/more than 10m in the future/);
  });

  test('over the series quota: the known series are written, 429 with Retry-After', async () => {
    const rig = await start({}, { seriesPerTenantMax: 1 });
    expect((await post(rig, v1(seriesV1(metric('a'), [[1, now()]])))).status).toBe(204);
    const answer = await post(
      rig,
      v1(seriesV1(metric('a'), [[2, now()]]), seriesV1(metric('b'), [[1, now()]])),
    );
    expect(answer.status).toBe(429);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(answer.text).toMatch(/the limit seriesPerTenantMax is 1; refused b\{\}/);
    expect(rig.ingester.samples.map(({ value }) => value)).toEqual([1, 2]);
  });

  test('over the rate limit: 429', async () => {
    const rig = await start({}, { samplesPerSecondMax: 1 });
    const ten = Array.from({ length: 10 }, (_, i): [number, number] => [i, now() + i]);
    expect((await post(rig, v1(seriesV1(metric('a'), ten)))).status).toBe(204);
    const answer = await post(rig, v1(seriesV1(metric('a'), ten)));
    expect(answer.status).toBe(429);
    expect(answer.text).toMatch(/samplesPerSecondMax = 1/);
  });

  test('no quorum: 503 with Retry-After; afterwards it works again', async () => {
    const rig = await start({}, { backoffMinMs: 1, backoffMaxMs: 2 });
    rig.ingester.behaviour = 'die';
    const body = v1(seriesV1(metric('up'), [[1, now()]]), metadataV1(2, 'up', 'Is it?', ''));
    const answer = await post(rig, body);
    expect(answer.status).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(answer.text).toMatch(/told to die/);
    rig.ingester.behaviour = 'keep';
    await systemClock.sleep(20);
    expect((await post(rig, body)).status).toBe(204);
    expect(rig.ingester.metadata).toHaveLength(1);
  });

  test('an ingester that never answers: 503 after the deadline', async () => {
    const rig = await start({}, { writeTimeoutMs: 100 });
    rig.ingester.behaviour = 'hang';
    const answer = await post(rig, v1(seriesV1(metric('up'), [[1, now()]])));
    expect(answer.status).toBe(503);
    expect(answer.text).toMatch(/no quorum within 100 ms|no answer for 100 ms/);
  });

  test('a body over the limit: 413, by Content-Length before it is read, and by what arrives', async () => {
    const rig = await start({ bodyBytesMax: 1000 });
    const declared = await raw(rig, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000000\r\n\r\n');
    expect(declared).toMatch(/^HTTP\/1\.1 413 [\s\S]*has 4000000000 bytes, the limit bodyBytesMax is 1000/);
    const chunked = await raw(
      rig,
      `POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n${'x'.repeat(2000)}\r\n`,
    );
    expect(chunked).toMatch(/^HTTP\/1\.1 413 [\s\S]*bodyBytesMax is 1000/);
  });

  test('a request that claims to decompress to 4 GB, a hundred times at once: 413, memory stays flat', async () => {
    const rig = await start();
    const claim = Buffer.concat([Buffer.from('ffffffff0f', 'hex'), Buffer.alloc(100)]);
    const before = process.memoryUsage();
    const answers = await Promise.all(Array.from({ length: 100 }, () => post(rig, claim)));
    const after = process.memoryUsage();
    expect(answers.every(({ status }) => status === 413)).toBe(true);
    expect(answers[0]!.text).toMatch(
      /decompresses to 4294967295 bytes, the limit decodedBytesMax is 33554432/,
    );
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(8 * 1024 * 1024);
    expect(after.rss - before.rss).toBeLessThan(256 * 1024 * 1024);
    const within = Buffer.concat([Buffer.from('80808008', 'hex'), Buffer.alloc(100)]);
    const small = await Promise.all(Array.from({ length: 100 }, () => post(rig, within)));
    expect(small.every(({ status }) => status === 400)).toBe(true);
    expect(small[0]!.text).toMatch(/104 bytes cannot hold the 16777216 that they declare/);
    expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(8 * 1024 * 1024);
  });

  test('zstd bombs: 413 by the header, and while they unpack; a body that is none: 400', async () => {
    const rig = await start({ decodedBytesMax: 1 << 20 });
    const encoding = { 'content-encoding': 'zstd' };
    const bomb = zstdCompressSync(Buffer.alloc(64 << 20), { params: { [constants.ZSTD_c_windowLog]: 18 } });
    expect(bomb.length).toBeLessThan(10_000);
    const declared = await post(rig, bomb, encoding);
    expect(declared.status).toBe(413);
    expect(declared.text).toMatch(/decompresses to 67108864 bytes, the limit decodedBytesMax is 1048576/);
    const params = { [constants.ZSTD_c_contentSizeFlag]: 0, [constants.ZSTD_c_windowLog]: 18 };
    const silent = await post(rig, zstdCompressSync(Buffer.alloc(64 << 20), { params }), encoding);
    expect(silent.status).toBe(413);
    expect(silent.text).toMatch(/decompresses to more than 1048576 bytes/);
    const wrong = await post(rig, v1(seriesV1(metric('up'), [[1, now()]])), encoding);
    expect(wrong.status).toBe(400);
    expect(wrong.text).toMatch(/malformed zstd body/);
    expect(rig.ingester.samples).toHaveLength(0);
  });

  test('more samples than one request may hold: 413', async () => {
    const rig = await start();
    const samples = Buffer.concat(Array<Buffer>((1 << 20) + 1).fill(field(2, '')));
    const answer = await post(
      rig,
      compressSnappy(field(1, Buffer.concat([labelV1(['__name__', 'm']), samples]))),
    );
    expect(answer.status).toBe(413);
    expect(answer.text).toMatch(/more than 1048576 samples/);
  });

  test('request memory used up: 503, and free again afterwards', async () => {
    const rig = await start({ requestMemoryBytesMax: 100 });
    const body = v1(
      seriesV1(metric('up', ['x', 'incompressible 8Zk!'], ['y', 'q7#Lw0']), [[Math.PI, now()]]),
    );
    const socket = net.connect(rig.port, '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n');
    socket.write('x'.repeat(80));
    await expect
      .poll(() => metricValues(rig, 'tidemark_gateway_remote_write_held_bytes'))
      .toEqual({ '': 80 });
    const answer = await post(rig, body);
    expect(answer.status).toBe(503);
    expect(answer.text).toMatch(/requestMemoryBytesMax is 100/);
    socket.destroy();
    await expect.poll(() => metricValues(rig, 'tidemark_gateway_remote_write_held_bytes')).toEqual({ '': 0 });
    expect(await metricValues(rig, 'tidemark_gateway_remote_write_requests_total')).toMatchObject({
      '499 1.0': 1,
    });
  });

  test('a client that is too slow: 503', async () => {
    const rig = await start({ bodyTimeoutMs: 50 });
    const text = await raw(rig, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\nxxx');
    expect(text).toMatch(/^HTTP\/1\.1 503 [\s\S]*took longer than 50 ms/);
  });
});

/** Sends bytes as they are; resolves with what came back before anything else happens. */
function raw(rig: Rig, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(rig.port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString();
      if (answer.includes('\r\n\r\n') && answer.endsWith('\n')) {
        socket.destroy();
        resolve(answer);
      }
    });
    socket.on('error', reject);
  });
}

test('a client that leaves while its samples are written does no harm', async () => {
  const rig = await start({}, { writeTimeoutMs: 200 });
  rig.ingester.behaviour = 'hang';
  const body = v1(seriesV1(metric('up'), [[1, now()]]));
  const req = http.request({ host: '127.0.0.1', port: rig.port, method: 'POST' });
  req.on('error', () => {});
  req.end(body);
  await expect.poll(() => rig.ingester.requests.length).toBe(1);
  req.destroy();
  await expect
    .poll(() => metricValues(rig, 'tidemark_gateway_remote_write_requests_total'))
    .toEqual({ '499 1.0': 1 });
});

test('samples without a value field are zero', async () => {
  const rig = await start();
  const t = now();
  const withoutValue = sample(0, t).subarray(9);
  const answer = await post(
    rig,
    v1(field(1, Buffer.concat([labelV1(['__name__', 'm']), field(2, withoutValue)]))),
  );
  expect(answer.status).toBe(204);
  expect(rig.ingester.samples).toMatchObject([{ series: 'm', value: 0, timestampMs: t }]);
});
