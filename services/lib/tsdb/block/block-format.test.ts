// The example of docs/format/block.md, byte for byte: bytes and CRCs were worked out from the document, not from the code.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import {
  buildBlock,
  CollectingSink,
  type TestSeries,
  temporaryFolder,
} from '../../../../test/support/blocks.ts';
import { Labels } from '../../model/labels.ts';
import { parseBlockMeta, renderBlockMeta } from './block-meta.ts';
import { BlockReader } from './block-reader.ts';
import { PageCache } from './page-cache.ts';

const bytesOf = (hex: string) => Buffer.from(hex.replace(/\s/g, ''), 'hex');

const CHUNKS = bytesOf(`
  544D4348 01000000
  099B2391 00 DEADBE`);

const INDEX = bytesOf(`
  544D4958 01000000
  2401A0E3 00
    00
    000012 085F5F6E616D655F5F027570 036A6F620161
    0301 0100E8070202
    11000162
    0301 01F403000101
  29DB629A 00 2A
  54F19090 00 0100 00 02
  20B34F3E 00
    00 000275700202 07
    02 0001610101 0001620101 0B
  B4D32FC8 00
    085F5F6E616D655F5F 01000701
    036A6F62 02080B01
  0000000000408F40 0000000000409F40 0202
  038080040108 2A808002012F 018080020106 048080020109 148080020119 15808002011A
  36000000 01000000 544D4958 3D431A76`);

const META =
  '{"crc32":3820419079,"block":{"version":1,"tenant":"anonymous","blockId":"ab43f08fed97156eb424f9adf8bf33df",' +
  '"minTimeMs":1000,"maxTimeMs":2000,"seriesCount":2,"chunkCount":2,"sampleCount":3,"partitions":[3],"level":1,' +
  '"sources":[],"files":{"index":{"sizeBytes":191,"crc32":2436938244},"chunks":{"sizeBytes":16,"crc32":2825657988}}}}\n';

const SERIES: readonly TestSeries[] = [
  {
    labels: Labels.from([
      ['__name__', 'up'],
      ['job', 'b'],
    ]),
    partition: 3,
    chunks: [{ encoding: 1, minTimeMs: 1500, maxTimeMs: 1500, samples: 1, bytes: Uint8Array.of(0xbe) }],
  },
  {
    labels: Labels.from([
      ['__name__', 'up'],
      ['job', 'a'],
    ]),
    partition: 3,
    chunks: [{ encoding: 1, minTimeMs: 1000, maxTimeMs: 2000, samples: 2, bytes: Uint8Array.of(0xde, 0xad) }],
  },
];

test('the writer makes the document’s bytes', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  await buildBlock(dir, SERIES);
  expect((await readFile(path.join(dir, 'chunks'))).toString('hex')).toBe(CHUNKS.toString('hex'));
  expect((await readFile(path.join(dir, 'index'))).toString('hex')).toBe(INDEX.toString('hex'));
  expect(await readFile(path.join(dir, 'meta.json'), 'utf8')).toBe(META);
});

test('the reader understands them', async () => {
  await using folder = await temporaryFolder();
  const dir = path.join(folder.path, 'b');
  await mkdir(dir);
  await writeFile(path.join(dir, 'chunks'), CHUNKS);
  await writeFile(path.join(dir, 'index'), INDEX);
  await writeFile(path.join(dir, 'meta.json'), META);
  const reader = await BlockReader.open(dir, { cache: new PageCache({ bytesMax: 1 << 20 }) });
  const sink = new CollectingSink();
  await reader.select({ matchers: [], minTimeMs: 0, maxTimeMs: 5000 }, sink);
  expect(sink.series.map(({ labels }) => labels.toString())).toEqual(['up{job="a"}', 'up{job="b"}']);
  expect(sink.series.flatMap(({ chunks }) => chunks)).toEqual([
    { encoding: 1, minTimeMs: 1000, maxTimeMs: 2000, bytes: Uint8Array.of(0xde, 0xad) },
    { encoding: 1, minTimeMs: 1500, maxTimeMs: 1500, bytes: Uint8Array.of(0xbe) },
  ]);
  expect(await reader.labelValues('job', { matchers: [] })).toEqual(['a', 'b']);
  await reader.close();
});

test('meta.json: what is not canonical is corrupt', () => {
  expect(renderBlockMeta(parseBlockMeta(META, 'meta.json'))).toBe(META);
  const changes: [string | RegExp, string][] = [
    ['"minTimeMs":1000', '"minTimeMs":1001'],
    ['"minTimeMs":1000', '"minTimeMs":1e3'],
    ['"minTimeMs":1000', '"minTimeMs":"1000"'],
    ['"version":1', '"version":2'],
    ['"level":1,', ''],
    [',"block"', ', "block"'],
    ['"partitions":[3]', '"partitions":3'],
    ['"tenant":"anonymous"', '"tenant":"../x"'],
    [/}\n$/, '}'],
    [/^[\s\S]*$/, 'null'],
    [/^[\s\S]*$/, ''],
  ];
  for (const [from, to] of changes) {
    const changed = META.replace(from, to);
    expect(changed).not.toBe(META);
    expect(() => parseBlockMeta(changed, 'meta.json'), changed).toThrow(/^meta\.json: /);
  }
});
