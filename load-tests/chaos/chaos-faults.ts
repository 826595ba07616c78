// What goes wrong in a chaos run: each fault by name, with what it costs: nothing that clients notice beyond a retry, unless it
// says otherwise. Every fault ends what it began.
import { existsSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pick, type Random } from '../../test/support/random.ts';
import type { ChaosCluster, ChaosNode, Service } from './chaos-cluster.ts';
import type { ChaosLoad } from './chaos-ledger.ts';
import { describeWatch, expectSteady, STEADY_MS } from './steady.ts';

export interface Fault {
  readonly name: string;
  /** More is gone than there are copies: writes and queries wait until it is over. */
  readonly silences?: boolean;
  /** Ends processes; resolves to how many when all is repaired again. */
  readonly run: (round: Round) => Promise<number>;
}

/** What a fault acts on. */
export interface Round {
  readonly cluster: ChaosCluster;
  readonly random: Random;
  readonly load: ChaosLoad;
  /** How long partitions and loss last. */
  readonly cutMs: number;
}

/** How often a start is interrupted, and how far it comes: a start takes about so long. */
const START_KILLS = 9;
const START_MS = 900;
const SHUTDOWN_MS = 30_000;
const FREEZE_MS = 2_500;
const FREEZE_ZONE_MS = 6_000;
/** Partitions last so long, and NATS is away. */
export const CUT_MS = 3_000;
const FILL_MS = 2_000;
/** Longer than members expire after: whoever would be forgotten wrongly is by then. */
const NATS_BACK_MS = 5_000;
/** Left on the full disk. */
const FULL_REST_BYTES = 256 << 10;

const nodeOf = (cluster: ChaosCluster, random: Random, ...services: readonly Service[]): ChaosNode =>
  pick(
    random,
    services.flatMap((service) => cluster.of(service)),
  );

async function kill(cluster: ChaosCluster, random: Random, nodes: readonly ChaosNode[]): Promise<number> {
  await Promise.all(nodes.map(({ program }) => program.end('SIGKILL')));
  await sleep(random() * 800);
  for (const { program } of nodes) program.start();
  await cluster.untilReady();
  return nodes.length;
}

/** Kills the process again whenever it has begun to start: while it loads, replays, catches up, or is ready for a moment. */
async function killInStarts(cluster: ChaosCluster, random: Random, node: ChaosNode): Promise<number> {
  const { program } = node;
  for (let kills = 0; kills < START_KILLS; kills++) {
    await program.end('SIGKILL');
    program.start();
    await sleep(random() * START_MS);
  }
  await program.end('SIGKILL');
  await cluster.untilReady();
  return START_KILLS + 1;
}

async function freeze(nodes: readonly ChaosNode[], forMs = FREEZE_MS): Promise<number> {
  for (const { program } of nodes) program.signal('SIGSTOP');
  await sleep(forMs);
  for (const { program } of nodes) program.signal('SIGCONT');
  return 0;
}

/** R37: it ends by itself, in time, with status 0. */
async function restart(cluster: ChaosCluster, { program }: ChaosNode): Promise<number> {
  const startedMs = performance.now();
  const code = await program.end('SIGTERM');
  const tookMs = performance.now() - startedMs;
  if (code !== 0 || tookMs > SHUTDOWN_MS) {
    throw new Error(`${program.name} ended with ${code} ${tookMs} ms after SIGTERM\n${program.errors}`);
  }
  await cluster.untilReady();
  return 0;
}

async function partition(nodes: readonly ChaosNode[], cutMs: number): Promise<number> {
  for (const { wires } of nodes) wires.silence();
  await sleep(cutMs);
  for (const { wires } of nodes) wires.heal();
  return 0;
}

async function fillDisk(cluster: ChaosCluster): Promise<number> {
  const folder = cluster.smallDisk;
  if (folder === undefined) return 0;
  const { bavail, bsize } = statfsSync(folder);
  const filler = path.join(folder, 'filler');
  try {
    writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - FULL_REST_BYTES)));
    await sleep(FILL_MS);
  } finally {
    if (existsSync(filler)) rmSync(filler);
  }
  return 0;
}

async function seal(cluster: ChaosCluster): Promise<void> {
  const url = `${cluster.gateways[0]!}/api/v1/admin/tsdb/seal`;
  await fetch(url, { method: 'POST', signal: AbortSignal.timeout(60_000) }).catch(() => undefined);
}

/** R15: no request fails, neither while NATS is gone nor when it is back. */
async function withoutNats({ cluster, load, cutMs }: Round, isWiped: boolean): Promise<number> {
  const watch = load.watch();
  await cluster.killNats(isWiped);
  await sleep(cutMs);
  cluster.startNats();
  await cluster.untilReady();
  await sleep(NATS_BACK_MS);
  expectSteady(watch, 0, load.phase);
  load.notes.push(`${load.phase}: ${describeWatch(watch)}`);
  return 0;
}

