import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { encodeUtf8 } from '../../core/bytes.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Disk, type DiskFile, systemDisk } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import type { Damage, RecordVisitor } from './replay.ts';
import { openSegmentLog, type SegmentLog, type SegmentLogOptions } from './segment-log.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tidemark-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Opened {
  readonly log: SegmentLog;
  /** Payloads replayed, as text. */
  readonly seen: string[];
  readonly damage: Damage[];
  readonly fatal: AppError[];
}

async function openLog(
  overrides: Partial<SegmentLogOptions> = {},
  disk: Disk = systemDisk,
  poison?: string,
  clock: Clock = systemClock,
): Promise<Opened> {
  const seen: string[] = [];
  const damage: Damage[] = [];
  const fatal: AppError[] = [];
  const visit: RecordVisitor = (record, bytes) => {
    const text = Buffer.from(bytes.subarray(record.start, record.end)).toString();
    if (text === poison) throw new AppError('bad_data', 'poison');
    seen.push(text);
  };
  const log = await openSegmentLog(
    {
      folder,
      segmentBytesMax: 1 << 20,
      groupCommitMs: 0,
      commitBytes: 1 << 20,
      bytesInFlightMax: 1 << 24,
      freeBytesMin: 0,
      segmentAbove: 0,
      ...overrides,
    },
    {
      disk,
      clock,
      onFatal: (error) => fatal.push(error),
      onDamage: (found) => damage.push(found),
    },
    visit,
  );
  return { log, seen, damage, fatal };
}

function append(log: SegmentLog, text: string): { segment: number; durable: Promise<void> } {
  const bytes = encodeUtf8(text);
  return log.append(1, 2, 3, bytes, 0, bytes.length);
}

async function writeAll(log: SegmentLog, texts: readonly string[]): Promise<void> {
  await Promise.all(texts.map((text) => append(log, text).durable));
}

function segmentFiles(): string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.log'));
}

/** A disk whose files do as `onSync` and `onWrite` say before they do as the system's. */
function faultyDisk(faults: { onSync?: () => void; onWrite?: () => void; freeBytes?: () => number }): Disk {
  return {
    ...systemDisk,
    async open(file, mode): Promise<DiskFile> {
      const opened = await systemDisk.open(file, mode);
      return {
        ...opened,
        async sync() {
          faults.onSync?.();
          await opened.sync();
        },
        async write(bytes, start, end, position) {
          faults.onWrite?.();
          await opened.write(bytes, start, end, position);
        },
      };
    },
    async space(of) {
      const space = await systemDisk.space(of);
      return { ...space, freeBytes: faults.freeBytes?.() ?? space.freeBytes };
    },
  };
}

const systemError = (code: string): Error => Object.assign(new Error(`${code}: simulated`), { code });

test('what was acknowledged is there after a process that was not closed', async () => {
  const first = await openLog();
  await writeAll(first.log, ['a', 'bb', 'ccc']);
  const second = await openLog();
  expect(second.seen).toEqual(['a', 'bb', 'ccc']);
  await writeAll(second.log, ['d']);
  const third = await openLog();
  expect(third.seen).toEqual(['a', 'bb', 'ccc', 'd']);
  expect(third.damage).toEqual([]);
  await Promise.all([first, second, third].map(({ log }) => log.close()));
});

test('records of one turn share one commit', async () => {
  let syncs = 0;
  const { log } = await openLog({}, faultyDisk({ onSync: () => syncs++ }));
  await writeAll(log, ['first']);
  const before = syncs;
  await writeAll(
    log,
    Array.from({ length: 100 }, (_, i) => `r${i}`),
  );
  expect(syncs - before).toBe(1);
  await log.close();
});

test('commits keep their distance while more may come, and many bytes do not wait', async () => {
  const { log } = await openLog({ groupCommitMs: 4000, commitBytes: 1000 });
  await writeAll(log, ['opens the distance', 'with another writer']);
  const startedMs = performance.now();
  await writeAll(log, ['waits']);
  expect(performance.now() - startedMs).toBeGreaterThan(3000);
  const againMs = performance.now();
  await writeAll(log, ['x'.repeat(2000)]);
  expect(performance.now() - againMs).toBeLessThan(3000);
  await log.close();
});

