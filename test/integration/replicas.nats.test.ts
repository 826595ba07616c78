// One ingester of three is killed, frozen, wiped and damaged under load: each time it gets back what it missed from the others, and then
// its own answer has every sample that was acknowledged. Real processes, a real NATS.
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { type Node, startCluster, type TestCluster } from '../support/cluster.ts';
import { ClusterLoad, LOAD_SERIES } from '../support/cluster-load.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { askAlone, missingIn } from '../support/replica-questions.ts';

/** How long the replica is away each time. */
const ABSENCE_MS = 1000 * Number(process.env.TIDEMARK_REPLICA_ABSENCE ?? 3);
const PARTITIONS = 64;

test.skipIf(!hasPrograms('nats-server'))(
  `R7, R13, R21: a replica that was killed, frozen, wiped or damaged for ${ABSENCE_MS / 1000} s catches up and answers alone with every sample`,
  { timeout: 240_000 + 5 * ABSENCE_MS },
  async () => {
    const cluster = await startCluster({ counts: { ingester: 3, store: 2, querier: 1, gateway: 2 } });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const load = new ClusterLoad({ gateways: cluster.of('gateway').map(({ url }) => url) });
    onTestFinished(() => load.stop());
    const away = cluster.of('ingester')[2]!;
    await sleep(1_000);

    const seconds: string[] = [];
    const phase = async (name: string, go: () => Promise<void>): Promise<void> => {
      load.enter(name);
      await go();
      const sinceMs = performance.now();
      await expectWhole(cluster, away, load);
      seconds.push(`${name} ${((performance.now() - sinceMs) / 1000).toFixed(1)} s`);
    };
    await phase('killed', async () => {
      await away.end('SIGKILL');
      await sleep(ABSENCE_MS);
      await away.start();
      await away.ready();
    });
    await phase('frozen', async () => {
      process.kill(away.pid(), 'SIGSTOP');
      await sleep(ABSENCE_MS);
      process.kill(away.pid(), 'SIGCONT');
    });
    await phase('wiped', async () => {
      await away.end('SIGKILL');
      rmSync(path.join(away.dataDir), { recursive: true });
      await sleep(ABSENCE_MS / 2);
      await away.start();
      await away.ready();
    });
    await phase('damaged', async () => {
      await away.end('SIGKILL');
      damage(path.join(away.dataDir, 'log'));
      await away.start();
      await away.ready();
    });

    await load.stop();
    expect(load.failures).toEqual([]);
    // In rest all three have the same.
    for (const node of cluster.of('ingester')) await expectWhole(cluster, node, load);
    console.log(
      `replicas: ${load.acknowledged.length * LOAD_SERIES} samples acknowledged, 0 lost, ${load.queries} queries, ${load.retries} retries; whole after ${seconds.join(', ')}`,
    );
  },
);

/** Its own answer has all that was acknowledged before it was asked, and it says so. */
async function expectWhole(cluster: TestCluster, node: Node, load: ClusterLoad): Promise<void> {
  await waitFor(
    `${node.instance} answers alone`,
    async () => {
      const acknowledged = [...load.acknowledged];
      const answer = await askAlone(node.grpcAddress);
      if (answer.complete.length < PARTITIONS) return false;
      expect(missingIn(answer, acknowledged).slice(0, 5)).toEqual([]);
      return true;
    },
    { timeoutMs: 60_000, describe: cluster.describe },
  );
}

/** Flips bytes in the middle of the oldest segment with something in it. */
function damage(folder: string): void {
  const segment = readdirSync(folder)
    .filter((name) => name.endsWith('.log') && statSync(path.join(folder, name)).size > 10_000)
    .sort()[0]!;
  const bytes = readFileSync(path.join(folder, segment));
  for (let at = 2_000; at < bytes.length - 2_000; at += 3_001) bytes[at]! ^= 0xff;
  writeFileSync(path.join(folder, segment), bytes);
}
