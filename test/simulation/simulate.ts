// `npm run simulate -- --seeds A..B`: the whole cluster in one process on a simulated world, once per seed (README.md). Prints
// a line for each seed that fails, and last `seeds=… acked=… lost=… wrong=…`; exits 1 when anything is lost or wrong.
import { parseArgs } from 'node:util';

import { installMachine } from './world/machine.ts';
import { BUCKET_FAULTS, FAULTS } from './world/nemesis.ts';
import { World } from './world/world.ts';

const machine = installMachine(new World(0));
// Only now: modules may keep what they import of Node's.
const { runSeed } = await import('./world/simulation.ts');
const { CANARIES } = await import('./world/canaries.ts');
type RunResult = Awaited<ReturnType<typeof runSeed>>;
type Canary = keyof typeof CANARIES;

const USAGE = `usage: npm run simulate -- --seeds A..B [options]

  --seeds A..B     seeds to run, both included (default 1..20); one number runs one
  --step N         only every Nth of them
  --faults a,b     only these faults: ${Object.keys({ ...FAULTS, ...BUCKET_FAULTS }).join(', ')}
  --canary NAME    plants a bug that must be found, and ends when it is: ${Object.keys(CANARIES).join(', ')}
  --deletes        series are deleted, too
  --scale-in       an ingester joins, and two leave, in every run
  --twice          runs each seed twice and compares the two
  --verbose        logs of all processes and faults, on standard error
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1..20' },
    step: { type: 'string', default: '1' },
    faults: { type: 'string' },
    canary: { type: 'string' },
    deletes: { type: 'boolean', default: false },
    'scale-in': { type: 'boolean', default: false },
    twice: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function seedsOf(text: string): [number, number] {
  const match = /^(\d+)(?:\.\.(\d+))?$/.exec(text);
  if (match === null) throw new Error(`--seeds ${text}: write A..B`);
  const first = Number(match[1]);
  return [first, Number(match[2] ?? match[1])];
}

function complaintsOf({ tally }: RunResult): string[] {
  return [...tally.lost.map((line) => `lost ${line}`), ...tally.wrong.map((line) => `wrong ${line}`)];
}

function describe(result: RunResult): string {
  const { seed, tally, deaths, trace, events, worldMs, convergedMs } = result;
  const bad = complaintsOf(result);
  const facts = `${events} events, ${Math.round(worldMs / 1000)} s, ${tally.acked} acked, ${tally.queries} queries, converged in ${Math.round(convergedMs)} ms, trace ${trace.toString(16)}`;
  return [
    `seed ${seed}${bad.length > 0 ? ' failed' : ''} (${facts})`,
    ...bad.slice(0, 10).map((line) => `  ${line}`),
    ...deaths.map((line) => `  ended: ${line}`),
  ].join('\n');
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  // Whatever a dead process leaves unhandled is no failure of the simulation's own.
  process.on('unhandledRejection', (caught) => {
    if (values.verbose) process.stderr.write(`unhandled: ${String(caught)}\n`);
  });
  const [first, last] = seedsOf(values.seeds);
  const step = Number(values.step);
  if (!Number.isSafeInteger(step) || step < 1) throw new Error(`--step ${values.step}: write a whole number`);
  const canary = values.canary as Canary | undefined;
  if (canary !== undefined && !(canary in CANARIES))
    throw new Error(`--canary ${canary}: there is none of that name`);
  const sums = {
    seeds: 0,
    acked: 0,
    lost: 0,
    wrong: 0,
    queries: 0,
    complete: 0,
    refused: 0,
    retries: 0,
    events: 0,
    effects: 0,
    fenced: 0,
    removals: 0,
    deletes: 0,
    undone: 0,
    missed: 0,
  };
  const faults = new Map<string, number>();
  let worldMs = 0;
  for (let seed = first; seed <= last; seed += step) {
    const options = {
      ...{ seed, canary, isVerbose: values.verbose },
      faults: values.faults?.split(','),
      ...{ deletes: values.deletes, scaleIn: values['scale-in'] },
    };
    const result = await runSeed(options, machine);
    const { tally } = result;
    if (values.twice) {
      const again = await runSeed(options, machine);
      if (again.trace !== result.trace) tally.wrong.push('the second run went another way');
    }
    sums.seeds++;
    sums.acked += tally.acked;
    sums.lost += tally.lost.length;
    sums.wrong += tally.wrong.length;
    sums.queries += tally.queries;
    sums.complete += tally.complete;
    sums.refused += tally.refused;
    sums.deletes += tally.deletes;
    sums.undone += tally.undone;
    sums.missed += tally.missed;
    sums.retries += tally.retries;
    sums.events += result.events;
    sums.effects += result.effects;
    sums.fenced += result.fenced;
    sums.removals += result.removals;
    worldMs += result.worldMs;
    for (const [name, count] of result.faults) faults.set(name, (faults.get(name) ?? 0) + count);
    const isBad = tally.lost.length + tally.wrong.length > 0;
    if (isBad || values.verbose) process.stdout.write(`${describe(result)}\n`);
    if (sums.seeds % 10 === 0)
      process.stdout.write(
        `seed ${seed}: acked=${sums.acked} lost=${sums.lost} wrong=${sums.wrong} so far\n`,
      );
    if (canary !== undefined && complaintsOf(result).some((line) => CANARIES[canary].test(line))) {
      process.stdout.write(`the planted bug ${canary} is found\n`);
      break;
    }
  }
  const { user, system } = process.cpuUsage();
  const counts = [...faults].map(([name, count]) => `${name} ${count}`).join(', ');
  process.stdout.write(`faults: ${counts}\n`);
  process.stdout.write(
    `queries=${sums.queries} complete=${sums.complete} refused=${sums.refused} retries=${sums.retries} effects=${sums.effects} fenced=${sums.fenced} removals=${sums.removals} deletes=${sums.deletes} undone=${sums.undone} missed=${sums.missed} events=${sums.events} ` +
      `world=${Math.round(worldMs / 1000)}s cpu=${((user + system) / 1e6).toFixed(1)}s\n`,
  );
  process.stdout.write(`seeds=${sums.seeds} acked=${sums.acked} lost=${sums.lost} wrong=${sums.wrong}\n`);
  return sums.lost + sums.wrong > 0 ? 1 : 0;
}

process.exitCode = await main();