test('when all who wrote together lately wait, nothing is waited for; some may come a turn later, or stop', async () => {
  let sleeps = 0;
  let ended = 0;
  const clock: Clock = {
    ...systemClock,
    sleep(ms, signal) {
      sleeps++;
      signal?.addEventListener('abort', () => {
        ended++;
      });
      return systemClock.sleep(ms, signal);
    },
  };
  const { log } = await openLog({ groupCommitMs: 60_000 }, systemDisk, undefined, clock);
  for (let round = 0; round < 20; round++) await writeAll(log, ['a', 'b', 'c']);
  const durable = ['a', 'b', 'c'].map((text) => append(log, text).durable);
  await nextTurn();
  durable.push(append(log, 'd').durable);
  await nextTurn();
  durable.push(append(log, 'e').durable);
  await Promise.all(durable);
  expect(sleeps).toBe(0);
  // From now on five are waited for, as long as one of the last eight commits had as many.
  for (let commit = 1; commit <= 8; commit++) {
    let isDurable = false;
    const alone = append(log, 'alone').durable.then(() => {
      isDurable = true;
    });
    await systemClock.sleep(20);
    expect(isDurable).toBe(false);
    await log.flush();
    await alone;
  }
  // One timer for all of them, which a close does not leave running for the rest of the minute.
  expect(sleeps).toBe(1);
  await writeAll(log, ['alone']);
  expect(sleeps).toBe(1);
  await log.close();
  expect(ended).toBe(1);
});

test('segments are cut at their size and deleted from the oldest, never the current one', async () => {
  const { log } = await openLog({ segmentBytesMax: 4096 });
  const texts = Array.from({ length: 40 }, (_, i) => `${i}`.padStart(1000, '.'));
  for (const text of texts) await append(log, text).durable;
  expect(segmentFiles().length).toBeGreaterThan(10);
  for (const name of segmentFiles()) expect(statSync(path.join(folder, name)).size).toBeLessThanOrEqual(4096);
  await log.deleteBefore(5);
  expect(segmentFiles()[0]).toBe('000000000005.log');
  expect(log.firstSegment).toBe(5);
  await log.deleteBefore(1e9);
  expect(segmentFiles()).toHaveLength(1);
  await append(log, 'still here').durable;
  expect(log.bytesOnDisk).toBe(
    segmentFiles().reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0),
  );
  await log.close();
});

test('rotate: earlier records are below the returned segment, later ones at or above', async () => {
  const { log } = await openLog();
  const before = append(log, 'before').segment;
  const cut = log.rotate();
  expect(log.rotate()).toBe(cut);
  const after = append(log, 'after').segment;
  expect(before).toBeLessThan(cut);
  expect(after).toBeGreaterThanOrEqual(cut);
  await log.flush();
  await log.close();
  const again = await openLog({ segmentAbove: 40 });
  expect(again.seen).toEqual(['before', 'after']);
  expect(append(again.log, 'x').segment).toBe(41);
  await again.log.close();
});

/** A log of two segments, the second with three records; returns the second's file and its record boundaries. */
async function twoSegments(): Promise<{ file: string; bounds: number[] }> {
  const { log } = await openLog();
  await writeAll(log, ['old one', 'old two']);
  log.rotate();
  const bounds = [32];
  for (const text of ['alpha', 'beta', 'gamma']) {
    await append(log, text).durable;
    bounds.push(bounds[bounds.length - 1]! + 24 + text.length);
  }
  await log.close();
  const file = path.join(folder, segmentFiles()[1]!);
  expect(statSync(file).size).toBe(bounds[3]);
  return { file, bounds };
}

const OLD = ['old one', 'old two'];
const NEW = ['alpha', 'beta', 'gamma'];

