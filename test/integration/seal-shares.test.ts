// One owner of a partition seals a range, the others take its word for it: real ingesters and a real store in this process, calls
// between them in it, too. What happens to it under faults is in test/simulation.
import { afterEach, expect, test } from 'vitest';
import type { IngesterOptions } from '../../services/ingester/options.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { temporaryFolder } from '../support/blocks.ts';
import { waitFor } from '../support/programs.ts';
import { ReplicaRig } from '../support/replica-rig.ts';
import { type StoreRig, startStoreRig } from '../support/store-rig.ts';

/** A range that is over: it is sealed as soon as it is seen twice. */
const START_MS = 1_700_000_000_000;
const SERIES = Array.from({ length: 24 }, (_, i) => `s${i}`);
const ABC = ['a', 'b', 'c'];
const TIMES = 10;
const SAMPLES = TIMES * SERIES.length;
const QUICK = { sealCheckIntervalMs: 50, sealDelayMs: 0, lateSealDelayMs: 300, sealGraceMs: 0 };

const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

interface World {
  readonly rig: ReplicaRig;
  readonly store: StoreRig;
}

async function startWorld(sealWaitMs: number, more: Partial<IngesterOptions> = {}): Promise<World> {
  const folder = await temporaryFolder();
  cleanUp.push(async () => folder[Symbol.asyncDispose]());
  const store = await startStoreRig(folder.path, systemClock);
  cleanUp.push(() => store.store.stop());
  const stores = () => [{ instance: 'store', client: store.client }];
  const rig = new ReplicaRig({ instances: ABC, ingester: { ...QUICK, sealWaitMs, ...more }, stores });
  cleanUp.push(() => rig.close());
  for (const instance of ABC) await rig.start(instance);
  rig.isPlaced = true;
  return { rig, store };
}

async function write(rig: ReplicaRig): Promise<void> {
  for (let i = 0; i < TIMES; i++) await rig.write(SERIES, START_MS + i * 1000, i);
}

/** Samples that the ingesters put into blocks, all together. */
async function sealedSamples(rig: ReplicaRig): Promise<number> {
  const each = ABC.map((instance) => rig.metric(instance, 'tidemark_ingester_sealed_samples_total'));
  return (await Promise.all(each)).reduce((sum, samples) => sum + samples, 0);
}

async function haveLetGo(rig: ReplicaRig, instances: readonly string[]): Promise<boolean> {
  const contents = await Promise.all(instances.map((instance) => rig.contentOf(instance)));
  return contents.every(({ size }) => size === 0);
}

async function refusedPuts({ registry }: StoreRig): Promise<number> {
  const { values } = await registry.getSingleMetric('tidemark_store_block_puts_total')!.get();
  return values.find(({ labels }) => labels.result === 'failed')?.value ?? 0;
}

async function storedSamples({ client }: StoreRig): Promise<number> {
  const { blocks } = await client.listBlocks({ tenant: '' }, { signal: new AbortController().signal });
  return blocks.reduce((sum, { samples }) => sum + samples, 0);
}

test('of three owners one makes the blocks, and all let go once the store has them', async () => {
  const { rig, store } = await startWorld(60_000);
  await write(rig);
  await waitFor('all ingesters let go', () => haveLetGo(rig, ABC), { timeoutMs: 40_000 });
  expect(await sealedSamples(rig)).toBe(SAMPLES);
  expect(await storedSamples(store)).toBe(SAMPLES);
});

test('who cannot ask the others seals by itself', async () => {
  const { rig, store } = await startWorld(60_000);
  await write(rig);
  for (const instance of ABC) rig.reachable.delete(instance);
  await waitFor('all ingesters let go', () => haveLetGo(rig, ABC), { timeoutMs: 40_000 });
  expect(await sealedSamples(rig)).toBe(3 * SAMPLES);
  expect(await storedSamples(store)).toBe(SAMPLES);
});

test('an owner lets go of nothing that the one which seals does not hold', async () => {
  const { rig } = await startWorld(2_000);
  // Number 1 of an origin that the others never hear of, and no catch-up brings: they are cut off from this one.
  const lonely = 'a';
  rig.reachable.delete(lonely);
  await rig.append(lonely, rig.placement.epoch, 'alone');
  rig.reachable.add(lonely);
  await write(rig);
  await waitFor('all ingesters let go', () => haveLetGo(rig, ABC), { timeoutMs: 40_000 });
  // Wherever it went meanwhile, a block has it.
  expect(await sealedSamples(rig)).toBeGreaterThan(SAMPLES);
});

test('nobody waits where it is turned off', async () => {
  const { rig } = await startWorld(0);
  await write(rig);
  await waitFor('all ingesters let go', () => haveLetGo(rig, ABC), { timeoutMs: 40_000 });
  expect(await sealedSamples(rig)).toBe(3 * SAMPLES);
});

test('who is asked to seal does so by the placement that stores know of, as soon as it knows it, too', async () => {
  const { rig, store } = await startWorld(60_000, { sealCheckIntervalMs: 1e9 });
  const { signal } = new AbortController();
  const seal = () => rig.of('a').client.seal({ tenant: '' }, { signal });
  const older = rig.placement;
  const newer = rig.place(ABC);
  await write(rig);
  expect((await seal()).blockIds).toHaveLength(1);
  await rig.write(SERIES, START_MS + TIMES * 1000, TIMES);
  rig.placement = older;
  await expect(seal()).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining(`placement ${newer.epoch} is known here`),
  });
  const asked = seal();
  await waitFor('it is refused', async () => (await refusedPuts(store)) > 1);
  rig.placement = newer;
  expect((await asked).blockIds).toHaveLength(1);
  expect(await storedSamples(store)).toBe(SAMPLES + SERIES.length);
});
