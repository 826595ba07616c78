import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../../test/support/fake-control-plane.ts';
import { memoryDisk } from '../../../test/support/memory-disk.ts';
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { answerFence, FENCES_MAX, FencedError, Fences, parseFences, renderFences } from './fences.ts';

interface Given {
  readonly disk?: Disk;
  readonly heard?: (name: string) => number | undefined;
}

async function open({ disk = memoryDisk({}).disk, heard = () => undefined }: Given = {}) {
  const counted = { refusals: 0 };
  const onRefusal = (): void => {
    counted.refusals++;
  };
  const clock = new ManualClock();
  const fences = new Fences({ folder: '/d', clock, disk, logger: createSilentLogger(), heard, onRefusal });
  await fences.load();
  return { fences, counted, disk, clock };
}

test('a holder that gives its lease back says when nothing of it is on its way; the next is told so, and whoever comes after is not', async () => {
  const { fences, clock } = await open();
  const ask = (token: number) => answerFence({ name: 'rules.1', token }, fences, undefined);
  expect(await ask(5)).toEqual({ newest: 5, earlier: 0 });
  await answerFence({ name: 'rules.1', token: 5, quietAfterMs: 3_000 }, fences, undefined);
  await clock.advance(1_000);
  expect(await ask(7)).toEqual({ newest: 7, earlier: 5, ended: 5, endedQuietAfterMs: 2_000 });
  await clock.advance(5_000);
  // Not of 7, which is the earlier one now.
  expect(await ask(8)).toEqual({ newest: 8, earlier: 7, ended: 5, endedQuietAfterMs: 0 });
});

test('nobody ends a lease that he never had, and a late word of an earlier end changes nothing', async () => {
  const { fences } = await open();
  await answerFence({ name: 'rules.1', token: 9, quietAfterMs: 0 }, fences, undefined);
  expect(await answerFence({ name: 'rules.1', token: 4 }, fences, undefined)).toEqual({
    newest: 4,
    earlier: 0,
  });
  await fences.take('rules.1', 6);
  for (const token of [6, 4, 9])
    await answerFence({ name: 'rules.1', token, quietAfterMs: 0 }, fences, undefined);
  expect(fences.endedOf('rules.1')).toEqual({ token: 6, quietAfterMs: 0 });
});

test("the control plane's word of the one who asks is not that of an earlier holder", async () => {
  let heard = 7;
  const { fences } = await open({ heard: () => heard });
  await fences.take('rules.1', 7);
  heard = 9;
  expect(await answerFence({ name: 'rules.1', token: 9 }, fences, undefined)).toEqual({
    newest: 9,
    earlier: 7,
  });
  heard = 12;
  expect(await answerFence({ name: 'rules.1', token: 9 }, fences, undefined)).toEqual({
    newest: 12,
    earlier: 12,
  });
});

test('a later holder fences off an earlier one, by name, and each lease for itself', async () => {
  const { fences, counted } = await open();
  await fences.take('rules.1', 5);
  await fences.take('rules.1', 5);
  await fences.take('rules.1', 9);
  expect(() => fences.take('rules.1', 5)).toThrow(new FencedError('rules.1', 5, 9).message);
  expect(new FencedError('rules.1', 5, 9).message).toBe(
    'lease rules.1 was taken by another process: this one has token 5, the newest known is 9',
  );
  await fences.take('rules.2', 1);
  expect([fences.newestOf('rules.1'), fences.newestOf('rules.2'), fences.newestOf('rules.3')]).toEqual([
    9, 1, 0,
  ]);
  expect(counted.refusals).toBe(1);
});

test('who was last survives a restart, and what the control plane has heard counts as well', async () => {
  const { disk } = memoryDisk({});
  const before = await open({ disk });
  await Promise.all([before.fences.take('rules.1', 7), before.fences.take('rules.2', 3)]);
  const after = await open({ disk, heard: (name) => (name === 'rules.2' ? 4 : undefined) });
  expect(() => after.fences.take('rules.1', 6)).toThrow(FencedError);
  expect(() => after.fences.take('rules.2', 3)).toThrow(FencedError);
  await after.fences.take('rules.2', 4);
});

