// R18: what a sender is told is what happened. Two real Prometheus (remote write 1.0 and 2.0) send to a cluster that has no quorum for a
// while, and lose nothing; then every row of the contract (DESIGN section 5): status, headers, counts, and how many samples are there
// afterwards.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { compressSnappy } from '../../services/lib/wire/compression/snappy-compress.ts';
import { type Node, startCluster } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import {
  counterOf,
  expectAllArrived,
  samplesOfJob,
  startPrometheusSender,
} from '../support/prometheus-sender.ts';
import { encodeWriteRequest, postWrite } from '../support/remote-write-body.ts';
import { type Pair, requestV2, type SeriesV2 } from '../support/remote-write-encoder.ts';
import { queryInstant } from '../support/tidemark.ts';

/** The newest one, which knows 2.0. */
const NEW_PROMETHEUS = 'prometheus-3.14';
const PROGRAMS = ['nats-server', 'prometheus', NEW_PROMETHEUS] as const;
const DAY_MS = 86_400_000;
/** Series of a tenant: both Prometheus and every row but the one that is meant to be too much. */
const SERIES_MAX = 8_000;
const MESSAGE_V2 = 'io.prometheus.write.v2.Request';
const V2 = {
  'content-type': `application/x-protobuf;proto=${MESSAGE_V2}`,
  'x-prometheus-remote-write-version': '2.0.0',
};

/** Samples, histograms and exemplars, as the three headers of 2.0 count them. */
type Written = readonly [samples: number, histograms: number, exemplars: number];

interface Row {
  /** Also the name of its metric. */
  readonly name: string;
  readonly body: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  readonly says?: RegExp;
  /** Of 2.0 only: 1.0 has no such headers. */
  readonly written?: Written;
  readonly isToRetry?: true;
  /** Samples and histograms of its metric that are there afterwards. */
  readonly held: number;
}

const metric = (name: string, ...labels: Pair[]): Pair[] => [['__name__', name], ...labels];
const v2 = (...series: SeriesV2[]): Uint8Array => compressSnappy(requestV2(series));
const v1 = (...series: Parameters<typeof encodeWriteRequest>[0]): Uint8Array =>
  compressSnappy(encodeWriteRequest(series));

/** A snappy block that says it unpacks to 4 GiB - 1. */
const BOMB = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00]);

function rowsAt(t: number): readonly Row[] {
  const exemplar = { labels: [['trace_id', 'a']] as const, value: 1, timestampMs: t };
  const longExemplar = { ...exemplar, labels: [['trace_id', 'x'.repeat(130)]] as const };
  const histogram = { timestampMs: t, count: 2, sum: 1, positive: { spans: [[0, 1]] as const, deltas: [2] } };
  const one = (name: string) => ({ labels: { __name__: name }, samples: [[t, 1]] as const });
  const [old, future] = [t - 20 * DAY_MS, t + 700_000];
  const all = v2(
    {
      labels: metric('all_2'),
      samples: [
        [1, t - 1_000],
        [2, t],
      ],
      exemplars: [exemplar],
    },
    { labels: metric('all_2', ['kind', 'native']), histograms: [histogram] },
  );
  return [
    {
      name: 'all_1',
      body: v1({
        labels: { __name__: 'all_1' },
        samples: [
          [t - 1_000, 1],
          [t, 2],
        ],
      }),
      status: 204,
      held: 2,
    },
    { name: 'all_2', body: all, headers: V2, status: 204, written: [2, 1, 1], held: 3 },
    { name: 'all_2', body: all, headers: V2, status: 204, written: [2, 1, 1], held: 3 },
    {
      ...{
        name: 'late',
        body: v2({
          labels: metric('late'),
          samples: [
            [1, t],
            [2, t - DAY_MS / 24],
          ],
        }),
      },
      ...{ headers: V2, status: 204, written: [2, 0, 0], held: 2 },
    },
    { name: 'empty', body: v2(), headers: V2, status: 204, written: [0, 0, 0], held: 0 },
    {
      name: 'some_2',
      body: v2(
        {
          labels: metric('some_2', ['n', 'old']),
          samples: [
            [1, old],
            [2, t],
          ],
        },
        { labels: metric('some_2', ['n', 'future']), samples: [[1, future]] },
        { labels: metric('some_2', ['n', 'twice'], ['n', 'again']), samples: [[1, t]] },
        {
          labels: metric('some_2', ['n', 'torn']),
          histograms: [
            { ...histogram, count: 3 },
            { ...histogram, timestampMs: t + 1 },
          ],
        },
        { labels: metric('some_2', ['n', 'traced']), samples: [[1, t]], exemplars: [exemplar, longExemplar] },
      ),
      headers: V2,
      status: 400,
      says: /4 of 7 samples were refused; 3 samples were written; first refusal: .*some_2/,
      written: [2, 1, 1],
      held: 3,
    },
    {
      name: 'some_1',
      body: v1({
        labels: { __name__: 'some_1' },
        samples: [
          [old, 1],
          [t, 2],
        ],
      }),
      ...{ status: 400, says: /1 of 2 samples were refused; 1 samples? w(?:as|ere) written/, held: 1 },
    },
    {
      ...{ name: 'none_2', body: v2({ labels: metric('none_2'), samples: [[1, old]] }), headers: V2 },
      ...{ status: 400, written: [0, 0, 0], held: 0 },
    },
    {
      ...{ name: 'torn_snappy', body: Buffer.from('08086162631200000', 'hex'), headers: V2 },
      ...{ status: 400, says: /malformed snappy block/, written: [0, 0, 0], held: 0 },
    },
    {
      ...{ name: 'torn_protobuf', body: compressSnappy(Buffer.from([0x0a, 0x05, 0x0a])) },
      ...{ status: 400, says: /malformed remote write request/, held: 0 },
    },
    { name: 'bomb', body: BOMB, status: 413, says: /decodedBytesMax/, held: 0 },
    {
      ...{ name: 'json', body: v1(one('json')), headers: { 'content-type': 'application/json' } },
      ...{ status: 415, says: /application\/json/, held: 0 },
    },
    {
      ...{ name: 'gzip', body: v1(one('gzip')), headers: { 'content-encoding': 'gzip' } },
      ...{ status: 415, says: /gzip/, held: 0 },
    },
    {
      ...{
        name: 'unknown',
        body: v1(one('unknown')),
        headers: { 'content-type': 'application/x-protobuf;proto=some.Other' },
      },
      ...{ status: 415, says: /some\.Other/, held: 0 },
    },
    // The last one: from here on there is no room for new series.
    {
      name: 'all_2',
      body: v2(
        { labels: metric('all_2'), samples: [[3, t + 1]] },
        ...Array.from({ length: 2 * SERIES_MAX }, (_, n) => ({
          labels: metric('crowd', ['n', `${n}`]),
          samples: [[1, t]] as const,
        })),
      ),
      headers: V2,
      ...{ status: 429, says: /seriesPerTenantMax|ingest\.max-series/, isToRetry: true, held: 4 },
    },
  ];
}

