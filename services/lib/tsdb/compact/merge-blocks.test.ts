// Merging blocks: whatever overlaps, in whatever order it is merged, and whatever deletes hide, the answers stay the same
// bit for bit.
import path from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type TestChunk, type TestSeries, temporaryFolder } from '../../../../test/support/blocks.ts';
import { histograms } from '../../../../test/support/histograms.ts';
import {
  addSample,
  contentOf,
  openBlock,
  openBuilt,
  seriesOf,
  type TestSample,
  valueWords,
} from '../../../../test/support/sample-blocks.ts';
import { systemDisk } from '../../core/disk.ts';
import { Labels } from '../../model/labels.ts';
import { BlockReader } from '../block/block-reader.ts';
import { PageCache } from '../block/page-cache.ts';
import { WorkPacer } from '../block/work-pacer.ts';
import { SeriesChunker, SeriesSamples } from '../chunk/series-samples.ts';
import type { Deletion } from '../tombstones/deletion.ts';
import { leavesOf, type MergeSource, mergeBlocks } from './merge-blocks.ts';

const labelSets = [
  Labels.from([['a', '1']]),
  Labels.from([
    ['a', '1'],
    ['aa', '1'],
  ]),
  Labels.from([
    ['a', '1'],
    ['b', 'x'],
  ]),
  Labels.from([
    ['__name__', 'up'],
    ['a', 'é'.repeat(80)],
  ]),
  Labels.from([['z', '\u{1F600}']]),
];

/** Samples of one series of one block: few distinct times, so that blocks overlap much. */
const samples: fc.Arbitrary<TestSample[]> = fc
  .uniqueArray(fc.tuple(fc.integer({ min: -5, max: 400 }), valueWords), {
    selector: ([time]) => time,
    minLength: 1,
    maxLength: 60,
  })
  .map((rows) =>
    rows
      .sort(([a], [b]) => a - b)
      .map(([time, [low, high]]): TestSample => [1_700_000_000_000 + time * 1000, low, high]),
  );

interface BlockPlan {
  readonly series: readonly (readonly [labels: number, samples: readonly TestSample[]])[];
  readonly chunkSamples: number;
}

const plan: fc.Arbitrary<BlockPlan> = fc.record({
  series: fc.uniqueArray(fc.tuple(fc.nat(labelSets.length - 1), samples), {
    selector: ([labels]) => labelSets[labels]!.toString(),
    minLength: 1,
    maxLength: 4,
  }),
  chunkSamples: fc.constantFrom(1, 3, 7, 120),
});

const deletion: fc.Arbitrary<Deletion> = fc
  .tuple(fc.constantFrom('1', 'x', ''), fc.integer({ min: -10, max: 400 }), fc.nat(200))
  .map(([value, from, length]) => ({
    matchers: value === 'x' ? [{ name: 'b', operator: '=', value }] : [{ name: 'a', operator: '=', value }],
    minTimeMs: 1_700_000_000_000 + from * 1000,
    maxTimeMs: 1_700_000_000_000 + (from + length) * 1000,
  }));

function testSeries({ series, chunkSamples }: BlockPlan): TestSeries[] {
  return series.map(([labels, rows]) => seriesOf(labelSets[labels]!, rows, chunkSamples));
}

function isHidden(labels: Labels, timeMs: number, deletions: readonly Deletion[]): boolean {
  return deletions.some(
    ({ matchers, minTimeMs, maxTimeMs }) =>
      matchers.every(({ name, value }) => labels.get(name) === value) &&
      timeMs >= minTimeMs &&
      timeMs <= maxTimeMs,
  );
}

/** What must be left, by the definition: a set of samples, the greatest pattern where values differ. */
function expected(plans: readonly BlockPlan[], deletions: readonly (readonly Deletion[])[]) {
  const content = new Map<string, Map<number, string>>();
  plans.forEach(({ series }, block) => {
    for (const [number, rows] of series) {
      const labels = labelSets[number]!;
      for (const [timeMs, low, high] of rows) {
        if (isHidden(labels, timeMs, deletions[block] ?? [])) continue;
        const key = labels.toString();
        const known = content.get(key) ?? new Map<number, string>();
        content.set(key, known);
        addSample(known, timeMs, low, high);
      }
    }
  });
  return content;
}

async function merge(root: string, name: string, sources: readonly MergeSource[]) {
  const dir = path.join(root, name);
  await systemDisk.makeFolder(dir);
  const options = { dir, hashSeed: 1 };
  const result = await mergeBlocks(sources, options, { disk: systemDisk, pacer: new WorkPacer() });
  return result.meta === undefined ? undefined : await openBlock(dir);
}

/** Rows of a series must not overlap once they are merged: a query then decodes nothing twice. */
async function expectDisjoint(reader: BlockReader): Promise<void> {
  const cursor = reader.openCursor();
  while (cursor.advance()) {
    const { chunks } = cursor;
    for (let i = 1; i < chunks.count; i++)
      expect(chunks.minTimesMs[i]).toBeGreaterThan(chunks.maxTimesMs[i - 1]!);
  }
}

