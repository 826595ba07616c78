// Reader and writer against a model: a list of series, asked one by one.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  buildBlock,
  CollectingSink,
  type TestChunk,
  type TestSeries,
  temporaryFolder,
} from '../../../../test/support/blocks.ts';
import { AppError } from '../../core/errors.ts';
import { CHUNK_EXEMPLARS, CHUNK_START_TIMES } from '../../model/chunk-sink.ts';
import { compareUtf8, Labels } from '../../model/labels.ts';
import { compileMatcher, type Matcher, type MatchOperator } from '../../model/matcher.ts';
import { BlockReader } from './block-reader.ts';
import type { BlockSelectRequest } from './block-select.ts';
import { BlockBuilder } from './block-writer.ts';
import { PageCache } from './page-cache.ts';
import { CorruptBlockError } from './page-codec.ts';
import { WorkPacer } from './work-pacer.ts';

const openBlock = (dir: string, bytesMax = 1 << 20) =>
  BlockReader.open(dir, { cache: new PageCache({ bytesMax }), chunkCache: new PageCache({ bytesMax }) });

const ALL = { matchers: [], minTimeMs: Number.MIN_SAFE_INTEGER, maxTimeMs: Number.MAX_SAFE_INTEGER };

/** Exemplars only where they are asked for, and then nothing else. */
const overlaps = (chunk: TestChunk, request: BlockSelectRequest): boolean =>
  chunk.maxTimeMs >= request.minTimeMs &&
  chunk.minTimeMs <= request.maxTimeMs &&
  (chunk.encoding === CHUNK_EXEMPLARS) === (request.exemplars === true);

/** What a select must hand over, by asking every series. */
function modelSelect(all: readonly TestSeries[], request: BlockSelectRequest): CollectingSink['series'] {
  return all
    .filter(({ labels, partition, chunks }) => {
      const matched = request.matchers.every((m) => compileMatcher(m)(labels.get(m.name)));
      const held = request.partitions === undefined || request.partitions.has(partition);
      // Start times alone make no answer.
      const found = chunks.some((one) => one.encoding !== CHUNK_START_TIMES && overlaps(one, request));
      return matched && held && found;
    })
    .sort((a, b) => a.labels.compareTo(b.labels))
    .map(({ labels, chunks }) => ({
      labels,
      chunks: request.labelsOnly
        ? []
        : chunks
            .filter((chunk) => overlaps(chunk, request))
            .map(({ encoding, minTimeMs, maxTimeMs, bytes }) => ({ encoding, minTimeMs, maxTimeMs, bytes })),
    }));
}

const text = fc.constantFrom('', 'a', 'b', 'ab', 'abc', 'b-c', 'é', '\u{1F30A}', '\uFFFF', 'x'.repeat(300));
const name = fc.constantFrom('__name__', 'A', 'job', 'instance', '__proto__', 'é', 'z');
const labels = fc.array(fc.tuple(name, text), { maxLength: 6 }).map((pairs) => Labels.from(pairs));
const chunk = fc.record({
  encoding: fc.oneof(fc.integer({ min: 1, max: 255 }), fc.constantFrom(CHUNK_START_TIMES, CHUNK_EXEMPLARS)),
  minTimeMs: fc.integer({ min: -50, max: 50 }),
  span: fc.integer({ min: 0, max: 30 }),
  samples: fc.integer({ min: 1, max: 65_535 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 60 }),
});
const series = fc.record({
  labels,
  partition: fc.integer({ min: 0, max: 3 }),
  chunks: fc
    .array(chunk, { minLength: 1, maxLength: 4 })
    .map((chunks) =>
      chunks
        .map(({ span, ...rest }): TestChunk => ({ ...rest, maxTimeMs: rest.minTimeMs + span }))
        .sort((a, b) => a.minTimeMs - b.minTimeMs),
    ),
});
const allSeries = fc.uniqueArray(series, { minLength: 1, maxLength: 90, selector: ({ labels: l }) => l.key });
const operator = fc.constantFrom<MatchOperator>('=', '!=', '=~', '!~');
const pattern = fc.constantFrom(
  '',
  'a',
  'a|b',
  'a|',
  '.*',
  '.+',
  'a.*',
  'b-.+',
  '[ab]+',
  '.*c',
  '(ab)?',
  '\u{1F30A}|é',
);
const matcher = fc
  .tuple(name, operator, text, pattern)
  .map(([n, o, v, p]): Matcher => ({ name: n, operator: o, value: o.endsWith('~') ? p : v }));