// RELIABILITY R5.
test('R5: a torn write at every byte offset of the last segment recovers to the last whole record', async () => {
  const { file, bounds } = await twoSegments();
  const whole = readFileSync(file);
  const tails: ((at: number) => Buffer)[] = [
    (at) => whole.subarray(0, at),
    (at) => Buffer.concat([whole.subarray(0, at), Buffer.alloc(whole.length - at + 100)]),
    (at) => Buffer.concat([whole.subarray(0, at), Buffer.alloc(77, 0xa5)]),
    (at) => Buffer.concat([whole.subarray(0, at), Buffer.from('544d4c47010000000403'.repeat(9), 'hex')]),
  ];
  for (const tail of tails) {
    for (let at = 0; at <= whole.length; at++) {
      for (const name of segmentFiles()) if (name > path.basename(file)) rmSync(path.join(folder, name));
      writeFileSync(file, tail(at));
      const { log, seen, damage } = await openLog();
      const kept = bounds.filter((bound) => bound <= at).length - 1;
      // The head stands there twice: with its first copy whole, records behind a torn head do not exist anyway.
      expect(seen, `offset ${at}`).toEqual([...OLD, ...NEW.slice(0, Math.max(0, kept))]);
      expect(damage.length).toBeLessThanOrEqual(1);
      await append(log, 'next').durable;
      await log.close();
      const again = await openLog();
      expect(again.seen).toEqual([...seen, 'next']);
      expect(again.damage).toEqual([]);
      await again.log.close();
    }
  }
}, 120_000);

// RELIABILITY R6.
test('R6: one flipped bit anywhere costs at most its own record, and nothing newer', async () => {
  await twoSegments();
  const names = segmentFiles();
  for (const name of names) {
    const target = path.join(folder, name);
    const whole = readFileSync(target);
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = Buffer.from(whole);
      bytes[bit >>> 3]! ^= 1 << (bit & 7);
      writeFileSync(target, bytes);
      const { log, seen } = await openLog();
      await log.close();
      const all = [...OLD, ...NEW];
      expect(seen.every((text) => all.includes(text))).toBe(true);
      expect(seen.length).toBeGreaterThanOrEqual(all.length - 1);
      if (bit < 32 * 8) expect(seen).toEqual(all);
    }
    writeFileSync(target, whole);
  }
}, 120_000);

test('a damaged older segment is quarantined and newer ones are read', async () => {
  await twoSegments();
  const old = path.join(folder, segmentFiles()[0]!);
  const bytes = readFileSync(old);
  bytes.fill(0xee, 32, 70);
  writeFileSync(old, bytes);
  const { log, seen, damage } = await openLog();
  expect(seen).toEqual(NEW);
  expect(log.replayed.quarantined).toBe(1);
  expect(damage[0]).toMatchObject({ segment: 1, offset: 32 });
  expect(readFileSync(path.join(folder, 'quarantine', '1-32.bin'))).toEqual(bytes.subarray(32));
  expect(readFileSync(old)).toEqual(bytes);
  await log.close();
});

// RELIABILITY R38.
test('R38: a poison record is set aside, the others are read', async () => {
  await twoSegments();
  const { log, seen } = await openLog({}, systemDisk, 'beta');
  expect(seen).toEqual([...OLD, 'alpha', 'gamma']);
  expect(log.replayed.quarantined).toBe(1);
  await log.close();
});

// RELIABILITY R11.
test('R11: a failing sync is fatal at whatever place, is not repeated, and acknowledges nothing', async () => {
  for (const nth of [...Array.from({ length: 16 }, (_, i) => i + 1), 31, 64, 200]) {
    let syncs = 0;
    const onSync = () => {
      if (++syncs === nth) throw systemError('EIO');
    };
    const { log, fatal } = await openLog({ segmentBytesMax: 4096 }, faultyDisk({ onSync }));
    let acknowledged = 0;
    let refused = 0;
    for (let i = 0; i < nth; i++) {
      try {
        await append(log, 'x'.repeat(1500)).durable;
        acknowledged++;
      } catch (caught) {
        expect(caught).toMatchObject({ code: 'unavailable' });
        refused++;
      }
    }
    expect(fatal).toHaveLength(1);
    expect(syncs).toBe(nth);
    expect(refused).toBeGreaterThan(0);
    const { seen, log: reopened } = await openLog();
    expect(seen.length).toBeGreaterThanOrEqual(acknowledged);
    await reopened.close();
    rmSync(folder, { recursive: true });
  }
});

