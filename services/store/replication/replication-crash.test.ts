// R25 for blocks that stores copy from one another: a store that is killed, or loses power, at any operation of its disk while it copies
// a block shows the block whole, with its deletes, or not at all; and goes on until it has it.
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import { CrashDisk } from '../../../test/support/crash-disk.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import { type Meddle, StoreCluster } from '../../../test/support/store-cluster.ts';
import { HandClock, listedBlocks, storedContent } from '../../../test/support/store-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import { Labels } from '../../lib/model/labels.ts';
import { MatchType } from '../../lib/wire/contracts.ts';

const HOUR_MS = 3_600_000;
const signal = new AbortController().signal;
const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];

/** Nobody answers: what a store shows is what it has. */
const cutOff: Meddle = (client) => ({
  ...client,
  inventory: () => {
    throw new AppError('unavailable', 'cut off');
  },
});

/** A store with a block of three series, of which one is deleted. */
async function startSource(): Promise<{ readonly cluster: StoreCluster; readonly root: string }> {
  const folder = await temporaryFolder();
  const cluster = new StoreCluster(folder.path, new HandClock(4000 * HOUR_MS));
  onTestFinished(async () => {
    await cluster.stopAll();
    await folder[Symbol.asyncDispose]();
  });
  const source = await cluster.start('source');
  const series = ['a', 'b', 'c'].map((job) => {
    const labels = Labels.from([
      ['__name__', 'up'],
      ['job', job],
    ]);
    const samples = Array.from(
      { length: 50 },
      (_, i): TestSample => [3840 * HOUR_MS + i * 60_000, i, 0x40000000],
    );
    return seriesOf(labels, samples, 40);
  });
  await cluster.ship(await buildBlock(path.join(folder.path, 'built'), series));
  await source.client.deleteSeries(
    {
      ...{ tenant: 'anonymous', deleteId: 'd'.repeat(32), minTimeMs: 0, maxTimeMs: 4000 * HOUR_MS },
      ...{ createdAtMs: 4000 * HOUR_MS, actor: 'test' },
      matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: 'b' }],
    },
    { signal },
  );
  return { cluster, root: folder.path };
}

/** Starts a store that copies on a disk that dies at an operation; true when it got through before. */
async function copyAndDie(cluster: StoreCluster, disk: CrashDisk): Promise<boolean> {
  const copier = await cluster.start('copier', {}, disk).catch(() => undefined);
  if (copier === undefined) return false;
  await eventually(async () => disk.isDead || (await listedBlocks(copier)).length === 1).toBe(true);
  // What follows the block's appearance, too.
  await eventually(
    async () =>
      disk.isDead || (await copier.replication.replicationStatus({}, { signal })).moves.length === 0,
  ).toBe(true);
  await cluster.stop('copier');
  return !disk.isDead;
}

test.each(['killed', 'without power'])(
  'R25: a store that is %s at any operation of the disk while it copies a block shows it whole or not at all',
  async (how) => {
    const { cluster, root } = await startSource();
    const expected = await storedContent(cluster.node('source'), everything);
    expect(expected.size).toBe(2);
    const dataDir = path.join(root, 'copier');
    let shown = 0;
    let isThrough = false;
    let points = 0;
    for (let diesAt = 1; !isThrough; diesAt++) {
      rmSync(dataDir, { recursive: true, force: true });
      mkdirSync(path.join(dataDir, 'blocks-transit'), { recursive: true });
      const disk = new CrashDisk(path.join(root, `graves-${diesAt}`));
      disk.diesAt = diesAt;
      cluster.meddle = (client) => client;
      isThrough = await copyAndDie(cluster, disk);
      if (how === 'without power') disk.cutPower();
      points++;
      cluster.meddle = cutOff;
      const left = await cluster.start('copier');
      const content = await storedContent(left, everything);
      if (content.size > 0) expect(content, `died at ${diesAt}`).toEqual(expected);
      shown += Number(content.size > 0);
      cluster.meddle = (client) => client;
      await eventually(async () => (await listedBlocks(left)).length).toBe(1);
      expect(await storedContent(left, everything), `went on after ${diesAt}`).toEqual(expected);
      await cluster.stop('copier');
    }
    console.log(
      `copies: ${how} at ${points} operations, ${shown} times after the block was visible, 0 wrong`,
    );
    // All files, the deletes and the move are among them.
    expect(points).toBeGreaterThan(20);
    expect(shown).toBeGreaterThan(0);
  },
  240_000,
);