/** Samples and native histograms of a metric that a query finds. */
async function heldOf(gateway: string, name: string): Promise<number> {
  const answer = await queryInstant(gateway, `sum(count_over_time({__name__="${name}"}[2h]))`);
  return Number(answer[0]?.value[1] ?? 0);
}

const NAMES = ['samples', 'histograms', 'exemplars'].map(
  (what) => `x-prometheus-remote-write-${what}-written`,
);

async function expectRow(gateway: string, row: Row): Promise<void> {
  const { status, text, headers } = await postWrite(gateway, row.body, row.headers);
  expect([row.name, status], text).toEqual([row.name, row.status]);
  if (row.says !== undefined) expect(text).toMatch(row.says);
  const counts = NAMES.map((name) => headers.get(name));
  if (row.written !== undefined)
    expect([row.name, ...counts]).toEqual([row.name, ...row.written.map(String)]);
  else if (row.headers !== V2) expect([row.name, ...counts]).toEqual([row.name, null, null, null]);
  expect([row.name, headers.has('retry-after')]).toEqual([row.name, row.isToRetry === true]);
  expect([row.name, await heldOf(gateway, row.name)]).toEqual([row.name, row.held]);
  if (row.status !== 429) return;
  // What the headers say was written is there, and no more.
  const [samples] = counts.map(Number) as [number];
  expect(samples).toBe(1 + (await heldOf(gateway, 'crowd')));
  expect(samples).toBeLessThan(SERIES_MAX);
}

test.skipIf(!hasPrograms(...PROGRAMS))(
  'R18: the status contract, row by row; two real Prometheus lose nothing while there is no quorum',
  { timeout: 240_000 },
  async () => {
    const quota = [`--ingest.max-series=${SERIES_MAX}`];
    const cluster = await startCluster({
      counts: { ingester: 3, store: 1, querier: 1, gateway: 1 },
      flags: { ingester: quota, gateway: quota },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const senders = await Promise.all([
      startPrometheusSender(gateway),
      startPrometheusSender(gateway, { program: NEW_PROMETHEUS, job: 'newest', message: MESSAGE_V2 }),
    ]);
    // Prometheus looks at its targets up to five seconds after its start.
    for (const { url, job } of senders) {
      await waitFor(
        `samples of ${job}`,
        async () => (await samplesOfJob(gateway, job, Date.now())).size > 0,
        { describe: () => url },
      );
    }

    // No quorum: 503 and Retry-After, and a resend is harmless.
    const [first, second] = cluster.of('ingester') as [Node, Node];
    for (const { pid } of [first, second]) process.kill(pid(), 'SIGKILL');
    const body = v1({ labels: { __name__: 'refused' }, samples: [[Date.now(), 1]] });
    for (let n = 0; n < 3; n++) {
      const { status, headers, text } = await postWrite(gateway, body);
      expect([status, headers.has('retry-after')], text).toEqual([503, true]);
    }
    await sleep(2_000);
    for (const node of [first, second]) await node.start();
    await Promise.all([first, second].map((node) => node.ready()));
    await waitFor('a write is taken again', async () => (await postWrite(gateway, body)).status === 204);
    expect(await heldOf(gateway, 'refused')).toBe(1);
    const retried: number[] = [];
    const compared: number[] = [];
    for (const sender of senders) {
      compared.push(await expectAllArrived(sender, gateway));
      retried.push(await counterOf(sender, 'prometheus_remote_storage_samples_retried_total'));
    }
    // They were refused, and tried again.
    for (const [i, { job }] of senders.entries()) {
      expect([job, compared[i]]).toEqual([job, expect.toSatisfy((samples) => samples > 400)]);
      expect([job, retried[i]]).toEqual([job, expect.toSatisfy((samples) => samples > 0)]);
    }

    const rows = rowsAt(Date.now());
    for (const row of rows) await expectRow(gateway, row);
    const put = await fetch(`${gateway}/api/v1/write`, { method: 'PUT', body: 'x' });
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'OPTIONS, POST']);
    console.log(
      `R18: ${rows.length + 2} rows; ${compared.join(' and ')} samples of Prometheus 1.0 and 2.0 compared, sent again: ${retried.join(' and ')}, 0 lost`,
    );
  },
);
