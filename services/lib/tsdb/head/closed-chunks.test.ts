import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { decodeChunk } from '../chunk/decode-chunk.ts';
import { encodeXorChunk } from '../chunk/xor-encoder.ts';
import { CLOSED_CHUNK_SAMPLES_MAX, ClosedChunkEncoder, closedChunkEncoding } from './closed-chunks.ts';

const BASE_MS = 1_700_000_000_000;

/** An XOR chunk of the samples, at offset 3 of its writer. */
function xorChunk(times: readonly number[], values: Float64Array): ByteWriter {
  const out = new ByteWriter(64);
  out.raw(Uint8Array.of(9, 9, 9));
  encodeXorChunk(Float64Array.from(times), values, 0, times.length, out);
  return out;
}

/** Words of a value, low first: numbers that an exporter prints, and any bits at all. */
const decimalWords = fc
  .tuple(fc.integer({ min: -1_000_000, max: 1_000_000 }), fc.constantFrom(1, 100))
  .map(([units, scale]) => Array.from(new Uint32Array(Float64Array.of(units / scale).buffer)));
const anyWords = fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)).map(([low, high]) => [low, high]);
const oddWords = fc.constantFrom([2, 0x7ff00000], [0, 0x80000000], [0, 0x7ff00000], [1, 0x7ff80000]);

test('any samples come back bit for bit, and never take more bytes', () => {
  const encoder = new ClosedChunkEncoder();
  const sample = fc.tuple(
    fc.oneof({ weight: 8, arbitrary: fc.constant(15_000) }, fc.integer({ min: 1, max: 10_000_000 })),
    fc.oneof({ weight: 6, arbitrary: decimalWords }, oddWords, anyWords),
  );
  fc.assert(
    fc.property(fc.array(sample, { minLength: 1, maxLength: CLOSED_CHUNK_SAMPLES_MAX }), (samples) => {
      let timeMs = BASE_MS;
      const times = samples.map(([step]) => (timeMs += step));
      const values = new Float64Array(samples.length);
      const words = new Uint32Array(values.buffer);
      for (const [i, [, [low, high]]] of samples.entries()) words.set([low!, high!], 2 * i);
      const chunk = xorChunk(times, values);
      const length = encoder.encode(chunk.bytes, 3, chunk.length);
      expect(length).toBeLessThanOrEqual(chunk.length - 3);
      const decoded = new SampleColumns();
      decodeChunk(closedChunkEncoding(encoder.bytes, 0), encoder.bytes, 0, length, decoded);
      expect(Array.from(decoded.timestampsMs.subarray(0, decoded.count))).toEqual(times);
      const found = wordsOf(decoded.values).subarray(0, 2 * decoded.count);
      expect(Buffer.from(found.slice().buffer).equals(Buffer.from(words.buffer))).toBe(true);
    }),
  );
});

test.each([1, 2, 255])('the first byte says what it is, with %i samples', (count) => {
  const encoder = new ClosedChunkEncoder();
  const times = Array.from({ length: count }, (_, i) => BASE_MS + i * 15_000);
  const constant = xorChunk(times, new Float64Array(count).fill(42));
  expect(closedChunkEncoding(constant.bytes, 3)).toBe(CHUNK_XOR);
  const length = encoder.encode(constant.bytes, 3, constant.length);
  expect(closedChunkEncoding(encoder.bytes, 0)).toBe(CHUNK_COLUMNS);
  if (count === 255) expect(length).toBeLessThan(26);
});

// Worked out from docs/format/chunk-columns.md: samples, step, first time, a column of zeros, form 31 and the value's bits.
test('a constant on a grid, byte for byte', () => {
  const encoder = new ClosedChunkEncoder();
  const values = new Float64Array(new Uint32Array([2, 0x7ff00000, 2, 0x7ff00000, 2, 0x7ff00000]).buffer);
  const times = [1000, 16_000, 31_000];
  const chunk = xorChunk(times, values);
  const length = encoder.encode(chunk.bytes, 3, chunk.length);
  expect(length).toBe(chunk.length - 3);
  const many = xorChunk(
    Array.from({ length: 120 }, (_, i) => -1000 + i * 15_000),
    new Float64Array(120).fill(-0),
  );
  const bytes = encoder.encode(many.bytes, 3, many.length);
  expect(Buffer.from(encoder.bytes.subarray(0, bytes)).toString('hex')).toBe(
    ['78', '9875', 'cf0f', '000000', '1f', '0000000000000080'].join(''),
  );
});

test('noise stays as it is', () => {
  const encoder = new ClosedChunkEncoder();
  const words = Uint32Array.from({ length: 240 }, (_, i) => Math.imul(i + 1, 0x9e3779b1) & 0x7fefffff);
  const times = Array.from({ length: 120 }, (_, i) => BASE_MS + i * 15_000);
  const chunk = xorChunk(times, new Float64Array(words.buffer));
  const length = encoder.encode(chunk.bytes, 3, chunk.length);
  expect(
    Buffer.from(encoder.bytes.subarray(0, length)).equals(Buffer.from(chunk.bytes.subarray(3, chunk.length))),
  ).toBe(true);
  expect(closedChunkEncoding(encoder.bytes, 0)).toBe(CHUNK_XOR);
});
