// What a cluster of processes lives through under load: an ingester killed, one restarted in order, replicas that hang, NATS gone for a
// whole minute and back with an empty disk. No write fails that is sent again, no query fails twice or gives another
// answer, none takes much longer for one frozen replica, and every sample that was answered with 204 is there in the end.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import {
  MEMBER_EXPIRY_MS,
  membersOf,
  type Node,
  seesMembers,
  startCluster,
  startNode,
} from '../support/cluster.ts';
import { ClusterLoad, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { hasPrograms } from '../support/process.ts';
import { loadFactor, waitFor } from '../support/programs.ts';
import { freshFolder } from '../support/tidemark.ts';

/** A killed replica may cost writes this much, and one that hangs a query so much more than usual. */
const WRITE_OUTAGE_MS = 2_000;
const FROZEN_EXTRA_MS = 1_000;
/** Members and placement are there again so long after NATS is. */
const RECOVERY_MS = 15_000;
const NATS_OUTAGE_MS = 60_000;
/** Longer than a stream waits for an answer. */
const FREEZE_MS = 12_000;
/** Requests to one ingester that are not answered, at most; the distributor's own limit. */
const WINDOW_REQUESTS = 256;
/** Two writers and three ingesters. */
const IN_FLIGHT_USUAL = 6;

async function metricOf(node: Node, name: string): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

const inFlight = (gateway: Node): Promise<number> =>
  metricOf(gateway, 'tidemark_distributor_in_flight_requests{');

/** Stops a process for a while without ending it; what requests took meanwhile. */
async function freeze(
  node: Node,
  gateways: readonly Node[],
  load: ClusterLoad,
  watch: () => Promise<void>,
): Promise<{ writeMs: number; queryMs: number; failed: string[] }> {
  const frozenMs = performance.now();
  process.kill(node.pid(), 'SIGSTOP');
  await sleep(FREEZE_MS - 2_000);
  await watch();
  await sleep(2_000);
  process.kill(node.pid(), 'SIGCONT');
  // What waited for it is gone, and what comes now is answered.
  await waitFor('empty windows', async () => {
    const counts = await Promise.all(gateways.map(inFlight));
    return counts.every((count) => count <= IN_FLIGHT_USUAL);
  });
  return {
    writeMs: load.slowestMs('write', frozenMs),
    queryMs: load.slowestMs('query', frozenMs),
    failed: [...load.failedAttempts('write', frozenMs), ...load.failedAttempts('query', frozenMs)],
  };
}

test.skipIf(!hasPrograms('nats-server'))(
  'processes and NATS are lost under load',
  { timeout: 600_000 },
  async () => {
    const cluster = await startCluster({ counts: { ingester: 3, store: 2, querier: 1, gateway: 2 } });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateways = cluster.of('gateway').map(({ url }) => url);
    const [gateway] = gateways as [string];
    const [first, second, third] = cluster.of('ingester') as [Node, Node, Node];
    const allThere = () => seesMembers(gateway, cluster.nodes.length);
    await waitFor('all members', allThere);
    const load = new ClusterLoad({ gateways });
    await sleep(2_000);

    load.enter('an ingester is killed');
    const killedMs = performance.now();
    await first.end('SIGKILL');
    await waitFor('the others know', async () => {
      const { members } = await membersOf(gateway);
      return members.find(({ instance }) => instance === first.instance)?.state === 'absent';
    });
    await sleep(1_000);
    // It keeps its partitions: a restart must not move data.
    const absent = (await membersOf(gateway)).members.find(({ instance }) => instance === first.instance);
    expect(absent).toMatchObject({ partitionsOwned: 64 });
    expect(load.failedAttempts('write', killedMs + WRITE_OUTAGE_MS * loadFactor())).toEqual([]);
    load.enter('it comes back');
    await first.start();
    await first.ready();
    await waitFor('all members again', allThere, { timeoutMs: RECOVERY_MS * loadFactor() });

    load.enter('an ingester is restarted in order');
    const endedMs = performance.now();
    await second.end('SIGTERM');
    expect(second.exited()).toBe(0);
    await second.start();
    await second.ready();
    expect(load.failedAttempts('write', endedMs)).toEqual([]);
    await waitFor('all members once more', allThere, { timeoutMs: RECOVERY_MS * loadFactor() });
    const usualMs = Math.max(load.slowestMs('query', 0), load.slowestMs('write', 0));

    load.enter('NATS is gone');
    const natsGoneMs = performance.now();
    await cluster.nats.kill();
    await sleep(2 * MEMBER_EXPIRY_MS);
    expect(await membersOf(gateway)).toMatchObject({ controlPlane: 'unreachable', replicationFactor: 3 });

    // Nobody's membership ends without NATS: whoever hangs now is done without, not forgotten.
    load.enter('an ingester hangs, and NATS is gone');
    const limitMs = usualMs + FROZEN_EXTRA_MS * loadFactor();
    const hung = await freeze(third, cluster.of('gateway'), load, async () => {
      expect((await membersOf(gateway)).members).toHaveLength(cluster.nodes.length);
      expect(
        await metricOf(cluster.of('querier')[0]!, 'tidemark_querier_sources_late_total'),
      ).toBeGreaterThan(0);
      for (const each of cluster.of('gateway')) {
        expect(await inFlight(each)).toBeLessThanOrEqual(WINDOW_REQUESTS + IN_FLIGHT_USUAL);
      }
    });
    load.enter('a store hangs, and NATS is gone');
    const hungStore = await freeze(cluster.of('store')[0]!, cluster.of('gateway'), load, () =>
      Promise.resolve(),
    );
    for (const { failed, writeMs, queryMs } of [hung, hungStore]) {
      expect([failed, Math.max(writeMs, queryMs) - limitMs]).toEqual([[], expect.toSatisfy((ms) => ms <= 0)]);
    }

    load.enter('NATS is gone for a minute');
    await sleep(Math.max(0, natsGoneMs + NATS_OUTAGE_MS - performance.now()));
    expect(load.failedAttempts('write', natsGoneMs)).toEqual([]);
    expect(load.failedAttempts('query', natsGoneMs)).toEqual([]);

    load.enter('NATS is back, empty');
    const backMs = performance.now();
    await cluster.nats.restart({ emptied: true });
    const configFile = path.join(freshFolder(), 'prometheus.yml');
    writeFileSync(configFile, 'global: {}\n');
    // A process that knows nothing learns all from the others.
    const late = await startNode('gateway', 'late', { natsUrl: cluster.nats.url, zone: '', configFile });
    const recoveryMs = RECOVERY_MS * loadFactor();
    await Promise.all([
      late.ready(recoveryMs),
      ...gateways.map((url) =>
        waitFor('all members', () => seesMembers(url, cluster.nodes.length + 1), { timeoutMs: recoveryMs }),
      ),
    ]);
    const recoveredMs = performance.now() - backMs;
    expect(recoveredMs).toBeLessThan(recoveryMs);
    // What it sees of the others follows their next announcements.
    await waitFor('members that are all ready', async () =>
      (await membersOf(late.url)).members.every(({ state }) => state === 'ready'),
    );

    load.enter('NATS is back');
    await sleep(2 * MEMBER_EXPIRY_MS);
    expect(load.failedAttempts('write', natsGoneMs)).toEqual([]);
    expect(load.failedAttempts('query', natsGoneMs)).toEqual([]);
    for (const node of cluster.nodes) await node.ready(0);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await missingAt(late.url, load.acknowledged)).toEqual([]);
    const samples = load.acknowledged.length * LOAD_SERIES;
    const ms = (value: number): string => `${Math.round(value)} ms`;
    console.log(
      `cluster: ${samples} samples acknowledged, ${load.queries} queries, ${load.retries} retries, 0 lost; slowest request ` +
        `usually ${ms(usualMs)}, with an ingester frozen ${ms(Math.max(hung.writeMs, hung.queryMs))}, a store ` +
        `${ms(Math.max(hungStore.writeMs, hungStore.queryMs))}; members there ${ms(recoveredMs)} after NATS (load factor ${loadFactor().toFixed(1)})`,
    );
    expect(load.acknowledged.length).toBeGreaterThan(100);
  },
);
