import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import { decodeChunk } from './decode-chunk.ts';

const STALE: Bits = [0x7ff00000, 2];
type Bits = readonly [high: number, low: number];
type Sample = readonly [timeMs: number, bits: Bits];

function bitsOf(value: number): Bits {
  const words = new Uint32Array(Float64Array.of(value).buffer);
  return [words[1]!, words[0]!];
}

function columnsOf(samples: readonly Sample[]): SampleColumns {
  const columns = new SampleColumns(Math.max(1, samples.length));
  const words = wordsOf(columns.values);
  for (const [timeMs, [high, low]] of samples) {
    columns.timestampsMs[columns.count] = timeMs;
    words[2 * columns.count] = low;
    words[2 * columns.count + 1] = high;
    columns.count++;
  }
  return columns;
}

function samplesOf(columns: SampleColumns): Sample[] {
  const words = wordsOf(columns.values);
  return Array.from({ length: columns.count }, (_, i) => [
    columns.timestampsMs[i]!,
    [words[2 * i + 1]!, words[2 * i]!],
  ]);
}

interface Encoded {
  readonly encoding: number;
  readonly bytes: Uint8Array;
}

function encode(samples: readonly Sample[], encoder = new ChunkEncoder(300)): Encoded {
  const { timestampsMs, values, count } = columnsOf(samples);
  const dst = new ByteWriter(1);
  dst.u8(0xee);
  const encoding = encoder.encode(timestampsMs, values, 0, count, dst);
  return { encoding, bytes: dst.take().subarray(1) };
}

/** Decodes from the middle of a buffer with `slack` bytes behind, into columns that hold one sample already. */
function decode({ encoding, bytes }: Encoded, slack = 0): Sample[] {
  const framed = Buffer.concat([Buffer.from([0xaa, 0xbb, 0xcc]), bytes, Buffer.alloc(slack, 0xff)]);
  const into = columnsOf([[7, STALE]]);
  decodeChunk(encoding, framed, 3, 3 + bytes.length, into);
  const [held, ...decoded] = samplesOf(into);
  expect(held).toEqual([7, STALE]);
  return decoded;
}

// docs/format/chunk-columns.md, "Golden bytes".
const GOLDEN: readonly (readonly [name: string, hex: string, samples: readonly Sample[]])[] = [
  [
    'three samples of 7',
    '03e807d00f0000000000000e',
    [1000, 2000, 3000].map((timeMs): Sample => [timeMs, bitsOf(7)]),
  ],
  [
    'staleness markers',
    '08e807d00f0000001f020000000000f07f',
    Array.from({ length: 8 }, (_, i): Sample => [1000 + i * 1000, STALE]),
  ],
  [
    'a late sample, an exception, a factor',
    '080fd00f08000001071421' + '0107020000000000f07f' + '0403140505c97f',
    [
      [1000, bitsOf(1)],
      [1015, bitsOf(1.5)],
      [1030, bitsOf(2.5)],
      [1045, bitsOf(3)],
      [1060, bitsOf(3)],
      [1075, bitsOf(3.5)],
      [1090, bitsOf(4.5)],
      [1115, STALE],
    ],
  ],
  [
    'differences',
    '08987500000000000501' + '00c801c801aa',
    [0, 300, 400, 700, 800, 1100, 1200, 1500].map((value, i): Sample => [i * 15_000, bitsOf(value)]),
  ],
];

describe.each(GOLDEN)('golden bytes: %s', (_, hex, samples) => {
  const golden = { encoding: CHUNK_COLUMNS, bytes: Buffer.from(hex, 'hex') };

  test('are written', () => {
    const { encoding, bytes } = encode(samples);
    expect(Buffer.from(bytes).toString('hex')).toBe(hex);
    expect(encoding).toBe(CHUNK_COLUMNS);
  });

  test('are read', () => {
    expect(decode(golden)).toEqual(samples);
    expect(decode(golden, 64)).toEqual(samples);
  });

  test('every shorter and every longer piece is refused', () => {
    const padded = Buffer.concat([golden.bytes, Buffer.alloc(64)]);
    for (let end = 0; end <= golden.bytes.length + 1; end++) {
      if (end === golden.bytes.length) continue;
      const into = new SampleColumns(1);
      expect(() => decodeChunk(CHUNK_COLUMNS, padded, 0, end, into)).toThrow(AppError);
      expect(into.count).toBe(0);
    }
  });
});

