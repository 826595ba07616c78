// The fast way against the dumb one: a decoder that remembers what it saw, and one that forgets it before each request.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { field, labelV1, seriesV1, varintField } from '../../../../test/support/remote-write-encoder.ts';
import { compressSnappy } from '../compression/snappy-compress.ts';
import { RemoteWriteColumns } from './remote-write-columns.ts';
import { RemoteWriteDecoder } from './remote-write-decoder.ts';

const T = 1_700_000_000_000;

/** The same reference for the same labels, whoever asks. */
function createResolver() {
  const references = new Map<string, number>();
  return {
    resolveBytes(bytes: Uint8Array, start: number, end: number): number {
      const key = Buffer.from(bytes.subarray(start, end)).toString('latin1');
      if (!references.has(key)) references.set(key, references.size);
      return references.get(key)!;
    },
  };
}

function createDecoder(resolver: ReturnType<typeof createResolver>): RemoteWriteDecoder {
  return new RemoteWriteDecoder(
    { cachedSeriesMax: 1 << 14, cachedMetricsMax: 100, hashSeed: 7, metadataResendMs: 60_000 },
    { resolver },
  );
}

/** Samples as reference, time and the value's words. */
function rowsOf({ references, timestampsMs, valueWords, count }: RemoteWriteColumns): number[][] {
  return Array.from({ length: count }, (_, i) => [
    references[i]!,
    timestampsMs[i]!,
    valueWords[2 * i + 1]!,
    valueWords[2 * i]!,
  ]);
}

/** A sample whose value has these bits. */
function sampleOfBits(high: number, low: number, timeMs: number): Buffer {
  const value = Buffer.alloc(9, 0x09);
  value.writeUInt32LE(low, 1);
  value.writeUInt32LE(high, 5);
  return Buffer.concat([value, varintField(2, timeMs)]);
}

const words = fc.oneof(
  fc.constantFrom([0x7ff00000, 2], [0x7ff80000, 0], [0x80000000, 0], [0x7ff00000, 0], [0xfff12345, 0x6789]),
  fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)),
);

/** A series as sent: one of 60 label sets, 1 or 2 samples, at times with varints of all lengths. */
const sent = fc
  .tuple(
    fc.nat(59),
    words,
    fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: T, max: T + 1e9 }) },
      fc.constantFrom(5, 2 ** 42 - 1, 2 ** 42, -1),
    ),
    fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true)),
  )
  .map(([number, [high, low], timeMs, isTwice]) => {
    const name = labelV1(['__name__', `node_${'x'.repeat(number % 7)}_seconds_total`]);
    const instance = labelV1(['instance', `10.0.0.${number}:9100`]);
    const one = field(2, sampleOfBits(high!, low!, timeMs));
    return { number, bytes: field(1, Buffer.concat([name, instance, one, ...(isTwice ? [one] : [])])) };
  });

test('whatever is sent again, left out, inserted or in another order: columns are those of a decoder that remembers nothing', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(sent, { maxLength: 40 }), { minLength: 1, maxLength: 6 }),
      fc.boolean(),
      (requests, isSorted) => {
        const resolver = createResolver();
        const remembering = createDecoder(resolver);
        const columns = new RemoteWriteColumns();
        const forgetting = createDecoder(resolver);
        const plain = new RemoteWriteColumns();
        for (const request of [...requests, ...requests, ...requests]) {
          const series = isSorted ? [...request].sort((a, b) => a.number - b.number) : request;
          const body = Buffer.concat(series.map(({ bytes }) => bytes));
          const decoded = remembering.decodeSnappy(1, compressSnappy(body), columns, 1000);
          forgetting.forgetSeries();
          const expected = forgetting.decode(1, body, body.length, plain, 1000);
          expect(rowsOf(columns)).toEqual(rowsOf(plain));
          expect(decoded).toEqual(expected);
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('a request that is larger than what stays in memory is decoded all the same, and so is the next small one', () => {
  const resolver = createResolver();
  const decoder = createDecoder(resolver);
  const columns = new RemoteWriteColumns();
  const bodyOf = (count: number) =>
    Buffer.concat(
      Array.from({ length: count }, (_, i) =>
        seriesV1(
          [
            ['__name__', 'm'],
            ['i', `${i}`],
            ['pad', 'x'.repeat(400)],
          ],
          [[i, T + i]],
        ),
      ),
    );
  for (const count of [20, 1000, 20, 12_000, 20]) {
    const body = bodyOf(count);
    expect(decoder.decodeSnappy(1, compressSnappy(body), columns, 1000).samples).toBe(count);
    expect([...columns.references.subarray(0, count)]).toEqual(Array.from({ length: count }, (_, i) => i));
    expect(columns.values[count - 1]).toBe(count - 1);
    decoder.decode(1, body, body.length, columns, 1000);
    expect([...columns.references.subarray(0, count)]).toEqual(Array.from({ length: count }, (_, i) => i));
  }
  expect(bodyOf(12_000).length).toBeGreaterThan(4 << 20);
});
