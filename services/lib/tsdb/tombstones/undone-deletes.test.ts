import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ManualClock } from '../../../../test/support/fake-control-plane.ts';
import { memoryDisk } from '../../../../test/support/memory-disk.ts';
import { encodeUtf8 } from '../../core/bytes.ts';
import type { Disk } from '../../core/disk.ts';
import { parseUndone, renderUndone, UNDONE_MAX, UndoneDeletes } from './undone-deletes.ts';

const idOf = (i: number): string => i.toString(16).padStart(32, '0');

async function open(disk: Disk, clock = new ManualClock()) {
  const undone = new UndoneDeletes('/d', { disk, clock });
  await undone.load();
  return undone;
}

test('what was taken back stays so over a restart, tenant by tenant', async () => {
  const { disk } = memoryDisk({});
  const before = await open(disk);
  await before.add('t', idOf(1));
  const after = await open(disk);
  expect([after.has('t', idOf(1)), after.has('u', idOf(1)), after.has('t', idOf(2))]).toEqual([
    true,
    false,
    false,
  ]);
  expect(() => after.mustNotBe('t', idOf(1))).toThrow(`delete ${idOf(1)} was taken back`);
  after.mustNotBe('t', idOf(2));
});

test('it counts before it is on the disk', async () => {
  const undone = await open(memoryDisk({}).disk);
  const written = undone.add('t', idOf(1));
  expect(undone.has('t', idOf(1))).toBe(true);
  await written;
});

test('the oldest are forgotten: after a month, and when there are too many', async () => {
  const clock = new ManualClock();
  const undone = await open(memoryDisk({}).disk, clock);
  await undone.add('t', idOf(1));
  await clock.advance(31 * 86_400_000, 31 * 86_400_000);
  await undone.add('t', idOf(2));
  expect([undone.has('t', idOf(1)), undone.has('t', idOf(2))]).toEqual([false, true]);
  const added = Array.from({ length: UNDONE_MAX }, (_, i) => undone.add('t', idOf(10 + i)));
  await Promise.all(added.slice(-1));
  expect([undone.has('t', idOf(2)), undone.has('t', idOf(10))]).toEqual([false, true]);
});

test('the file is as the document has it; a damaged one is named', async () => {
  const document = readFileSync(new URL('../docs/format/tombstones.md', import.meta.url), 'utf8');
  const example = /^\{"crc32":\d+,"undone".*\}$/m.exec(document)![0];
  const one = { tenant: 'anonymous', id: idOf(1), undoneAtMs: 5 };
  expect(renderUndone([one])).toBe(`${example}\n`);
  expect(parseUndone(`${example}\n`, 'f')).toEqual([one]);
  for (let at = 0; at < example.length; at++) {
    const bytes = encodeUtf8(`${example}\n`);
    bytes[at]! ^= 1;
    expect(() => parseUndone(Buffer.from(bytes).toString(), 'f'), String(at)).toThrow();
  }
  const { disk } = memoryDisk({ '/d/undone-deletes.json': encodeUtf8('{}') });
  await expect(open(disk)).rejects.toThrow(
    /undone-deletes\.json is damaged, .* bring it back from a copy, or remove it/,
  );
});
