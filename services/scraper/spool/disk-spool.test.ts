import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RecordingDistributor } from '../../../test/support/recording-distributor.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { systemDisk } from '../../lib/core/disk.ts';
import { Labels } from '../../lib/model/labels.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { WriteBatch } from '../write-batch.ts';
import { DiskSpool } from './disk-spool.ts';
import { decodeSpoolRecord, encodeSpoolRecord } from './spool-record.ts';

const named = (name: string) => Labels.from([['a', name]]);
const DEPS = { disk: systemDisk, clock: systemClock, logger: createSilentLogger() };
const newFolder = (): string => mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));

function record(batch: WriteBatch, distributor: RecordingDistributor): Uint8Array {
  const out = new ByteWriter(64);
  encodeSpoolRecord(batch, 0, batch.count, distributor.appender(), out);
  return out.bytes.slice(0, out.length);
}

describe('a record', () => {
  test('has the bytes of the format document', () => {
    const distributor = new RecordingDistributor();
    const batch = new WriteBatch(4);
    batch.addStale(distributor.appender().resolve(named('b')), 1000);
    const document = readFileSync(new URL('docs/spool-file.md', import.meta.url), 'utf8');
    const golden = document.split('```').at(-2)!.replace(/\s/g, '');
    expect(zstdDecompressSync(record(batch, distributor)).toString('hex')).toBe(golden);
  });

  test('brings samples back bit for bit, to another process', async () => {
    const words = fc.tuple(fc.nat(20), fc.nat(2 ** 40), fc.nat(0xffffffff), fc.nat(0xffffffff));
    await fc.assert(
      fc.asyncProperty(fc.array(words, { maxLength: 50 }), async (samples) => {
        const from = new RecordingDistributor();
        const batch = new WriteBatch(4);
        for (const [series, timeMs, low, high] of samples)
          batch.addWords(from.appender().resolve(named(`s${series}`)), timeMs, low, high);
        const to = new RecordingDistributor();
        to.appender().resolve(named('another'));
        const read = new WriteBatch(4);
        expect(decodeSpoolRecord(record(batch, from), to.appender(), read).samples).toBe(0);
        await to.appender().write(read, read.metadata, new AbortController().signal);
        const expected = new Map<string, unknown[]>();
        for (const [series, timestampMs, low, high] of samples) {
          const name = named(`s${series}`).toString();
          expected.set(name, [...(expected.get(name) ?? []), { timestampMs, low, high }]);
        }
        const found = to
          .names()
          .map((name) => [
            name,
            to.series(name).map(({ timestampMs, low, high }) => ({ timestampMs, low, high })),
          ]);
        expect(new Map(found as [string, unknown[]][])).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  test('that is damaged is refused, whatever its bytes', () => {
    const distributor = new RecordingDistributor();
    const batch = new WriteBatch(4);
    for (let i = 0; i < 20; i++) batch.add(distributor.appender().resolve(named(`s${i}`)), i, i);
    batch.metadata = [{ metric: 'a', type: 'counter', help: 'h', unit: '' }];
    const whole = zstdDecompressSync(record(batch, distributor));
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, byte) => {
        const bytes = Uint8Array.from(whole);
        bytes[at] = byte;
        try {
          const read = new WriteBatch(4);
          decodeSpoolRecord(zstdCompressSync(bytes), distributor.appender(), read);
          expect(read.count).toBeLessThanOrEqual(20);
        } catch (caught) {
          expect(caught).toMatchObject({ code: 'bad_data' });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the spool', () => {
  const batchOf = (distributor: RecordingDistributor, timeMs: number, samples = 10): WriteBatch => {
    const batch = new WriteBatch(4);
    for (let i = 0; i < samples; i++) batch.add(distributor.appender().resolve(named(`s${i}`)), timeMs, i);
    return batch;
  };
  const read = async (spool: DiskSpool, distributor: RecordingDistributor): Promise<number[]> => {
    const times: number[] = [];
    await spool.takeOldest(
      async (payload) => {
        const batch = new WriteBatch(4);
        decodeSpoolRecord(payload, distributor.appender(), batch);
        times.push(batch.timestampsMs[0]!);
      },
      () => Promise.resolve(),
    );
    return times;
  };

  test('gives files back in their order, over a restart, and removes what was read', async () => {
    const folder = newFolder();
    const distributor = new RecordingDistributor();
    const spool = await DiskSpool.open({ folder, bytesMax: 1e9 }, DEPS);
    await spool.put([batchOf(distributor, 1), batchOf(distributor, 2)], distributor.appender());
    await spool.put([batchOf(distributor, 3)], distributor.appender());
    writeFileSync(path.join(folder, '000000000009-1.spool.tmp'), 'half a file');
    const again = await DiskSpool.open({ folder, bytesMax: 1e9 }, DEPS);
    expect([again.samples, again.bytes]).toEqual([30, spool.bytes]);
    expect(await read(again, distributor)).toEqual([1, 2]);
    await again.put([batchOf(distributor, 4)], distributor.appender());
    expect(await read(again, distributor)).toEqual([3]);
    expect(await read(again, distributor)).toEqual([4]);
    expect([again.isEmpty, readdirSync(folder)]).toEqual([true, []]);
  });

  test('keeps a file whose samples are not safe yet', async () => {
    const folder = newFolder();
    const distributor = new RecordingDistributor();
    const spool = await DiskSpool.open({ folder, bytesMax: 1e9 }, DEPS);
    await spool.put([batchOf(distributor, 1)], distributor.appender());
    const failing = spool.takeOldest(
      () => undefined,
      () => Promise.reject(new Error('no quorum')),
    );
    await expect(failing).rejects.toThrow('no quorum');
    expect(await read(spool, distributor)).toEqual([1]);
  });

  test('gives the oldest up where there are too many bytes', async () => {
    const folder = newFolder();
    const distributor = new RecordingDistributor();
    const first = await DiskSpool.open({ folder, bytesMax: 1e9 }, DEPS);
    await first.put([batchOf(distributor, 1)], distributor.appender());
    const spool = await DiskSpool.open({ folder, bytesMax: first.bytes * 2.5 }, DEPS);
    const lost: number[] = [];
    for (const timeMs of [2, 3, 4])
      lost.push((await spool.put([batchOf(distributor, timeMs)], distributor.appender())).madeRoom);
    expect(lost).toEqual([0, 10, 10]);
    expect(await read(spool, distributor)).toEqual([3]);
  });

  test('puts a damaged file aside and goes on with the next', async () => {
    const folder = newFolder();
    const distributor = new RecordingDistributor();
    const spool = await DiskSpool.open({ folder, bytesMax: 1e9 }, DEPS);
    await spool.put([batchOf(distributor, 1)], distributor.appender());
    await spool.put([batchOf(distributor, 2)], distributor.appender());
    const [name] = readdirSync(folder).toSorted();
    const bytes = readFileSync(path.join(folder, name!));
    bytes[bytes.length - 3]! ^= 1;
    writeFileSync(path.join(folder, name!), bytes);
    expect(await read(spool, distributor)).toEqual([]);
    expect(await read(spool, distributor)).toEqual([2]);
    expect(readdirSync(folder)).toEqual([`${name}.damaged`]);
  });
});
