// The ingester through its contract: what leaves it for a store, what its log and images keep, and what a crash at any moment finds.
import { cp, readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import {
  type Content,
  contentOf,
  DURABLE,
  HOUR_MS,
  metric,
  named,
  STALE,
  START_MS,
  signal,
  TestWriter,
  until,
  useIngesterRig,
} from '../../test/support/ingester-rig.ts';

const rig = useIngesterRig();

const logFiles = async (): Promise<string[]> => (await readdir(path.join(rig.folder, 'data', 'log'))).sort();

test('seal now: everything is on the store, stays readable, and is not sealed again after a crash', async () => {
  const first = await rig.start();
  const writer = new TestWriter(first.client);
  const samples = Array.from({ length: 500 }, (_, i) => ['up', START_MS + i * 15_000, i] as const);
  await writer.send(samples);
  await writer.send([['down', START_MS, STALE]], {}, 2);
  const whole = await contentOf(first.client);
  const { blockIds } = await first.client.seal({ tenant: '' }, { signal });
  expect(blockIds).toHaveLength(2);
  expect(await rig.store.content()).toEqual(whole);
  expect(await contentOf(first.client)).toEqual(whole);

  const second = await rig.start();
  expect(await contentOf(second.client)).toEqual(new Map());
  expect((await second.client.seal({ tenant: '' }, { signal })).blockIds).toEqual([]);
  const again = new TestWriter(second.client, 'w2');
  await again.send([
    ['up', START_MS + 1, 5],
    ['new', START_MS, 1],
  ]);
  expect((await contentOf(second.client)).size).toBe(2);
});

test('closed ranges are sealed by themselves, leave after the grace, and the log follows', async () => {
  const { client, registry } = await rig.start({ segmentBytesMax: 4096 });
  const writer = new TestWriter(client);
  for (let i = 0; i < 40; i++) {
    await writer.send(
      Array.from({ length: 50 }, (_, k) => [`m${k}`, START_MS + i * 15_000, Math.sin(i * k)] as const),
    );
  }
  const whole = await contentOf(client);
  const segments = (await logFiles()).filter((name) => name.endsWith('.log'));
  expect(segments.length).toBeGreaterThan(3);
  rig.clock.advance(30_000);
  rig.clock.advance(2 * HOUR_MS + 4 * 60_000);
  await writer.send([['m0', START_MS + 3 * HOUR_MS, 1]]);
  expect(rig.store.blockIds.size).toBe(0);
  await until(() => {
    rig.clock.advance(10_000);
    return rig.store.blockIds.size === 1;
  });
  expect(await rig.store.content()).toEqual(whole);
  expect((await contentOf(client)).size).toBe(50);
  await until(async () => (await logFiles()).includes('checkpoint'));
  await until(async () => (await logFiles()).filter((name) => name.endsWith('.log')).length === 1);

  rig.clock.advance(100_000);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await contentOf(client)).size).toBe(50);
  await until(async () => {
    rig.clock.advance(10_000);
    return (await contentOf(client)).size === 1;
  });

  // The range after this one is sealed too; by then 49 series have neither samples nor log, and leave.
  rig.clock.advance(4 * HOUR_MS);
  await until(() => {
    rig.clock.advance(10_000);
    return rig.store.blockIds.size === 2;
  });
  await writer.send([['m0', START_MS + 7 * HOUR_MS, 1]]);
  for (let i = 0; i < 60; i++)
    await writer.send([
      [`m0`, START_MS + 7 * HOUR_MS + 1000 * (i + 1), Math.sin(i)],
      [`filler${'x'.repeat(90)}${i}`, START_MS + 7 * HOUR_MS, i],
    ]);
  await until(() => {
    rig.clock.advance(30_000);
    return rig.store.blockIds.size === 3;
  });
  await until(async () => (await metric(registry, 'tidemark_ingester_series_left_total')) >= 49);

  // The writer does not know, and goes on with its references.
  const answer = await writer.send([
    ['m7', START_MS + 9 * HOUR_MS, 42],
    ['m0', START_MS + 9 * HOUR_MS, 43],
  ]);
  expect(answer.outcome).toBe(DURABLE);
  const content = await contentOf(client, [{ name: '__name__', operator: '=', value: 'm7' }]);
  expect(content.get(named('m7'))).toEqual([[START_MS + 9 * HOUR_MS, 0x40450000, 0]]);
  const restarted = await rig.start({ segmentBytesMax: 4096 });
  expect(await contentOf(restarted.client, [{ name: '__name__', operator: '=', value: 'm7' }])).toEqual(
    content,
  );
}, 60_000);

