// RELIABILITY R4 for one machine: the power goes at any operation of the disk while samples are written, sealed into blocks,
// shipped, and the log is cut short. What no sync had made durable is gone, or some of it, as real disks leave it. Every
// acknowledged sample is there afterwards, nothing else, and the machine goes on. TIDEMARK_POWER_SEED chooses what torn
// writes leave, TIDEMARK_POWER_STEP tries only every nth operation,
// and of torn writes every fourth of those. Default: 2 and 8; 1 tries all.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemDisk } from '../../services/lib/core/disk.ts';
import { CrashDisk } from '../support/crash-disk.ts';
import { checkLedgers, type Ledger, LedgerWriter, newLedger } from '../support/ledger.ts';
import { type OneMachine, startOneMachine } from '../support/one-machine.ts';
import { type Random, randomOf } from '../support/random.ts';

const SEED = Number(process.env.TIDEMARK_POWER_SEED ?? 1);
const STEP = Number(process.env.TIDEMARK_POWER_STEP ?? 2);
const SERIES = 60;
const REQUESTS = 24;
const SEAL_AFTER: ReadonlySet<number> = new Set([9, 17]);
const { signal } = new AbortController();

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'tidemark-power-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Small segments, so that they roll and are deleted; images of the head in between. */
const OPTIONS = { segmentBytesMax: 4096, imageLogBytes: 2048, imageIntervalMs: 0 };

/** Writes until all is sent or the disk dies. */
async function live(machine: OneMachine, ledger: Ledger, disk: CrashDisk): Promise<void> {
  const writer = new LedgerWriter(machine.client, ledger, `stream-${ledger.sent}`);
  for (let i = 0; i < REQUESTS && !disk.isDead; i++) {
    await writer.send();
    if (SEAL_AFTER.has(i)) await machine.client.seal({ tenant: '' }, { signal }).catch(() => undefined);
  }
}

/** One life on a disk that dies at `diesAt`; then the power is off. */
async function lifeUntil(disk: CrashDisk, dataDir: string, ledger: Ledger): Promise<void> {
  let machine: OneMachine | undefined;
  try {
    machine = await startOneMachine(dataDir, disk, OPTIONS);
    await live(machine, ledger, disk);
  } catch (caught) {
    if (!disk.isDead) throw caught;
  } finally {
    disk.diesAt = Math.min(disk.diesAt, disk.operations);
    await machine?.stop();
  }
}

/** Starts on what is left, checks it, writes on, starts once more. */
async function recover(dataDir: string, ledger: Ledger, where: string): Promise<number> {
  let checked = 0;
  for (const life of ['first', 'second']) {
    const machine = await startOneMachine(dataDir, systemDisk, OPTIONS);
    const check = checkLedgers([ledger], await machine.content());
    expect(
      { lost: check.lost.slice(0, 3), wrong: check.wrong.slice(0, 3) },
      `${where}, ${life} start`,
    ).toEqual({
      lost: [],
      wrong: [],
    });
    checked += check.checked;
    const writer = new LedgerWriter(machine.client, ledger, `after-${life}`);
    expect(await writer.send(), `${where}: a write after the ${life} start`).toBe(true);
    await machine.stop();
  }
  return checked;
}

async function cutEverywhere(name: string, random: Random | undefined, step: number): Promise<void> {
  const dataDir = path.join(root, 'data');
  const whole = new CrashDisk(path.join(root, 'graves-whole'));
  const all = newLedger('w', SERIES);
  await lifeUntil(whole, dataDir, all);
  expect(all.acknowledged).toHaveLength(REQUESTS);
  const { operations } = whole;
  let points = 0;
  let checked = 0;
  for (let diesAt = 1; diesAt <= operations + 1; diesAt += step) {
    rmSync(dataDir, { recursive: true, force: true });
    const graves = path.join(root, `graves-${diesAt}`);
    const disk = new CrashDisk(graves);
    disk.diesAt = diesAt;
    const ledger = newLedger('w', SERIES);
    await lifeUntil(disk, dataDir, ledger);
    disk.cutPower(random);
    checked += await recover(dataDir, ledger, `${name}, operation ${diesAt} of ${operations}`);
    rmSync(graves, { recursive: true, force: true });
    points++;
  }
  console.log(`R4 ${name}: ${points} points, ${checked} acknowledged samples, 0 lost, seed ${SEED}`);
}

test(`R4: a power cut at 1 in ${STEP} operations of the disk`, { timeout: 300_000 }, () =>
  cutEverywhere('nothing un-synced is left', undefined, STEP),
);

test(
  `R4: a power cut at 1 in ${4 * STEP} that leaves parts of what was not synced, seed ${SEED}`,
  { timeout: 300_000 },
  () => cutEverywhere('parts are left', randomOf(SEED), 4 * STEP),
);

test('R4: the test notices a log that does not sync', async () => {
  const dataDir = path.join(root, 'data');
  const disk = new CrashDisk(path.join(root, 'graves'));
  disk.forgetsFileSyncs = true;
  const ledger = newLedger('w', SERIES);
  await lifeUntil(disk, dataDir, ledger);
  disk.cutPower();
  const machine = await startOneMachine(dataDir, systemDisk, OPTIONS);
  expect(checkLedgers([ledger], await machine.content()).lost.length).toBeGreaterThan(0);
  await machine.stop();
});