// RELIABILITY R10.
test('R10: a full disk refuses, keeps what it promised, and goes on by itself', async () => {
  let full = false;
  const onWrite = () => {
    if (full) throw systemError('ENOSPC');
  };
  const { log, fatal } = await openLog({}, faultyDisk({ onWrite, freeBytes: () => (full ? 0 : 1e9) }));
  await writeAll(log, ['before']);
  full = true;
  await expect(append(log, 'refused').durable).rejects.toMatchObject({ code: 'unavailable' });
  expect(() => append(log, 'refused too')).toThrow(/free space/);
  full = false;
  let resumed = false;
  for (let i = 0; i < 100 && !resumed; i++) {
    await systemClock.sleep(50);
    try {
      await append(log, 'after').durable;
      resumed = true;
    } catch (caught) {
      expect(caught).toMatchObject({ code: 'unavailable' });
    }
  }
  expect(resumed).toBe(true);
  expect(fatal).toEqual([]);
  await log.close();
  const { seen, damage, log: again } = await openLog();
  // The refused one was on its way: it may be there, its writer was told to send it again.
  expect(seen.filter((text) => text !== 'refused')).toEqual(['before', 'after']);
  expect(damage).toEqual([]);
  await again.close();
});

test('the watermark refuses before the disk is full', async () => {
  let freeBytes = 50;
  const { log } = await openLog({ freeBytesMin: 100 }, faultyDisk({ freeBytes: () => freeBytes }));
  expect(() => append(log, 'x')).toThrow(/watermark of 100/);
  freeBytes = 150;
  await systemClock.sleep(1100);
  // The append that finds the look too old has the disk asked, which takes a moment.
  let refusals = 0;
  for (; refusals < 100; refusals++) {
    try {
      await append(log, 'x').durable;
      break;
    } catch (caught) {
      expect(caught).toMatchObject({ message: expect.stringMatching(/watermark/) });
      await systemClock.sleep(50);
    }
  }
  expect(refusals).toBeLessThan(100);
  await log.close();
});

test('bytes in flight are bounded', async () => {
  const { log } = await openLog({ bytesInFlightMax: 1000 });
  const first = append(log, 'x'.repeat(900));
  expect(() => append(log, 'y'.repeat(200))).toThrow(AppError);
  await first.durable;
  await append(log, 'y'.repeat(200)).durable;
  await log.close();
  expect(() => append(log, 'z')).toThrow(/closed/);
});

test('R10: a poison record does not keep a full disk from starting', async () => {
  await twoSegments();
  const full = faultyDisk({
    onWrite: () => {
      throw systemError('ENOSPC');
    },
  });
  const { log, seen } = await openLog({}, full, 'beta');
  expect(seen).toEqual([...OLD, 'alpha', 'gamma']);
  expect(log.replayed.quarantined).toBe(1);
  await log.close();
});

test('what a start has read is durable: also bytes that were never synced, and those of a sync that failed', async () => {
  const { log } = await openLog();
  await log.append(1, 0, 1, encodeUtf8('acknowledged'), 0, 12).durable;
  await log.close();
  const [name] = readdirSync(folder);
  const file = path.join(folder, name!);
  const before = readFileSync(file);
  const written: string[] = [];
  const disk: Disk = {
    ...systemDisk,
    open: async (opened, mode) => {
      const inner = await systemDisk.open(opened, mode);
      return {
        ...inner,
        write: async (bytes, start, end, position) => {
          written.push(`write ${path.basename(opened)} ${position}..${position + end - start}`);
          await inner.write(bytes, start, end, position);
        },
        sync: async () => {
          written.push(`sync ${path.basename(opened)}`);
          await inner.sync();
        },
      };
    },
  };
  const second = await openLog({}, disk);
  expect(second.seen).toEqual(['acknowledged']);
  expect(written).toEqual([`write ${name} 0..${before.length}`, `sync ${name}`]);
  expect(readFileSync(file)).toEqual(before);
  await second.log.close();
});
