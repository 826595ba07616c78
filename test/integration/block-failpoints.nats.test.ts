// R25: blocks of a running cluster are visible whole or not at all. Under load, with a question that counts what was acknowledged without a
// pause, an ingester and a store die (SIGKILL) at every named place around the cut of a range, the shipping of its block, its arrival and
// its announcement, and the truncation of the log behind it. What has left the log is on two stores: each alone has everything in the end.
// TIDEMARK_BLOCK_ROUNDS sets how often each place is died at, TIDEMARK_BLOCK_SEED the order and the pauses.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { FAILPOINT_VARIABLE, type Failpoint } from '../../services/lib/core/failpoint.ts';
import { membersOf, type Node, startCluster } from '../support/cluster.ts';
import { ClusterLoad, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { randomOf, shuffled } from '../support/random.ts';

const ROUNDS = Number(process.env.TIDEMARK_BLOCK_ROUNDS ?? 1);
const SEED = Number(process.env.TIDEMARK_BLOCK_SEED ?? 25);
const AT_INGESTER = [
  ...['seal-cut', 'block-ship-before', 'block-ship-after', 'seal-mark-after'],
  ...['log-truncate-before', 'log-truncate-after'],
] as Failpoint[];
const AT_STORE = [
  ...['block-write-before', 'block-sync-before', 'block-rename-before', 'block-rename-after'],
  ...['block-announce-before', 'block-announce-after'],
] as Failpoint[];
/** All is looked for after so many rounds. */
const CHECK_EVERY = 6;

/** A process that is to die at a place. */
interface Doomed {
  readonly node: Node;
  readonly point: Failpoint;
}

const arm = ({ node, point }: Doomed): Promise<void> =>
  node.start(undefined, { [FAILPOINT_VARIABLE]: point });

const seal = (gateway: string): Promise<number> =>
  fetch(`${gateway}/api/v1/admin/tsdb/seal`, { method: 'POST' }).then(
    async (response) => {
      await response.arrayBuffer();
      return response.status;
    },
    () => 0,
  );

/** Seals what is written until each has died at its place; who has is started again, since the others may wait for it. */
async function sealUntilDead(
  gateway: string,
  doomed: readonly Doomed[],
  describe: () => string,
): Promise<void> {
  const dead = new Set<Doomed>();
  await waitFor(
    `the ends at ${doomed.map(({ point }) => point).join(' and ')}`,
    async () => {
      // Something new for a block, each time.
      await sleep(100);
      const sealing = seal(gateway);
      let isOver = false;
      void sealing.then(() => {
        isOver = true;
      });
      while (!isOver) {
        for (const each of doomed) {
          const ended = each.node.exited();
          if (ended === undefined || dead.has(each)) continue;
          expect([each.point, ended], each.node.output()).toEqual([each.point, 'SIGKILL']);
          dead.add(each);
          await each.node.start();
        }
        await sleep(20);
      }
      return dead.size === doomed.length;
    },
    { timeoutMs: 120_000, describe },
  );
  for (const { node } of doomed) await node.ready();
}

test.skipIf(!hasPrograms('nats-server'))(
  `R25: processes of a cluster die at ${AT_INGESTER.length + AT_STORE.length} places of a block's way × ${ROUNDS}: it is there whole or not at all, and twice (seed ${SEED})`,
  { timeout: 180_000 + ROUNDS * 300_000 },
  async () => {
    const random = randomOf(SEED);
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 1, gateway: 1 },
      // A block for few partitions is small, and a seal quick.
      flags: { ingester: ['--cluster.partitions=16'], gateway: ['--web.enable-admin-api'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const allReady = async (): Promise<boolean> =>
      (await membersOf(gateway)).members.every(({ state }) => state === 'ready');
    const load = new ClusterLoad({ gateways: [gateway], startMs: Date.now() - 600_000 });
    onTestFinished(() => load.stop());
    const places = Array.from({ length: ROUNDS }, () => {
      const stores = shuffled(random, AT_STORE);
      return shuffled(random, AT_INGESTER).map((point, i) => [point, stores[i]!] as const);
    }).flat();
    for (const [round, [atIngester, atStore]] of places.entries()) {
      load.enter(`round ${round}: ${atIngester}, ${atStore}`);
      const doomed: Doomed[] = [
        { node: cluster.of('ingester')[round % 3]!, point: atIngester },
        { node: cluster.of('store')[round % 2]!, point: atStore },
      ];
      for (const each of doomed) await arm(each);
      // Copying and merging, which never rest, may bring it to its place before anything is sealed.
      for (const { node } of doomed)
        await node.ready().catch((caught: unknown) => {
          if (node.exited() !== 'SIGKILL') throw caught;
        });
      const isDeadOrReady = async (): Promise<boolean> =>
        doomed.some(({ node }) => node.exited() !== undefined) || (await allReady());
      await waitFor('all there', isDeadOrReady, { timeoutMs: 60_000, describe: cluster.describe });
      await sealUntilDead(gateway, doomed, cluster.describe);
      await waitFor('all there again', allReady, { timeoutMs: 60_000, describe: cluster.describe });
      process.stdout.write(`round ${round}: ${atIngester}, ${atStore}\n`);
      if (round % CHECK_EVERY !== CHECK_EVERY - 1) continue;
      expect(load.failures).toEqual([]);
      expect((await missingAt(gateway, [...load.acknowledged])).slice(0, 5)).toEqual([]);
    }
    await load.stop();
    expect(load.failures).toEqual([]);
    await waitFor('a last seal', async () => (await seal(gateway)) === 200, { timeoutMs: 60_000 });

    // Either store alone has all of it, and the ingesters' logs are not asked for it: they are empty of it.
    for (const store of cluster.of('store')) {
      await store.end('SIGKILL');
      await waitFor(
        `everything without ${store.instance}`,
        async () => {
          expect((await missingAt(gateway, load.acknowledged)).slice(0, 5)).toEqual([]);
          return true;
        },
        { timeoutMs: 30_000, describe: cluster.describe },
      );
      await store.start();
      await store.ready();
      await waitFor('all there after it', allReady, { timeoutMs: 60_000, describe: cluster.describe });
    }
    console.log(
      `R25: ${2 * places.length} deaths at ${AT_INGESTER.length + AT_STORE.length} places, seed ${SEED}: ` +
        `${load.acknowledged.length * LOAD_SERIES} samples acknowledged, 0 lost, ${load.queries} queries, none short; each store alone has all`,
    );
  },
);
