// Readers of Prometheus' formats on bytes worked out from docs/format/prometheus.md, and on damaged ones.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { systemDisk } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import { crc32c } from './crc32c.ts';
import { decodeHistogramChunk } from './histogram-chunk.ts';
import type { PrometheusFileError } from './prometheus-error.ts';
import { PrometheusIndex } from './prometheus-index.ts';
import { readWalRecord, type WalInterest } from './wal-records.ts';
import { readWalSegment } from './wal-segment.ts';

const PAGE_BYTES = 32 * 1024;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replace(/\s/g, ''), 'hex'));
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function sum(bytes: Uint8Array): Buffer {
  return word(crc32c(bytes, 0, bytes.length));
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

test('CRC-32C of the check string', () => {
  const bytes = Buffer.from('123456789');
  expect(crc32c(bytes, 0, bytes.length)).toBe(0xe3069283);
  expect(crc32c(bytes, 9, 9)).toBe(0);
});

const SERIES = hex('01 0000000000000007 01 0161 0162');
const SAMPLES = hex('02 0000000000000007 00000000000003e8 0000 3ff0000000000000 041e 4000000000000000');
const HISTOGRAM = hex(
  // Series 7, 1000 ms; hint 3, schema 0, 2^-128, zero count 1, count 4, sum 1.0, one span (0, 1), none, one bucket 3, none.
  '07 0000000000000007 00000000000003e8 0000 03 00 37f0000000000000 01 04 3ff0000000000000 01 00 01 00 01 06 00',
);
const STARTED = hex('0b 0e d00f 14 3ff0000000000000 04 1e 01 4000000000000000 00 02 02 02 4000000000000000');

function readRecord(record: Uint8Array, interest: WalInterest): unknown[] {
  const seen: unknown[] = [];
  readWalRecord(record, interest, {
    series: (reference, labels) => seen.push(['series', reference, ...labels.map(text)]),
    sample: (...sample) => seen.push(sample),
    histogram: (reference, timestampMs, parts, isStale) => {
      const { hint, schema, zeroThreshold, zeroCount, count } = parts;
      seen.push([
        reference,
        timestampMs,
        isStale,
        { hint, schema, zeroThreshold, zeroCount, count, sum: parts.sum },
      ]);
      seen.push([...parts.positive.counts.values.subarray(0, parts.positive.counts.count)]);
    },
    exemplar: (reference, timestampMs, value, labels) =>
      seen.push([reference, timestampMs, value, ...labels.map(text)]),
    tombstone: (...interval) => seen.push(interval),
    metadata: (reference, type, unit, help) => seen.push([reference, type, text(unit), text(help)]),
  });
  return seen;
}

test.each<[string, Uint8Array, WalInterest, unknown[]]>([
  ['series', SERIES, 'series', [['series', 7, 'a', 'b']]],
  [
    'samples',
    SAMPLES,
    'samples',
    [
      [7, 1000, 0x3ff00000, 0, 0],
      [9, 1015, 0x40000000, 0, 0],
    ],
  ],
  [
    'samples with start times',
    STARTED,
    'samples',
    [
      [7, 1000, 0x3ff00000, 0, 10],
      [9, 1015, 0x40000000, 0, 10],
      [9, 1001, 0x40000000, 0, 11],
    ],
  ],
  [
    'deletes',
    hex('03 0000000000000007 d00f ffffffffffffffffff01'),
    'series',
    [[7, 1000, -Number.MAX_SAFE_INTEGER]],
  ],
  [
    'exemplars',
    hex('04 0000000000000007 00000000000003e8 00 01 3ff0000000000000 01 0161 0162'),
    'samples',
    [[7, 999, 1, 'a', 'b']],
  ],
  ['metadata', hex('06 07 01 02 04 554e4954 01 73 04 48454c50 02 6869'), 'series', [[7, 1, 's', 'hi']]],
  [
    'histograms',
    HISTOGRAM,
    'samples',
    [
      [
        7,
        1000,
        false,
        { hint: 'gauge', schema: 0, zeroThreshold: 2 ** -128, zeroCount: 1, count: 4, sum: 1 },
      ],
      [3],
    ],
  ],
])('record of %s', (_, record, interest, expected) => {
  expect(readRecord(record, interest)).toEqual(expected);
  expect(readRecord(record, interest === 'series' ? 'samples' : 'series')).toEqual([]);
});

test('a record of an unknown type is refused', () => {
  expect(() => readRecord(hex('63'), 'samples')).toThrow('unknown type 99');
});

const CHUNK = hex('0001 c0 74 46261691 3ff0000000000000 98');

test('a chunk of histograms', () => {
  const seen: unknown[] = [];
  decodeHistogramChunk(CHUNK, 0, CHUNK.length, false, (timeMs, parts, isStale) => {
    const { hint, schema, zeroThreshold, zeroCount, count } = parts;
    seen.push([
      timeMs,
      isStale,
      hint,
      schema,
      zeroThreshold,
      zeroCount,
      count,
      parts.sum,
      parts.positive.counts.values[0],
    ]);
  });
  expect(seen).toEqual([[5, false, 'gauge', 0, 2 ** -128, 1, 4, 1, 3]]);
  expect(() => decodeHistogramChunk(CHUNK, 0, CHUNK.length - 1, false, () => {})).toThrow('ends early');
});

function fragment(kind: number, data: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(kind, data.length >> 8, data.length & 255), sum(data), data]);
}

function page(...fragments: readonly Buffer[]): Buffer {
  const bytes = Buffer.alloc(PAGE_BYTES);
  Buffer.concat(fragments).copy(bytes);
  return bytes;
}

