// Every process of a cluster is killed at once, in the middle of writes, queries and the shipping of blocks, again and again. Every
// sample that was answered with 204 is there afterwards, each time.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, seesMembers, startCluster } from '../support/cluster.ts';
import { type AcknowledgedWrite, ClusterLoad, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { randomOf } from '../support/random.ts';

const ROUNDS = Number(process.env.TIDEMARK_CLUSTER_KILLS ?? 20);
const SEED = Number(process.env.TIDEMARK_CLUSTER_SEED ?? Date.now() % 1_000_000);
/** Samples of two rounds never have the same time; 200 rounds of them lie in the past, and within two hours. */
const ROUND_MS = 12_000;
const START_AGO_MS = 2_700_000;

test.skipIf(!hasPrograms('nats-server'))(
  `R3: everything is killed at once, ${ROUNDS} times (seed ${SEED})`,
  { timeout: 60_000 + ROUNDS * 30_000 },
  async () => {
    console.log(`cluster kills: TIDEMARK_CLUSTER_SEED=${SEED}`);
    const random = randomOf(SEED);
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 1, gateway: 1 },
      flags: { gateway: ['--web.enable-admin-api'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const acknowledged: AcknowledgedWrite[] = [];
    const startMs = Date.now() - START_AGO_MS;
    let seals = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const load = new ClusterLoad({ gateways: [gateway], startMs: startMs + round * ROUND_MS });
      await sleep(300 + random() * 900);
      // In every other round blocks are on their way to the stores when the lights go out.
      if (random() < 0.5) {
        seals++;
        fetch(`${gateway}/api/v1/admin/tsdb/seal`, { method: 'POST' }).catch(() => undefined);
        await sleep(random() * 300);
      }
      await Promise.all([...cluster.nodes.map((node) => node.end('SIGKILL')), load.stop()]);
      expect(load.failures).toEqual([]);
      acknowledged.push(...load.acknowledged);
      await Promise.all(cluster.nodes.map((node) => node.start()));
      await Promise.all(cluster.nodes.map((node) => node.ready()));
      await waitFor('all members', () => seesMembers(gateway, cluster.nodes.length), {
        describe: cluster.describe,
      });
      const missing = await waitFor('an answer', () => missingAt(gateway, acknowledged), {
        describe: cluster.describe,
      });
      process.stdout.write(
        `round ${round}: ${acknowledged.length * LOAD_SERIES} samples, ${missing.length} missing\n`,
      );
      expect([round, missing.length, missing.slice(0, 5)]).toEqual([round, 0, []]);
    }
    const samples = acknowledged.length * LOAD_SERIES;
    console.log(
      `cluster: ${ROUNDS} kills of everything, ${seals} of them while sealing, ${samples} samples acknowledged, 0 lost`,
    );
    expect(acknowledged.length).toBeGreaterThan(ROUNDS);
    expect((await membersOf(gateway)).members).toHaveLength(cluster.nodes.length);
  },
);
