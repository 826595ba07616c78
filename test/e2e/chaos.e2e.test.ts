// The short form of `npm run chaos`: real processes under load, some rounds of faults (R1, R3, R13, R15, R21 in small; the long form
// is load-tests/chaos.ts). TIDEMARK_CHAOS_ROUNDS and TIDEMARK_CHAOS_SEED choose others.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { hasPrograms } from '../support/process.ts';
import { repositoryRoot } from '../support/programs.ts';

const ROUNDS = process.env.TIDEMARK_CHAOS_ROUNDS ?? '6';
const SEED = process.env.TIDEMARK_CHAOS_SEED ?? String(Date.now() % 1_000_000);

test.skipIf(!hasPrograms('nats-server'))(
  `chaos: ${ROUNDS} rounds (seed ${SEED})`,
  { timeout: 60_000 + Number(ROUNDS) * 120_000 },
  async () => {
    const script = path.join(repositoryRoot, 'load-tests/chaos.ts');
    const child = spawn(process.execPath, [script, '--rounds', ROUNDS, '--seed', SEED], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
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
      new RegExp(`^rounds=${ROUNDS} acked=[1-9]\\d* lost=0 wrong=0 failed_queries=0$`),
    );
    expect(status).toBe(0);
  },
);