async function readSegment(bytes: Uint8Array, isLast: boolean) {
  const file = path.join(folder, '00000000');
  writeFileSync(file, bytes);
  const records: string[] = [];
  const damages: PrometheusFileError[] = [];
  const unpack = (packed: Uint8Array): Uint8Array => packed.slice(1);
  const deps = { disk: systemDisk, snappy: unpack, zstd: unpack };
  const onRecord = (record: Uint8Array): void => void records.push(text(record));
  for await (const _ of readWalSegment(file, isLast, deps, onRecord, (damage) => damages.push(damage)));
  return { records, damages };
}

test('whole records, records in parts over pages, compressed ones', async () => {
  const bytes = Buffer.concat([
    page(
      fragment(1, Buffer.from('one')),
      fragment(1 | 8, Buffer.from('xtwo')),
      fragment(2, Buffer.from('th')),
    ),
    page(
      fragment(3, Buffer.from('re')),
      fragment(4, Buffer.from('e')),
      fragment(1 | 16, Buffer.from('xfour')),
    ),
  ]);
  expect(await readSegment(bytes, false)).toEqual({ records: ['one', 'two', 'three', 'four'], damages: [] });
});

test('damage costs its page, and is told with file and offset', async () => {
  const damaged = page(
    fragment(1, Buffer.from('one')),
    fragment(1, Buffer.from('two')),
    fragment(1, Buffer.from('lost')),
  );
  damaged[17]! ^= 1;
  const { records, damages } = await readSegment(
    Buffer.concat([damaged, page(fragment(1, Buffer.from('three')))]),
    false,
  );
  expect(records).toEqual(['one', 'three']);
  expect(damages).toMatchObject([{ offset: 10, file: path.join(folder, '00000000'), code: 'bad_data' }]);
  expect(damages[0]!.message).toContain(
    '00000000: a fragment of 3 bytes has another checksum (at offset 10)',
  );
});

test('the newest segment may end anywhere, others not', async () => {
  const bytes = page(fragment(1, Buffer.from('one')), fragment(2, Buffer.from('tw')));
  for (const length of [10, 14, 19, 20]) {
    expect(await readSegment(bytes.subarray(0, length), true)).toEqual({ records: ['one'], damages: [] });
  }
  expect((await readSegment(bytes, false)).damages).toHaveLength(1);
});

/** One series {a="b"} with two chunks, at offset 32. */
function indexBytes(): Buffer {
  const symbols = hex('00000002 0161 0162');
  const head = Buffer.concat([hex('baaad700 02'), word(symbols.length), symbols, sum(symbols)]);
  // Labels, two chunks: 1000…1060 at 8; 1070…1100 in the next segment at 8: 2^32 more.
  const series = hex('01 00 01 02 d00f 3c 08 0a 1e 8080808020');
  const entry = Buffer.concat([Uint8Array.of(series.length), series, sum(series)]);
  const start = 32;
  const body = Buffer.concat([head, Buffer.alloc(start - head.length), entry]);
  const contents = Buffer.alloc(48);
  contents.writeUInt32BE(5, 4);
  contents.writeUInt32BE(start, 12);
  contents.writeUInt32BE(body.length, 36);
  return Buffer.concat([body, contents, sum(contents)]);
}

async function readIndex(bytes: Uint8Array) {
  const file = path.join(folder, 'index');
  writeFileSync(file, bytes);
  const index = await PrometheusIndex.open(file, systemDisk);
  const found: unknown[] = [];
  const damages: string[] = [];
  try {
    for await (const { labels, chunks, reference } of index.series(index.seriesStart, ({ message }) =>
      damages.push(message),
    ))
      found.push({ reference, labels: labels.map(text), chunks });
  } finally {
    await index.close();
  }
  return { found, damages };
}

test('an index', async () => {
  expect(await readIndex(indexBytes())).toEqual({
    found: [
      {
        reference: 2,
        labels: ['a', 'b'],
        chunks: [
          { segment: 0, offset: 8, minTimeMs: 1000, maxTimeMs: 1060 },
          { segment: 1, offset: 8, minTimeMs: 1070, maxTimeMs: 1100 },
        ],
      },
    ],
    damages: [],
  });
});

test('a bit flipped anywhere in an index is found', async () => {
  const bytes = indexBytes();
  const { found } = await readIndex(bytes);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1 << (at % 8);
    const read = await readIndex(damaged).catch((caught: unknown) => {
      expect(caught).toBeInstanceOf(AppError);
      expect((caught as Error).message).toMatch(/index: .* \(at offset \d+\)/);
      return undefined;
    });
    // Filling between sections has no checksum, and no meaning.
    if (read !== undefined && read.damages.length === 0) expect([at, read.found]).toEqual([at, found]);
  }
});

test('mutated records and chunks', { timeout: 60_000 }, async () => {
  const refuses = (read: () => void): boolean => {
    try {
      read();
      return true;
    } catch (caught) {
      if (caught instanceof AppError && caught.code === 'bad_data') return false;
      throw caught;
    }
  };
  await fuzzBytes({
    name: 'prometheus log records',
    samples: [SERIES, SAMPLES, HISTOGRAM, STARTED],
    answeredShareMin: 0.02,
    read: (bytes) =>
      refuses(() => readRecord(bytes, 'samples')) && refuses(() => readRecord(bytes, 'series')),
  });
  await fuzzBytes({
    name: 'prometheus histogram chunks',
    samples: [CHUNK],
    answeredShareMin: 0.02,
    read: (bytes, sample) =>
      refuses(() => decodeHistogramChunk(bytes, 0, bytes.length, sample % 2 === 1, () => {})),
  });
});
