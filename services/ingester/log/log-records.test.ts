import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteReader, ByteWriter, encodeUtf8 } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { decodeStartTime, ExtraColumns } from '../../lib/model/extra-columns.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import {
  decodeCut,
  decodeExtras,
  decodeMetadata,
  decodeSamples,
  decodeSealed,
  decodeState,
  encodeCut,
  encodeExtras,
  encodeMetadata,
  encodeSamples,
  encodeSealed,
  encodeState,
  putLogDefinition,
  RecordColumns,
} from './log-records.ts';

type Sample = readonly [id: number, timeMs: number, high: number, low: number];

function columnsOf(samples: readonly Sample[]): RecordColumns {
  const columns = new RecordColumns();
  columns.resize(samples.length);
  columns.count = samples.length;
  const words = wordsOf(columns.values);
  samples.forEach(([id, timeMs, high, low], i) => {
    columns.ids[i] = id;
    columns.timestampsMs[i] = timeMs;
    words[2 * i] = low;
    words[2 * i + 1] = high;
  });
  return columns;
}

function samplesOf(columns: RecordColumns): Sample[] {
  const words = wordsOf(columns.values);
  return Array.from({ length: columns.count }, (_, i) => [
    columns.ids[i]!,
    columns.timestampsMs[i]!,
    words[2 * i + 1]!,
    words[2 * i]!,
  ]);
}

function wordsOfNumber(value: number): [number, number] {
  const words = wordsOf(new Float64Array([value]));
  return [words[1]!, words[0]!];
}

// lib/tsdb/docs/format/log-records.md, "Golden bytes".
const GOLDEN = [
  '0174',
  '01050304',
  '01610162',
  '03',
  '0a0001',
  'd00f1e00',
  '08',
  'd10f',
  '03020000000000f07f',
].join('');
const GOLDEN_SAMPLES: Sample[] = [
  [5, 1000, ...wordsOfNumber(1)],
  [5, 1015, ...wordsOfNumber(2.5)],
  [4, 1015, 0x7ff00000, 2],
];

test('golden bytes of the format document', () => {
  const labels = encodeUtf8('\u0001a\u0001b');
  const definitions = new ByteWriter();
  putLogDefinition(definitions, 5, 3, labels, 0, labels.length);
  const dst = new ByteWriter(1);
  encodeSamples(dst, 't', 1, definitions.bytes, definitions.length, columnsOf(GOLDEN_SAMPLES));
  expect(Buffer.from(dst.take()).toString('hex')).toBe(GOLDEN);

  const reader = new ByteReader(Buffer.from(GOLDEN, 'hex'));
  const into = new RecordColumns();
  const defined: unknown[] = [];
  expect(reader.string()).toBe('t');
  decodeSamples(
    reader,
    (id, partition, bytes, start, end) =>
      defined.push([id, partition, Buffer.from(bytes.subarray(start, end)).toString()]),
    into,
  );
  expect(defined).toEqual([[5, 3, '\u0001a\u0001b']]);
  expect(samplesOf(into)).toEqual(GOLDEN_SAMPLES);
});

const value = fc.oneof(
  fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)),
  fc.integer({ min: -(2 ** 52), max: 2 ** 52 }).map(wordsOfNumber),
  fc.integer({ min: -(2 ** 52), max: 2 ** 52 }).map((n) => wordsOfNumber(n / 100)),
  fc.integer().map((n) => wordsOfNumber(n / 1e6)),
  fc.constantFrom(-0, 0, 2 ** 50, -(2 ** 50), 2 ** 50 - 1, 0.005, 1e-7, Number.MAX_VALUE).map(wordsOfNumber),
  fc.constantFrom<[number, number]>([0x7ff00000, 2], [0x7ff80000, 1], [0x7ff00000, 0], [0xfff00000, 0]),
);
const sample = fc
  .tuple(fc.nat(2 ** 32 - 2), fc.integer({ min: -(2 ** 51), max: 2 ** 51 }), value)
  .map(([id, timeMs, [high, low]]): Sample => [id, timeMs, high, low]);

test('every sample comes back bit for bit', () => {
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 100 }), (samples) => {
      const dst = new ByteWriter();
      encodeSamples(dst, 'tenant', 0, new Uint8Array(0), 0, columnsOf(samples));
      const reader = new ByteReader(dst.take());
      reader.string();
      const into = new RecordColumns();
      decodeSamples(reader, () => undefined, into);
      expect(samplesOf(into)).toEqual(samples);
    }),
    { numRuns: 500 },
  );
});

