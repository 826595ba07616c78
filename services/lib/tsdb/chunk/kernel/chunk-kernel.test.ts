import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileKernel } from '../../../../../test/support/compiled-kernel.ts';
import { randomOf } from '../../../../../test/support/random.ts';
import { ByteWriter } from '../../../core/bytes.ts';
import { AppError } from '../../../core/errors.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../../model/chunk-sink.ts';
import { putStale, SampleColumns, wordsOf } from '../../../model/sample-columns.ts';
import { ChunkEncoder } from '../chunk-encoder.ts';
import { decodeChunk } from '../decode-chunk.ts';
import { encodeXorChunk } from '../xor-encoder.ts';
import { type ChunkColumns, decodeInOrder } from './chunk-kernel.ts';

const EVER = Number.POSITIVE_INFINITY;

interface EncodedChunk {
  readonly encoding: number;
  readonly bytes: Uint8Array;
}

/** Chunks that stand in frames of their own, each with something before and behind it. */
class Chunks implements ChunkColumns {
  readonly start: Uint32Array;
  readonly end: Uint32Array;
  readonly encoding: Uint8Array;
  readonly #frames: readonly Uint8Array[];

  constructor(chunks: readonly EncodedChunk[]) {
    this.start = Uint32Array.from(chunks, (_, i) => i % 3);
    this.end = Uint32Array.from(chunks, ({ bytes }, i) => (i % 3) + bytes.length);
    this.encoding = Uint8Array.from(chunks, ({ encoding }) => encoding);
    this.#frames = chunks.map(({ bytes }, i) => {
      const frame = new Uint8Array(bytes.length + (i % 3) + (i % 2)).fill(0xff);
      frame.set(bytes, i % 3);
      return frame;
    });
  }

  bytesOf(chunk: number): Uint8Array {
    return this.#frames[chunk]!;
  }
}

/** Leaves the samples that are in range. */
function cutToRange(columns: SampleColumns, minMs: number, maxMs: number): void {
  const { timestampsMs, words } = columns;
  let kept = 0;
  for (let i = 0; i < columns.count; i++) {
    if (timestampsMs[i]! < minMs || timestampsMs[i]! > maxMs) continue;
    timestampsMs[kept] = timestampsMs[i]!;
    words.copyWithin(2 * kept, 2 * i, 2 * i + 2);
    kept++;
  }
  columns.count = kept;
}

function read(chunks: readonly EncodedChunk[], minMs = -EVER, maxMs = EVER): SampleColumns | undefined {
  const into = new SampleColumns(1);
  const order = Uint32Array.from({ length: chunks.length + 1 }, (_, i) => i);
  const isInOrder = decodeInOrder(new Chunks(chunks), order, chunks.length, minMs, maxMs, into);
  if (!isInOrder) return undefined;
  cutToRange(into, minMs, maxMs);
  return into;
}

/** The same by the decoders in JavaScript. */
function readSlowly(chunks: readonly EncodedChunk[], minMs = -EVER, maxMs = EVER): SampleColumns {
  const into = new SampleColumns(1);
  for (const { encoding, bytes } of chunks) decodeChunk(encoding, bytes, 0, bytes.length, into);
  cutToRange(into, minMs, maxMs);
  return into;
}

function contentOf({ timestampsMs, values, count }: SampleColumns) {
  return { times: [...timestampsMs.subarray(0, count)], words: [...wordsOf(values).subarray(0, 2 * count)] };
}

function encode(encoding: number, samples: SampleColumns, from: number, to: number): EncodedChunk {
  const out = new ByteWriter(64);
  const { timestampsMs, values } = samples;
  if (encoding === CHUNK_XOR) {
    encodeXorChunk(timestampsMs, values, from, to, out);
    return { encoding, bytes: out.take() };
  }
  return {
    encoding: new ChunkEncoder(to - from).encode(timestampsMs, values, from, to, out),
    bytes: out.take(),
  };
}

/** Series of many kinds: counters with resets, decimals, noise, constants, halves of 64 bits, staleness, uneven time. */
function columnsOf(seed: number): SampleColumns {
  const random = randomOf(seed);
  const count = 1 + Math.floor(random() * 400);
  const columns = new SampleColumns(count);
  const { words } = columns;
  let timeMs = seed % 3 === 0 ? -5e12 : 1_700_000_000_000;
  let counter = 0;
  for (let i = 0; i < count; i++) {
    timeMs += seed % 2 === 0 ? 15_000 : 1 + Math.floor(random() * (seed % 5 === 0 ? 1e7 : 60_000));
    counter = random() < 0.02 ? 0 : counter + Math.floor(random() * 1000);
    const kinds = [
      counter,
      Math.round(random() * 1000) / 10,
      random() * 1e9,
      1,
      -0,
      counter * 2 ** 40,
      Number.NaN,
    ];
    columns.timestampsMs[i] = timeMs;
    columns.values[i] = kinds[seed % kinds.length]!;
    if (seed % 11 === 0) words.set([random() * 2 ** 32, random() * 2 ** 32], 2 * i);
    if (seed % 4 === 0 && random() < 0.01) putStale(words, i);
  }
  columns.count = count;
  return columns;
}

/** A series in chunks, some of either encoding. */
function chunksOf(seed: number, samples: SampleColumns): EncodedChunk[] {
  const random = randomOf(seed);
  const chunks: EncodedChunk[] = [];
  for (let from = 0; from < samples.count; ) {
    const to = Math.min(samples.count, from + 1 + Math.floor(random() * 150));
    chunks.push(encode(random() < 0.5 ? CHUNK_XOR : CHUNK_COLUMNS, samples, from, to));
    from = to;
  }
  return chunks;
}

