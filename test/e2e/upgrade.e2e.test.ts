// R19: every process of a cluster of the version before is restarted, one by one, as this version, while a real Prometheus
// remote-writes, numbered samples are written and queries are asked; then some go back. Nothing is lost, no request fails that is sent
// again as Prometheus does, and what either version wrote to its disk is read by the other. TIDEMARK_UPGRADE_ROUNDS makes it longer.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { type Node, seesMembers, startCluster, type TestCluster } from '../support/cluster.ts';
import { ClusterLoad, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { previousVersionRoot } from '../support/previous-version.ts';
import { hasPrograms } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { counterOf, expectAllArrived, startPrometheusSender } from '../support/prometheus-sender.ts';
import { queryInstant } from '../support/tidemark.ts';

/** In each, every process is restarted: as this version, as the one before, and so on; in the last as this one, and two go back. */
const ROUNDS = Number(process.env.TIDEMARK_UPGRADE_ROUNDS ?? 1);
const PROGRAMS = ['nats-server', 'prometheus'] as const;
const JOB = '{job="prometheus"}';

/** Ends the process in order and starts it from `root`, with its data; the others see it again when this resolves. */
async function move(cluster: TestCluster, node: Node, root: string): Promise<void> {
  await node.end('SIGTERM');
  expect(node.exited(), node.output()).toBe(0);
  await node.start(root);
  await node.ready();
  const gateway = cluster.of('gateway').find((each) => each !== node)!;
  await waitFor(`${node.instance} is seen`, () => seesMembers(gateway.url, cluster.nodes.length), {
    timeoutMs: 60_000,
    describe: cluster.describe,
  });
}

test.skipIf(!hasPrograms(...PROGRAMS))(
  `R19: a rolling upgrade from the version before, and back, under load from Prometheus, ${ROUNDS} times`,
  { timeout: 600_000 * ROUNDS },
  async () => {
    const before = previousVersionRoot();
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 2, gateway: 2 },
      flags: { gateway: ['--web.enable-admin-api'] },
      root: before,
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateways = cluster.of('gateway').map(({ url }) => url);
    await waitFor('all members', () => seesMembers(gateways[0]!, cluster.nodes.length));
    const prometheus = await startPrometheusSender(gateways[0]!);
    const load = new ClusterLoad({ gateways });
    onTestFinished(() => load.stop());
    await sleep(2_000);
    // Blocks of the version before, which the stores of this one have to read.
    const sealed = await fetch(`${gateways[1]!}/api/v1/admin/tsdb/seal`, { method: 'POST' });
    expect(sealed.status, await sealed.text()).toBeLessThan(300);

    const order = ['store', 'ingester', 'querier', 'gateway'] as const;
    const all = order.flatMap((service) => cluster.of(service));
    let moves = 0;
    const moveAll = async (nodes: readonly Node[], root: string, what: string): Promise<void> => {
      for (const node of nodes) {
        load.enter(`${node.instance} goes ${what}`);
        await move(cluster, node, root);
        moves++;
      }
      // Blocks and logs of either version, which the other has to read.
      const again = await fetch(`${gateways[1]!}/api/v1/admin/tsdb/seal`, { method: 'POST' });
      expect(again.status, await again.text()).toBeLessThan(300);
      process.stdout.write(`${nodes.length} processes ${what}\n`);
    };
    for (let round = 1; round < ROUNDS; round++) {
      const isUp = round % 2 === 1;
      await moveAll(all, isUp ? repositoryRoot : before, isUp ? 'to this version' : 'to the one before');
    }
    await moveAll(all, repositoryRoot, 'to this version');
    await moveAll([cluster.of('store')[0]!, cluster.of('ingester')[0]!], before, 'back');
    await load.stop();

    expect(load.failures).toEqual([]);
    for (const gateway of gateways) expect(await missingAt(gateway, load.acknowledged)).toEqual([]);
    const sent = await expectAllArrived(prometheus, gateways[1]!);
    expect(sent).toBeGreaterThan(1_000);
    expect((await queryInstant(gateways[0]!, `count(${JOB})`)).length).toBe(1);
    console.log(
      `upgrade: ${ROUNDS} rounds, ${moves} restarts from one version to the other; ${load.acknowledged.length * LOAD_SERIES} samples acknowledged and ` +
        `${sent} of Prometheus, 0 lost; ${load.queries} queries, 0 failed; requests sent again: ${load.describeRetries()}; ` +
        `samples that Prometheus sent again: ${await counterOf(prometheus, 'prometheus_remote_storage_samples_retried_total')}`,
    );
  },
);