/** Values as targets make them, and as nobody should. Each is a function of the sample's index. */
const specials = fc.constantFrom<Bits>(
  STALE,
  [0x7ff80000, 1],
  [0x7ff80000, 0],
  [0xfff80000, 0xdeadbeef],
  [0xfff00000, 1],
  [0x7fffffff, 0xffffffff],
  [0x7ff00000, 0],
  [0xfff00000, 0],
  [0x80000000, 0],
  [0, 0],
  [0, 1],
  [0x80000000, 1],
  ...[2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2, 2 ** 52 + 1, 1 - 2 ** 53, -(2 ** 53), 2 ** 63].map(bitsOf),
  ...[1e22, 1e23, 1e-22, 1e-23, 0.1, 0.3, 0.1 + 0.2, 90071992547.40993, 1e300, 5e-324].map(bitsOf),
);
const anyBits: fc.Arbitrary<Bits> = fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff));
const decimal = fc
  .tuple(fc.integer({ min: -(10 ** 9), max: 10 ** 9 }), fc.integer({ min: 0, max: 15 }))
  .map(([whole, exponent]) => bitsOf(whole / 10 ** exponent));

const counter = fc
  .record({
    start: fc.maxSafeInteger(),
    factor: fc.constantFrom(1, 3, 1024, 4096, 1_000_000),
    exponent: fc.integer({ min: 0, max: 9 }),
    steps: fc.array(fc.oneof(fc.integer({ min: -50, max: 3000 }), fc.constant(0), fc.maxSafeInteger()), {
      minLength: 1,
      maxLength: 200,
    }),
  })
  .map(({ start, factor, exponent, steps }) => {
    let whole = start;
    return steps.map((step) => {
      const next = whole + step * factor;
      if (Number.isSafeInteger(next)) whole = next;
      return bitsOf(whole / 10 ** exponent);
    });
  });

const valueRuns = fc.oneof(
  fc.array(specials, { minLength: 1, maxLength: 40 }),
  fc.array(anyBits, { minLength: 1, maxLength: 100 }),
  fc.array(decimal, { minLength: 1, maxLength: 200 }),
  fc
    .tuple(fc.oneof(specials, anyBits, decimal), fc.integer({ min: 1, max: 250 }))
    .map(([b, n]) => Array<Bits>(n).fill(b)),
  counter,
  // A counter with a few strangers in it.
  fc
    .tuple(counter, fc.array(fc.tuple(fc.nat(), fc.oneof(specials, anyBits)), { maxLength: 8 }))
    .map(([values, strangers]) => {
      const mixed = [...values];
      for (const [at, bits] of strangers) mixed[at % mixed.length] = bits;
      return mixed;
    }),
);

const stepMs = fc.oneof(
  { weight: 6, arbitrary: fc.constant(15_000) },
  { weight: 2, arbitrary: fc.integer({ min: 14_990, max: 15_010 }) },
  fc.integer({ min: 1, max: 40_000 }),
  fc.integer({ min: 1, max: 2 ** 53 - 1 }),
);
const startMs = fc.oneof(
  fc.constantFrom(1_700_000_000_000, 0, -1, 63, 64, -64, -65, 1 - 2 ** 53, 2 ** 53 - 300),
  fc.maxSafeInteger(),
);

const series = fc
  .record({
    startMs,
    values: valueRuns,
    regular: fc.boolean(),
    steps: fc.array(stepMs, { minLength: 250, maxLength: 250 }),
  })
  .map(({ startMs: first, values, regular, steps }) => {
    const samples: Sample[] = [];
    let timeMs = first;
    for (const bits of values) {
      if (!Number.isSafeInteger(timeMs)) break;
      samples.push([timeMs, bits]);
      timeMs += regular ? 15_000 : steps[samples.length % steps.length]!;
    }
    return samples;
  });

test('every series comes back bit for bit', () => {
  const encoder = new ChunkEncoder(300);
  const seen = new Set<number>();
  fc.assert(
    fc.property(series, fc.nat(40), (samples, slack) => {
      const encoded = encode(samples, encoder);
      seen.add(encoded.encoding);
      expect(decode(encoded, slack)).toEqual(samples);
      // What the encoder did before leaves no trace.
      expect(encode(samples)).toEqual(encoded);
    }),
    { numRuns: 3000 },
  );
  expect([...seen].sort((a, b) => a - b)).toEqual([CHUNK_XOR, CHUNK_COLUMNS]);
});

test('mutated bytes give samples in order or an error, and nothing else', () => {
  fc.assert(
    fc.property(
      series,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(30),
      (samples, edits, cut) => {
        const bytes = encode(samples).bytes.slice();
        // Headers are where it hurts: half of the edits go there.
        edits.forEach(([at, byte], i) => {
          bytes[at % (i % 2 === 0 ? Math.min(24, bytes.length) : bytes.length)] = byte;
        });
        const into = new SampleColumns(1);
        const end = Math.max(0, bytes.length - (cut > 10 ? 0 : cut));
        try {
          decodeChunk(CHUNK_COLUMNS, bytes, 0, end, into);
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
          expect(into.count).toBe(0);
        }
        for (let i = 1; i < into.count; i++) {
          expect(into.timestampsMs[i]! > into.timestampsMs[i - 1]!).toBe(true);
        }
      },
    ),
    { numRuns: process.env.CI === 'true' ? 50_000 : 5000 },
  );
}, 120_000);