const request = fc.record(
  {
    matchers: fc.array(matcher, { maxLength: 3 }),
    minTimeMs: fc.integer({ min: -90, max: 90 }),
    maxTimeMs: fc.integer({ min: -90, max: 90 }),
    partitions: fc.uniqueArray(fc.integer({ min: 0, max: 4 })).map((list) => new Set(list)),
    labelsOnly: fc.boolean(),
    exemplars: fc.boolean(),
  },
  { requiredKeys: ['matchers', 'minTimeMs', 'maxTimeMs'] },
);

test('selects and label queries give what the model gives', async () => {
  await fc.assert(
    fc.asyncProperty(allSeries, fc.array(request, { minLength: 1, maxLength: 8 }), async (all, requests) => {
      await using folder = await temporaryFolder();
      const { meta } = await buildBlock(path.join(folder.path, 'b'), all);
      const reader = await openBlock(path.join(folder.path, 'b'), 1);
      try {
        expect(meta.seriesCount).toBe(all.length);
        expect(meta.partitions).toEqual([...new Set(all.map((s) => s.partition))].sort((a, b) => a - b));
        for (const one of requests) {
          const sink = new CollectingSink();
          await reader.select(one, sink);
          expect(sink.series).toEqual(modelSelect(all, one));
          const { matchers } = one;
          // Labels are those of all series, whatever they hold.
          const matched = all
            .map((s) => s.labels)
            .filter((l) => matchers.every((m) => compileMatcher(m)(l.get(m.name))));
          const names = new Set(matched.flatMap((l) => [...l.entries()].map(([n]) => n)));
          expect(await reader.labelNames({ matchers })).toEqual([...names].sort(compareUtf8));
          const jobs = new Set(matched.map((l) => l.get('job')).filter((v) => v !== ''));
          expect(await reader.labelValues('job', { matchers })).toEqual([...jobs].sort(compareUtf8));
        }
      } finally {
        await reader.close();
      }
    }),
    { numRuns: 150 },
  );
});

test('the order of arrival changes neither id nor bytes; the content does', async () => {
  await fc.assert(
    fc.asyncProperty(allSeries, fc.infiniteStream(fc.nat()), async (all, random) => {
      await using folder = await temporaryFolder();
      const shuffled = all
        .map((one) => ({ one, key: random.next().value as number }))
        .sort((a, b) => a.key - b.key)
        .map(({ one }) => one);
      const first = await buildBlock(path.join(folder.path, 'a'), all);
      const second = await buildBlock(path.join(folder.path, 'b'), shuffled);
      expect(second.meta).toEqual(first.meta);
      const other = await buildBlock(path.join(folder.path, 'c'), all, 'somebody-else');
      expect(other.meta.blockId).not.toBe(first.meta.blockId);
      const changed = all.map((s, i) => (i === 0 ? { ...s, partition: s.partition + 1 } : s));
      const third = await buildBlock(path.join(folder.path, 'd'), changed);
      expect(third.meta.blockId).not.toBe(first.meta.blockId);
    }),
    { numRuns: 30 },
  );
});

/** Enough series, values and chunk bytes that every section spans pages and every table has many groups. */
function largeSeries(count: number): TestSeries[] {
  let state = 1;
  const nextByte = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state >>> 16;
  };
  return Array.from({ length: count }, (_, i) => ({
    labels: Labels.from([
      ['__name__', `metric_${i % 7}`],
      ['id', `${((i * 7919) % count).toString(36)}-${'v'.repeat(i % 50)}`],
      ['job', i % 3 === 0 ? 'api' : 'db'],
    ]),
    partition: i % 4,
    chunks: [0, 1].map((k) => ({
      encoding: 1,
      minTimeMs: k * 3600_000 + (i % 15),
      maxTimeMs: k * 3600_000 + 3_000_000,
      samples: 120,
      bytes: Uint8Array.from({ length: 100 + ((i * 31) % 400) }, nextByte),
    })),
  }));
}

const render = ({ labels: own, chunks }: CollectingSink['series'][number]): string =>
  `${own.toString()} ${chunks.map((c) => `${c.encoding} ${c.minTimeMs} ${c.maxTimeMs} ${Buffer.from(c.bytes).toString('base64')}`).join()}`;

