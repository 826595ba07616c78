// What one replica gives another out of its log, once some of it is on the stores: real ingesters and a real store in this process.
import { afterEach, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/blocks.ts';
import { waitFor } from '../../../test/support/programs.ts';
import { ReplicaRig } from '../../../test/support/replica-rig.ts';
import { startStoreRig } from '../../../test/support/store-rig.ts';
import { systemClock } from '../../lib/core/clock.ts';

const START_MS = 1_700_000_000_000;
const ABC = ['a', 'b', 'c'];
const signal = new AbortController().signal;

const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

test('a replica gives away nothing that is sealed, also where later samples of the range are not', async () => {
  const folder = await temporaryFolder();
  cleanUp.push(async () => folder[Symbol.asyncDispose]());
  const store = await startStoreRig(folder.path, systemClock);
  cleanUp.push(() => store.store.stop());
  const rig = new ReplicaRig({
    instances: ABC,
    // Nothing is sealed unless it is asked for.
    ingester: { sealCheckIntervalMs: 20, sealDelayMs: 1e13, sealGraceMs: 0 },
    stores: () => [{ instance: 'store', client: store.client }],
  });
  cleanUp.push(() => rig.close());
  for (const instance of ABC) await rig.start(instance);
  rig.isPlaced = true;
  await rig.write(['sealed'], START_MS, 1);
  expect((await rig.of('a').client.seal({ tenant: '' }, { signal })).blockIds).toHaveLength(1);
  await rig.write(['open'], START_MS + 1000, 2);
  await waitFor('a lets go of what is sealed', async () => !(await rig.contentOf('a')).has('w/sealed'));
  // With an empty disk it takes what it can get, and can ask no other.
  await rig.stop('c');
  rig.wipe('c');
  rig.reachable.delete('b');
  await rig.start('c');
  await waitFor(
    'c has what a gives',
    async () => (await rig.metric('c', 'tidemark_ingester_fetched_samples_total')) > 0,
  );
  expect(await rig.metric('c', 'tidemark_ingester_fetched_samples_total')).toBe(1);
  expect(await rig.metric('c', 'tidemark_ingester_samples_appended_total')).toBe(1);
});
