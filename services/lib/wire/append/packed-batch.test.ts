import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { wordsOf } from '../../model/sample-columns.ts';
import { putDeltas, putValueCodes, VALUE_CODE_BYTES_MAX } from '../../model/value-codes.ts';
import { encodeAppendBatch, putDefinition } from './append-batch.ts';
import { BatchScratch } from './batch-scratch.ts';
import { decodeBatch, PackedColumns } from './packed-batch.ts';

/** docs/packed-batch.md, "Golden bytes". */
const GOLDEN = Buffer.from(
  '0200000002000000030000000100000 00c000000 03000000 03000000 0c000000 0000000000408f40'.replaceAll(
    ' ',
    '',
  ) +
    '03020201' +
    '0e0202' +
    '001e00' +
    '08d10f03020000000000f07f' +
    '070000000300000003016162',
  'hex',
);

interface Row {
  readonly reference: number;
  readonly timeMs: number;
  readonly words: readonly [low: number, high: number];
}

function wordsOfNumber(value: number): [number, number] {
  const words = wordsOf(Float64Array.of(value));
  return [words[0]!, words[1]!];
}

const GOLDEN_ROWS: ReadonlyMap<number, readonly Row[]> = new Map([
  [
    3,
    [
      { reference: 7, timeMs: 1000, words: wordsOfNumber(1) },
      { reference: 8, timeMs: 1015, words: wordsOfNumber(2.5) },
    ],
  ],
  [5, [{ reference: 9, timeMs: 1000, words: [2, 0x7ff00000] }]],
]);

/** What the distributor's sorter holds after a write of these rows, by partition. */
function sorted(rows: ReadonlyMap<number, readonly Row[]>, partitionCount: number) {
  const all = [...rows].sort(([a], [b]) => a - b).flatMap(([, some]) => some);
  const counts = new Uint32Array(partitionCount);
  const ends = new Uint32Array(partitionCount);
  let end = 0;
  for (let partition = 0; partition < partitionCount; partition++) {
    counts[partition] = rows.get(partition)?.length ?? 0;
    end += counts[partition]!;
    ends[partition] = end;
  }
  const values = new Float64Array(all.length);
  wordsOf(values).set(all.flatMap(({ words }) => words));
  return { counts, ends, timestampsMs: Float64Array.from(all, ({ timeMs }) => timeMs), values };
}

function packOf(
  rows: ReadonlyMap<number, readonly Row[]>,
  partitions: readonly number[],
  definitions = new ByteWriter(),
  definitionCount = 0,
): Uint8Array {
  const columns = sorted(rows, 64);
  const packed = new PackedColumns();
  expect(packed.pack(columns)).toBe(true);
  const references = partitions.flatMap((one) => (rows.get(one) ?? []).map(({ reference }) => reference));
  const out = new ByteWriter(0);
  packed.putBatch(
    out,
    partitions,
    columns.counts,
    Uint32Array.from(references),
    definitionCount,
    definitions.bytes,
    definitions.length,
  );
  return out.take();
}

function golden(): Uint8Array {
  const definitions = new ByteWriter();
  putDefinition(definitions, 7, 3, Uint8Array.of(1, 0x61, 0x62), 0, 3);
  return packOf(GOLDEN_ROWS, [3, 5], definitions, 1);
}

/** A batch as plain numbers. */
function contentOf(bytes: Uint8Array, scratch = new BatchScratch()) {
  const batch = decodeBatch(bytes, scratch);
  const definitions: unknown[] = [];
  batch.forEachDefinition((reference, partition, source, start, end) => {
    definitions.push([reference, partition, [...source.subarray(start, end)]]);
  });
  return {
    partitions: [...batch.sectionPartitions],
    samples: [...batch.sectionSamples],
    references: [...batch.references],
    times: [...batch.timestampsMs],
    words: [...wordsOf(batch.values)],
    definitions,
  };
}

test('packs as the document says, and reads it', () => {
  expect(Buffer.from(golden()).toString('hex')).toBe(GOLDEN.toString('hex'));
  expect(contentOf(GOLDEN)).toEqual({
    partitions: [3, 5],
    samples: [2, 1],
    references: [7, 8, 9],
    times: [1000, 1015, 1000],
    words: [...wordsOfNumber(1), ...wordsOfNumber(2.5), 2, 0x7ff00000],
    definitions: [[7, 3, [1, 0x61, 0x62]]],
  });
  const { packedValues } = decodeBatch(GOLDEN, new BatchScratch());
  expect(Buffer.from(packedValues!).toString('hex')).toBe('08d10f03020000000000f07f');
});

const time = fc.oneof(
  fc.integer({ min: 1_700_000_000_000, max: 1_700_000_001_000 }),
  fc.integer({ min: -(2 ** 50), max: 2 ** 50 }),
);
const row = fc.record({
  reference: fc.nat(0xffffffff),
  timeMs: time,
  words: fc.oneof(
    fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)),
    fc.integer().map(wordsOfNumber),
    fc.integer().map((n) => wordsOfNumber(n / 100)),
    fc.maxSafeInteger().map((n) => wordsOfNumber(n / 1_000_000)),
    fc.maxSafeInteger().map(wordsOfNumber),
    fc.constantFrom(wordsOfNumber(-0), [2, 0x7ff00000] as [number, number]),
  ),
});
const write = fc.uniqueArray(fc.tuple(fc.nat(63), fc.array(row, { minLength: 1, maxLength: 9 })), {
  selector: ([partition]) => partition,
  maxLength: 12,
});

