// R36: a stage of the write path is stopped (SIGSTOP) while writes keep coming at their rate: nobody before it lets a queue grow without
// end. Where a quorum is stopped, senders are told 503; memory stays flat; and all of it goes on when the stage does.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { type Node, startCluster } from '../support/cluster.ts';
import { bodyOf, OpenLoopSender, rssMib } from '../support/open-loop-sender.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { postWrite } from '../support/remote-write-body.ts';
import { queryInstant } from '../support/tidemark.ts';

/** R36 asks for a minute: TIDEMARK_STALL_SECONDS=60. */
const STALL_MS = 1000 * Number(process.env.TIDEMARK_STALL_SECONDS ?? 6);
const PER_SECOND = 60;
const SERIES = 1_000;
/** What any process may take on top while another one is stopped: 64 MiB of requests in flight per stage, and what V8 has not collected. */
const GROWTH_MIB_MAX = 200;
const START_MS = Date.now() - 1_200_000;

test.skipIf(!hasPrograms('nats-server'))(
  `R36: each stage is stopped for ${STALL_MS / 1000} s under load, and no process grows`,
  { timeout: 240_000 + 4 * STALL_MS },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 3, store: 1, querier: 1, gateway: 1 },
      flags: { gateway: ['--web.enable-admin-api'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const bodies = Array.from({ length: 300 }, (_, i) => bodyOf('stalled', START_MS + i * 1000, 0, SERIES));
    const sender = new OpenLoopSender(gateway, bodies, 20_000);
    onTestFinished(() => sender.close());
    const isTaken = async (): Promise<boolean> => (await postWrite(gateway, bodies[0]!)).status === 204;
    await waitFor('writes are taken', isTaken, { timeoutMs: 60_000 });
    await sender.openLoop(PER_SECOND, 3_000);

    const [first, second, third] = cluster.of('ingester') as [Node, Node, Node];
    const stages: readonly { name: string; nodes: readonly Node[]; refuses: boolean; seals?: boolean }[] = [
      { name: 'one ingester', nodes: [third], refuses: false },
      { name: 'two ingesters', nodes: [first, second], refuses: true },
      { name: 'the store, while blocks are sealed', nodes: cluster.of('store'), refuses: false, seals: true },
    ];
    const lines: string[] = [];
    for (const { name, nodes, refuses, seals } of stages) {
      const others = cluster.nodes.filter((node) => !nodes.includes(node));
      const before = others.map((node) => rssMib(node.pid()));
      for (const node of nodes) process.kill(node.pid(), 'SIGSTOP');
      const seal =
        seals === true
          ? fetch(`${gateway}/api/v1/admin/tsdb/seal`, { method: 'POST' }).then((response) => response.text())
          : undefined;
      seal?.catch(() => undefined);
      const { outcomes, unsent } = await sender.openLoop(PER_SECOND, STALL_MS);
      const growth = others.map((node, i) => rssMib(node.pid()) - before[i]!);
      for (const node of nodes) process.kill(node.pid(), 'SIGCONT');
      const most = Math.max(...growth);
      lines.push(`${name}: ${JSON.stringify(outcomes)}, ${unsent} not sent, at most +${most} MiB`);
      expect(most, lines.at(-1)).toBeLessThan(GROWTH_MIB_MAX);
      expect(
        Object.keys(outcomes).filter((outcome) => outcome !== '204' && outcome !== '503'),
        lines.at(-1),
      ).toEqual([]);
      if (refuses) expect(outcomes['503'] ?? 0, lines.at(-1)).toBeGreaterThan(0);
      else expect(outcomes['503'], lines.at(-1)).toBeUndefined();
      await waitFor(`writes are taken after ${name}`, isTaken, {
        timeoutMs: 60_000,
        describe: cluster.describe,
      });
      await seal?.catch(() => undefined);
      await sleep(500);
    }
    const found = await waitFor(
      'an answer',
      async () => await queryInstant(gateway, 'count(count_over_time(stalled[1h]))'),
    );
    expect(found[0]?.value[1]).toBe(String(SERIES));
    for (const node of cluster.nodes) expect(node.exited()).toBeUndefined();
    console.log(`R36: ${PER_SECOND} requests/s of ${SERIES} samples; ${lines.join('; ')}`);
  },
);
