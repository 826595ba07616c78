// Parts of queries over history are evaluated by the stores of a cluster of processes, and the answers are those of a querier that reads
// chunks: over one block and over overlapping ones, across deletes and their undo, with late samples in ingesters, with a store killed and with one
// that lacks blocks. How many partitions were pushed down is counted, so that nothing passes by not being pushed, or is where it must not be.
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Labels } from '../../services/lib/model/labels.ts';
import { connectGrpc } from '../../services/lib/transport/grpc/grpc-client.ts';
import { createRpcTraffic } from '../../services/lib/transport/rpc-traffic.ts';
import { QuerierDefinition, type QueryRequest } from '../../services/lib/wire/contracts.ts';
import { readResultFrame } from '../../services/lib/wire/frames/result-frame.ts';
import { type Node, seesMembers, startCluster } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import {
  encodeWriteRequest,
  sendWrite,
  snappyLiterals,
  type WrittenSeries,
} from '../support/remote-write-body.ts';

const STEP_MS = 30_000;
const HOUR_MS = 3_600_000;
const PARTITIONS = 64;
const NOW_MS = Math.floor(Date.now() / STEP_MS) * STEP_MS;
/** Beginning of a range of two hours, and of what is asked for. */
const BASE_MS = Math.floor(NOW_MS / (2 * HOUR_MS)) * 2 * HOUR_MS - 8 * HOUR_MS;
const HISTORY = { startMs: BASE_MS + 900_000, endMs: BASE_MS + 3 * HOUR_MS, stepMs: 120_000 };
const WHOLE = { ...HISTORY, endMs: NOW_MS };
/** Before anything was written. */
const NOTHING = { startMs: BASE_MS - 2 * HOUR_MS, endMs: BASE_MS - HOUR_MS, stepMs: 600_000 };
const INSTANT = { startMs: BASE_MS + HOUR_MS, endMs: BASE_MS + HOUR_MS, stepMs: 0 };

/** With a part each that can be pushed down. */
const QUERIES: readonly string[] = [
  'sum by (path) (rate(requests_total[5m]))',
  'count by (code) (requests_total)',
  'min by (path) (requests_total offset 5m)',
  'max without (instance) (rate(requests_total[2m]))',
  'avg by (room) (avg_over_time(temperature[3m]))',
  'stddev by (path) (requests_total)',
  'topk(3, rate(requests_total[5m]))',
  'bottomk by (path) (2, requests_total)',
  'count_values("v", round(temperature))',
  'sum(rate(requests_total[2m])) / count(requests_total)',
  'max_over_time(sum(rate(requests_total[2m]))[10m:1m])',
  'sum(requests_total @ start())',
  'absent(nothing) or sum(requests_total)',
];

function series(fromMs: number, toMs: number, every: number, bump = 0): WrittenSeries[] {
  const samplesOf = (value: (i: number) => number): [number, number][] => {
    const samples: [number, number][] = [];
    for (let timeMs = fromMs; timeMs < toMs; timeMs += every)
      samples.push([timeMs, value(timeMs / STEP_MS) + bump]);
    return samples;
  };
  const all: WrittenSeries[] = [];
  for (let n = 0; n < 80; n++) {
    const labels = { path: `/p${n % 5}`, code: n % 3 === 0 ? '500' : '200', instance: `host-${n}:80` };
    all.push({
      labels: { __name__: 'requests_total', ...labels },
      samples: samplesOf((i) => ((i + n) % 50) * (n + 1)),
    });
  }
  for (const [n, room] of ['kitchen', 'cellar', 'attic'].entries()) {
    for (const sensor of ['a', 'b', 'c']) {
      const value = (i: number): number => 15 + 10 * Math.sin(i / 9 + n) + sensor.charCodeAt(0) / 7;
      all.push({ labels: { __name__: 'temperature', room, sensor }, samples: samplesOf(value) });
    }
  }
  return all;
}

async function counterOf(node: Node, name: string): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** Series as text, sorted, as far as merging sums of parts rounds as summing does; or the error. */
async function answerOf(querier: Node, query: string, range: typeof HISTORY): Promise<string> {
  const address = querier.grpcAddress;
  const connection = connectGrpc(QuerierDefinition, { address, unaryTimeoutMs: 60_000 }, createRpcTraffic());
  const request: QueryRequest = {
    ...{ tenant: 'anonymous', query, ...range, timeoutMs: 0, lookbackMs: 0, limit: 0 },
    ...{ allowPartial: false, noCache: true },
  };
  const rows: string[] = [];
  try {
    for await (const { part } of connection.client.query(request, { signal: AbortSignal.timeout(60_000) })) {
      if (part?.$case !== 'frame') continue;
      readResultFrame(part.value, (bytes, start, end, timestampsMs, values, count) => {
        const samples = Array.from(
          { length: count },
          (_, i) => `${timestampsMs[i]} ${values[i]!.toPrecision(12)}`,
        );
        rows.push(`${Labels.view(bytes.slice(start, end), 0, end - start).toString()} ${samples.join(' ')}`);
      });
    }
  } catch (caught) {
    return String(caught);
  } finally {
    connection.close();
  }
  return rows.sort().join('\n');
}

