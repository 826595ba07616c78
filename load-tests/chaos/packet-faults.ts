// Faults that only namespaces can do, each with what the promises R13 to R16 say about it: packets are lost one way or both, between
// chosen processes, or at random. A fault whose promise is broken throws.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../test/support/programs.ts';
import { pick } from '../../test/support/random.ts';
import { askAlone } from '../../test/support/replica-questions.ts';
import type { ChaosCluster, ChaosNode } from './chaos-cluster.ts';
import type { Fault, Round } from './chaos-faults.ts';
import { type ChaosLoad, METRIC } from './chaos-ledger.ts';
import type { PacketWires } from './fabric.ts';
import { describeWatch, expectSteady, STEADY_MS } from './steady.ts';

export interface PacketRound extends Round {
  readonly cluster: ChaosCluster<PacketWires>;
  /** Address of NATS. */
  readonly natsHost: string;
}

export interface PacketFault extends Omit<Fault, 'run'> {
  readonly run: (round: PacketRound) => Promise<number>;
}

const PARTITIONS = 64;
/** R13: the replica has everything so long after the end of a cut. */
const CATCH_UP_MS = 60_000;
/** R16. */
const LOSS_PERCENT = 20;
const DELAY_MS = 100;
/** No process of so small a cluster needs more, whatever the network does. */
const RSS_BYTES_MAX = 700 << 20;
const ASK_TIMEOUT_MS = 30_000;

/** Cuts as told, and holds R13 to it: writes and queries go on, and then the replica catches up and answers alone. */
async function cutIngester(
  { cluster, random, load, cutMs }: PacketRound,
  how: (wires: PacketWires) => void,
): Promise<number> {
  const node = pick(random, cluster.of('ingester'));
  const first = load.sent;
  const watch = load.watch();
  how(node.wires);
  await sleep(Math.max(cutMs, 2 * STEADY_MS));
  node.wires.heal();
  expectSteady(watch, STEADY_MS, `${load.phase} (${node.program.name})`);
  const healedMs = performance.now();
  await untilWhole(node, load, first);
  const seconds = ((performance.now() - healedMs) / 1000).toFixed(1);
  load.notes.push(`${load.phase}: ${describeWatch(watch)}; complete ${seconds} s after the end of the cut`);
  return 0;
}

/** Its own answer says that it is complete, and has every acknowledged sample since `first`. */
async function untilWhole(node: ChaosNode, load: ChaosLoad, first: number): Promise<void> {
  await waitFor(
    `${node.program.name} is complete`,
    async () => {
      const acked = new Set(load.acked);
      const { complete, samples } = await askAlone(node.grpcAddress, METRIC);
      if (complete.length < PARTITIONS) return false;
      const missing = load.missingIn(samples, first, acked);
      if (missing.length > 0)
        load.findings.lost.push(
          `${load.phase}: ${node.program.name}, which says it is complete, lacks ${missing[0]}`,
        );
      return true;
    },
    { timeoutMs: CATCH_UP_MS },
  );
}

/** One question with the answer's own words about it. */
async function ask(gateway: string, isPartialAccepted: boolean) {
  const parameters = new URLSearchParams({ query: `sum(count_over_time(${METRIC}[7d]))` });
  if (isPartialAccepted) parameters.set('partial_response', 'true');
  const response = await fetch(`${gateway}/api/v1/query?${parameters.toString()}`, {
    signal: AbortSignal.timeout(ASK_TIMEOUT_MS),
  });
  const body = (await response.json()) as {
    warnings?: string[];
    data?: { result: { value: [number, string] }[] };
  };
  const isSilent = (body.warnings ?? []).length === 0;
  return { status: response.status, isSilent, samples: Number(body.data?.result[0]?.value[1] ?? 0) };
}

/**
 * R14: cut from two of three replicas, no answer is silently short. As long as the third one reaches its peers it proves that it is
 * complete, and answers alone; where it does not (`isAlone`), answers are refused, or partial and say so.
 */
