import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { decodeAppendBatch, encodeAppendBatch, putDefinition } from './append-batch.ts';

/** One sample of series 7 in partition 3, with its definition; bytes drawn from docs/append-batch.md. */
const GOLDEN = [
  ...[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0],
  ...[3, 0, 0, 0, 1, 0, 0, 0],
  ...[7, 0, 0, 0, 0, 0, 0, 0],
  ...[0, 0, 0, 0, 0, 0x40, 0x8f, 0x40], // 1000 as a double
  ...[2, 0, 0, 0, 0, 0, 0xf0, 0x7f], // the staleness marker
  ...[7, 0, 0, 0, 3, 0, 0, 0, 3, 1, 0x61, 0x62],
];

function golden(): Uint8Array<ArrayBuffer> {
  const values = new Float64Array(1);
  new Uint32Array(values.buffer).set([2, 0x7ff00000]);
  const definitions = new ByteWriter();
  const labels = Uint8Array.from([1, 0x61, 0x62]);
  putDefinition(definitions, 7, 3, labels, 0, 3);
  const out = new ByteWriter();
  encodeAppendBatch(
    out,
    {
      sampleCount: 1,
      sectionPartitions: Uint32Array.of(3),
      sectionSamples: Uint32Array.of(1),
      references: Uint32Array.of(7),
      timestampsMs: Float64Array.of(1000),
      values,
    },
    1,
    definitions.take(),
  );
  return out.take();
}

test('encodes as the document says', () => {
  expect([...golden()]).toEqual(GOLDEN);
});

test.each([0, 3])('decodes what the document says, at offset %d of its buffer', (offset) => {
  expectGolden(Uint8Array.from([...Array<number>(offset).fill(0), ...GOLDEN]).subarray(offset));
});

test('decodes a Buffer at an odd offset, which is what gRPC gives', () => {
  expectGolden(Buffer.from(Uint8Array.from([0, 0, 0, ...GOLDEN]).buffer, 3));
});

function expectGolden(bytes: Uint8Array): void {
  const batch = decodeAppendBatch(bytes);
  expect([...batch.references]).toEqual([7]);
  expect([...batch.sectionPartitions]).toEqual([3]);
  expect([...batch.timestampsMs]).toEqual([1000]);
  expect([...new Uint32Array(batch.values.slice().buffer)]).toEqual([2, 0x7ff00000]);
  const seen: unknown[] = [];
  batch.forEachDefinition((reference, partition, source, start, end) => {
    seen.push([reference, partition, [...source.subarray(start, end)]]);
  });
  expect(seen).toEqual([[7, 3, [1, 0x61, 0x62]]]);
}

test('any batch comes back', () => {
  const section = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 2 ** 52 }), fc.double()), {
    minLength: 1,
  });
  fc.assert(
    fc.property(fc.array(section, { maxLength: 5 }), (sections) => {
      const rows = sections.flat();
      const out = new ByteWriter();
      const columns = {
        sampleCount: rows.length,
        sectionPartitions: Uint32Array.from(sections, (_, i) => i * 2),
        sectionSamples: Uint32Array.from(sections, (s) => s.length),
        references: Uint32Array.from(rows, (r) => r[0]),
        timestampsMs: Float64Array.from(rows, (r) => r[1]),
        values: Float64Array.from(rows, (r) => r[2]),
      };
      encodeAppendBatch(out, columns, 0, new Uint8Array());
      const batch = decodeAppendBatch(out.take());
      expect(batch.references).toEqual(columns.references);
      expect(batch.timestampsMs).toEqual(columns.timestampsMs);
      expect(batch.values).toEqual(columns.values);
      expect(batch.sectionSamples).toEqual(columns.sectionSamples);
    }),
  );
});

test('mutated batches are read or refused, nothing else', () => {
  fc.assert(
    fc.property(fc.nat(GOLDEN.length - 1), fc.nat(255), fc.nat(GOLDEN.length), (at, byte, length) => {
      const bytes = golden();
      bytes[at] = byte;
      try {
        decodeAppendBatch(bytes.slice(0, length)).forEachDefinition(() => {});
      } catch (caught) {
        expect(caught).toBeInstanceOf(AppError);
      }
    }),
    { numRuns: 2000 },
  );
});

test('a batch that claims too many samples is refused before anything is allocated', () => {
  const bytes = golden();
  new DataView(bytes.buffer).setUint32(8, 0xffffffff, true);
  expect(() => decodeAppendBatch(bytes)).toThrow(/over 1048576/);
});

test('a batch anywhere in a buffer, as a connection delivers it, is read all the same', () => {
  const source = Buffer.alloc(GOLDEN.length + 16);
  for (let offset = 0; offset < 9; offset++) {
    source.set(GOLDEN, offset);
    const batch = decodeAppendBatch(source.subarray(offset, offset + GOLDEN.length));
    expect([...batch.references, ...batch.timestampsMs]).toEqual([7, 1000]);
    expect([...new Uint32Array(batch.values.slice().buffer)]).toEqual([2, 0x7ff00000]);
  }
});
