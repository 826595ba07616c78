import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { decompressSnappy, SNAPPY_SLACK_BYTES, snappyDecodedBytes } from './snappy.ts';
import { compressSnappy } from './snappy-compress.ts';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

function decompress(src: Uint8Array): Uint8Array {
  const dst = new Uint8Array(Math.min(snappyDecodedBytes(src), 1 << 24) + SNAPPY_SLACK_BYTES).fill(0xee);
  return dst.subarray(0, decompressSnappy(src, dst));
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** A literal of `count` bytes "x" under the given tag and length bytes. */
const xs = (count: number): string => '78'.repeat(count);

describe('golden blocks, worked out from docs/snappy.md', () => {
  test.each([
    ['empty', '00', ''],
    ['short literal', '05 10 68656c6c6f', 'hello'],
    ['two literals', '03 00 61 04 6263', 'abc'],
    ['literal of 61, one length byte', `3d f0 3c ${xs(61)}`, 'x'.repeat(61)],
    ['literal of 300, two length bytes', `ac02 f4 2b01 ${xs(300)}`, 'x'.repeat(300)],
    ['literal of 300, three length bytes', `ac02 f8 2b0100 ${xs(300)}`, 'x'.repeat(300)],
    ['literal of 300, four length bytes', `ac02 fc 2b010000 ${xs(300)}`, 'x'.repeat(300)],
    ['copy kind 1 that overlaps', '0d 04 6162 1d 02', 'ababababababa'],
    [
      'copy kind 1 with offset above 255',
      `b702 f4 2b01 ${xs(299)}79 3d 2c`,
      `${'x'.repeat(299)}y${'x'.repeat(11)}`,
    ],
    ['copy kind 2', '08 08 616263 12 0300', 'abcabcab'],
    ['copy kind 3', '08 08 616263 13 03000000', 'abcabcab'],
    ['run of one byte', '41 00 7a fe 0100', 'z'.repeat(65)],
    ['non-minimal preamble', '8500 10 68656c6c6f', 'hello'],
  ])('%s', (_name, hex, expected) => {
    expect(text(decompress(bytesOf(hex)))).toBe(expected);
  });
});

describe('malformed blocks', () => {
  test.each([
    ['nothing at all', '', /preamble is truncated/],
    ['endless preamble', 'ffffffffff01', /over 2\^32/],
    ['preamble over 32 bits', 'ffffffff1f', /over 2\^32/],
    ['truncated preamble', '80', /preamble is truncated/],
    ['offset 0', '08 08 616263 12 0000', /copy from 0 bytes back with 3 written \(at offset 5\)/],
    ['offset beyond the output', '08 08 616263 12 0400', /copy from 4 bytes back with 3 written/],
    ['huge offset', '08 08 616263 13 ffffffff', /copy from 4294967295 bytes back/],
    ['copy over the end', '0b 04 6162 1d 02', /11 more bytes after 2 pass the declared length 11/],
    ['literal over the end', '04 10 68656c6c6f', /5 more bytes after 0 pass the declared length 4/],
    ['truncated literal', '05 10 6865', /literal of 5 bytes is truncated/],
    ['truncated literal length', '05 f4 01', /literal length is truncated/],
    ['literal of 4 GiB', '05 fc ffffffff 61', /literal of 4294967296 bytes is truncated/],
    ['truncated copy 1', '08 08 616263 01', /copy is truncated/],
    ['truncated copy 2', '08 08 616263 12 03', /copy is truncated/],
    ['truncated copy 3', '08 08 616263 13 030000', /copy is truncated/],
    ['too little at the end', '06 10 68656c6c6f', /5 bytes decoded, the preamble says 6/],
    ['claims 4 GB', 'ffffffff0f 00 61', /7 bytes cannot hold the 4294967295/],
  ])('%s', (_name, hex, expected) => {
    const src = bytesOf(hex);
    const act = () => decompressSnappy(src, new Uint8Array(4096));
    expect(act).toThrow(AppError);
    expect(act).toThrow(expected);
  });
});

test('the declared length is known without decoding', () => {
  expect(snappyDecodedBytes(bytesOf('ffffffff0f'))).toBe(4294967295);
  expect(snappyDecodedBytes(bytesOf('8080808001 00'))).toBe(268435456);
});

/** Bytes with repetitions near and far, so that every element kind of the compressor occurs. */
const repetitive = fc
  .array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 90 }), fc.integer({ min: 1, max: 40 })), {
    maxLength: 30,
  })
  .map((pieces) => Buffer.concat(pieces.flatMap(([piece, times]) => Array<Uint8Array>(times).fill(piece))));

test('what is compressed comes back, and nothing but the slack behind it is touched', () => {
  fc.assert(
    fc.property(repetitive, (bytes) => {
      const packed = compressSnappy(bytes);
      const dst = new Uint8Array(bytes.length + SNAPPY_SLACK_BYTES + 16).fill(0xee);
      expect(decompressSnappy(packed, dst)).toBe(bytes.length);
      expect(Buffer.compare(dst.subarray(0, bytes.length), bytes)).toBe(0);
      const behind = dst.subarray(bytes.length + SNAPPY_SLACK_BYTES);
      expect(behind.every((byte) => byte === 0xee)).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test('several fragments: 300,000 bytes with far repetitions', () => {
  const bytes = new Uint8Array(300_000);
  let state = 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = i % 1000 < 500 ? state >>> 24 : i % 251;
  }
  const packed = compressSnappy(bytes);
  expect(packed.length).toBeLessThan(bytes.length);
  expect(Buffer.compare(decompress(packed), bytes)).toBe(0);
});

test('blocks that no memory is kept for come out whole one after the other, whatever the size of the one before', () => {
  for (const [length, step] of [
    [9_000_000, 7],
    [5_000_000, 11],
    [12_000_000, 13],
  ] as const) {
    const source = Uint8Array.from({ length }, (_, i) => (i * step) >>> 8);
    const dst = new Uint8Array(length + SNAPPY_SLACK_BYTES);
    expect(decompressSnappy(compressSnappy(source), dst)).toBe(length);
    expect(Buffer.compare(dst.subarray(0, length), source)).toBe(0);
  }
});

test('mutated blocks are refused or decode to the declared length; nothing else happens', () => {
  const edit = fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }), cut: fc.boolean() });
  let refused = 0;
  fc.assert(
    fc.property(repetitive, fc.array(edit, { minLength: 1, maxLength: 4 }), (bytes, edits) => {
      let packed = compressSnappy(bytes);
      for (const { at, value, cut } of edits) {
        if (packed.length === 0) break;
        if (cut) packed = packed.slice(0, at % packed.length);
        else packed[at % packed.length] = value;
      }
      const dst = new Uint8Array((1 << 20) + SNAPPY_SLACK_BYTES);
      try {
        if (snappyDecodedBytes(packed) > 1 << 20) return;
        const count = decompressSnappy(packed, dst);
        expect(count).toBe(snappyDecodedBytes(packed));
      } catch (caught) {
        refused++;
        expect(caught).toBeInstanceOf(AppError);
        expect((caught as AppError).code).toBe('bad_data');
      }
    }),
    { numRuns: 1500 },
  );
  expect(refused).toBeGreaterThan(500);
});