test('a store that refuses is asked again, and nothing is lost meanwhile', async () => {
  rig.store.refusals = 2;
  const { client } = await rig.start();
  const writer = new TestWriter(client);
  await writer.send([['up', START_MS, 1]]);
  await expect(client.seal({ tenant: '' }, { signal })).rejects.toMatchObject({ code: 'unavailable' });
  const whole = await contentOf(client);
  expect(whole.size).toBe(1);
  const restarted = await rig.start();
  const replay = await restarted.registry.getSingleMetric('tidemark_ingester_replay_segment')!.get();
  expect(replay.values.map(({ labels, value }) => [labels.which, value])).toEqual([
    ['first', 1],
    ['last', 1],
    ['current', 1],
  ]);
  expect(await contentOf(restarted.client)).toEqual(whole);
  await until(() => {
    rig.clock.advance(1000);
    return rig.store.blockIds.size === 1;
  });
  expect(rig.store.refusals).toBe(0);
  expect(await rig.store.content()).toEqual(whole);
});

test('a stop writes what the next start would replay into an image, where it may', async () => {
  const replayed = async (imageAtStopMs: number): Promise<number[]> => {
    const { ingester, client, registry } = await rig.start({ imageAtStopMs });
    const writer = new TestWriter(client);
    await writer.send([['up', START_MS, 1]]);
    await writer.send([['up', START_MS + 1, 2]]);
    const before = await contentOf(client);
    await ingester.stop();
    const restarted = await rig.start({ imageAtStopMs });
    expect(await contentOf(restarted.client)).toEqual(before);
    return [
      await metric(registry, 'tidemark_ingester_head_images_total'),
      await metric(restarted.registry, 'tidemark_ingester_replay_pending_bytes'),
    ];
  };
  const [none, pending] = await replayed(0);
  expect([none, pending]).toEqual([0, expect.toSatisfy((bytes) => bytes > 100)]);
  const [written, left] = await replayed(5_000);
  expect([written, left]).toEqual([1, expect.toSatisfy((bytes) => bytes < 100)]);
});

test('a crash at any state of the folder: every prefix of commits gives the acknowledged content', async () => {
  // Copies of the data folder are what a crash at that moment leaves.
  const { client } = await rig.start({ segmentBytesMax: 4096 });
  const writer = new TestWriter(client);
  const copies: { readonly dir: string; readonly content: Content }[] = [];
  for (let round = 0; round < 8; round++) {
    await writer.send(
      Array.from({ length: 40 }, (_, k) => [`m${k}`, START_MS + round * 15_000, k * round + 0.5] as const),
    );
    if (round === 3 || round === 6) await client.seal({ tenant: '' }, { signal });
    const dir = path.join(rig.folder, `copy${round}`);
    await cp(path.join(rig.folder, 'data'), dir, { recursive: true });
    copies.push({ dir, content: await contentOf(client) });
  }
  const sealed = await rig.store.content();
  for (const { dir, content } of copies) {
    const { client: revived } = await rig.start({ dataDir: dir, segmentBytesMax: 4096 });
    const held = await contentOf(revived);
    for (const [name, samples] of content) {
      const united = new Map(
        [...(sealed.get(name) ?? []), ...(held.get(name) ?? [])].map((sample) => [sample[0], sample]),
      );
      for (const sample of samples) expect(united.get(sample[0])).toEqual(sample);
    }
  }
});
