// `npm run chaos -- --rounds N --seed S`: a cluster of real processes under load, and one fault per round (chaos/chaos-faults.ts).
// After each round everything acknowledged in it is looked for, in the end everything at all. Last line:
// `rounds=… acked=… lost=… wrong=… failed_queries=…`; exits 1 when any of the last three is not 0, or a process leaked (`leak …`).
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../test/support/programs.ts';
import { pick, type Random, randomOf } from '../test/support/random.ts';
import { ChaosCluster } from './chaos/chaos-cluster.ts';
import { CUT_MS, FAULTS } from './chaos/chaos-faults.ts';
import { ChaosLoad } from './chaos/chaos-ledger.ts';
import type { PacketWires, Wires } from './chaos/fabric.ts';
import { LeakWatch } from './chaos/leak-watch.ts';
import { LoopbackFabric } from './chaos/loopback-fabric.ts';
import { lacksNamespaces, NamespaceFabric, runInside } from './chaos/namespace-fabric.ts';
import { PACKET_FAULTS, type PacketRound } from './chaos/packet-faults.ts';
import { readFlags } from './command-line.ts';

const USAGE = `usage: npm run chaos -- --rounds N --seed S [options]

  --rounds N       faults, one after the other (default 20)
  --seed S         chooses them (default: of the clock)
  --faults a,b     only these, 'kill*' for all that begin so: ${FAULTS.map(({ name }) => name).join(', ')}
  --in-order       they come one after the other, not by lot
  --minutes M      no round begins after so many minutes
  --kills K        no round begins after so many kills
  --namespaces     each process in a network namespace of its own, not on loopback (root, iproute2, nftables); more faults then:
                   ${PACKET_FAULTS.map(({ name }) => name).join(', ')}
  --cut-seconds S  how long partitions and loss last (default ${CUT_MS / 1000})

Needs nats-server on the PATH. As root one ingester has a small disk of its own (tmpfs), which 'full disk' fills.
`;

const values = readFlags(USAGE, {
  rounds: { type: 'string', default: '20' },
  seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  faults: { type: 'string' },
  minutes: { type: 'string', default: '100000' },
  kills: { type: 'string', default: '1000000000' },
  'in-order': { type: 'boolean', default: false },
  namespaces: { type: 'boolean', default: false },
  'cut-seconds': { type: 'string', default: String(CUT_MS / 1000) },
});

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

/** Between the end of a fault and the next: all members see each other again. */
const SETTLE_MS = 1_000;

interface Totals {
  rounds: number;
  kills: number;
  readonly faults: Map<string, number>;
}

/** A fault, and what it acts on. */
interface Action {
  readonly name: string;
  readonly silences?: boolean;
  readonly run: () => Promise<number>;
}

async function runRounds(
  {
    cluster,
    load,
    leaks,
    random,
  }: { cluster: ChaosCluster; load: ChaosLoad; leaks: LeakWatch; random: Random },
  all: readonly Action[],
  totals: Totals,
): Promise<void> {
  const names = (values.faults?.split(',') ?? ['*']).flatMap((name) =>
    name.endsWith('*')
      ? all.filter((known) => known.name.startsWith(name.slice(0, -1))).map((known) => known.name)
      : name,
  );
  for (const name of names)
    if (!all.some((known) => known.name === name))
      throw new Error(`no fault is named ${JSON.stringify(name)}`);
  const faults = names.map((name) => all.find((known) => known.name === name)!);
  const untilMs = performance.now() + Number(values.minutes) * 60_000;
  const [rounds, kills] = [Number(values.rounds), Number(values.kills)];
  for (let round = 1; round <= rounds && totals.kills < kills && performance.now() < untilMs; round++) {
    const fault = values['in-order'] ? faults[(round - 1) % faults.length]! : pick(random, faults);
    const first = load.sent;
    const sinceMs = performance.now();
    load.phase = `round ${round}, ${fault.name}`;
    load.maySilence = fault.silences === true;
    await sleep(random() * 600);
    totals.kills += await fault.run();
    await cluster.untilReady();
    await sleep(SETTLE_MS);
    await load.check(first);
    await leaks.look(cluster.nodes.map(({ program: { name, pid }, url }) => ({ name, pid, url })));
    load.maySilence = false;
    for (const note of load.notes.splice(0)) print(`  ${note}`);
    totals.rounds++;
    totals.faults.set(fault.name, (totals.faults.get(fault.name) ?? 0) + 1);
    print(
      `round ${round}/${rounds} ${fault.name} ${((performance.now() - sinceMs) / 1000).toFixed(1)} s: kills ${totals.kills}, ` +
        `acked ${load.ackedSamples}, queries ${load.queries}, retries ${load.retries}, ` +
        `lost ${load.findings.lost.length}, wrong ${load.findings.wrong.length}, failed ${load.failedQueries.length}`,
    );
  }
}

