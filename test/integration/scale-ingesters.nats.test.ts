// Three ingesters become five and three again under writes and queries that never pause: partitions move, with what they hold, and no
// client notices. Real processes, a real NATS.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, type Node, startCluster, startNode } from '../support/cluster.ts';
import { ClusterLoad, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { freshFolder } from '../support/tidemark.ts';

const CYCLES = Number(process.env.TIDEMARK_SCALE_CYCLES ?? 1);

interface Standing {
  readonly instance: string;
  readonly partitionsOwned: number;
  readonly replica?: { readonly partitions: number; readonly complete: number; readonly leaving: boolean };
}

test.skipIf(!hasPrograms('nats-server'))(
  `R20: 3 ingesters become 5 and 3 again under load, ${CYCLES} times: no sample is lost, no query fails or is wrong`,
  { timeout: 60_000 + CYCLES * 180_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 1, gateway: 2 },
      flags: { gateway: ['--web.enable-admin-api'] },
    });
    const added: Node[] = [];
    onTestFinished(({ task }) => {
      if (task.result?.state !== 'fail') return;
      console.log(cluster.describe());
      for (const node of added) console.log(`--- ${node.instance}\n${node.output().slice(-2000)}`);
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const load = new ClusterLoad({ gateways: cluster.of('gateway').map(({ url }) => url) });
    onTestFinished(() => load.stop());
    const configFile = path.join(freshFolder(), 'prometheus.yml');
    writeFileSync(configFile, 'global: {}\n');
    const standings = async (): Promise<readonly Standing[]> =>
      (await membersOf(gateway)).members.filter(({ service }) => service === 'ingester');
    const startedMs = performance.now();
    const moves: string[] = [];
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      load.enter(`scale out ${cycle}`);
      let sinceMs = performance.now();
      const newcomers: Node[] = [];
      for (const name of ['ingester-3', 'ingester-4']) {
        const instance = `${name}-${cycle}`;
        const node = await startNode('ingester', instance, {
          natsUrl: cluster.nats.url,
          zone: `zone-${name}`,
          configFile,
          flags: name === 'ingester-4' ? ['--cluster.leave'] : [],
        });
        newcomers.push(node);
        added.push(node);
      }
      await Promise.all(newcomers.map((node) => node.ready()));
      await waitFor(
        'five complete ingesters',
        async () => {
          const all = await standings();
          return (
            all.length === 5 &&
            all.every(
              ({ partitionsOwned, replica }) =>
                partitionsOwned > 0 &&
                replica?.partitions === partitionsOwned &&
                replica.complete === partitionsOwned,
            )
          );
        },
        { timeoutMs: 60_000 },
      );
      moves.push(`out ${((performance.now() - sinceMs) / 1000).toFixed(1)} s`);
      await sleep(1_000);
      load.enter(`scale in ${cycle}`);
      sinceMs = performance.now();
      const [drained, leaving] = newcomers as [Node, Node];
      await drain(gateway, drained.instance);
      await drained.end('SIGTERM');
      expect(drained.exited()).toBe(0);
      // The other one was told that a SIGTERM is for good.
      process.kill(leaving.pid(), 'SIGTERM');
      await waitFor(`${leaving.instance} has left`, () => Promise.resolve(leaving.exited() !== undefined), {
        timeoutMs: 60_000,
      });
      expect([leaving.exited(), leaving.output().includes('all is handed over')]).toEqual([0, true]);
      await waitFor('three ingesters', async () => (await standings()).length === 3);
      moves.push(`in ${((performance.now() - sinceMs) / 1000).toFixed(1)} s`);
      await sleep(1_000);
    }
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(load.failedAttempts('query', startedMs)).toEqual([]);
    expect(load.failedAttempts('write', startedMs)).toEqual([]);
    expect((await missingAt(gateway, load.acknowledged)).slice(0, 5)).toEqual([]);
    console.log(
      `scaling: ${CYCLES} cycles, ${load.acknowledged.length * LOAD_SERIES} samples acknowledged, 0 lost, ${load.queries} queries, 0 failed; ${moves.join(', ')}`,
    );
  },
);

/** As `tidemark drain` does. */
async function drain(gateway: string, instance: string): Promise<void> {
  await waitFor(
    `${instance} released`,
    async () => {
      const url = `${gateway}/api/v1/admin/cluster/drain?ingester=${instance}`;
      const response = await fetch(url, { method: 'POST' });
      const text = await response.text();
      if (!response.ok) throw new Error(`${response.status} ${text}`);
      return (JSON.parse(text) as { data: { released: boolean } }).data.released;
    },
    { timeoutMs: 60_000 },
  );
}