test('a block of many pages: lookups, prefixes, batches, chunks across pages', async () => {
  await using folder = await temporaryFolder();
  const all = largeSeries(3000);
  await buildBlock(path.join(folder.path, 'b'), all);
  const reader = await openBlock(path.join(folder.path, 'b'));
  const requests: BlockSelectRequest[] = [
    ALL,
    { ...ALL, minTimeMs: 3_600_000 },
    { ...ALL, matchers: [{ name: 'id', operator: '=~', value: 'a.*' }] },
    {
      ...ALL,
      matchers: [{ name: '__name__', operator: '=', value: 'metric_3' }],
      partitions: new Set([1, 2]),
    },
    {
      ...ALL,
      matchers: [
        { name: 'id', operator: '!~', value: '.*v' },
        { name: 'job', operator: '!=', value: 'db' },
      ],
    },
    ...all
      .filter((_, i) => i % 97 === 0)
      .map(({ labels: own }) => ({
        ...ALL,
        matchers: [{ name: 'id', operator: '=' as const, value: own.get('id') }],
      })),
    { ...ALL, matchers: [{ name: 'id', operator: '=', value: 'zzzz' }] },
    { ...ALL, matchers: [{ name: 'id', operator: '=', value: '!' }] },
  ];
  // The second time from what the first one kept.
  for (const one of [...requests, ...requests]) {
    const sink = new CollectingSink();
    await reader.select(one, sink);
    const expected = modelSelect(all, one);
    // As text: comparing thousands of arrays element by element takes most of a minute.
    expect(sink.series.map(render)).toEqual(expected.map(render));
  }
  await reader.close();
});

test('one series over the limit is an error, the limit itself is not', async () => {
  await using folder = await temporaryFolder();
  await buildBlock(path.join(folder.path, 'b'), largeSeries(100));
  const reader = await openBlock(path.join(folder.path, 'b'));
  const sink = new CollectingSink();
  await reader.select({ ...ALL, seriesMax: 100 }, sink);
  expect(sink.series).toHaveLength(100);
  const over = reader.select({ ...ALL, seriesMax: 99 }, new CollectingSink());
  await expect(over).rejects.toMatchObject({ code: 'execution', message: expect.stringContaining('99') });
  await reader.close();
});

test('selects read a page of chunks once while it is kept; what checks the block reads the disk, and closing forgets', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  const all = largeSeries(40);
  await buildBlock(dir, all);
  const [cache, chunkCache] = [new PageCache({ bytesMax: 1 << 20 }), new PageCache({ bytesMax: 1 << 20 })];
  const reader = await BlockReader.open(dir, { cache, chunkCache });
  const first = new CollectingSink();
  await reader.select(ALL, first);
  expect(first.series).toEqual(modelSelect(all, ALL));
  const good = await readFile(path.join(dir, 'chunks'));
  const bad = Buffer.from(good);
  bad[40]! ^= 1;
  await writeFile(path.join(dir, 'chunks'), bad);
  const second = new CollectingSink();
  await reader.select(ALL, second);
  expect(second.series).toEqual(first.series);
  await expect(reader.verifyId(new WorkPacer(undefined))).rejects.toThrow(CorruptBlockError);
  await reader.close();
  expect([cache.bytesHeld, chunkCache.bytesHeld]).toEqual([0, 0]);
  const again = await BlockReader.open(dir, { cache, chunkCache });
  await expect(again.select(ALL, new CollectingSink())).rejects.toThrow(CorruptBlockError);
  // Nothing is kept of a page that was found damaged.
  await writeFile(path.join(dir, 'chunks'), good);
  const healed = new CollectingSink();
  await again.select(ALL, healed);
  expect(healed.series).toEqual(first.series);
  await again.close();
});

test('what a selector found is another one’s only where name, operator and value are the same', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  const all = largeSeries(200);
  await buildBlock(dir, all);
  const reader = await openBlock(dir);
  for (const operator of ['=', '!=', '=~', '!~', '='] as const) {
    const one = { ...ALL, matchers: [{ name: 'job', operator, value: 'db' }] };
    const sink = new CollectingSink();
    await reader.select(one, sink);
    expect(sink.series.map(render)).toEqual(modelSelect(all, one).map(render));
  }
  await reader.close();
});