test.skipIf(!hasPrograms('nats-server'))(
  'a querier that pushes parts down to stores answers as one that reads chunks',
  { timeout: 600_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 3, store: 3, gateway: 1, querier: 2 },
      flags: { gateway: ['--web.enable-admin-api'] },
      nodeFlags: { 'querier-1': ['--query.push-down=false'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const { url } = cluster.of('gateway')[0]!;
    const [pushing, plain] = cluster.of('querier') as [Node, Node];
    await waitFor('all members', () => seesMembers(url, cluster.nodes.length));

    const write = async (all: WrittenSeries[]): Promise<void> =>
      expect(await sendWrite(url, snappyLiterals(encodeWriteRequest(all)))).toBe(204);
    const post = async (call: string): Promise<void> =>
      expect((await fetch(`${url}/api/v1/admin/tsdb/${call}`, { method: 'POST' })).ok).toBe(true);
    /** Asks both; says what was pushed to stores meanwhile. */
    const compare = async (what: string, ranges: readonly (typeof HISTORY)[]): Promise<number> => {
      const name = 'tidemark_querier_partitions_pushed_to_stores_total';
      const before = await counterOf(pushing, name);
      let rows = 0;
      for (const range of ranges) {
        for (const query of QUERIES) {
          const [got, wanted] = [await answerOf(pushing, query, range), await answerOf(plain, query, range)];
          expect(got, `${what}: ${query} ${JSON.stringify(range)}`).toBe(wanted);
          expect(wanted).not.toContain('Error');
          if (wanted !== '') rows++;
        }
      }
      expect(rows, what).toBeGreaterThan((ranges.length * QUERIES.length) / 2);
      const pushed = (await counterOf(pushing, name)) - before;
      console.log(`${what}: ${pushed} partitions pushed to stores`);
      return pushed;
    };
    const all = QUERIES.length * PARTITIONS;

    await write(series(BASE_MS, BASE_MS + 2 * HOUR_MS, STEP_MS));
    expect(await compare('nothing sealed', [HISTORY])).toBe(0);
    await post('seal');
    // Threads of stores start with the first parts, which are refused.
    await compare('sealed', [HISTORY]);
    expect(await compare('sealed, warm', [HISTORY, INSTANT])).toBeGreaterThanOrEqual(all);
    const empty = 'sum(requests_total) or count(temperature) or topk(2, requests_total)';
    expect(await answerOf(pushing, empty, NOTHING)).toBe('');

    // Other values at the same times, and times between: until they are sealed stores lack them.
    await write(series(BASE_MS + HOUR_MS, BASE_MS + 3 * HOUR_MS, 20_000, 7));
    expect(await compare('late samples', [HISTORY, INSTANT])).toBe(0);
    await post('seal');
    expect(await compare('overlapping blocks', [HISTORY, INSTANT])).toBeGreaterThanOrEqual(all);

    await write(series(NOW_MS - 1_200_000, NOW_MS, STEP_MS));
    expect(await compare('the newest in ingesters', [HISTORY, WHOLE])).toBeGreaterThanOrEqual(all);

    const deletion = `match[]=${encodeURIComponent('requests_total{instance=~"host-[1-4].*"}')}`;
    const times = `start=${(BASE_MS + 1_800_000) / 1000}&end=${(BASE_MS + 1.5 * HOUR_MS) / 1000}`;
    await post(`delete_series?${deletion}&${times}`);
    expect(await compare('deleted', [HISTORY, WHOLE])).toBeGreaterThanOrEqual(all);
    await post('clean_tombstones');
    expect(await compare('deleted for good', [HISTORY])).toBeGreaterThanOrEqual(all / 2);

    const [first, second] = cluster.of('store') as [Node, Node];
    process.kill(second.pid(), 'SIGSTOP');
    await compare('a store hangs', [INSTANT]);
    process.kill(second.pid(), 'SIGCONT');
    await waitFor('all members', () => seesMembers(url, cluster.nodes.length));
    await first.end('SIGKILL');
    expect(await compare('a store killed', [HISTORY, WHOLE])).toBeGreaterThanOrEqual(all / 2);
    // Without its blocks, until it has copied them.
    const tenant = path.join(first.dataDir, 'blocks', 'anonymous');
    for (const block of readdirSync(tenant).slice(0, 8))
      rmSync(path.join(tenant, block), { recursive: true });
    await first.start();
    await first.ready();
    await compare('a store lacks blocks', [HISTORY]);
  },
);
