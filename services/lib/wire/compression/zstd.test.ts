import { constants, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { decompressZstd, readZstdFrameHeader } from './zstd.ts';

const MAX = 1 << 20;
const errorOf = (run: () => unknown): AppError => {
  try {
    run();
  } catch (caught) {
    expect(caught).toBeInstanceOf(AppError);
    return caught as AppError;
  }
  throw new Error('nothing was thrown');
};

/** A frame by hand (RFC 8878, 3.1.1): magic, descriptor, window or content size, blocks. */
const frame = (...bytes: number[]) => Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, ...bytes]);
/** The last block, of raw bytes: 1 | type 0 << 1 | size << 3, three bytes little-endian. */
const rawBlock = (bytes: number[]) => [1 | (bytes.length << 3), 0, 0, ...bytes];
/** The last block, `size` times one byte: type 1. */
const repeatBlock = (size: number, byte: number) => {
  const head = 1 | (1 << 1) | (size << 3);
  return [head & 255, (head >>> 8) & 255, head >>> 16, byte];
};

describe('frames made by hand', () => {
  test('single segment, one byte of content size', () => {
    const src = frame(0x20, 3, ...rawBlock([7, 8, 9]));
    expect(readZstdFrameHeader(src)).toEqual({ contentBytes: 3, windowBytes: 3 });
    expect([...decompressZstd(src, MAX)]).toEqual([7, 8, 9]);
  });

  test('with a window of 1 KiB and no content size', () => {
    const src = frame(0x00, 0x00, ...rawBlock([1, 2]));
    expect(readZstdFrameHeader(src)).toEqual({ contentBytes: undefined, windowBytes: 1024 });
    expect([...decompressZstd(src, MAX)]).toEqual([1, 2]);
  });

  test.each([
    [
      'two bytes of size, 256 added',
      frame(0x60, 0x2c, 0x01, 0, 0, 0),
      { contentBytes: 556, windowBytes: 556 },
    ],
    ['four bytes', frame(0xa0, 0, 0, 0, 0x80, 0, 0), { contentBytes: 2 ** 31, windowBytes: 2 ** 31 }],
    [
      'eight bytes',
      frame(0xe0, 1, 0, 0, 0, 1, 0, 0, 0),
      { contentBytes: 2 ** 32 + 1, windowBytes: 2 ** 32 + 1 },
    ],
    ['a window of 1.25 MiB', frame(0x80, 0x52, 9, 0, 0, 0), { contentBytes: 9, windowBytes: 1.25 * 2 ** 20 }],
  ])('header with %s', (_, src, expected) => {
    expect(readZstdFrameHeader(src)).toEqual(expected);
  });

  test.each([
    ['nothing', new Uint8Array(0), /0 bytes are no frame/],
    ['snappy', Uint8Array.from([6, 20, 1, 2, 3, 4, 5, 6]), /begins with 0x/],
    ['a skippable frame', Uint8Array.from([0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9]), /begins with 0x184d2a50/],
    ['a dictionary', frame(0x21, 5, 3, ...rawBlock([7, 8, 9])), /dictionary/],
    ['a reserved bit', frame(0x28, 3, ...rawBlock([7, 8, 9])), /reserved bit/],
    ['a header cut off', frame(0xe0, 1, 0), /truncated/],
    ['a block cut off', frame(0x20, 3, ...rawBlock([7, 8, 9])).subarray(0, 10), /malformed zstd body/],
    ['more than it declares', frame(0x20, 2, ...rawBlock([7, 8, 9])), /malformed zstd body/],
    [
      'a second frame',
      frame(0x20, 1, ...rawBlock([7]), ...frame(0x20, 1, ...rawBlock([7]))),
      /10 bytes follow/,
    ],
  ])('%s is refused', (_, src, expected) => {
    const error = errorOf(() => decompressZstd(src, MAX));
    expect(error.code).toBe('bad_data');
    expect(error.message).toMatch(expected);
  });
});

describe('bounds', () => {
  test('a size over the limit is refused by its header, a byte of blocks or not', () => {
    const error = errorOf(() => decompressZstd(frame(0xa0, 0, 0, 0, 0x7f, 0, 0), MAX));
    expect(error.code).toBe('resource_exhausted');
    expect(error.message).toContain(`to ${0x7f000000} bytes, the limit decodedBytesMax is ${MAX}`);
  });

  test('a bomb that does not say its size is stopped at the limit', () => {
    // A thousand blocks of 128 KiB from four bytes each.
    const block = repeatBlock(128 * 1024, 0x61);
    const open = [block[0]! & 0xfe, ...block.slice(1)];
    const blocks = Array.from({ length: 1000 }, (_, i) => (i < 999 ? open : block)).flat();
    const error = errorOf(() => decompressZstd(frame(0x00, 0x38, ...blocks), MAX));
    expect(error.code).toBe('resource_exhausted');
    const content = decompressZstd(frame(0x00, 0x38, ...open, ...block), MAX);
    expect(Buffer.alloc(256 * 1024, 0x61).equals(content)).toBe(true);
  });

  test('a window over the limit is refused', () => {
    expect(errorOf(() => decompressZstd(frame(0x00, 0xf8, ...rawBlock([1])), MAX)).message).toMatch(
      /window of/,
    );
  });

  test('a small frame that declares as much as is allowed gets no room for it', () => {
    const before = process.memoryUsage().arrayBuffers;
    const error = errorOf(() => decompressZstd(frame(0xa0, 0, 0, 0, 0x10, 1, 0, 0), 0x10000000));
    expect(error.code).toBe('bad_data');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 << 20);
  });
});

test('what was compressed comes back, at any level, with a checksum or not', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 2000 }),
      fc.constantFrom(1, 100, 700),
      fc.constantFrom(1, 3, 11),
      fc.boolean(),
      (piece, times, level, checksum) => {
        const content = Buffer.concat(Array.from({ length: times }, () => piece));
        const src = zstdCompressSync(content, {
          params: {
            [constants.ZSTD_c_compressionLevel]: level,
            [constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0,
          },
        });
        expect(Buffer.from(decompressZstd(src, 2 << 20)).equals(content)).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
});

test('mutated frames are refused with a named error, or decode to no more than the limit', () => {
  const content = Buffer.from('node_cpu_seconds_total{mode="idle"} 12345.67 '.repeat(50));
  const src = zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  fc.assert(
    fc.property(fc.nat(src.length - 1), fc.nat(255), fc.nat(src.length), (at, byte, length) => {
      const mutated = Buffer.from(src.subarray(0, length === 0 ? src.length : length));
      if (at < mutated.length) mutated[at] = byte;
      try {
        expect(decompressZstd(mutated, 4096).length).toBeLessThanOrEqual(4096);
      } catch (caught) {
        expect(caught).toBeInstanceOf(AppError);
      }
    }),
    { numRuns: 2000 },
  );
});
