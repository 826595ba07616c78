// RELIABILITY R9: seeded runs of the whole cluster on a simulated world (simulate.ts), and the proof that it finds bugs.
// TIDEMARK_SIMULATION_SEEDS=A..B chooses other seeds: nightly 1..10000.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { repositoryRoot } from '../support/programs.ts';

const SEEDS = process.env.TIDEMARK_SIMULATION_SEEDS ?? '14..19';
const HOUR_MS = 3_600_000;

function simulate(...args: readonly string[]): { readonly status: number | null; readonly output: string } {
  const script = path.join(repositoryRoot, 'test/simulation/simulate.ts');
  const child = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', maxBuffer: 64 << 20 });
  return { status: child.status, output: child.stdout + child.stderr };
}

const lastLine = (output: string): string => output.trimEnd().split('\n').at(-1)!;

/** A seed leaves memory behind that the process gives back at its end only (README.md). */
const SEEDS_PER_PROCESS = 100;

function piecesOf(seeds: string): string[] {
  const [from, to = from] = seeds.split('..').map(Number) as [number, number?];
  const pieces: string[] = [];
  for (let at = from; at <= to; at += SEEDS_PER_PROCESS)
    pieces.push(`${at}..${Math.min(to, at + SEEDS_PER_PROCESS - 1)}`);
  return pieces;
}

test.each(piecesOf(SEEDS))('R9: seeds %s of the simulated cluster', { timeout: HOUR_MS }, (seeds) => {
  const { status, output } = simulate('--seeds', seeds);
  console.log(output.trimEnd().split('\n').slice(-3).join('\n'));
  expect(lastLine(output), output).toMatch(/^seeds=\d+ acked=[1-9]\d* lost=0 wrong=0$/);
  expect(status).toBe(0);
});

test('R9: a seed goes the same way each time', { timeout: 300_000 }, () => {
  const { output } = simulate('--seeds', '14', '--twice');
  expect(lastLine(output), output).toMatch(/^seeds=1 acked=[1-9]\d* lost=0 wrong=0$/);
});

// Each run ends with the first seed that shows it.
test.each([
  ['forget-syncs', 'power of all,power of one'],
  ['quorum-of-one', 'power of one,pause ingester,partition ingester,kill ingester'],
  ['trust-one-replica', 'pause ingester,partition ingester,kill ingester'],
  ['drop-records', 'kill all,kill ingester'],
])('R9: the planted bug %s is found', { timeout: 300_000 }, (canary, faults) => {
  const { status, output } = simulate('--seeds', '1..20', '--canary', canary, '--faults', faults);
  expect(lastLine(output), output).toMatch(/^seeds=\d+ acked=\d+ lost=[1-9]\d* wrong=\d+$/);
  expect(status).toBe(1);
});
