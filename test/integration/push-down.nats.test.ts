// Parts of queries are evaluated by the ingesters of a cluster of processes, and the answers are those of a querier that reads chunks:
// with all samples in ingesters, with half of them in blocks, with an ingester killed and with one that hangs. How many partitions were
// pushed down is counted, so that nothing passes by not being pushed.
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, type Node, seesMembers, startCluster, type TestCluster } from '../support/cluster.ts';
import type { ConstantQuery } from '../support/cluster-load.ts';
import { ask, instantQuestion, type Question, rangeQuestion } from '../support/cluster-questions.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import {
  encodeWriteRequest,
  sendWrite,
  snappyLiterals,
  type WrittenSeries,
} from '../support/remote-write-body.ts';

const STEP_MS = 15_000;
const SAMPLES = 160;
const END_MS = Math.floor(Date.now() / STEP_MS) * STEP_MS;
const START_MS = END_MS - SAMPLES * STEP_MS;
const PARTITIONS = 64;
const MIDDLE = SAMPLES / 2;
/** Samples of the first half, and of all of it. */
const HALF = { start: (START_MS + 300_000) / 1000, end: (START_MS + MIDDLE * STEP_MS) / 1000 - 20, step: 30 };
const WHOLE = { start: HALF.start, end: END_MS / 1000, step: 30 };

const QUERIES: readonly string[] = [
  'sum by (path) (rate(requests_total[2m]))',
  'sum(requests_total)',
  'count by (code) (requests_total)',
  'min by (path) (temperature)',
  'max without (instance) (rate(requests_total[1m]))',
  'avg by (room) (avg_over_time(temperature[3m]))',
  'group by (room) (temperature)',
  'stddev by (path) (requests_total)',
  'topk(3, rate(requests_total[2m]))',
  'bottomk by (path) (2, requests_total)',
  'limitk(4, requests_total)',
  'count_values("v", round(temperature))',
  'histogram_quantile(0.9, sum by (le) (rate(latency_bucket[2m])))',
  'sum(rate(requests_total[2m])) / count(requests_total)',
  'max_over_time(sum(rate(requests_total[1m]))[5m:30s])',
  'sum(requests_total offset 5m) + sum(requests_total)',
  'sum(requests_total @ end())',
  'sum by (path) (requests_total > 100)',
  'quantile(0.5, temperature)',
  'absent(nothing) or sum(requests_total)',
];

function samplesOf(value: (i: number) => number, from: number, to: number): [number, number][] {
  return Array.from({ length: to - from }, (_, i) => [START_MS + (from + i) * STEP_MS, value(from + i)]);
}

function series(from: number, to: number): WrittenSeries[] {
  const all: WrittenSeries[] = [];
  for (let n = 0; n < 60; n++) {
    const labels = { path: `/p${n % 5}`, code: n % 3 === 0 ? '500' : '200', instance: `host-${n}:80` };
    // Counters begin anew at times of their own.
    const value = (i: number): number => ((i + n) % 50) * (n + 1);
    all.push({ labels: { __name__: 'requests_total', ...labels }, samples: samplesOf(value, from, to) });
  }
  for (const [n, room] of ['kitchen', 'cellar', 'attic'].entries()) {
    for (const sensor of ['a', 'b', 'c']) {
      const value = (i: number): number => 15 + 10 * Math.sin(i / 9 + n) + sensor.charCodeAt(0) / 7;
      all.push({ labels: { __name__: 'temperature', room, sensor }, samples: samplesOf(value, from, to) });
    }
  }
  for (const [n, le] of ['0.1', '0.5', '1', '+Inf'].entries()) {
    all.push({
      labels: { __name__: 'latency_bucket', le },
      samples: samplesOf((i) => i * (n + 1) * 3, from, to),
    });
  }
  return all;
}

function questionsOf(range: typeof HALF): Question[] {
  return QUERIES.flatMap((query) => [
    rangeQuestion(query, range),
    instantQuestion(query, range.end),
    instantQuestion(query, range.start + 100),
  ]);
}

