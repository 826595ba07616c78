// When a store takes its disk for lost: what NATS says is the test's, files are real.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/blocks.ts';
import { FakeControlPlane } from '../../../test/support/fake-control-plane.ts';
import { systemDisk } from '../../lib/core/disk.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { LostDisk } from './lost-disk.ts';

const { signal } = new AbortController();

async function createWorld() {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const control = new FakeControlPlane();
  let epoch = 0;
  const list = (...instances: readonly string[]) =>
    control.replacePlacement({
      ...{ epoch: ++epoch, partitionCount: 8, replicationFactor: 3, ingesters: [], former: [] },
      ...{ storeReplicationFactor: 2, stores: instances.map((instance) => ({ instance, zone: '' })) },
    });
  const begin = async (isNew = true): Promise<LostDisk> => {
    const lost = new LostDisk(
      { dataDir: folder.path, instance: 'own' },
      { disk: systemDisk, control, logger: createSilentLogger() },
    );
    await lost.begin(isNew, signal);
    return lost;
  };
  return { control, list, begin, isMarked: () => existsSync(path.join(folder.path, 'rebuilding')) };
}

test('one that is listed before it began lost it, until all is here again, whatever comes between', async () => {
  const { list, begin, isMarked } = await createWorld();
  await list('own', 'other');
  expect((await begin(false)).reason).toBeUndefined();
  expect((await begin()).reason).toMatch(/disk of this store was lost/);
  const again = await begin(false);
  expect(again.reason).toMatch(/disk of this store was lost/);
  expect(isMarked()).toBe(true);
  await again.restored();
  expect([again.reason, isMarked()]).toEqual([undefined, false]);
  expect((await begin(false)).reason).toBeUndefined();
});

test('a newcomer lost nothing, nor does one of a cluster that is only just made', async () => {
  const { list, begin } = await createWorld();
  const first = await begin();
  expect(first.reason).toBeUndefined();
  await list('own');
  expect(first.reason).toBeUndefined();
  await list('other');
  const newcomer = await begin();
  await list('other', 'own');
  expect(newcomer.reason).toBeUndefined();
});

test.each([
  [['own', 'other'], /was lost/, true],
  [['other'], undefined, false],
] as const)(
  'while nobody says what the placement is, anything may be missing: %j',
  async (stores, reason, marked) => {
    const { control, list, begin, isMarked } = await createWorld();
    control.isReachable = false;
    const lost = await begin();
    expect(lost.reason).toMatch(/not known yet which blocks/);
    control.isReachable = true;
    await list(...stores);
    if (reason === undefined) expect(lost.reason).toBeUndefined();
    else expect(lost.reason).toMatch(reason);
    await expect.poll(isMarked).toBe(marked);
  },
);
