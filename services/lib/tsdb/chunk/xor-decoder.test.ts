import { expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { decodeXorChunk, xorSampleCount } from './xor-decoder.ts';

// docs/format/chunk-xor.md, "Golden bytes".
const GOLDEN = Buffer.from(
  '0005d00f3ff0000000000000' + '0f' + '3097ffdb41c00562f7ff400000000000' + '20',
  'hex',
);

// Written by Prometheus itself: `promtool tsdb create-blocks-from openmetrics` of the samples below.
const FROM_PROMETHEUS = Buffer.from(
  '000e80a0abfef9623ff000000000000098753097ffe0007683bffec07600384003800fff8000000000001de000800200000000000072bf228000000000000000d5038a004733ce17af2283c000000000023b4a27fe1ccf385ebc8a1ffffffffffff6d8419002487e7c06e19bd002810fcf80dc3377800000000016e35fc0000800000000001fffffffffffa47a51000060000000000000',
  'hex',
);
const PROMETHEUS_VALUES = [
  1,
  1,
  2,
  2.5,
  -0,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  1e308,
  5e-324,
  314_159 / 100_000,
  100,
  101,
  102,
];
const PROMETHEUS_STEPS_MS = [
  15000, 15000, 15001, 14999, 23192, 15000, 60000, 15000, 600000, 1, 1, 3000000, 1000,
];

function decode(bytes: Uint8Array, start = 0, end = bytes.length): SampleColumns {
  const columns = new SampleColumns(1);
  decodeXorChunk(bytes, start, end, columns);
  return columns;
}

function hexAt(columns: SampleColumns, index: number): string {
  const words = wordsOf(columns.values);
  const word = (value: number) => value.toString(16).padStart(8, '0');
  return word(words[2 * index + 1]!) + word(words[2 * index]!);
}

test('golden bytes of the format document', () => {
  const columns = decode(GOLDEN);
  expect(xorSampleCount(GOLDEN, 0)).toBe(5);
  expect(Array.from(columns.timestampsMs.subarray(0, columns.count))).toEqual([1000, 1015, 1030, 1045, 1070]);
  expect(Array.from({ length: 5 }, (_, i) => hexAt(columns, i))).toEqual([
    '3ff0000000000000',
    '3ff0000000000000',
    '4000000000000000',
    '4004000000000000',
    '7ff0000000000002',
  ]);
});

test('a chunk that Prometheus wrote', () => {
  const columns = decode(FROM_PROMETHEUS);
  let timeMs = 1_700_000_000_000;
  expect(columns.count).toBe(PROMETHEUS_VALUES.length);
  for (let i = 0; i < columns.count; i++) {
    expect(columns.timestampsMs[i]).toBe(timeMs);
    expect(columns.values[i]).toBe(PROMETHEUS_VALUES[i]);
    timeMs += PROMETHEUS_STEPS_MS[i]!;
  }
  // Go parses NaN as 0x7ff8000000000001.
  expect(hexAt(columns, 5)).toBe('7ff8000000000001');
});

test('appends behind what is there, from the middle of a buffer', () => {
  const framed = Buffer.concat([Buffer.from('aabbcc', 'hex'), GOLDEN, Buffer.alloc(100, 0xff)]);
  const columns = decode(GOLDEN);
  decodeXorChunk(framed, 3, 3 + GOLDEN.length, columns);
  expect(columns.count).toBe(10);
  expect(Array.from(columns.timestampsMs.subarray(5, 10))).toEqual([1000, 1015, 1030, 1045, 1070]);
  expect(hexAt(columns, 9)).toBe('7ff0000000000002');
});

test('an empty chunk has no samples', () => {
  expect(decode(Buffer.from('0000', 'hex')).count).toBe(0);
});

test.each([
  ['nothing', ''],
  ['half a header', '00'],
  ['bytes behind an empty chunk', '000000'],
  ['a count without samples', '0001'],
  ['a count that the bytes cannot hold', `ffff${GOLDEN.toString('hex').slice(4)}`],
  ['a time that stands still', '0002d00f3ff00000000000000000'],
  ['a window reused before there is one', '0002d00f3ff00000000000000f80'],
  ['an endless varint', '0001ffffffffffffffffffffffffffffffff'],
  ['a time beyond 2^53', '0001feffffffffffffffff013ff0000000000000'],
])('%s is refused', (_, hex) => {
  const columns = new SampleColumns(4);
  expect(() => decodeXorChunk(Buffer.from(hex, 'hex'), 0, hex.length / 2, columns)).toThrow(AppError);
  expect(columns.count).toBe(0);
});

test('every shorter and every longer piece is refused', () => {
  for (const chunk of [GOLDEN, FROM_PROMETHEUS]) {
    const padded = Buffer.concat([chunk, Buffer.alloc(64)]);
    for (let end = 0; end < chunk.length; end++) expect(() => decode(padded, 0, end)).toThrow(AppError);
    expect(() => decode(padded, 0, chunk.length + 1)).toThrow(AppError);
  }
});