async function counterOf(node: Node, name: string): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** As far as merging sums of parts rounds as summing does. */
function rounded(value: unknown): string {
  return JSON.stringify(value).replaceAll(/-?\d+\.\d+(e[-+]\d+)?/g, (number) =>
    Number(number).toPrecision(12),
  );
}

interface Asked {
  readonly what: string;
  readonly answers: readonly ConstantQuery[];
}

/** Asks, and looks at what was pushed down meanwhile. */
async function askPushing(
  cluster: TestCluster,
  what: string,
  range: typeof HALF,
  pushedMin: number,
): Promise<Asked> {
  const [querier] = cluster.of('querier') as [Node];
  const name = 'tidemark_querier_partitions_pushed_total';
  const before = await counterOf(querier, name);
  const answers = await ask(cluster.of('gateway')[0]!.url, questionsOf(range));
  const pushed = (await counterOf(querier, name)) - before;
  const refused = await counterOf(querier, 'tidemark_querier_partitions_refused_total');
  console.log(
    `${what}: ${answers.length} queries, ${pushed} partitions pushed down; refused so far ${refused}`,
  );
  expect(pushed, what).toBeGreaterThanOrEqual(pushedMin);
  return { what, answers };
}

test.skipIf(!hasPrograms('nats-server'))(
  'a querier that pushes parts down answers as one that does not',
  { timeout: 600_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, gateway: 1, querier: 2 },
      flags: { gateway: ['--web.enable-admin-api'] },
      nodeFlags: { 'querier-1': ['--query.push-down=false'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const { url } = cluster.of('gateway')[0]!;
    const [pushing, plain] = cluster.of('querier') as [Node, Node];
    await waitFor('all members', () => seesMembers(url, cluster.nodes.length));
    const isThere = async (node: Node): Promise<boolean> =>
      (await membersOf(url)).members.some(
        ({ instance, state }) => instance === node.instance && state === 'ready',
      );
    await plain.end('SIGTERM');
    await waitFor('one querier', async () => !(await isThere(plain)));

    expect(await sendWrite(url, snappyLiterals(encodeWriteRequest(series(0, MIDDLE))))).toBe(204);
    const asked: Asked[] = [];
    // Nearly every query has a part, and every ingester its share of the partitions.
    const all = 3 * 16 * PARTITIONS;
    asked.push(await askPushing(cluster, 'all samples in ingesters', HALF, all));

    expect((await fetch(`${url}/api/v1/admin/tsdb/seal`, { method: 'POST' })).ok).toBe(true);
    expect(await sendWrite(url, snappyLiterals(encodeWriteRequest(series(MIDDLE, SAMPLES))))).toBe(204);
    // Of each query's range some steps are beyond what is in blocks; instants at its beginning are not.
    asked.push(await askPushing(cluster, 'half of them in blocks', WHOLE, all / 2));

    const [first, second] = cluster.of('ingester') as [Node, Node];
    await first.end('SIGKILL');
    asked.push(await askPushing(cluster, 'an ingester killed', WHOLE, all / 4));
    await first.start();
    await first.ready();
    await waitFor('all members but one', () => seesMembers(url, cluster.nodes.length - 1));
    process.kill(second.pid(), 'SIGSTOP');
    asked.push(await askPushing(cluster, 'an ingester hangs', WHOLE, 0));
    process.kill(second.pid(), 'SIGCONT');

    await plain.start();
    await plain.ready();
    await waitFor('the other querier', () => isThere(plain));
    await pushing.end('SIGTERM');
    await waitFor('one querier', async () => !(await isThere(pushing)));
    const expected = new Map<string, unknown>();
    for (const range of [HALF, WHOLE]) {
      for (const answer of await ask(url, questionsOf(range))) {
        expected.set(JSON.stringify([answer.endpoint, answer.parameters]), answer.expected);
      }
    }
    for (const { what, answers } of asked) {
      for (const { endpoint, parameters, expected: got } of answers) {
        const wanted = expected.get(JSON.stringify([endpoint, parameters]));
        expect(rounded(got), `${what}: ${JSON.stringify(parameters)}`).toBe(rounded(wanted));
      }
    }
  },
);