test('a select that is cancelled stops with the signal’s reason', async () => {
  await using folder = await temporaryFolder();
  await buildBlock(path.join(folder.path, 'b'), largeSeries(5000));
  const reader = await openBlock(path.join(folder.path, 'b'));
  const controller = new AbortController();
  const running = reader.select({ ...ALL, signal: controller.signal }, new CollectingSink());
  controller.abort(new AppError('canceled', 'the caller left'));
  await expect(running).rejects.toMatchObject({ code: 'canceled' });
  await reader.close();
});

test('a flipped bit in any file is detected, and nothing wrong is handed over', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  const all = largeSeries(6);
  await buildBlock(dir, all);
  const expected = modelSelect(all, ALL);
  for (const file of await readdir(dir)) {
    const good = await readFile(path.join(dir, file));
    for (let at = 0; at < good.length; at += file === 'chunks' ? 13 : 1) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1 << (at % 8);
      await writeFile(path.join(dir, file), bad);
      const sink = new CollectingSink();
      const use = async () => {
        const reader = await openBlock(dir);
        try {
          await reader.select(ALL, sink);
          await reader.select(
            { ...ALL, matchers: [{ name: 'job', operator: '=', value: 'db' }] },
            new CollectingSink(),
          );
        } finally {
          await reader.close();
        }
      };
      await expect(use(), `${file}, byte ${at}`).rejects.toThrow(CorruptBlockError);
      expect(expected.slice(0, sink.series.length)).toEqual(sink.series);
    }
    await writeFile(path.join(dir, file), good);
  }
}, 120_000);

test('a truncated or missing file makes the block corrupt', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  await buildBlock(dir, largeSeries(40));
  for (const file of await readdir(dir)) {
    const good = await readFile(path.join(dir, file));
    for (const length of [0, 1, 7, 8, 20, good.length - 1]) {
      await writeFile(path.join(dir, file), good.subarray(0, length));
      await expect(openBlock(dir), `${file} of ${length} bytes`).rejects.toThrow(CorruptBlockError);
    }
    await writeFile(path.join(dir, file), good);
  }
  await expect(openBlock(path.join(folder.path, 'nothing'))).rejects.toThrow(CorruptBlockError);
});

test('series without chunks are left out, and leave no label behind', async () => {
  await using folder = await temporaryFolder();
  const [first, second, third] = largeSeries(3) as [TestSeries, TestSeries, TestSeries];
  const bare = { labels: Labels.from([['only', 'here']]), partition: 9, chunks: [] };
  const { meta } = await buildBlock(path.join(folder.path, 'b'), [bare, first, second, bare, third, bare]);
  expect(meta).toMatchObject({ seriesCount: 3, partitions: [0, 1, 2] });
  const reader = await openBlock(path.join(folder.path, 'b'));
  expect(await reader.labelNames({ matchers: [] })).toEqual(['__name__', 'id', 'job']);
  expect(await reader.labelValues('only', { matchers: [] })).toEqual([]);
  await reader.close();
});

test('nothing to build, and a label set twice, are errors; discard leaves no file', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  const empty = new BlockBuilder({ tenant: 'anonymous', dir });
  await expect(empty.finish()).rejects.toMatchObject({ code: 'failed_precondition' });
  await empty.discard();
  expect(await readdir(folder.path)).toEqual([]);
  const [one] = largeSeries(1) as [TestSeries];
  const twice = buildBlock(dir, [one, one]);
  await expect(twice).rejects.toMatchObject({
    code: 'bad_data',
    message: expect.stringContaining('metric_0'),
  });
});

test('chunks beyond the memory buffer are spilled and come back; the spill is gone', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  const all = largeSeries(60).map((one, i) => ({
    ...one,
    chunks: [{ ...one.chunks[0]!, bytes: new Uint8Array(400_000).fill(i) }],
  }));
  await buildBlock(dir, all);
  expect((await readdir(dir)).sort()).toEqual(['chunks', 'index', 'meta.json']);
  const reader = await openBlock(dir);
  let count = 0;
  await reader.select(ALL, {
    beginSeries: () => {
      count++;
    },
    chunk: (_encoding, _min, _max, bytes, start, end) => {
      expect(end - start).toBe(400_000);
      expect(bytes[start]).toBe(bytes[end - 1]);
    },
  });
  expect(count).toBe(60);
  await reader.close();
});
