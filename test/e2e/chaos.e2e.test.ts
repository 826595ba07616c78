// The short forms of `npm run chaos`: real processes under load and some rounds of faults, on loopback (R1, R3, R10, R15, R21 in
// small) and in network namespaces, where packets are dropped (R13, R14, R16). The long form is load-tests/chaos.ts.
// TIDEMARK_CHAOS_ROUNDS draws so many faults by lot instead, TIDEMARK_CHAOS_SEED chooses them, and when they strike.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { lacksNamespaces } from '../../load-tests/chaos/namespace-fabric.ts';
import { hasPrograms } from '../support/process.ts';
import { repositoryRoot } from '../support/programs.ts';

const ROUNDS = process.env.TIDEMARK_CHAOS_ROUNDS;
const SEED = process.env.TIDEMARK_CHAOS_SEED ?? String(Date.now() % 1_000_000);
const FAULTS = [
  'kill an ingester while it starts',
  'kill everything while sealing',
  'freeze a zone',
  'kill and wipe NATS',
  'full disk',
];
const PACKET_FAULTS = [
  'cut an ingester off',
  'an ingester hears nothing',
  'cut queriers from one replica',
  'cut queriers and the third replica from two',
  'lossy slow network',
];

/** Whether namespaces can be made; says why not. @throws Error in CI when they cannot. */
function hasNamespaces(): boolean {
  const lack = lacksNamespaces();
  if (lack === undefined) return true;
  if (process.env.CI === 'true') throw new Error(`CI needs network namespaces: ${lack}`);
  console.warn(`skipped: no network namespaces here: ${lack}`);
  return false;
}

/** Runs it to its end; what it printed must say that nothing was lost, wrong or failed in so many rounds. */
async function expectHarmless(rounds: number, ...args: readonly string[]): Promise<void> {
  const script = path.join(repositoryRoot, 'load-tests/chaos.ts');
  const all = [script, '--rounds', String(rounds), '--seed', SEED, ...args];
  const child = spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => {
      output += piece.toString();
    });
  }
  const status = await new Promise((resolve) => child.once('exit', resolve));
  const last = output.trimEnd().split('\n').at(-1);
  console.log(`${output.trimEnd().split('\n').at(-2)}; ${last}`);
  expect(last, output).toMatch(
    new RegExp(`^rounds=${rounds} acked=[1-9]\\d* lost=0 wrong=0 failed_queries=0$`),
  );
  expect(status, output).toBe(0);
}

test.skipIf(!hasPrograms('nats-server'))(
  `R1, R3, R10, R15, R21: ${ROUNDS ?? FAULTS.length} rounds of chaos (seed ${SEED})`,
  { timeout: 60_000 + Number(ROUNDS ?? FAULTS.length) * 120_000 },
  () =>
    ROUNDS === undefined
      ? expectHarmless(FAULTS.length, '--in-order', '--faults', FAULTS.join(','))
      : expectHarmless(Number(ROUNDS)),
);

test.skipIf(!hasPrograms('nats-server') || !hasNamespaces())(
  `R13, R14, R16: processes in network namespaces, packets dropped (seed ${SEED})`,
  { timeout: 600_000 },
  () =>
    expectHarmless(PACKET_FAULTS.length, '--namespaces', '--in-order', '--faults', PACKET_FAULTS.join(',')),
);