test('encodes a piece of longer columns', () => {
  const { timestampsMs, values } = columnsOf(
    Array.from(
      { length: 20 },
      (_, i): Sample => [i * 10, bitsOf(i === 12 ? Number.POSITIVE_INFINITY : i / 4)],
    ),
  );
  const dst = new ByteWriter();
  const encoding = new ChunkEncoder(8).encode(timestampsMs, values, 8, 16, dst);
  const decoded = decode({ encoding, bytes: dst.take() });
  expect(decoded.map(([timeMs]) => timeMs)).toEqual([80, 90, 100, 110, 120, 130, 140, 150]);
  expect(decoded.map(([, bits]) => bits)).toEqual(
    [2, 2.25, 2.5, 2.75, Number.POSITIVE_INFINITY, 3.25, 3.5, 3.75].map(bitsOf),
  );
});

test('a counter that resets once, a gap in the grid and a stale end cost bytes, not a wider column', () => {
  const samples = Array.from({ length: 240 }, (_, i): Sample => {
    const timeMs = 1_700_000_000_000 + i * 15_000 + (i >= 100 ? 600_003 : 0);
    return [timeMs, i === 239 ? STALE : bitsOf(i < 120 ? 5e9 + i * 1000 + ((i * 7) % 8) : i * 1000)];
  });
  const { encoding, bytes } = encode(samples);
  expect(encoding).toBe(CHUNK_COLUMNS);
  expect(decode({ encoding, bytes })).toEqual(samples);
  // Differences of some 16 in range are 5 bits at most: 150 bytes. The three incidents and the headers: under 60.
  expect(bytes.length).toBeLessThan(210);
});

test('a grid that leaves the safe integers, though its times do not, is left to XOR', () => {
  const firstMs = 2 ** 53 - 203;
  const samples = [0, 100, 200, 201].map((offsetMs): Sample => [firstMs + offsetMs, bitsOf(1)]);
  const encoded = encode(samples);
  expect(encoded.encoding).toBe(CHUNK_XOR);
  expect(decode(encoded)).toEqual(samples);
});

test.each([Number.POSITIVE_INFINITY, 2 ** 63, -0, Number.MIN_VALUE, Math.PI])(
  'one %d among counts is an exception',
  (odd) => {
    const samples = Array.from(
      { length: 100 },
      (_, i): Sample => [i * 15_000, bitsOf(i === 40 ? odd : i * 3)],
    );
    const encoded = encode(samples);
    expect(encoded.encoding).toBe(CHUNK_COLUMNS);
    expect(encoded.bytes.length).toBeLessThanOrEqual(30);
    expect(decode(encoded)).toEqual(samples);
  },
);

test('time that does not go on is a fault of the caller', () => {
  expect(() =>
    encode([
      [5, STALE],
      [5, STALE],
    ]),
  ).toThrow(/not after/);
});

test('an unknown encoding is refused', () => {
  expect(() => decodeChunk(3, new Uint8Array(4), 0, 4, new SampleColumns())).toThrow(
    /unknown chunk encoding 3/,
  );
});

test.each<[name: string, hex: string, message: RegExp]>([
  ['no samples', '00e807d00f0000000000000e', /0 samples/],
  ['more samples than fit', '808004e807d00f0000000000000e', /65536 samples/],
  ['a step that stands still', '0300d00f0000000000000e', /do not ascend/],
  ['an unknown kind', '03e807d00f0000000010000e', /column of kind 16/],
  ['order 3', '03e807d00f0000000003000e', /column of kind 3/],
  ['an order above the count', '0100d00f000000000200000000', /column of kind 2, 0 bits, 1 entries/],
  ['an entry too wide', `03e807d00f000000000036${'0e'.repeat(24)}`, /54 bits/],
  ['an exponent of 23', '03e807d00f0000001700000e', /form 23/],
  ['form 63', '03e807d00f0000003f00000e', /form 63/],
  ['a form with bit 6', '03e807d00f0000004000000e', /form 64/],
  [
    'an exception behind the end',
    `03e807d00f000000200103${'00'.repeat(8)}00000e`,
    /exception at sample 3 of 3/,
  ],
  ['a patch behind the end', '03e807d00f0000000008000e010302', /patch of entry 3 of 3/],
  ['more patches than there are bytes', '03e807d00f0000000008000effffffffff7f', /ends at byte/],
  ['fewer packed bytes than the width says', '03e807d00f0000000000200e00', /12 bytes wanted/],
  ['a varint without end', 'ffffffffffffffffffffffff', /varint beyond 2\^53/],
  ['a time beyond 2^53', '02ffffffffffffff0ffeffffffffffff1f000000000000', /do not ascend within 2\^53/],
  ['a byte behind the values', '03e807d00f0000000000000e00', /1 bytes behind/],
])('%s is refused', (_, hex, message) => {
  const into = new SampleColumns(4);
  const bytes = Buffer.from(hex, 'hex');
  expect(() => decodeChunk(CHUNK_COLUMNS, bytes, 0, bytes.length, into)).toThrow(message);
  expect(into.count).toBe(0);
});
