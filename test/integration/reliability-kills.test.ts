// A real process dies by SIGKILL at every named place of its work with the disk (RELIABILITY R2), and ends by itself when a sync of
// its log fails (R11). Each time a start on what is left has every acknowledged sample. TIDEMARK_FAILPOINT_ROUNDS sets how often each
// place is tried, at another passing of it each time; once, the default, leaves out what is behind an operation, as before the next one.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemDisk } from '../../services/lib/core/disk.ts';
import { checkLedgers, newLedger } from '../support/ledger.ts';
import { startOneMachine } from '../support/one-machine.ts';
import { startProcess } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { randomOf } from '../support/random.ts';

const ROUNDS = Number(process.env.TIDEMARK_FAILPOINT_ROUNDS ?? 1);
const SEED = Number(process.env.TIDEMARK_FAILPOINT_SEED ?? 1);
const CHILD = path.join(repositoryRoot, 'test/support/reliability-child.ts');
const SERIES = 60;
const REQUESTS = 30;
/** Children at once. */
const PARALLEL = 3;

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'tidemark-kills-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

interface Life {
  readonly ended: number | string;
  readonly lines: readonly string[];
  readonly acknowledged: readonly number[];
}

async function live(dataDir: string, ...args: readonly string[]): Promise<Life> {
  const child = startProcess(process.execPath, [CHILD, dataDir, 'w', ...args]);
  await waitFor('the end of the child', () => Promise.resolve(child.exited() !== undefined), {
    timeoutMs: 60_000,
    describe: child.output,
  });
  await child.end();
  const lines = child.output().split('\n');
  const acknowledged = lines.filter((line) => line.startsWith('ack ')).map((line) => Number(line.slice(4)));
  return { ended: child.exited()!, lines, acknowledged };
}

async function checkFolder(dataDir: string, acknowledged: readonly number[], what: string): Promise<void> {
  const machine = await startOneMachine(dataDir, systemDisk);
  try {
    const ledger = { ...newLedger('w', SERIES), acknowledged: [...acknowledged], sent: REQUESTS };
    const { lost, wrong } = checkLedgers([ledger], await machine.content());
    expect({ lost: lost.slice(0, 3), wrong: wrong.slice(0, 3) }, what).toEqual({ lost: [], wrong: [] });
  } finally {
    await machine.stop();
  }
}

async function inParallel<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      await work(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, run));
}

test('R2: killed at every named failpoint, nothing acknowledged is lost', { timeout: 600_000 }, async () => {
  const listed = await live(path.join(root, 'listed'), 'points');
  expect([listed.ended, listed.acknowledged.length]).toEqual([0, REQUESTS]);
  const passings = new Map<string, number>();
  for (const line of listed.lines) {
    if (!line.startsWith('point ')) continue;
    const point = line.slice('point '.length);
    passings.set(point, (passings.get(point) ?? 0) + 1);
  }
  for (const point of ['sync of segment', 'rename of checkpoint', 'rename of block', 'remove of segment']) {
    expect(passings.has(`before ${point}`) && passings.has(`after ${point}`), point).toBe(true);
  }
  const random = randomOf(SEED);
  const tries = [...passings]
    .filter(([point]) => ROUNDS > 1 || point.startsWith('before') || point.includes('acknowledgement'))
    .flatMap(([point, times]) =>
      Array.from({ length: ROUNDS }, () => ({ point, nth: 1 + Math.floor(random() * times) })),
    );
  let killed = 0;
  await inParallel(tries, async ({ point, nth }, index) => {
    const dataDir = path.join(root, `life-${index}`);
    const { ended, acknowledged } = await live(dataDir, 'die', point, `${nth}`);
    // What happens behind the writes may pass less often than the time before: then it ended well.
    expect([0, 'SIGKILL'], `${point}, passing ${nth}`).toContain(ended);
    if (ended === 'SIGKILL') killed++;
    await checkFolder(dataDir, acknowledged, `${point}, passing ${nth}`);
    rmSync(dataDir, { recursive: true, force: true });
  });
  expect(killed).toBeGreaterThan(tries.length * 0.8);
  console.log(
    `R2: ${passings.size} failpoints, ${tries.length} tried, ${killed} kills, 0 lost, seed ${SEED}`,
  );
});

test('R11: a process whose log cannot be synced ends, and had acknowledged nothing of it', {
  timeout: 120_000,
}, async () => {
  await inParallel([1, 2, 3, 8, 17, 30], async (nth) => {
    const dataDir = path.join(root, `eio-${nth}`);
    const { ended, acknowledged } = await live(dataDir, 'eio', 'segment', `${nth}`);
    expect(ended, `sync ${nth}`).toBe(1);
    // Each request is one sync; the first of each segment is of its head.
    expect(acknowledged.length).toBeLessThan(nth);
    await checkFolder(dataDir, acknowledged, `sync ${nth}`);
  });
});
