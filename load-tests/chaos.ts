// `npm run chaos -- --rounds N --seed S`: a cluster of real processes under load, and one fault per round (chaos/chaos-faults.ts).
// After each round everything acknowledged in it is looked for, in the end everything at all. Last line:
// `rounds=… acked=… lost=… wrong=… failed_queries=…`; exits 1 when any of the last three is not 0.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { pick, randomOf } from '../test/support/random.ts';
import { ChaosCluster } from './chaos/chaos-cluster.ts';
import { FAULTS } from './chaos/chaos-faults.ts';
import { ChaosLoad } from './chaos/chaos-ledger.ts';

const USAGE = `usage: npm run chaos -- --rounds N --seed S [options]

  --rounds N       faults, one after the other (default 20)
  --seed S         chooses them (default: of the clock)
  --faults a,b     only these: ${FAULTS.map(({ name }) => name).join(', ')}
  --minutes M      no round begins after so many minutes
  --base-port P    loopback ports from here on are taken, 40 of them (default 23500)

Needs nats-server on the PATH. As root one ingester has a small disk of its own (tmpfs), which 'full disk' fills.
`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    faults: { type: 'string' },
    minutes: { type: 'string', default: '100000' },
    'base-port': { type: 'string', default: '23500' },
    help: { type: 'boolean', default: false },
  },
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

async function runRounds(cluster: ChaosCluster, load: ChaosLoad, totals: Totals): Promise<void> {
  const random = randomOf(Number(values.seed));
  const chosen = values.faults?.split(',');
  const faults = FAULTS.filter(({ name }) => chosen === undefined || chosen.includes(name));
  const untilMs = performance.now() + Number(values.minutes) * 60_000;
  const rounds = Number(values.rounds);
  for (let round = 1; round <= rounds && performance.now() < untilMs; round++) {
    const fault = pick(random, faults);
    const first = load.sent;
    load.phase = `round ${round}, ${fault.name}`;
    load.maySilence = fault.silences === true;
    await sleep(random() * 600);
    totals.kills += await fault.run(cluster, random);
    await cluster.untilReady();
    await sleep(SETTLE_MS);
    await load.check(first);
    load.maySilence = false;
    totals.rounds++;
    totals.faults.set(fault.name, (totals.faults.get(fault.name) ?? 0) + 1);
    print(
      `round ${round}/${rounds} ${fault.name}: kills ${totals.kills}, acked ${load.ackedSamples}, queries ${load.queries}, ` +
        `retries ${load.retries}, lost ${load.findings.lost.length}, wrong ${load.findings.wrong.length}, failed ${load.failedQueries.length}`,
    );
  }
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  print(`seed ${values.seed}`);
  const cluster = await ChaosCluster.start(Number(values['base-port']));
  print(
    `${cluster.nodes.length} processes and NATS; small disk: ${cluster.smallDisk ?? 'none, for want of the right to mount'}`,
  );
  const ledgerFile = path.join(mkdtempSync(path.join(tmpdir(), 'tidemark-chaos-ledger-')), 'acked');
  print(`ledger ${ledgerFile}`);
  const load = new ChaosLoad(cluster.gateways, ledgerFile);
  const totals: Totals = { rounds: 0, kills: 0, faults: new Map() };
  let failure: unknown;
  try {
    await runRounds(cluster, load, totals);
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
  print(`faults: ${[...totals.faults].map(([name, count]) => `${name} ${count}`).join(', ')}`);
  print(`seed=${values.seed} kills=${totals.kills} queries=${load.queries} retries=${load.retries}`);
  print(
    `rounds=${totals.rounds} acked=${load.ackedSamples} lost=${lost.length} wrong=${wrong.length} failed_queries=${load.failedQueries.length}`,
  );
  return failure === undefined && lost.length + wrong.length + load.failedQueries.length === 0 ? 0 : 1;
}

// Node's own orderly end has been seen to wait for ever for a handle to close after a run of faults.
process.exit(await main());
