// Every named failpoint of the services (lib/core/failpoint.ts, RELIABILITY R2 and R25): a real process is told to die there by
// SIGKILL, and a start on what it left has every acknowledged sample. The list is the product's own: a name that nothing passes fails.
// TIDEMARK_FAILPOINT_ROUNDS sets how often each is tried, each time at another passing (default once), TIDEMARK_FAILPOINT_SEED which.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemDisk } from '../../services/lib/core/disk.ts';
import { FAILPOINT_VARIABLE, FAILPOINTS, type Failpoint } from '../../services/lib/core/failpoint.ts';
import { checkLedgers, newLedger } from '../support/ledger.ts';
import { startOneMachine } from '../support/one-machine.ts';
import { startProcess } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import { randomOf } from '../support/random.ts';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { freshFolder, queryInstant, startTidemark, type Tidemark } from '../support/tidemark.ts';

const ROUNDS = Number(process.env.TIDEMARK_FAILPOINT_ROUNDS ?? 1);
const SEED = Number(process.env.TIDEMARK_FAILPOINT_SEED ?? 1);
/** Passed by whole processes only, not by storage alone. */
const AT_THE_DOOR: readonly Failpoint[] = ['write-ack-before', 'write-ack-after'];
const CHILD = path.join(repositoryRoot, 'test/support/reliability-child.ts');
const SERIES = 60;
const REQUESTS = 30;
const PARALLEL = 3;

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'tidemark-failpoints-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Calls of `failpoint('…')` in the services, by name. */
function callsInServices(): Map<string, number> {
  const calls = new Map<string, number>();
  const folder = path.join(repositoryRoot, 'services');
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts') || name.includes('.test.') || name.includes('.bench.')) continue;
    for (const [, point] of readFileSync(path.join(folder, name), 'utf8').matchAll(
      /\bfailpoint\('([^']+)'\)/g,
    ))
      calls.set(point!, (calls.get(point!) ?? 0) + 1);
  }
  return calls;
}

interface Life {
  readonly ended: number | string;
  readonly acknowledged: readonly number[];
  /** Names passed, where they were asked for. */
  readonly passed: readonly string[];
}

/** One life of a storage process with the variable set. */
async function live(dataDir: string, choice: string): Promise<Life> {
  const env = { [FAILPOINT_VARIABLE]: choice };
  const child = startProcess(process.execPath, [CHILD, dataDir, 'w', 'plain'], { env });
  await waitFor('the end of the child', () => Promise.resolve(child.exited() !== undefined), {
    timeoutMs: 60_000,
    describe: child.output,
  });
  await child.end();
  const after = (prefix: string): string[] =>
    child
      .output()
      .split('\n')
      .filter((line) => line.startsWith(prefix))
      .map((line) => line.slice(prefix.length));
  return { ended: child.exited()!, acknowledged: after('ack ').map(Number), passed: after('failpoint ') };
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

test('every failpoint of the list is in the services, and none beside it', () => {
  expect([...callsInServices().keys()].sort()).toEqual([...FAILPOINTS].sort());
});

test(`R2, R25: storage dies at every named failpoint × ${ROUNDS}, nothing acknowledged is lost`, {
  timeout: 60_000 + ROUNDS * 60_000,
}, async () => {
  const listed = await live(path.join(root, 'listed'), '?');
  expect([listed.ended, listed.acknowledged.length]).toEqual([0, REQUESTS]);
  const expected = FAILPOINTS.filter((point) => !AT_THE_DOOR.includes(point));
  const passings = Map.groupBy(listed.passed, (point) => point);
  expect([...passings.keys()].sort()).toEqual([...expected].sort());

  const random = randomOf(SEED);
  const tries = expected.flatMap((point) =>
    Array.from({ length: ROUNDS }, () => ({
      point,
      nth: 1 + Math.floor(random() * passings.get(point)!.length),
    })),
  );
  const killed = new Map<string, number>();
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < tries.length) {
      const index = next++;
      const { point, nth } = tries[index]!;
      const dataDir = path.join(root, `life-${index}`);
      let { ended, acknowledged } = await live(dataDir, `${point}:${nth}`);
      // What happens behind the writes may pass less often than the time before; the first passing always comes.
      if (ended === 0) {
        rmSync(dataDir, { recursive: true, force: true });
        ({ ended, acknowledged } = await live(dataDir, point));
      }
      expect(ended, `${point}, passing ${nth}`).toBe('SIGKILL');
      killed.set(point, (killed.get(point) ?? 0) + 1);
      await checkFolder(dataDir, acknowledged, `${point}, passing ${nth}`);
      rmSync(dataDir, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, run));
  expect([...killed.keys()].sort()).toEqual([...expected].sort());
  console.log(`R2: ${killed.size} failpoints of storage, ${tries.length} kills, 0 lost, seed ${SEED}`);
});

const START_MS = Date.now() - 600_000;

/** Sends numbered samples until the process is gone; the numbers that were acknowledged. */
async function sendUntilGone(server: Tidemark): Promise<number[]> {
  const acknowledged: number[] = [];
  for (let n = 0; n < 1_000; n++) {
    const series = [{ labels: { __name__: 'door' }, samples: [[START_MS + n * 10, n]] as const }];
    try {
      const { status } = await postWrite(server.url, snappyLiterals(encodeWriteRequest(series)));
      if (status === 204) acknowledged.push(n);
    } catch {
      return acknowledged;
    }
  }
  throw new Error('1,000 writes, and the process is still there');
}

test.each(AT_THE_DOOR)(
  `R2: all-in-one dies at %s × ${ROUNDS}`,
  {
    timeout: 60_000 + ROUNDS * 60_000,
  },
  async (point) => {
    for (let round = 0; round < ROUNDS; round++) {
      const nth = 1 + Math.floor(randomOf(SEED + round)() * 20);
      const dataDir = freshFolder();
      const server = await startTidemark({ dataDir, env: { [FAILPOINT_VARIABLE]: `${point}:${nth}` } });
      const acknowledged = await sendUntilGone(server);
      await waitFor('its end', () => Promise.resolve(server.exited() === 'SIGKILL'));
      // It died at the nth answer: before it was sent, or when it was with the system.
      expect(acknowledged.length).toBeGreaterThanOrEqual(nth - 1);
      expect(acknowledged.length).toBeLessThanOrEqual(nth);
      const after = await startTidemark({ dataDir });
      const found = await queryInstant(after.url, 'count_over_time(door[1h])');
      expect(Number(found[0]?.value[1] ?? 0)).toBeGreaterThanOrEqual(acknowledged.length);
      await after.end();
    }
    console.log(`R2: ${point}, ${ROUNDS} kills, 0 lost, seed ${SEED}`);
  },
);
