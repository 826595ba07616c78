// Stores join, die and leave under load, as processes over gRPC: every block ends on the stores that should have it, no query fails
// or gives another answer meanwhile, and nothing acknowledged is lost. What moves is shown, and a store that is gone is let go of.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import type { MovesAnswer } from '../../services/gateway/api/store-moves-api.ts';
import { membersOf, type Node, seesMembers, startCluster, startNode } from '../support/cluster.ts';
import { ClusterLoad, type ConstantQuery, missingAt, sortedData } from '../support/cluster-load.ts';
import { hasPrograms } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi, freshFolder } from '../support/tidemark.ts';

const HOUR_MS = 3_600_000;
/** Blocks of two days go together: so many days that each of four stores gets some, whatever the date. */
const DAYS = 45;
const EVERY_HOURS = 24;
/** A block each. */
const SAMPLES = (DAYS * 24) / EVERY_HOURS - 1;
const SERIES = 20;
const RETENTION = '--storage.tsdb.retention.time=60d';
const STORE_FLAGS = [
  RETENTION,
  '--store.repair-interval=300ms',
  '--store.surplus-grace=1s',
  '--store.rebuild-delay=4s',
];
const MOVE_TIMEOUT_MS = 240_000;

const movesOf = async (gateway: string): Promise<MovesAnswer> =>
  ((await (await fetch(`${gateway}/api/v1/cluster/moves`)).json()) as { data: MovesAnswer }).data;

/** Samples of many days: a block for each of them. */
async function writeHistory(gateway: string): Promise<void> {
  const startMs = Math.floor((Date.now() - DAYS * 24 * HOUR_MS) / HOUR_MS) * HOUR_MS;
  const times = Array.from({ length: SAMPLES }, (_, i) => startMs + i * EVERY_HOURS * HOUR_MS);
  const series = Array.from({ length: SERIES }, (_, s) => ({
    labels: { __name__: 'history', series: String(s) },
    samples: times.map((timeMs, i): readonly [number, number] => [timeMs, s * 1000 + i]),
  }));
  const { status, text } = await postWrite(gateway, snappyLiterals(encodeWriteRequest(series)));
  expect([status, text]).toEqual([204, '']);
}

async function constantQuery(gateway: string, endS: number): Promise<ConstantQuery> {
  const parameters = {
    query: 'sum by (series) (last_over_time(history[6h]))',
    ...{ start: String(endS - DAYS * 86_400), end: String(endS), step: '10800' },
  };
  const { body } = await callApi(gateway, 'query_range', parameters);
  expect(body.status).toBe('success');
  return { endpoint: 'query_range', parameters, expected: sortedData(body.data) };
}

/** Nothing is missing or surplus, and the stores that should be there are. */
async function isSettled(gateway: string, stores: readonly string[]): Promise<boolean> {
  const { stores: rows } = await movesOf(gateway);
  const names = rows.map(({ instance }) => instance).sort();
  return (
    names.join() === [...stores].sort().join() &&
    rows.every(
      ({ state, missingBlocks, surplusBlocks, obstacle }) =>
        state === 'live' && missingBlocks === 0 && surplusBlocks === 0 && obstacle === '',
    )
  );
}

const run = promisify(execFile);
const tidemark = (...args: string[]) =>
  run(process.execPath, [path.join(repositoryRoot, 'services/gateway/tidemark.ts'), ...args]).then(
    ({ stdout }) => ({ code: 0, stdout }),
    (failed: { code: number; stdout: string; stderr: string }) => ({
      code: failed.code,
      stdout: failed.stdout + failed.stderr,
    }),
  );

