import { expect, test } from 'vitest';
import { randomOf } from '../support/random.ts';
import { SimDisk } from './world/sim-disk.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function contentOf(disk: SimDisk, file: string): string {
  const found = disk.mustFindFile(file);
  const into = new Uint8Array(found.length);
  found.read(into, 0);
  return new TextDecoder().decode(into);
}

function diskWith(text: string): SimDisk {
  const disk = new SimDisk(1 << 20, '/home');
  const file = disk.createFile('/home/a', false);
  file.write(bytes(text), 0);
  disk.syncFile(file);
  disk.syncFolder('/home');
  return disk;
}

test('a power cut takes back what was written since the last sync, and no more', () => {
  const disk = diskWith('durable');
  const file = disk.mustFindFile('/home/a');
  file.write(bytes('DURABLE and more'), 0);
  expect(contentOf(disk, '/home/a')).toBe('DURABLE and more');
  disk.cutPower(undefined);
  expect(contentOf(disk, '/home/a')).toBe('durable');
  file.truncate(3);
  disk.cutPower(undefined);
  expect(contentOf(disk, '/home/a')).toBe('durable');
  file.write(bytes('DUR'), 0);
  disk.syncFile(file);
  disk.cutPower(undefined);
  expect(contentOf(disk, '/home/a')).toBe('DURable');
});

test('names are durable once their folder is synced, and are taken back in their order', () => {
  const disk = diskWith('old');
  disk.createFile('/home/b', true).write(bytes('new'), 0);
  disk.syncFile(disk.mustFindFile('/home/b'));
  disk.rename('/home/b', '/home/a');
  expect(contentOf(disk, '/home/a')).toBe('new');
  disk.cutPower(undefined);
  expect(disk.names('/home')).toEqual(['a']);
  expect(contentOf(disk, '/home/a')).toBe('old');
  disk.makeFolders('/home/x/y');
  disk.remove('/home/a');
  disk.syncFolder('/home');
  disk.cutPower(undefined);
  expect(disk.names('/home')).toEqual(['x']);
  expect(disk.names('/home/x')).toEqual([]);
});

test('a torn write leaves sectors of before, of after and zeros, never others', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const disk = diskWith('o'.repeat(2000));
    const file = disk.mustFindFile('/home/a');
    file.write(bytes('n'.repeat(3000)), 500);
    disk.cutPower(randomOf(seed));
    const left = contentOf(disk, '/home/a');
    expect(left.length).toBeGreaterThanOrEqual(2000);
    expect(left.length).toBeLessThanOrEqual(3500);
    expect(left.slice(0, 500)).toBe('o'.repeat(500));
    expect(left.slice(500, 2000)).toMatch(/^[on]*$/);
    // A hole reads as zeros.
    expect(left.slice(2000).replaceAll('\0', 'n')).toMatch(/^n*$/);
  }
});

test('a failing sync makes nothing durable', () => {
  const disk = diskWith('durable');
  const file = disk.mustFindFile('/home/a');
  file.write(bytes('x'), 0);
  disk.failingSync = 1;
  expect(() => disk.syncFile(file)).toThrow('EIO');
  disk.cutPower(undefined);
  expect(contentOf(disk, '/home/a')).toBe('durable');
});

test('what a failed sync left is read, and no later sync makes it durable unless it is written again', () => {
  const disk = diskWith('durable');
  const file = disk.mustFindFile('/home/a');
  disk.failingSync = 1;
  file.write(bytes('DUR'), 0);
  expect(() => disk.syncFile(file)).toThrow('EIO');
  disk.syncFile(file);
  expect(contentOf(disk, '/home/a')).toBe('DURable');
  disk.cutPower(undefined);
  expect(contentOf(disk, '/home/a')).toBe('durable');
  disk.failingSync = 1;
  file.write(bytes('DUR'), 0);
  expect(() => disk.syncFile(file)).toThrow('EIO');
  file.write(bytes('DURable'), 0);
  disk.syncFile(file);
  disk.cutPower(undefined);
  expect(contentOf(disk, '/home/a')).toBe('DURable');
});
