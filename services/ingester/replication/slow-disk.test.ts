// R12: one of three replicas has a slow disk. Real logs on real folders, a real distributor; every sync of one ingester takes half a
// second longer.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../../../test/support/programs.ts';
import { PARTITIONS, ReplicaRig } from '../../../test/support/replica-rig.ts';
import { type Disk, systemDisk } from '../../lib/core/disk.ts';

const START_MS = 1_700_000_000_000;
const SERIES = Array.from({ length: 24 }, (_, i) => `s${i}`);
const SYNC_DELAY_MS = 500;
const WRITES = 200;
/** A machine with other work may hold up one write of two hundred; a write that waited for the slow disk takes hundreds of ms. */
const NOISE_MS = 20;

function slowWhile(isSlow: () => boolean): Disk {
  return {
    ...systemDisk,
    async open(file, mode) {
      const opened = await systemDisk.open(file, mode);
      return {
        ...opened,
        async sync() {
          if (isSlow()) await sleep(SYNC_DELAY_MS);
          await opened.sync();
        },
      };
    },
  };
}

/** Times of writes one after the other, ms, ascending. */
async function timesOf(rig: ReplicaRig, fromWrite: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = fromWrite; i < fromWrite + WRITES; i++) {
    const startedMs = performance.now();
    await rig.write(SERIES, START_MS + i * 1000, i);
    times.push(performance.now() - startedMs);
  }
  return times.sort((a, b) => a - b);
}

const p99 = (sorted: readonly number[]): number => sorted[Math.floor(sorted.length * 0.99)]!;

test(`R12: syncs of ${SYNC_DELAY_MS} ms on one of three do not slow acknowledgements, and it has everything in the end`, async () => {
  let isSlow = false;
  const instances = ['a', 'b', 'c'];
  const rig = new ReplicaRig({
    instances,
    diskOf: (instance) => (instance === 'c' ? slowWhile(() => isSlow) : systemDisk),
  });
  onTestFinished(() => rig.close());
  for (const instance of instances) await rig.start(instance);
  rig.isPlaced = true;
  await timesOf(rig, 0);
  const usual = await timesOf(rig, WRITES);
  isSlow = true;
  const slowed = await timesOf(rig, 2 * WRITES);
  isSlow = false;
  console.log(
    `p99 of an acknowledgement: ${p99(usual).toFixed(1)} ms, with one slow disk ${p99(slowed).toFixed(1)} ms`,
  );
  expect(p99(slowed)).toBeLessThan(2 * p99(usual) + NOISE_MS);
  const all = new Set(Array.from({ length: PARTITIONS }, (_, partition) => partition));
  await waitFor('the slow one has everything', async () => (await rig.missingAt('c', all)).length === 0);
  await waitFor('and proves it', async () => (await rig.completeAt('c')).length === PARTITIONS);
});