test.skipIf(!hasPrograms('nats-server'))(
  'stores: 2, 4, 3 after one died with its disk, 2 after one was drained; under load',
  { timeout: 900_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 1, store: 2, querier: 1, gateway: 1 },
      flags: {
        store: STORE_FLAGS,
        gateway: ['--web.enable-admin-api', RETENTION],
        ingester: ['--cluster.replication-factor=1'],
      },
    });
    const newcomers: Node[] = [];
    onTestFinished(({ task }) => {
      if (task.result?.state !== 'fail') return;
      console.log(cluster.describe());
      for (const node of newcomers) console.log(`--- ${node.instance}\n${node.output().slice(-3000)}`);
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const wait = (what: string, isDone: () => Promise<boolean>) =>
      waitFor(what, isDone, { timeoutMs: MOVE_TIMEOUT_MS, describe: cluster.describe });
    await waitFor('all members', () => seesMembers(gateway, cluster.nodes.length));
    await writeHistory(gateway);
    const sealed = await fetch(`${gateway}/api/v1/admin/tsdb/seal`, { method: 'POST' });
    expect(sealed.status).toBe(200);
    const endS = Math.floor(Date.now() / 1000);
    const constant = await constantQuery(gateway, endS);
    const load = new ClusterLoad({ gateways: [gateway], constant: [constant] });
    const before = await movesOf(gateway);
    expect(before.stores.map(({ heldBlocks }) => heldBlocks)).toEqual([
      expect.toSatisfy((n) => n >= SAMPLES),
      before.stores[0]!.heldBlocks,
    ]);

    load.enter('two stores join');
    const joinedMs = performance.now();
    const configFile = path.join(freshFolder(), 'prometheus.yml');
    writeFileSync(configFile, 'global: {}\n');
    for (const i of [2, 3]) {
      const options = { natsUrl: cluster.nats.url, zone: `zone-${i}`, configFile, flags: STORE_FLAGS };
      newcomers.push(await startNode('store', `store-${i}`, options));
    }
    await Promise.all(newcomers.map((node) => node.ready()));
    await wait('blocks where they belong, on four stores', () =>
      isSettled(gateway, ['store-0', 'store-1', 'store-2', 'store-3']),
    );
    const joinSeconds = (performance.now() - joinedMs) / 1000;
    const shared = await movesOf(gateway);
    expect(shared.stores.every(({ heldBlocks }) => heldBlocks > 0)).toBe(true);
    const copies = shared.stores.reduce((sum, { heldBlocks }) => sum + heldBlocks, 0);
    expect(copies).toBeGreaterThanOrEqual(2 * SAMPLES);

    load.enter('a store dies with its disk');
    const killedMs = performance.now();
    const dead = cluster.of('store')[0]!;
    await dead.end('SIGKILL');
    await wait('its blocks are on the others, and it is forgotten', () =>
      isSettled(gateway, ['store-1', 'store-2', 'store-3']),
    );
    const rebuildSeconds = (performance.now() - killedMs) / 1000;

    load.enter('a store leaves');
    const leftMs = performance.now();
    const drained = await tidemark('drain', '--store=store-3', `--url=${gateway}`, '--timeout=4m');
    expect(drained).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('holds nothing any more') as string,
    });
    const leaver = newcomers.find(({ instance }) => instance === 'store-3')!;
    await leaver.end('SIGTERM');
    expect(leaver.exited()).toBe(0);
    await wait('it is forgotten', () => isSettled(gateway, ['store-1', 'store-2']));
    const drainSeconds = (performance.now() - leftMs) / 1000;
    // Too few would be left now.
    const refused = await tidemark('drain', '--store=store-2', `--url=${gateway}`);
    expect(refused).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('1 stores would be left for 2 copies') as string,
    });

    await load.stop();
    expect(load.failures).toEqual([]);
    expect(load.failedAttempts('query', 0)).toEqual([]);
    expect(await missingAt(gateway, load.acknowledged)).toEqual([]);
    expect((await constantQuery(gateway, endS)).expected).toEqual(constant.expected);
    const { members } = await membersOf(gateway);
    expect(members.filter(({ service }) => service === 'store').map(({ instance }) => instance)).toEqual([
      'store-1',
      'store-2',
    ]);
    console.log(
      `stores: joined in ${joinSeconds.toFixed(1)} s, rebuilt in ${rebuildSeconds.toFixed(1)} s after a kill (4 s delay, 3 s expiry), drained in ${drainSeconds.toFixed(1)} s; ` +
        `${load.queries} queries, 0 failed; ${load.acknowledged.length} writes, ${load.retries} retries`,
    );
    const status = await tidemark('status', `--url=${gateway}`);
    expect(status.stdout).toContain('every block is on the 2 stores that should have it');
    const doctor = await tidemark('doctor', `--url=${gateway}`);
    expect(doctor).toMatchObject({
      code: 3,
      stdout: expect.stringContaining('warning: NATS is one server') as string,
    });
  },
);