test("any replica's part of any write is the batch that travels as columns", () => {
  const scratch = new BatchScratch();
  fc.assert(
    fc.property(write, fc.nat(), (sections, mask) => {
      const rows = new Map(sections);
      const partitions = [...rows.keys()]
        .filter((one) => ((mask >> (one % 31)) & 1) === 0)
        .sort((a, b) => a - b);
      const part = new Map(partitions.map((one) => [one, rows.get(one)!]));
      const { counts, timestampsMs, values } = sorted(part, 64);
      const columns = new ByteWriter();
      const references = Uint32Array.from([...part.values()].flat(), ({ reference }) => reference);
      encodeAppendBatch(
        columns,
        {
          sampleCount: references.length,
          sectionPartitions: Uint32Array.from(partitions),
          sectionSamples: Uint32Array.from(partitions, (one) => counts[one]!),
          references,
          timestampsMs,
          values,
        },
        0,
        new Uint8Array(),
      );
      expect(contentOf(packOf(rows, partitions), scratch)).toEqual(contentOf(columns.take()));
    }),
  );
});

test.each([[1.5], [2 ** 50 + 2], [-(2 ** 51)], [Number.NaN], [Infinity]])(
  'a time of %d ms is not packed: the ingester is to say what is wrong with it',
  (timeMs) => {
    const rows = new Map([[3, [{ reference: 1, timeMs, words: [0, 0] as const }]]]);
    expect(new PackedColumns().pack(sorted(rows, 4))).toBe(false);
  },
);

test('mutated batches are read or refused, nothing else', () => {
  const scratch = new BatchScratch();
  fc.assert(
    fc.property(fc.nat(GOLDEN.length - 1), fc.nat(255), fc.nat(GOLDEN.length), (at, byte, length) => {
      const bytes = Uint8Array.from(GOLDEN);
      bytes[at] = byte;
      try {
        decodeBatch(bytes.slice(0, length), scratch).forEachDefinition(() => {});
      } catch (caught) {
        expect(caught).toBeInstanceOf(AppError);
      }
    }),
    { numRuns: 3000 },
  );
});

test('what a header claims is checked before anything is allocated', () => {
  const scratch = new BatchScratch();
  for (const [offset, claim, message] of [
    [8, 0xffffffff, /over 1048576/],
    [8, 1 << 20, /do not fit/],
    [4, 0x7fffffff, /its header says/],
    [16, 0xffffff, /its header says/],
  ] as const) {
    const bytes = Uint8Array.from(GOLDEN);
    new DataView(bytes.buffer).setUint32(offset, claim, true);
    expect(() => decodeBatch(bytes, scratch)).toThrow(message);
  }
  expect(scratch.capacity).toBe(0);
});

test('scratch of a large batch is let go', () => {
  const scratch = new BatchScratch();
  const row = { reference: 1, timeMs: 1000, words: wordsOfNumber(1) };
  contentOf(packOf(new Map([[3, Array.from({ length: (1 << 17) + 1 }, () => row)]]), [3]), scratch);
  expect(scratch.capacity).toBeGreaterThan(1 << 17);
  expect(contentOf(GOLDEN, scratch).references).toEqual([7, 8, 9]);
  expect(scratch.capacity).toBeLessThan(1 << 14);
});

test('times and values come as the log has them', () => {
  const scratch = new BatchScratch();
  const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  fc.assert(
    fc.property(write, (sections) => {
      const rows = new Map(sections);
      const partitions = [...rows.keys()].sort((a, b) => a - b);
      const batch = decodeBatch(packOf(rows, partitions), scratch);
      const { sampleCount, timestampsMs, values } = batch;
      const logged = new Uint8Array(sampleCount * VALUE_CODE_BYTES_MAX);
      const timesEnd = putDeltas(logged, 0, timestampsMs, 0, sampleCount, 0);
      expect(hexOf(batch.packedTimes!)).toBe(hexOf(logged.subarray(0, timesEnd)));
      const valuesEnd = putValueCodes(logged, 0, values, 0, sampleCount);
      expect(hexOf(batch.packedValues!)).toBe(hexOf(logged.subarray(0, valuesEnd)));
    }),
  );
});

test.each([
  ['references that end early', 44, 0x80, /references .*offset 47/],
  ['references below 0', 44, 0x01, /references .*offset 44/],
  ['references in a varint without an end', 46, 0x80, /references .*offset 46/],
  ['times that end early', 47, 0x80, /times .*offset 50/],
  ['values that leave bytes', 53, 0x80, /values .*offset 55/],
])('%s that the format does not know are named with their place', (_, at, byte, message) => {
  const bytes = Uint8Array.from(GOLDEN);
  bytes[at] = byte;
  expect(() => decodeBatch(bytes, new BatchScratch())).toThrow(message);
});

test('what no sample can take is refused before anything is allocated', () => {
  const scratch = new BatchScratch();
  const bytes = new Uint8Array(4096);
  bytes.set(GOLDEN);
  new DataView(bytes.buffer).setUint32(28, 4000, true);
  expect(() => decodeBatch(bytes, scratch)).toThrow(/a column of 4000 bytes are more than 3 samples have/);
  expect(scratch.capacity).toBe(0);
});