async function cutFromTwo({ cluster, random, load, cutMs }: PacketRound, isAlone: boolean): Promise<number> {
  const spared = pick(random, cluster.of('ingester'));
  const cut = cluster.of('ingester').filter((node) => node !== spared);
  const apart = [...cluster.of('querier'), ...(isAlone ? [spared] : [])];
  for (const { wires } of apart) wires.cutFrom(cut.map(({ wires: others }) => others));
  const told = { refused: 0, partial: 0, complete: 0 };
  const untilMs = performance.now() + Math.max(cutMs, 2 * STEADY_MS);
  const isAsExpected = (): boolean => (isAlone ? told.refused > 0 && told.partial > 0 : told.complete > 0);
  for (let n = 0; performance.now() < untilMs || !isAsExpected(); n++) {
    const least = load.ackedSamples;
    const { status, isSilent, samples } = await ask(pick(random, cluster.gateways), n % 2 === 1);
    if (status !== 200) told.refused++;
    else if (!isSilent) told.partial++;
    else if (samples >= least) told.complete++;
    else load.findings.lost.push(`${load.phase}: ${samples} of ${least} samples answered without a warning`);
    if (performance.now() > untilMs + ASK_TIMEOUT_MS)
      throw new Error(`${load.phase}: answers were ${JSON.stringify(told)}`);
  }
  for (const { wires } of apart) wires.heal();
  load.notes.push(`${load.phase}: answers ${JSON.stringify(told)}`);
  return 0;
}

/** Resident bytes of each process. */
function memoryOf(cluster: ChaosCluster): Map<string, number> {
  const bytes = new Map<string, number>();
  for (const { program } of cluster.nodes) {
    const status = readFileSync(`/proc/${program.pid}/status`, 'utf8');
    bytes.set(program.name, Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024);
  }
  return bytes;
}

async function loseAndDelay({ cluster, load, cutMs }: PacketRound): Promise<number> {
  for (const { wires } of cluster.nodes) {
    wires.lose(LOSS_PERCENT);
    wires.delay(DELAY_MS);
  }
  const watch = load.watch();
  const untilMs = performance.now() + 2 * cutMs;
  let most = 0;
  while (performance.now() < untilMs) {
    await sleep(500);
    for (const [name, bytes] of memoryOf(cluster)) {
      most = Math.max(most, bytes);
      if (bytes > RSS_BYTES_MAX) throw new Error(`${load.phase}: ${name} has ${bytes} bytes resident`);
    }
  }
  for (const { wires } of cluster.nodes) wires.heal();
  load.notes.push(`${load.phase}: ${describeWatch(watch)}; the largest process had ${most >> 20} MiB`);
  return 0;
}

export const PACKET_FAULTS: readonly PacketFault[] = [
  { name: 'cut an ingester off', run: (round) => cutIngester(round, (wires) => wires.silence()) },
  { name: 'an ingester hears nothing', run: (round) => cutIngester(round, (wires) => wires.deafen()) },
  { name: 'an ingester is not heard', run: (round) => cutIngester(round, (wires) => wires.mute()) },
  {
    name: 'cut queriers from one replica',
    run: async ({ cluster, random, load, cutMs }) => {
      const { wires: replica } = pick(random, cluster.of('ingester'));
      const watch = load.watch();
      for (const { wires } of cluster.of('querier')) wires.cutFrom([replica]);
      await sleep(Math.max(cutMs, 2 * STEADY_MS));
      for (const { wires } of cluster.of('querier')) wires.heal();
      expectSteady(watch, STEADY_MS, load.phase);
      load.notes.push(`${load.phase}: ${describeWatch(watch)}`);
      return 0;
    },
  },
  { name: 'cut queriers from two replicas', silences: true, run: (round) => cutFromTwo(round, false) },
  {
    name: 'cut queriers and the third replica from two',
    silences: true,
    run: (round) => cutFromTwo(round, true),
  },
  {
    name: 'cut everybody from NATS',
    run: async ({ cluster, load, cutMs, natsHost }) => {
      const watch = load.watch();
      for (const { wires } of cluster.nodes) wires.cutFrom([{ address: natsHost }]);
      await sleep(Math.max(cutMs, 2 * STEADY_MS));
      for (const { wires } of cluster.nodes) wires.heal();
      expectSteady(watch, 0, load.phase);
      load.notes.push(`${load.phase}: ${describeWatch(watch)}`);
      return 0;
    },
  },
  // Nobody hears of its end: its peers' connections stay half open until their next packet is answered by a reset.
  {
    name: 'an ingester dies unheard',
    run: async ({ cluster, random, cutMs }) => {
      const node = pick(random, cluster.of('ingester'));
      node.wires.silence();
      await node.program.end('SIGKILL');
      await sleep(cutMs);
      node.wires.heal();
      return 1;
    },
  },
  { name: 'lossy slow network', silences: true, run: loseAndDelay },
];