const dataNodes = (cluster: ChaosCluster): readonly ChaosNode[] => [
  ...cluster.of('ingester'),
  ...cluster.of('store'),
];

/** Of any one zone: an ingester, and a store and a querier where there are. Gateways are whom clients see: they would turn away. */
const zone = (cluster: ChaosCluster, random: Random): readonly ChaosNode[] => {
  const number = pick(random, [0, 1, 2]);
  return [...dataNodes(cluster), ...cluster.of('querier')].filter((node) => node.zone === number);
};

export const FAULTS: readonly Fault[] = [
  {
    name: 'kill an ingester',
    run: ({ cluster, random }) => kill(cluster, random, [nodeOf(cluster, random, 'ingester')]),
  },
  {
    name: 'kill an ingester while it starts',
    run: ({ cluster, random }) => killInStarts(cluster, random, nodeOf(cluster, random, 'ingester')),
  },
  {
    name: 'kill a store while it starts',
    run: ({ cluster, random }) => killInStarts(cluster, random, nodeOf(cluster, random, 'store')),
  },
  {
    name: 'kill a store',
    run: ({ cluster, random }) => kill(cluster, random, [nodeOf(cluster, random, 'store')]),
  },
  {
    name: 'kill a querier and a gateway',
    run: ({ cluster, random }) =>
      kill(cluster, random, [nodeOf(cluster, random, 'querier'), nodeOf(cluster, random, 'gateway')]),
  },
  { name: 'kill a zone', run: ({ cluster, random }) => kill(cluster, random, zone(cluster, random)) },
  {
    name: 'kill everything',
    silences: true,
    run: ({ cluster, random }) => kill(cluster, random, cluster.nodes),
  },
  {
    name: 'kill everything while sealing',
    silences: true,
    run: async ({ cluster, random }) => {
      void seal(cluster);
      await sleep(random() * 400);
      return await kill(cluster, random, cluster.nodes);
    },
  },
  {
    name: 'kill all ingesters',
    silences: true,
    run: ({ cluster, random }) => kill(cluster, random, cluster.of('ingester')),
  },
  {
    name: 'restart an ingester in order',
    run: ({ cluster, random }) => restart(cluster, nodeOf(cluster, random, 'ingester')),
  },
  {
    name: 'restart another process in order',
    run: ({ cluster, random }) => restart(cluster, nodeOf(cluster, random, 'store', 'querier', 'gateway')),
  },
  { name: 'freeze an ingester', run: ({ cluster, random }) => freeze([nodeOf(cluster, random, 'ingester')]) },
  { name: 'freeze a store', run: ({ cluster, random }) => freeze([nodeOf(cluster, random, 'store')]) },
  {
    name: 'freeze a zone',
    run: async ({ cluster, random, load }) => {
      const watch = load.watch();
      await freeze(zone(cluster, random), FREEZE_ZONE_MS);
      expectSteady(watch, STEADY_MS, load.phase);
      load.notes.push(`${load.phase}: ${describeWatch(watch)}`);
      return 0;
    },
  },
  {
    name: 'partition an ingester',
    run: ({ cluster, random, cutMs }) => partition([nodeOf(cluster, random, 'ingester')], cutMs),
  },
  { name: 'partition a zone', run: ({ cluster, random, cutMs }) => partition(zone(cluster, random), cutMs) },
  {
    name: 'partition two ingesters',
    silences: true,
    run: ({ cluster, random, cutMs }) => {
      const spared = Math.floor(random() * 3);
      return partition(
        cluster.of('ingester').filter((_, i) => i !== spared),
        cutMs,
      );
    },
  },
  {
    name: 'reset connections',
    run: async ({ cluster }) => {
      for (const { wires } of cluster.nodes) wires.reset();
      await sleep(500);
      return 0;
    },
  },
  {
    name: 'slow network',
    run: async ({ cluster }) => {
      for (const { wires } of dataNodes(cluster)) wires.delay(100);
      await sleep(CUT_MS);
      for (const { wires } of dataNodes(cluster)) wires.heal();
      return 0;
    },
  },
  {
    name: 'kill NATS',
    run: (round) => withoutNats(round, false),
  },
  {
    name: 'kill and wipe NATS',
    run: (round) => withoutNats(round, true),
  },
  { name: 'full disk', run: ({ cluster }) => fillDisk(cluster) },
  {
    name: 'seal',
    run: async ({ cluster }) => {
      await seal(cluster);
      return 0;
    },
  },
];
