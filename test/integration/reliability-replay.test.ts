// RELIABILITY R35: a start that has only the log replays it in no more memory than the process had that wrote it, and a SIGKILL in the
// middle of it loses nothing. TIDEMARK_REPLAY_REQUESTS sets the length of the log: 2,000 samples, some 19 KB, each.
import { readdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { systemDisk } from '../../services/lib/core/disk.ts';
import { checkLedgers, newLedger } from '../support/ledger.ts';
import { startOneMachine } from '../support/one-machine.ts';
import { type RunningProcess, startProcess } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { randomOf } from '../support/random.ts';
import { freshFolder } from '../support/tidemark.ts';

const REQUESTS = Number(process.env.TIDEMARK_REPLAY_REQUESTS ?? 800);
const SEED = Number(process.env.TIDEMARK_REPLAY_SEED ?? 1);
const SERIES = 2000;
const KILLS = 4;
/** What the collector may leave lying about at one moment and not at the other. */
const SLACK_BYTES = 32 << 20;

function run(dataDir: string, ...args: readonly string[]): RunningProcess {
  return startProcess(process.execPath, [
    path.join(repositoryRoot, 'test/support/replay-child.ts'),
    dataDir,
    ...args,
  ]);
}

async function peakOf(child: RunningProcess): Promise<number> {
  await waitFor('the end of the child', () => Promise.resolve(child.exited() !== undefined), {
    timeoutMs: 120_000,
    describe: child.output,
  });
  const peak = /peak (\d+)/.exec(child.output());
  if (peak === null) throw new Error(`no peak: ${child.output()}`);
  return Number(peak[1]);
}

test('R35: replay in bounded memory, killed in between', { timeout: 300_000 }, async () => {
  const folder = freshFolder();
  const dataDir = path.join(folder, 'data');
  const written = await peakOf(run(dataDir, 'write', `${REQUESTS}`));
  const segments = readdirSync(path.join(dataDir, 'log')).filter((name) => name.endsWith('.log'));
  const bytes = segments.reduce((sum, name) => sum + statSync(path.join(dataDir, 'log', name)).size, 0);
  const startedMs = performance.now();
  const replayed = await peakOf(run(dataDir, 'start'));
  const wholeMs = performance.now() - startedMs;
  expect(replayed).toBeLessThan(written + SLACK_BYTES);
  const random = randomOf(SEED);
  for (let kill = 0; kill < KILLS; kill++) {
    const child = run(dataDir, 'start');
    await sleep(random() * wholeMs);
    await child.end('SIGKILL');
  }
  const machine = await startOneMachine(dataDir, systemDisk);
  const acknowledged = Array.from({ length: REQUESTS }, (_, i) => i);
  const check = checkLedgers(
    [{ ...newLedger('w', SERIES), acknowledged, sent: REQUESTS }],
    await machine.content(),
  );
  await machine.stop();
  expect({ lost: check.lost.length, wrong: check.wrong.slice(0, 3) }).toEqual({ lost: 0, wrong: [] });
  rmSync(folder, { recursive: true, force: true });
  const mib = (of: number) => (of / 2 ** 20).toFixed(0);
  console.log(
    `R35: ${check.checked} samples in ${segments.length} segments of ${mib(bytes)} MiB; written in ${mib(written)} MiB, replayed in ${mib(replayed)} MiB and ${wholeMs.toFixed(0)} ms, ${KILLS} kills, 0 lost, seed ${SEED}`,
  );
});
