// Which deletes a node remembers to have done, and for how long.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/blocks.ts';
import { ManualClock } from '../../../../test/support/fake-control-plane.ts';
import { systemDisk } from '../../core/disk.ts';
import { renderCheckedJson } from '../block/checked-json.ts';
import { DONE_FILE, DONE_MAX, type DoneDelete, DoneDeletes, parseDone, renderDone } from './done-deletes.ts';

const DAY_MS = 86_400_000;
const one = (number: number, createdAtMs: number): DoneDelete => ({
  ...{ tenant: 't', id: number.toString(16).padStart(32, '0'), createdAtMs, actor: 'somebody' },
  ...{ matchers: [{ name: 'job', operator: '=', value: 'a' }], minTimeMs: 1, maxTimeMs: 2, asked: ['s-0'] },
  epoch: 3,
});

async function createWorld() {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const clock = new ManualClock();
  const open = async (): Promise<DoneDeletes> => {
    const done = new DoneDeletes({ folder: folder.path }, { disk: systemDisk, clock });
    await done.load();
    return done;
  };
  return { clock, open, file: path.join(folder.path, DONE_FILE) };
}

test('what was done is known after a restart, on a new disk nothing is', async () => {
  const { open } = await createWorld();
  const fresh = await open();
  expect(fresh.heardEpoch).toBe(0);
  await fresh.add([one(1, 10)]);
  expect((await open()).heardEpoch).toBe(0);
  await fresh.add([], 7);
  expect((await open()).heardEpoch).toBe(7);
  await fresh.add([one(2, 20), one(1, 10)]);
  await fresh.add([one(2, 20)], 6);
  const again = await open();
  expect(again.heardEpoch).toBe(7);
  expect(again.all).toEqual([one(1, 10), one(2, 20)]);
  expect(again.has(one(2, 20))).toBe(true);
  expect(again.has(one(3, 20))).toBe(false);
});

test('a file of the version before is read, and counts as heard', async () => {
  const { open, file } = await createWorld();
  const { epoch: _, ...first } = one(1, 10);
  const text = renderCheckedJson('done', JSON.stringify({ version: 1, forgottenMs: 4, done: [first] }));
  writeFileSync(file, text);
  const done = await open();
  expect([done.heardEpoch, done.all]).toEqual([1, [{ ...one(1, 10), epoch: 0 }]]);
  await done.add([one(2, 20)], 7);
  expect((await open()).all).toEqual([{ ...one(1, 10), epoch: 0 }, one(2, 20)]);
  writeFileSync(file, text.replace('somebody', 'somebodY'));
  await expect(open()).rejects.toThrow(/is damaged/);
});

test('the oldest go, by number and by age, and are not taken for missed ones then', async () => {
  const { clock, open } = await createWorld();
  const done = await open();
  const many = Array.from({ length: DONE_MAX + 3 }, (_, i) => one(i, 1000 + i));
  await done.add(many);
  expect(done.all).toHaveLength(DONE_MAX);
  expect(done.all[0]).toEqual(one(3, 1003));
  // Known or not, that old is told by nobody who forgot as much.
  expect(done.has(one(99_999, 1002))).toBe(true);
  expect(done.has(one(99_999, 1003))).toBe(false);
  await clock.advance(31 * DAY_MS, 31 * DAY_MS);
  const young = one(99_999, clock.nowMs());
  await done.add([young]);
  expect((await open()).all).toEqual([young]);
});

test('a damaged file ends the start', async () => {
  const { open, file } = await createWorld();
  await (await open()).add([one(1, 10)]);
  const text = renderDone({ version: 1, heardEpoch: 2, forgottenMs: 0, done: [one(1, 10)] });
  expect(parseDone(text, 'x').done).toEqual([one(1, 10)]);
  writeFileSync(file, text.replace('"job"', '"jab"'));
  await expect(open()).rejects.toThrow(/done-deletes\.json is damaged/);
});