test('a token counts at once, and is not acknowledged before it is on the disk', async () => {
  const { disk } = memoryDisk({});
  let isFull = true;
  const failing: Disk = {
    ...disk,
    open: (file, mode) => (isFull ? Promise.reject(new Error('ENOSPC')) : disk.open(file, mode)),
  };
  const { fences } = await open({ disk: failing });
  await expect(fences.take('rules.1', 7)).rejects.toMatchObject({ code: 'unavailable', message: /ENOSPC/ });
  expect(() => fences.take('rules.1', 6)).toThrow(FencedError);
  isFull = false;
  await fences.take('rules.1', 7);
  expect((await open({ disk })).fences.newestOf('rules.1')).toBe(7);
});

test('names and their number are bounded', async () => {
  const { fences } = await open();
  for (const name of ['', 'Rules', 'a/b', `a${'b'.repeat(64)}`, '7', '__proto__'])
    expect(() => fences.take(name, 1), name).toThrow(/is no lease/);
  for (const token of [0, -1, 0.5, Number.NaN, 2 ** 53])
    expect(() => fences.take('rules.1', token), String(token)).toThrow(/is no lease/);
  await Promise.all(Array.from({ length: FENCES_MAX }, (_, i) => fences.take(`l${i}`, 1)));
  expect(() => fences.take('one-more', 1)).toThrow(
    /4096 leases are remembered here, the limit; one-more is new/,
  );
  await fences.take('l0', 2);
});

describe('the file', () => {
  const document = readFileSync(new URL('../../lib/tsdb/docs/format/fences.md', import.meta.url), 'utf8');

  test('is as the document has it', () => {
    const example = /^\{"crc32":\d+,.*\}$/m.exec(document)![0];
    expect(renderFences([['rules.7', 42]])).toBe(`${example}\n`);
    expect(parseFences(`${example}\n`, 'f')).toEqual([['rules.7', 42]]);
  });

  test('any table comes back, any changed byte is found', () => {
    const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,20}$/);
    const table = fc.uniqueArray(fc.tuple(name, fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })), {
      selector: ([key]) => key,
      maxLength: 20,
    });
    fc.assert(
      fc.property(table, fc.nat(), fc.integer({ min: 1, max: 127 }), (tokens, at, change) => {
        const text = renderFences(tokens);
        expect(new Map(parseFences(text, 'f'))).toEqual(new Map(tokens));
        const bytes = encodeUtf8(text);
        bytes[at % bytes.length]! ^= change;
        expect(() => parseFences(Buffer.from(bytes).toString(), 'f')).toThrow();
      }),
    );
  });

  test('that is damaged stays until others have said what they know; nothing is acknowledged before', async () => {
    const { disk } = memoryDisk({ '/d/fences.json': encodeUtf8('{"crc32":1') });
    for (let start = 0; start < 2; start++) {
      const { fences } = await open({ disk });
      expect(fences.isForgetful).toBe(true);
      await expect(fences.take('rules.1', 2)).rejects.toMatchObject({ message: /it was damaged/ });
    }
    const { fences } = await open({ disk });
    fences.learn('rules.1', 3);
    fences.recall();
    expect(() => fences.take('rules.1', 2)).toThrow(FencedError);
    await fences.take('rules.1', 4);
    const after = await open({ disk });
    expect([after.fences.isForgetful, after.fences.newestOf('rules.1')]).toEqual([false, 4]);
  });

  test('that is damaged: who asks is answered by what others know', async () => {
    const { disk } = memoryDisk({ '/d/fences.json': encodeUtf8('{"crc32":1') });
    const { fences } = await open({ disk });
    const replica = {
      hearOfFences: async () => {
        fences.learn('rules.1', 7);
        fences.recall();
      },
    };
    expect(await answerFence({ name: 'rules.1', token: 5 }, fences, replica)).toEqual({
      newest: 7,
      earlier: 7,
    });
    const alone = await open({ disk: memoryDisk({ '/d/fences.json': encodeUtf8('{') }).disk });
    const deaf = { hearOfFences: () => Promise.resolve() };
    await expect(answerFence({ name: 'rules.1', token: 5 }, alone.fences, deaf)).rejects.toMatchObject({
      code: 'unavailable',
    });
  });
});
