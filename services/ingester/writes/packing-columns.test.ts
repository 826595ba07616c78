// What the kernel packs against what JavaScript writes: the same bytes of the log.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { encodeSamples, RecordColumns } from '../log/log-records.ts';
import { PackingColumns } from './packing-columns.ts';

type Sample = readonly [id: number, timeMs: number, value: number];

const value = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.integer({ min: -(2 ** 52), max: 2 ** 52 }).map((n) => n / 100),
  fc.integer().map((n) => n / 1e6),
  fc.integer().map((n) => n / 2),
  fc.integer().map((n) => n / 4096),
  fc.constantFrom(-0, 0, 2 ** 50, -(2 ** 50), 2 ** 50 - 1, 0.005, 1e-7, Number.MAX_VALUE, Number.NaN, -1 / 0),
);
const time = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1_700_000_000_000, max: 1_800_000_000_000 }) },
  fc.integer({ min: -(2 ** 50), max: 2 ** 50 }),
  { weight: 1, arbitrary: fc.constantFrom(2 ** 51, -(2 ** 51), 0) },
);
const samples = fc.array(fc.tuple(fc.nat(2 ** 32 - 2), time, value), { maxLength: 60 });

function fill(columns: RecordColumns, drawn: readonly Sample[]): void {
  columns.resize(drawn.length);
  columns.count = drawn.length;
  columns.packedTimes = undefined;
  columns.packedValues = undefined;
  for (const [i, [id, timeMs, number]] of drawn.entries()) {
    columns.ids[i] = id;
    columns.timestampsMs[i] = timeMs;
    columns.values[i] = number;
  }
}

function recordOf(columns: RecordColumns): string {
  const dst = new ByteWriter();
  encodeSamples(dst, 'tenant', 0, new Uint8Array(0), 0, columns);
  return Buffer.from(dst.take()).toString('hex');
}

test('records are the same to the byte, one after the other', () => {
  const packing = new PackingColumns();
  fc.assert(
    fc.property(samples, (drawn) => {
      const plain = new RecordColumns();
      fill(plain, drawn);
      fill(packing, drawn);
      packing.pack();
      expect(recordOf(packing)).toBe(recordOf(plain));
    }),
    { numRuns: 2000 },
  );
});

test('NaN payloads are kept', () => {
  const [plain, packing] = [new RecordColumns(), new PackingColumns()];
  for (const columns of [plain, packing]) {
    fill(
      columns,
      Array.from({ length: 4 }, (_, i): Sample => [i, 1000, 0]),
    );
    const words = new Uint32Array(columns.values.buffer, columns.values.byteOffset, 8);
    words.set([2, 0x7ff00000, 1, 0x7ff80000, 0xabcdef, 0xfff12345, 5, 0x7ff00000]);
  }
  packing.pack();
  expect(recordOf(packing)).toBe(recordOf(plain));
});

test('records of all sizes', () => {
  const packing = new PackingColumns();
  for (const count of [0, 1, 4096, 4097, 200_001, 3, 131_072, 5000]) {
    const drawn = Array.from(
      { length: count },
      (_, i): Sample => [i, 1_700_000_000_000 + (i % 7), i % 5 === 0 ? Math.sin(i) : i / 100],
    );
    const plain = new RecordColumns();
    fill(plain, drawn);
    fill(packing, drawn);
    packing.pack();
    expect(recordOf(packing) === recordOf(plain), `${count} samples`).toBe(true);
  }
});

test('what came packed stays as it came', () => {
  const columns = new PackingColumns();
  fill(columns, [[1, 2, 3]]);
  columns.packedTimes = Uint8Array.of(7);
  columns.packedValues = Uint8Array.of(8, 9);
  columns.pack();
  expect([columns.packedTimes, columns.packedValues]).toEqual([Uint8Array.of(7), Uint8Array.of(8, 9)]);
});
