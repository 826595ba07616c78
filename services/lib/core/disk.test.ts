import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { constants } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type DiskMode, systemDisk } from './disk.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tidemark-disk-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Flags of this process' descriptor on a file, as Linux tells them. */
function openFlagsOf(file: string): number {
  for (const descriptor of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${descriptor}`) !== file) continue;
    } catch {
      continue;
    }
    const text = readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8');
    return Number.parseInt(/flags:\s+(\d+)/.exec(text)![1]!, 8);
  }
  throw new Error(`${file} is not open`);
}

test.each<[DiskMode, boolean]>([
  ['create', false],
  ['write', false],
  ['log', true],
])('a file opened as %s: each write is durable by itself: %s', async (mode, isDurable) => {
  const name = path.join(folder, 'file');
  if (mode === 'write') await (await systemDisk.open(name, 'create')).close();
  const file = await systemDisk.open(name, mode);
  await file.write(new Uint8Array([0, 1, 2, 3, 4]), 1, 4, 0);
  await file.sync();
  const into = new Uint8Array(5);
  expect(await file.read(into, 1, 5, 0)).toBe(3);
  expect([...into]).toEqual([0, 1, 2, 3, 0]);
  if (process.platform === 'linux') {
    const flags = openFlagsOf(name);
    expect((flags & constants.O_DSYNC) === constants.O_DSYNC).toBe(isDurable);
  }
  await file.close();
});

test('a log file is emptied when it is opened', async () => {
  const name = path.join(folder, 'file');
  const first = await systemDisk.open(name, 'log');
  await first.write(new Uint8Array(10), 0, 10, 0);
  await first.close();
  const second = await systemDisk.open(name, 'log');
  expect(await second.size()).toBe(0);
  await second.close();
});