test('any blocks merged in any order hold what they held, bit for bit', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(plan, { minLength: 2, maxLength: 5 }),
      fc.infiniteStream(fc.nat()),
      async (plans, picks) => {
        await using folder = await temporaryFolder();
        const live = await Promise.all(
          plans.map((own, i) => openBuilt(folder.path, `in-${i}`, testSeries(own))),
        );
        const leaves = new Set(live.flatMap(({ meta }) => leavesOf(meta)));
        for (let round = 0; live.length > 1; round++) {
          const count = 2 + (picks.next().value % (live.length - 1));
          const group: BlockReader[] = [];
          for (let i = 0; i < count; i++) group.push(...live.splice(picks.next().value % live.length, 1));
          const sources = group.map((reader) => ({ reader, deletions: [] }));
          live.push((await merge(folder.path, `out-${round}`, sources))!);
          for (const reader of group) await reader.close();
        }
        const only = live[0]!;
        expect(await contentOf(only)).toEqual(expected(plans, []));
        await expectDisjoint(only);
        expect([...only.meta.sources]).toEqual([...leaves].sort());
        await only.close();
      },
    ),
    { numRuns: 60 },
  );
});

test('deletes hide what they name of the blocks that they concern, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(plan, fc.array(deletion, { maxLength: 3 })), { minLength: 1, maxLength: 3 }),
      async (blocks) => {
        await using folder = await temporaryFolder();
        const plans = blocks.map(([own]) => own);
        const deletions = blocks.map(([, own]) => own);
        const readers = await Promise.all(
          plans.map((own, i) => openBuilt(folder.path, `in-${i}`, testSeries(own))),
        );
        const sources = readers.map((reader, i) => ({ reader, deletions: deletions[i]! }));
        const merged = await merge(folder.path, 'out', sources);
        const content = merged === undefined ? new Map() : await contentOf(merged);
        expect(content).toEqual(expected(plans, deletions));
        for (const reader of [...readers, ...(merged === undefined ? [] : [merged])]) await reader.close();
      },
    ),
    { numRuns: 60 },
  );
});

test('of a block of which deletes leave nothing no chunk is needed', async () => {
  await using folder = await temporaryFolder();
  const series = [seriesOf(labelSets[0]!, grid(0, 1000, 30)), seriesOf(labelSets[2]!, grid(0, 1000, 30))];
  await (await openBuilt(folder.path, 'in', series)).close();
  const nowhere = new Error('the bucket has them no more');
  const reader = await BlockReader.open(path.join(folder.path, 'in'), {
    cache: new PageCache({ bytesMax: 1 << 20 }),
    chunksOf: () => ({
      readsAtOnce: 1,
      read: () => Promise.reject(nowhere),
      distrust: () => Promise.resolve(false),
      close: () => Promise.resolve(),
    }),
  });
  const dir = path.join(folder.path, 'out');
  await systemDisk.makeFolder(dir);
  const mergeWithout = (maxTimeMs: number) =>
    mergeBlocks(
      [
        {
          reader,
          deletions: [{ matchers: [{ name: 'a', operator: '=', value: '1' }], minTimeMs: 0, maxTimeMs }],
        },
      ],
      { dir, hashSeed: 1 },
      { disk: systemDisk, pacer: new WorkPacer() },
    );
  await expect(mergeWithout(28_999)).rejects.toBe(nowhere);
  expect(await mergeWithout(29_000)).toMatchObject({ meta: undefined, samplesDropped: 60, chunksDecoded: 0 });
  await reader.close();
});

const HOUR_MS = 3_600_000;
const at = (timeMs: number, value: number): TestSample => {
  const words = new Uint32Array(Float64Array.of(value).buffer);
  return [timeMs, words[0]!, words[1]!];
};
const grid = (fromMs: number, stepMs: number, count: number) =>
  Array.from({ length: count }, (_, i) => at(fromMs + i * stepMs, i));

test('equal chunks pass once without being decoded, others that overlap are united', async () => {
  await using folder = await temporaryFolder();
  const [labels] = labelSets;
  const early = [seriesOf(labels!, grid(0, 15_000, 480), 480)];
  const late = [seriesOf(labels!, grid(2 * HOUR_MS, 15_000, 480), 480)];
  const readers = [
    await openBuilt(folder.path, 'a', early),
    await openBuilt(folder.path, 'b', [...late]),
    await openBuilt(folder.path, 'c', [
      seriesOf(labels!, [...grid(0, 15_000, 480), ...grid(2 * HOUR_MS, 15_000, 480)], 480),
    ]),
  ];
  const dir = path.join(folder.path, 'out');
  await systemDisk.makeFolder(dir);
  const result = await mergeBlocks(
    readers.map((reader) => ({ reader, deletions: [] })),
    { dir, hashSeed: 1 },
    { disk: systemDisk, pacer: new WorkPacer() },
  );
  expect(result).toMatchObject({ chunksPassed: 1, samplesDropped: 960 });
  expect(result.meta).toMatchObject({ sampleCount: 960, seriesCount: 1, level: 2 });
  for (const reader of readers) await reader.close();
});