/** The cluster, and what can go wrong in it. */
async function setUp(
  random: Random,
): Promise<{ cluster: ChaosCluster; actionsOf: (load: ChaosLoad) => Action[] }> {
  const cutMs = 1000 * Number(values['cut-seconds']);
  const bind = <R>(
    faults: readonly { readonly name: string; readonly silences?: boolean; run(round: R): Promise<number> }[],
    round: R,
  ) => faults.map((fault): Action => ({ ...fault, run: () => fault.run(round) }));
  if (!values.namespaces) {
    const cluster = await ChaosCluster.start<Wires>(new LoopbackFabric(await freePort()));
    return { cluster, actionsOf: (load) => bind(FAULTS, { cluster, random, load, cutMs }) };
  }
  const fabric = new NamespaceFabric();
  const cluster = await ChaosCluster.start<PacketWires>(fabric);
  const roundOf = (load: ChaosLoad): PacketRound => ({
    cluster,
    random,
    load,
    cutMs,
    natsHost: fabric.nats.host,
  });
  return {
    cluster,
    actionsOf: (load) => [...bind(PACKET_FAULTS, roundOf(load)), ...bind(FAULTS, roundOf(load))],
  };
}

async function main(): Promise<number> {
  if (values.namespaces) {
    const lack = lacksNamespaces();
    if (lack !== undefined) throw new Error(`no network namespaces here: ${lack}`);
    const status = await runInside();
    if (status !== undefined) return status;
  }
  print(`seed ${values.seed}`);
  const random = randomOf(Number(values.seed));
  const { cluster, actionsOf } = await setUp(random);
  print(
    `${cluster.nodes.length} processes and NATS; small disk: ${cluster.smallDisk ?? 'none, for want of the right to mount'}`,
  );
  const ledgerFile = path.join(mkdtempSync(path.join(tmpdir(), 'tidemark-chaos-ledger-')), 'acked');
  print(`ledger ${ledgerFile}`);
  const load = new ChaosLoad(cluster.gateways, ledgerFile);
  const leaks = new LeakWatch();
  const totals: Totals = { rounds: 0, kills: 0, faults: new Map() };
  let failure: unknown;
  try {
    await runRounds({ cluster, load, leaks, random }, actionsOf(load), totals);
    load.phase = 'in the end';
    await load.stop();
    await load.check(0);
  } catch (caught) {
    failure = caught;
    await load.stop();
  } finally {
    await cluster.stop();
  }
  const { lost, wrong } = load.findings;
  for (const line of [
    ...lost.slice(0, 10).map((text) => `lost ${text}`),
    ...wrong.slice(0, 10).map((text) => `wrong ${text}`),
  ]) {
    print(line);
  }
  for (const line of load.failedQueries.slice(0, 10)) print(`failed query ${line}`);
  if (failure !== undefined)
    print(
      `ended early: ${failure instanceof Error ? (failure.stack ?? failure.message) : JSON.stringify(failure)}`,
    );
  const usage = leaks.report();
  for (const line of [...usage.lines, ...usage.leaks.map((text) => `leak ${text}`)]) print(line);
  print(`faults: ${[...totals.faults].map(([name, count]) => `${name} ${count}`).join(', ')}`);
  print(`seed=${values.seed} kills=${totals.kills} queries=${load.queries} retries=${load.retries}`);
  print(
    `rounds=${totals.rounds} acked=${load.ackedSamples} lost=${lost.length} wrong=${wrong.length} failed_queries=${load.failedQueries.length}`,
  );
  const troubles = lost.length + wrong.length + load.failedQueries.length + usage.leaks.length;
  return failure === undefined && troubles === 0 ? 0 : 1;
}

// Node's own orderly end has been seen to wait for ever for a handle to close after a run of faults.
process.exit(await main());
