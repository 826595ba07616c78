import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { bitsOf, fromWords } from '../../../../test/support/histograms.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { AggregateCells } from '../../model/aggregate-cells.ts';
import {
  AggregateChunkEncoder,
  cellEnd,
  decodeAggregateChunk,
  decodeWeights,
  encodeWeights,
  HistogramWeights,
} from './aggregate-chunk.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import { settleCells } from './settle-cells.ts';

const FIVE_MINUTES = 300_000;

interface Cell {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly count: number;
  readonly values: readonly [
    first: number,
    last: number,
    min: number,
    max: number,
    sum: number,
    correction: number,
  ];
}

function fill(cells: readonly Cell[], resolutionMs = FIVE_MINUTES): AggregateCells {
  const columns = new AggregateCells();
  columns.reserve(cells.length);
  for (const [i, { firstMs, lastMs, count, values }] of cells.entries()) {
    columns.resolutionsMs[i] = resolutionMs;
    columns.firstTimesMs[i] = firstMs;
    columns.lastTimesMs[i] = lastMs;
    columns.counts[i] = count;
    [
      columns.firsts[i],
      columns.lasts[i],
      columns.mins[i],
      columns.maxs[i],
      columns.sums[i],
      columns.corrections[i],
    ] = values;
  }
  columns.count = cells.length;
  return columns;
}

function describeCells(cells: AggregateCells): unknown {
  return Array.from({ length: cells.count }, (_, i) => ({
    resolutionMs: cells.resolutionsMs[i],
    span: [cells.firstTimesMs[i], cells.lastTimesMs[i]],
    count: cells.counts[i],
    values: [cells.firsts, cells.lasts, cells.mins, cells.maxs, cells.sums, cells.corrections].map((column) =>
      bitsOf(column[i]!),
    ),
  }));
}

function encode(cells: AggregateCells): Uint8Array {
  const dst = new ByteWriter();
  const to = new AggregateChunkEncoder(Math.max(1, cells.count)).encode(cells, 0, dst);
  expect(to).toBe(cells.count);
  return dst.take();
}

function decode(bytes: Uint8Array): AggregateCells {
  const cells = new AggregateCells(1);
  decodeAggregateChunk(bytes, 0, bytes.length, cells);
  return cells;
}

const hex = (text: string) =>
  Uint8Array.from(text.match(/[0-9a-f]{2}/g)!, (byte) => Number.parseInt(byte, 16));

/** Worked out by hand from chunk-aggregates.md and chunk-columns.md. */
const GOLDEN = hex(
  [
    'e0a712 01', // resolution 300,000, one cell
    '02 0c 01 00 c0cf24 000000 00 000006', // 3 at 300,000
    '0000a0b323 000002', // 290,000 older, two samples
    '00 02 0a 0100 00 000000 00 000002', // first: 1
    '02 01', // least as first, greatest as newest
    '00 02 0a 0100 00 000000 00 000008', // sum: 4
    '03', // no correction
  ].join(' '),
);
const GOLDEN_CELL: Cell = { firstMs: 10_000, lastMs: 300_000, count: 2, values: [1, 3, 1, 3, 4, 0] };

test('golden bytes', () => {
  expect(Buffer.from(encode(fill([GOLDEN_CELL]))).toString('hex')).toBe(Buffer.from(GOLDEN).toString('hex'));
  expect(describeCells(decode(GOLDEN))).toEqual(describeCells(fill([GOLDEN_CELL])));
});

const values = fc.oneof(
  fc.double(),
  fc.constantFrom(0, -0, Number.NaN, fromWords(0x7ff80000, 0x1234), Number.POSITIVE_INFINITY, 5e-324),
  fc.integer({ min: 0, max: 1000 }),
);

/** Cells of consecutive ranges, some of them empty. */
const cellLists: fc.Arbitrary<Cell[]> = fc
  .array(
    fc.record({
      skipped: fc.constantFrom(0, 0, 0, 1, 40),
      first: fc.integer({ min: 1, max: FIVE_MINUTES }),
      age: fc.nat(FIVE_MINUTES),
      count: fc.integer({ min: 1, max: 300 }),
      values: fc.oneof(
        fc.tuple(values, values, values, values, values, values),
        fc.integer().map((value) => [value, value, value, value, value, 0] as const),
      ),
    }),
    { minLength: 1, maxLength: 100 },
  )
  .map((list) => {
    let range = -3;
    return list.map(({ skipped, first, age, count, values: own }) => {
      range += 1 + skipped;
      const firstMs = range * FIVE_MINUTES + first;
      const lastMs = Math.min((range + 1) * FIVE_MINUTES, firstMs + age);
      return { firstMs, lastMs, count: Math.min(count, lastMs - firstMs + 1), values: own };
    });
  });

