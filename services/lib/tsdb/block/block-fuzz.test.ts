// Blocks whose checksums are right and whose content is not: what a faulty or hostile writer could send. Reading them must
// end in the named error or in an answer, never in a hang, a crash or a giant allocation.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  buildBlock,
  CollectingSink,
  type TestSeries,
  temporaryFolder,
} from '../../../../test/support/blocks.ts';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { AppError } from '../../core/errors.ts';
import { Labels } from '../../model/labels.ts';
import { readDirectory } from './block-directory.ts';
import { type BlockMeta, parseBlockMeta, renderBlockMeta } from './block-meta.ts';
import { BlockReader } from './block-reader.ts';
import { PageCache } from './page-cache.ts';
import { CorruptBlockError } from './page-codec.ts';

const SERIES: readonly TestSeries[] = ['a', 'ab', 'b', 'c'].map((job, i) => ({
  labels: Labels.from([
    ['__name__', 'up'],
    ['job', job],
  ]),
  partition: i % 2,
  chunks: [{ encoding: 1, minTimeMs: 1000 + i, maxTimeMs: 2000, samples: 2, bytes: Uint8Array.of(i, i) }],
}));

/** Changes one byte of an index and makes every checksum right again. */
function forge(index: Buffer, at: number, mask: number, meta: BlockMeta): { index: Buffer; meta: string } {
  const forged = Buffer.from(index);
  forged[at]! ^= mask;
  const directoryStart = index.length - 16 - index.readUInt32LE(index.length - 16);
  const whole = readDirectory(
    index.subarray(directoryStart),
    directoryStart,
    meta.files.chunks.sizeBytes,
    'index',
  );
  for (const { name, offsets, pageCount } of Object.values(whole.sections)) {
    for (let page = 0; page < pageCount && name !== 'chunks'; page++) {
      const [start, end] = [offsets[page]!, offsets[page + 1]!];
      if (at >= start && at < end) forged.writeUInt32LE(crc32(forged.subarray(start + 4, end)), start);
    }
  }
  if (at >= directoryStart) {
    forged.writeUInt32LE(crc32(forged.subarray(directoryStart, forged.length - 4)), forged.length - 4);
  }
  const digest = { sizeBytes: forged.length, crc32: crc32(forged) };
  return { index: forged, meta: renderBlockMeta({ ...meta, files: { ...meta.files, index: digest } }) };
}

async function readEverything(dir: string): Promise<void> {
  const reader = await BlockReader.open(dir, { cache: new PageCache({ bytesMax: 1 << 20 }) });
  const all = { minTimeMs: 0, maxTimeMs: 9_000 };
  try {
    await reader.select({ ...all, matchers: [] }, new CollectingSink());
    await reader.select(
      { ...all, matchers: [{ name: 'job', operator: '=~', value: 'a.*' }] },
      new CollectingSink(),
    );
    await reader.labelValues('job', { matchers: [{ name: 'job', operator: '=', value: 'ab' }] });
    await reader.labelNames({ matchers: [{ name: 'job', operator: '!=', value: 'b' }] });
  } finally {
    await reader.close();
  }
}

test('forged bytes in every place of the index', async () => {
  await using folder = await temporaryFolder();
  const source = path.join(folder.path, 'source');
  await buildBlock(source, SERIES);
  const index = await readFile(path.join(source, 'index'));
  const meta = parseBlockMeta(await readFile(path.join(source, 'meta.json'), 'utf8'), 'meta.json');
  const dir = path.join(folder.path, 'forged');
  await mkdir(dir);
  await writeFile(path.join(dir, 'chunks'), await readFile(path.join(source, 'chunks')));
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 8, max: index.length - 17 }),
      fc.integer({ min: 1, max: 255 }),
      async (at, mask) => {
        const forged = forge(index, at, mask, meta);
        await writeFile(path.join(dir, 'index'), forged.index);
        await writeFile(path.join(dir, 'meta.json'), forged.meta);
        try {
          await readEverything(dir);
        } catch (caught) {
          // Label bytes that are not canonical are found by whoever decodes them, here the test's sink.
          const labels = caught instanceof AppError && caught.code === 'bad_data';
          expect(caught instanceof CorruptBlockError || labels, String(caught)).toBe(true);
          refused++;
        }
      },
    ),
    { numRuns: 1500 },
  );
  expect(refused).toBeGreaterThan(500);
});

/** Blocks that are whole read to this. */
async function selected(dir: string, sink: CollectingSink): Promise<void> {
  const reader = await BlockReader.open(dir, { cache: new PageCache({ bytesMax: 1 << 20 }) });
  try {
    await reader.select({ minTimeMs: 0, maxTimeMs: 9_000, matchers: [] }, sink);
  } finally {
    await reader.close();
  }
}

test.each(['meta.json', 'index', 'chunks'])(
  'R6: mutated bytes of %s give the block or its error',
  {
    timeout: 300_000,
  },
  async (name) => {
    await using folder = await temporaryFolder();
    const dir = path.join(folder.path, 'block');
    await buildBlock(dir, SERIES);
    const whole = new CollectingSink();
    await selected(dir, whole);
    const file = path.join(dir, name);
    await fuzzBytes({
      name: `block ${name}`,
      samples: [new Uint8Array(await readFile(file))],
      // Checksums pass hardly anything: the changes that put back what they took.
      answeredShareMin: 0,
      mutationsMax: 17_000,
      read: async (bytes) => {
        await writeFile(file, bytes);
        const sink = new CollectingSink();
        try {
          await selected(dir, sink);
          expect(sink.series).toEqual(whole.series);
          return true;
        } catch (caught) {
          if (!(caught instanceof CorruptBlockError)) throw caught;
          // What was handed over before the damage was met is right.
          expect(sink.series).toEqual(whole.series.slice(0, sink.series.length));
          return false;
        }
      },
    });
  },
);
