// R37: processes are told to end (SIGTERM) under load, one after the other: each is unready at once, finishes what it has, and ends with 0
// within 30 s. No write or query fails that does not go to the process itself, nothing is lost, and who comes back replays nothing.
// TIDEMARK_STOP_ROUNDS sets how many are ended, TIDEMARK_STOP_SEED which, and when.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { type Node, seesMembers, startCluster, type TestCluster } from '../support/cluster.ts';
import { ClusterLoad, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { pick, randomOf } from '../support/random.ts';
import { startTidemark } from '../support/tidemark.ts';

const SERVICES = ['ingester', 'store', 'querier', 'gateway', 'alert-evaluator'] as const;
const ROUNDS = Number(process.env.TIDEMARK_STOP_ROUNDS ?? SERVICES.length);
const SEED = Number(process.env.TIDEMARK_STOP_SEED ?? 37);
const STOP_MS_MAX = 30_000;
/** The line of an ingester's start that says what it read. */
const REPLAYED = /msg="(?:head image read, log behind it|log) replayed".*/;

interface Ending {
  readonly tookMs: number;
  readonly saidUnready: boolean;
}

/** Ends it in order, and looks at its readiness meanwhile. */
async function endInOrder(process_: Pick<Node, 'url' | 'exited' | 'end' | 'output'>): Promise<Ending> {
  const startedMs = performance.now();
  let isOver = false;
  let saidUnready = false;
  const watch = async (): Promise<void> => {
    while (!isOver) {
      const status = await fetch(`${process_.url}/-/ready`).then(
        (response) => response.status,
        () => undefined,
      );
      saidUnready ||= status === 503;
      await sleep(10);
    }
  };
  const watching = watch();
  await process_.end('SIGTERM');
  isOver = true;
  const tookMs = performance.now() - startedMs;
  await watching;
  expect(process_.exited(), process_.output()).toBe(0);
  expect(tookMs).toBeLessThan(STOP_MS_MAX);
  return { tookMs, saidUnready };
}

/** Samples that the start of an ingester took from its log. */
function replayedSamples(output: string): number {
  const line = REPLAYED.exec(output)?.[0];
  if (line === undefined) throw new Error(`no line says what was replayed:\n${output}`);
  return Number(/ samples=(\d+)/.exec(line)![1]);
}

/** One of each service first, then by lot. */
function* chooseNodes(cluster: TestCluster): Generator<Node> {
  const random = randomOf(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    const service = SERVICES[round] ?? pick(random, SERVICES);
    yield pick(random, cluster.of(service));
  }
}

test.skipIf(!hasPrograms('nats-server'))(
  `R37: ${ROUNDS} processes of a cluster end in order under load: unready, drained, 0 within 30 s, nothing lost, nothing replayed (seed ${SEED})`,
  { timeout: 120_000 + ROUNDS * 60_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 2, gateway: 2, 'alert-evaluator': 2 },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const [gateways, urls] = [cluster.of('gateway'), cluster.of('gateway').map(({ url }) => url)];
    const allThere = () => seesMembers(urls[0]!, cluster.nodes.length);
    await waitFor('all members', allThere, { timeoutMs: 60_000 });
    const load = new ClusterLoad({ gateways: urls });
    onTestFinished(() => load.stop());
    await sleep(1_000);
    const slowest = { service: '', ms: 0 };
    let round = 0;
    for (const node of chooseNodes(cluster)) {
      load.enter(`round ${++round}: ${node.instance} ends`);
      const sinceMs = performance.now();
      const { tookMs, saidUnready } = await endInOrder(node);
      expect([round, node.instance, saidUnready]).toEqual([round, node.instance, true]);
      process.stdout.write(`round ${round}: ${node.instance} ended in ${Math.round(tookMs)} ms\n`);
      if (tookMs > slowest.ms) Object.assign(slowest, { service: node.service, ms: tookMs });
      await node.start();
      await node.ready();
      await waitFor('all members again', allThere, { timeoutMs: 60_000, describe: cluster.describe });
      if (node.service === 'ingester')
        expect([round, node.instance, replayedSamples(node.output())]).toEqual([round, node.instance, 0]);
      // A gateway that is gone refuses connections: whoever balances between them asks the next one.
      if (!gateways.includes(node))
        expect([...load.failedAttempts('write', sinceMs), ...load.failedAttempts('query', sinceMs)]).toEqual(
          [],
        );
    }
    await load.stop();
    expect(load.failures).toEqual([]);
    for (const url of urls) expect((await missingAt(url, load.acknowledged)).slice(0, 5)).toEqual([]);
    console.log(
      `R37: ${ROUNDS} processes ended in order, seed ${SEED}: ${load.acknowledged.length * LOAD_SERIES} samples acknowledged, 0 lost, ` +
        `${load.queries} queries, 0 failed, 0 samples replayed; slowest: ${slowest.service} ${Math.round(slowest.ms)} ms`,
    );
  },
);

const ALONE_ROUNDS = Math.max(2, Math.round(ROUNDS / 4));

test(`R37: all-in-one ends in order under load ${ALONE_ROUNDS} times: drained, 0 within 30 s, nothing lost, nothing replayed`, {
  timeout: 60_000 + ALONE_ROUNDS * 60_000,
}, async () => {
  let server = await startTidemark();
  for (let round = 0; round < ALONE_ROUNDS; round++) {
    // The times of two rounds do not meet.
    const startMs = Date.now() - 3_000_000 + round * 60_000;
    const load = new ClusterLoad({ gateways: [server.url], startMs });
    await waitFor('some writes', () => Promise.resolve(load.acknowledged.length > 20));
    await endInOrder(server);
    await load.stop();
    const { dataDir, port } = server;
    server = await startTidemark({ dataDir, port });
    expect([round, replayedSamples(server.output())]).toEqual([round, 0]);
    expect((await missingAt(server.url, load.acknowledged)).slice(0, 5)).toEqual([]);
  }
});