test('small neighbours become one chunk', async () => {
  await using folder = await temporaryFolder();
  const readers = await Promise.all(
    [0, 1, 2, 3, 4, 5].map((i) =>
      openBuilt(folder.path, `in-${i}`, [seriesOf(labelSets[0]!, grid(i * 2 * HOUR_MS, 60_000, 120))]),
    ),
  );
  const merged = await merge(
    folder.path,
    'out',
    readers.map((reader) => ({ reader, deletions: [] })),
  );
  expect(merged!.meta).toMatchObject({ chunkCount: 1, sampleCount: 720, minTimeMs: 0 });
  for (const reader of [...readers, merged!]) await reader.close();
});

test('the same sources give the same block, whatever their order', async () => {
  await using folder = await temporaryFolder();
  const plans = [0, 1, 2].map((i) =>
    labelSets.slice(i).map((labels) => seriesOf(labels, grid(i * 100_000, 7_000, 50), 11)),
  );
  const readers = await Promise.all(plans.map((own, i) => openBuilt(folder.path, `in-${i}`, own)));
  const sources = readers.map((reader) => ({ reader, deletions: [] }));
  const one = (await merge(folder.path, 'one', sources))!;
  const other = (await merge(folder.path, 'other', sources.toReversed()))!;
  expect(other.meta).toEqual(one.meta);
  for (const reader of [...readers, one, other]) await reader.close();
});

test('histograms, start times and exemplars are united as samples are', async () => {
  const entries = fc.uniqueArray(fc.tuple(fc.nat(60), histograms, valueWords), {
    selector: ([time]) => time,
    minLength: 1,
    maxLength: 12,
  });
  const part = fc.record({ entries, startMs: fc.nat(1000), shift: fc.constantFrom(0, 0, 100_000) });
  const chunker = new SeriesChunker(960);
  const fill = (own: SeriesSamples, rows: typeof part extends fc.Arbitrary<infer P> ? P : never) => {
    for (const [time, { histogram, kind }, [low, high]] of rows.entries) {
      const timeMs = rows.shift + time * 1000;
      if (time % 2 === 0) own.histograms.add(timeMs, histogram, kind);
      else addFloat(own, timeMs, low, high);
      if (time % 5 === 0) own.exemplars.add(timeMs, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, time));
    }
    own.startTimes.add(rows.shift, rows.startMs);
  };
  const chunksFrom = (own: SeriesSamples) => {
    own.settle();
    const chunks: TestChunk[] = [];
    chunker.emit(own, (encoding, minTimeMs, maxTimeMs, samples, bytes, start, end) => {
      chunks.push({ encoding, minTimeMs, maxTimeMs, samples, bytes: bytes.slice(start, end) });
    });
    return chunks.sort((a, b) => a.minTimeMs - b.minTimeMs || a.encoding - b.encoding);
  };
  await fc.assert(
    fc.asyncProperty(fc.array(part, { minLength: 2, maxLength: 3 }), async (parts) => {
      await using folder = await temporaryFolder();
      const united = new SeriesSamples();
      const readers = await Promise.all(
        parts.map((rows, i) => {
          const own = new SeriesSamples();
          fill(own, rows);
          const chunks = chunksFrom(own);
          for (const chunk of chunks) united.addChunk(chunk.encoding, chunk.bytes, 0, chunk.bytes.length);
          return openBuilt(folder.path, `in-${i}`, [{ labels: labelSets[0]!, partition: 1, chunks }]);
        }),
      );
      const merged = (await merge(
        folder.path,
        'out',
        readers.map((reader) => ({ reader, deletions: [] })),
      ))!;
      const cursor = merged.openCursor();
      expect(cursor.advance()).toBe(true);
      await cursor.loadChunks(new WorkPacer());
      const found = new SeriesSamples();
      for (let i = 0; i < cursor.chunks.count; i++) {
        cursor.withChunk(i, (bytes, start, end) => {
          found.addChunk(cursor.chunks.encodings[i]!, bytes.slice(start, end), 0, end - start);
        });
      }
      expect(chunksFrom(found)).toEqual(chunksFrom(united));
      for (const reader of [...readers, merged]) await reader.close();
    }),
    { numRuns: 40 },
  );
});

function addFloat({ floats }: SeriesSamples, timeMs: number, low: number, high: number): void {
  floats.reserve(floats.count + 1);
  floats.timestampsMs[floats.count] = timeMs;
  floats.words[2 * floats.count] = low;
  floats.words[2 * floats.count++ + 1] = high;
}