test('mutated bytes give bad_data or some samples', () => {
  fc.assert(
    fc.property(
      fc.array(sample, { maxLength: 40 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1 }),
      (samples, edits) => {
        const dst = new ByteWriter();
        encodeSamples(dst, 't', 0, new Uint8Array(0), 0, columnsOf(samples));
        const bytes = dst.take();
        for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
        const reader = new ByteReader(bytes);
        try {
          reader.string();
          decodeSamples(reader, () => undefined, new RecordColumns());
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
          expect(caught).toMatchObject({ code: 'bad_data' });
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test('marks and metadata come back', () => {
  const dst = new ByteWriter();
  encodeCut(dst, { tenant: 'a', startMs: -7_200_000, generation: 3 });
  expect(Buffer.from(dst.bytes.subarray(0, dst.length)).toString('hex')).toBe('0161fff3ee0603');
  expect(decodeCut(new ByteReader(dst.take()))).toEqual({ tenant: 'a', startMs: -7_200_000, generation: 3 });
  dst.reset();
  const sealed = { tenant: 'a', generation: 3, endMs: 1_700_000_000_000, blockId: 'ff' };
  encodeSealed(dst, sealed);
  expect(decodeSealed(new ByteReader(dst.take()))).toEqual(sealed);
  dst.reset();
  const state = { tenant: 'ä', generationNext: 9, leftBeforeMs: Number.MIN_SAFE_INTEGER };
  encodeState(dst, { ...state, leftBeforeMs: -(2 ** 52) });
  expect(decodeState(new ByteReader(dst.take()))).toEqual({ ...state, leftBeforeMs: -(2 ** 52) });
  dst.reset();
  const entries = [{ metric: 'm', type: 'counter', help: 'Helps.', unit: '' }];
  encodeMetadata(dst, 'a', entries);
  const reader = new ByteReader(dst.take());
  reader.string();
  expect(decodeMetadata(reader)).toEqual(entries);
});

test('extras: golden bytes, worked out from the document', () => {
  const extras = new ExtraColumns();
  extras.addStartTime(5, 1000, -3);
  const definitions = new ByteWriter();
  putLogDefinition(definitions, 5, 3, Uint8Array.of(1, 0x61, 1, 0x62), 0, 4);
  const dst = new ByteWriter();
  encodeExtras(dst, 't', 1, definitions.bytes, definitions.length, extras);
  const golden = '01740105030401610162010ad00f020105';
  expect(Buffer.from(dst.bytes.subarray(0, dst.length)).toString('hex')).toBe(golden);
  const reader = new ByteReader(dst.take());
  expect(reader.string()).toBe('t');
  const defined: unknown[] = [];
  const back = new ExtraColumns();
  const labelsOf = (bytes: Uint8Array, start: number, end: number) => [...bytes.subarray(start, end)];
  decodeExtras(
    reader,
    (id, partition, bytes, start, end) => defined.push([id, partition, labelsOf(bytes, start, end)]),
    back,
  );
  expect(defined).toEqual([[5, 3, [1, 0x61, 1, 0x62]]]);
  expect([back.count, back.references[0], back.timestampsMs[0], back.kinds[0]]).toEqual([1, 5, 1000, 2]);
  expect(decodeStartTime(back.bytes, back.starts[0]!, back.ends[0]!)).toBe(-3);
});

test('extras come back, and mutated ones are refused or other extras', () => {
  const entry = fc.tuple(fc.nat(2 ** 32 - 2), fc.integer({ min: -(2 ** 51), max: 2 ** 51 }), fc.uint8Array());
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 20 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
      (entries, edits) => {
        const extras = new ExtraColumns();
        for (const [i, [id, timeMs, content]] of entries.entries()) {
          extras.addRaw(id, timeMs, 1 + (i % 3), content, 0, content.length);
        }
        const dst = new ByteWriter();
        encodeExtras(dst, 't', 0, new Uint8Array(0), 0, extras);
        const bytes = dst.take();
        for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
        const back = new ExtraColumns();
        try {
          const reader = new ByteReader(bytes);
          reader.string();
          decodeExtras(reader, () => undefined, back);
        } catch (caught) {
          expect(caught).toMatchObject({ code: 'bad_data' });
          expect(edits).not.toEqual([]);
          return;
        }
        if (edits.length > 0) return;
        const found = Array.from({ length: back.count }, (_, i) => [
          back.references[i],
          back.timestampsMs[i],
          back.bytes.slice(back.starts[i], back.ends[i]),
        ]);
        expect(found).toEqual(entries);
      },
    ),
    { numRuns: 1000 },
  );
});