test('what was written is read, bit for bit', () => {
  fc.assert(
    fc.property(cellLists, (list) => {
      const cells = fill(list);
      expect(describeCells(decode(encode(cells)))).toEqual(describeCells(cells));
    }),
    { numRuns: 300 },
  );
});

test('weights of histograms', () => {
  const weights = new HistogramWeights();
  weights.resolutionMs = FIVE_MINUTES;
  for (const [timeMs, weight] of [
    [1000, 2],
    [301_000, 20],
    [600_000, 4_000_000],
  ] as const)
    weights.add(timeMs, weight);
  const dst = new ByteWriter();
  encodeWeights(new ChunkEncoder(10), weights, 0, 3, dst);
  const bytes = dst.take();
  const found = new HistogramWeights();
  decodeWeights(bytes, 0, bytes.length, found);
  expect(found.resolutionMs).toBe(FIVE_MINUTES);
  expect([...found.columns.values.subarray(0, found.count)]).toEqual([2, 20, 4_000_000]);
  expect([...found.columns.timestampsMs.subarray(0, found.count)]).toEqual([1000, 301_000, 600_000]);
});

test('mutated bytes: the named error, or cells that hold the law', async () => {
  const samples = [
    GOLDEN,
    ...fc.sample(cellLists, { numRuns: 20, seed: 7 }).map((list) => encode(fill(list))),
  ];
  await fuzzBytes({
    name: 'aggregate chunk',
    samples,
    mutationsMax: 50_000,
    answeredShareMin: 0.02,
    read: (bytes) => {
      const cells = new AggregateCells(1);
      try {
        decodeAggregateChunk(bytes, 0, bytes.length, cells);
      } catch (caught) {
        expect(caught).toMatchObject({ code: 'internal' });
        expect((caught as Error).message).toContain('corrupt aggregate chunk');
        return false;
      }
      for (let i = 0; i < cells.count; i++) {
        const firstMs = cells.firstTimesMs[i]!;
        const lastMs = cells.lastTimesMs[i]!;
        const resolutionMs = cells.resolutionsMs[i]!;
        expect(firstMs <= lastMs && cellEnd(firstMs, resolutionMs) === cellEnd(lastMs, resolutionMs)).toBe(
          true,
        );
        if (i > 0) expect(firstMs).toBeGreaterThan(cells.lastTimesMs[i - 1]!);
      }
      return true;
    },
  });
});

describe('cells that overlap', () => {
  const cell = (firstMs: number, lastMs: number, count: number, sum = 0, rest = 1): Cell => ({
    firstMs,
    lastMs,
    count,
    values: [rest & 1, (rest >> 1) & 1, 1, 1, sum, rest >> 2],
  });
  const spansOf = (cells: AggregateCells) =>
    Array.from({ length: cells.count }, (_, i) => [
      cells.firstTimesMs[i],
      cells.lastTimesMs[i],
      cells.counts[i],
    ]);

  test.each([
    ['the one of more samples stays', [cell(10, 90, 5), cell(20, 80, 9)], [[20, 80, 9]]],
    ['of equal ones the one that ends later', [cell(10, 90, 5), cell(20, 95, 5)], [[20, 95, 5]]],
    [
      'neighbours that do not touch both stay',
      [cell(50, 60, 2), cell(10, 40, 3)],
      [
        [10, 40, 3],
        [50, 60, 2],
      ],
    ],
    [
      'one that spans several weaker ones takes their place',
      [cell(10, 20, 2), cell(30, 40, 2), cell(15, 35, 9), cell(41, 50, 1)],
      [
        [15, 35, 9],
        [41, 50, 1],
      ],
    ],
    [
      'of otherwise equal ones the one that begins earlier',
      [cell(30, 32, 2), cell(23, 32, 2)],
      [[23, 32, 2]],
    ],
    ['the same cell twice is one', [cell(10, 20, 2), cell(10, 20, 2)], [[10, 20, 2]]],
  ] as const)('%s', (_name, list, expected) => {
    for (const order of [list, list.toReversed()]) {
      const cells = fill(order);
      settleCells(cells);
      expect(spansOf(cells)).toEqual(expected);
    }
  });

  test('whatever their order, the same ones stay', () => {
    const any = fc.array(
      fc
        .tuple(fc.nat(50), fc.nat(20), fc.integer({ min: 1, max: 4 }), fc.nat(3), fc.nat(7))
        .map(([from, length, count, sum, rest]) => cell(from, from + length, count, sum, rest)),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(any, any, (a, b) => {
        const one = fill([...a, ...b]);
        const other = fill([...b, ...a].reverse());
        settleCells(one);
        settleCells(other);
        expect(describeCells(one)).toEqual(describeCells(other));
      }),
    );
  });
});
