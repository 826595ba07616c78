// Remote read against its real clients: Prometheus servers without samples of their own, which ask for chunks, answer queries as the
// process does whose samples they read; what whole samples say gives the same answers where they are written again.
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import {
  decompressSnappy,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../../services/lib/wire/compression/snappy.ts';
import { compressSnappy } from '../../services/lib/wire/compression/snappy-compress.ts';
import { hasPrograms } from '../support/process.ts';
import {
  ask,
  body,
  FLOAT_QUERIES,
  HISTOGRAM_QUERIES,
  load,
  MINUTE_MS,
  startPrometheus,
} from '../support/prometheus-data.ts';
import { field, varintField } from '../support/remote-write-encoder.ts';
import { startTidemark, type Tidemark } from '../support/tidemark.ts';

const baseMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 80 * MINUTE_MS;
const times = [baseMs / 1000 + 1800.5, baseMs / 1000 + 3300.5];

/** A process with the samples, some sealed, some not. */
let written: Tidemark;

beforeAll(async () => {
  written = await startTidemark({
    config: 'global: {external_labels: {cluster: eu}}\n',
    flags: ['--web.enable-admin-api'],
  });
  await load(written.url, body(baseMs, 0, 400));
  expect((await fetch(`${written.url}/api/v1/admin/tsdb/seal`, { method: 'POST' })).status).toBe(200);
  await load(written.url, body(baseMs, 400, 720));
}, 120_000);

afterAll(() => written.end());

const matcher = (type: number, name: string, value: string) =>
  field(3, Buffer.concat([varintField(1, type), field(2, name), field(3, value)]));

function readRequest(matchers: readonly Buffer[], ...types: readonly number[]): Buffer {
  const query = [varintField(1, baseMs), varintField(2, baseMs + 80 * MINUTE_MS), ...matchers];
  return Buffer.concat([field(1, Buffer.concat(query)), ...types.map((type) => varintField(2, type))]);
}

const post = (url: string, request: Uint8Array) =>
  fetch(`${url}/api/v1/read`, { method: 'POST', body: Buffer.from(compressSnappy(request)) });

test('whole samples, written again, give the same answers; external labels are in them', async () => {
  const response = await post(
    written.url,
    readRequest([matcher(2, '__name__', '.+'), matcher(0, 'cluster', 'eu')]),
  );
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('application/x-protobuf');
  expect(response.headers.get('content-encoding')).toBe('snappy');
  const compressed = Buffer.from(await response.arrayBuffer());
  const bytes = new Uint8Array(snappyDecodedBytes(compressed) + SNAPPY_SLACK_BYTES);
  const length = decompressSnappy(compressed, bytes);
  // A QueryResult is made as a WriteRequest is: the one field of the answer is a body for remote write.
  expect(bytes[0]).toBe(0x0a);
  let at = 1;
  while (bytes[at++]! > 127);
  const second = await startTidemark();
  onTestFinished(() => second.end());
  await load(second.url, Buffer.from(bytes.subarray(at, length)));
  const queries = [...FLOAT_QUERIES, ...HISTOGRAM_QUERIES];
  const theirs = await ask(second.url, queries, times);
  const ours = await ask(written.url, queries, times);
  expect(theirs.map((text) => text.replaceAll(/"cluster":"eu",?|,"cluster":"eu"/g, ''))).toEqual(ours);
  expect(theirs[0]).toContain('"cluster":"eu"');
}, 120_000);

test('what is wrong is said; nothing is read for a cluster that is another', async () => {
  const all = matcher(2, '__name__', '.+');
  const other = await post(written.url, readRequest([all, matcher(0, 'cluster', 'us')]));
  expect([other.status, Buffer.from(await other.arrayBuffer()).length]).toEqual([200, 4]);
  for (const [request, words] of [
    [readRequest([]), 'without matchers'],
    [readRequest([all], 7), 'response types 7'],
    [readRequest([matcher(9, 'a', 'b')]), 'unknown type 9'],
    [readRequest([matcher(2, 'a', '(')]), 'missing'],
    [Buffer.from('nonsense'), 'remote read request'],
  ] as const) {
    const response = await post(written.url, request);
    expect(response.status, words).toBe(400);
    expect(await response.text()).toContain(words);
  }
  const raw = await fetch(`${written.url}/api/v1/read`, { method: 'POST', body: 'not snappy' });
  expect(raw.status).toBe(400);
  const large = await fetch(`${written.url}/api/v1/read`, { method: 'POST', body: Buffer.alloc(2 << 20) });
  expect(large.status).toBe(413);
  expect((await fetch(`${written.url}/api/v1/read`)).status).toBe(405);
  const metrics = await (await fetch(`${written.url}/metrics`)).text();
  expect(metrics).toContain('tidemark_gateway_remote_reads_total{result="bad_data"} 7');
}, 120_000);

test.skipIf(!hasPrograms('prometheus', 'prometheus-3.14')).each([
  // It leaves native histograms out of what it reads as a stream.
  ['prometheus', 'native-histograms', FLOAT_QUERIES.filter((query) => !query.startsWith('count({'))],
  ['prometheus-3.14', '', [...FLOAT_QUERIES, ...HISTOGRAM_QUERIES]],
] as const)(
  '%s reads chunks as a stream and answers as we do',
  async (program, features, queries) => {
    const reader = await startPrometheus({
      program,
      features,
      config: `remote_read: [{url: "${written.url}/api/v1/read", read_recent: true}]\n`,
    });
    onTestFinished(() => reader.end());
    // The reader shows what it was given: external labels of both are not stored.
    const clean = (answers: readonly string[]) =>
      answers.map((text) => text.replaceAll(/"cluster":"eu",?|,"cluster":"eu"/g, ''));
    expect(clean(await ask(reader.url, queries, times))).toEqual(await ask(written.url, queries, times));
    const metrics = await (await fetch(`${written.url}/metrics`)).text();
    expect(metrics).toMatch(/tidemark_gateway_remote_read_samples_total [1-9]\d{3}/);
  },
  120_000,
);