test('kernel.wasm is what the sources in assembly/ make (npm run generate:chunk-kernel)', {
  timeout: 180_000,
}, async () => {
  const { made, committed } = await compileKernel('services/lib/tsdb/chunk/kernel', ['chunks']);
  expect(made.equals(committed)).toBe(true);
});

test.each([
  // docs/format/chunk-xor.md and chunk-columns.md, "Golden bytes".
  [CHUNK_XOR, '0005d00f3ff0000000000000' + '0f' + '3097ffdb41c00562f7ff400000000000' + '20', 5],
  [CHUNK_COLUMNS, '03e807d00f0000000000000e', 3],
  [CHUNK_COLUMNS, '08e807d00f0000001f020000000000f07f', 8],
  [CHUNK_COLUMNS, '080fd00f08000001071421010702000000' + '0000f07f0403140505c97f', 8],
  [CHUNK_COLUMNS, '0898750000000000050100c801c801aa', 8],
])('golden bytes of encoding %i: %s', (encoding, hex, count) => {
  const chunk = { encoding, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };
  const samples = read([chunk])!;
  expect(samples.count).toBe(count);
  expect(contentOf(samples)).toEqual(contentOf(readSlowly([chunk])));
});

test('what was written is read, bit for bit, as far as it is in range; what is said of it holds', () => {
  let regular = 0;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e6 }), fc.nat(), fc.nat(), (seed, low, high) => {
      const written = columnsOf(seed);
      const { timestampsMs } = written;
      const minMs = timestampsMs[low % written.count]! - (low % 2);
      const maxMs = timestampsMs[high % written.count]! + (high % 2);
      const samples = read(chunksOf(seed, written), minMs, maxMs)!;
      cutToRange(written, minMs, maxMs);
      expect(contentOf(samples)).toEqual(contentOf(written));
      const own = samples.values.subarray(0, samples.count);
      expect(samples.hasNaN).toBe(own.some(Number.isNaN));
      const gaps = new Set(
        Array.from({ length: samples.count - 1 }, (_, i) => timestampsMs[i + 1]! - timestampsMs[i]!),
      );
      expect(samples.gapMs).toBe(gaps.size === 1 ? [...gaps][0] : 0);
      if (gaps.size === 1) regular++;
    }),
    { numRuns: 1500 },
  );
  expect(regular).toBeGreaterThan(300);
});

test('bytes that are no chunk: the error, or the samples, of the decoders in JavaScript', () => {
  let refused = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1e6 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
      (seed, places) => {
        const chunks = chunksOf(seed, columnsOf(seed));
        const chunk = chunks[seed % chunks.length]!;
        const bytes = places.reduce((all, place) => {
          const other = all.slice(0, place % 7 === 0 ? Math.max(1, place % all.length) : all.length);
          other[place % other.length]! ^= 1 << (place % 8);
          return other;
        }, chunk.bytes);
        const damaged = { encoding: chunk.encoding, bytes };
        let expected: SampleColumns;
        try {
          expected = readSlowly([damaged]);
        } catch (caught) {
          refused++;
          expect(caught).toBeInstanceOf(AppError);
          expect(() => read([damaged])).toThrow((caught as AppError).message);
          return;
        }
        expect(contentOf(read([damaged])!)).toEqual(contentOf(expected));
      },
    ),
    { numRuns: 5000 },
  );
  expect(refused).toBeGreaterThan(500);
});

test('chunks that are not one behind the other', () => {
  const samples = new SampleColumns();
  samples.timestampsMs.set([10, 20, 30, 40]);
  samples.values.set([1, 2, 3, 4]);
  const [first, second, both] = [
    encode(CHUNK_XOR, samples, 0, 2),
    encode(CHUNK_COLUMNS, samples, 2, 4),
    encode(CHUNK_XOR, samples, 1, 3),
  ];
  expect(contentOf(read([first, second])!).times).toEqual([10, 20, 30, 40]);
  expect(read([second, first])).toBeUndefined();
  expect(read([first, both])).toBeUndefined();
  expect(read([first, first])).toBeUndefined();
  expect(read([])!.count).toBe(0);
});

test('more chunks, bytes and samples than there is room for at a time', () => {
  const count = 150_000;
  const samples = new SampleColumns(count);
  samples.count = count;
  for (let i = 0; i < count; i++) {
    samples.timestampsMs[i] = i * 1000;
    samples.values[i] = i % 1000 === 0 ? Math.sqrt(i) : 7;
  }
  const sizes = [1, 100, 65_535, 20_000];
  const chunks: EncodedChunk[] = [];
  for (let from = 0, i = 0; from < count; i++) {
    const to = Math.min(count, from + (i < 700 ? sizes[i % 2]! : sizes[2 + (i % 2)]!));
    chunks.push(encode(i % 5 === 0 ? CHUNK_COLUMNS : CHUNK_XOR, samples, from, to));
    from = to;
  }
  const wide = new SampleColumns(12_000);
  wide.count = 12_000;
  for (let i = 0; i < wide.count; i++) {
    wide.timestampsMs[i] = count * 1000 + i;
    wide.values[i] = Math.sin(i);
  }
  chunks.push(encode(CHUNK_XOR, wide, 0, wide.count));
  expect(chunks.length).toBeGreaterThan(512);
  expect(chunks.at(-1)!.bytes.length).toBeGreaterThan(65_536);
  expect(contentOf(read(chunks)!)).toEqual(contentOf(readSlowly(chunks)));
  const [minMs, maxMs] = [33_000_000, 140_000_500];
  expect(contentOf(read(chunks, minMs, maxMs)!)).toEqual(contentOf(readSlowly(chunks, minMs, maxMs)));
});

test('an encoding that is not one of floats is refused', () => {
  expect(() => read([{ encoding: 77, bytes: new Uint8Array(20) }])).toThrow('unknown chunk encoding 77');
});
