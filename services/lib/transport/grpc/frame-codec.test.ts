import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { FrameCodec, SelectResponse } from '../../wire/gen/tidemark/v1/read.ts';
import { packerOf } from './frame-codec.ts';

const LIMIT = 1 << 20;
const packer = packerOf(SelectResponse, LIMIT)!;

function responseOf(frame: Uint8Array, codec?: FrameCodec): SelectResponse {
  return { frame, coverage: undefined, codec };
}

function packed(frame: Uint8Array): SelectResponse {
  return packer.pack(responseOf(frame)) as SelectResponse;
}

function unpacked(message: SelectResponse): SelectResponse {
  return packer.unpack(message) as SelectResponse;
}

/** Labels as series have them: much of each is in the one before. */
const LABELS = Buffer.from(
  Array.from(
    { length: 500 },
    (_, i) => `node_cpu_seconds_total cpu=${i % 8} instance=10.0.0.${i}:9100 job=node `,
  ).join(''),
);

test('frames whose labels repeat travel smaller and come back', () => {
  const message = packed(LABELS);
  expect(message.codec).toBe(FrameCodec.FRAME_CODEC_LZ4);
  expect(message.frame.length).toBeLessThan(LABELS.length / 3);
  const back = unpacked(message);
  expect(Buffer.compare(back.frame, LABELS)).toBe(0);
  expect(back.codec).toBeUndefined();
});

test('the layout is that of read.proto: a length, and a block that stands for it', () => {
  // LZ4's block format: token 0x10 = one literal and a match of 4, offset 1; then the last five bytes as literals.
  const block = Uint8Array.of(0x10, 0x61, 0x01, 0x00, 0x50, 0x62, 0x63, 0x64, 0x65, 0x66);
  const frame = Uint8Array.of(10, 0, 0, 0, ...block);
  const back = unpacked(responseOf(frame, FrameCodec.FRAME_CODEC_LZ4));
  expect(Buffer.from(back.frame).toString()).toBe('aaaaabcdef');
});

test('small frames and those that do not shrink travel as they are', () => {
  const small = responseOf(LABELS.subarray(0, 4095));
  expect(packer.pack(small)).toBe(small);
  let state = 1;
  const noise = responseOf(
    Uint8Array.from({ length: 100_000 }, () => (state = (state * 48_271) % 0x7fffffff) & 255),
  );
  expect(packer.pack(noise)).toBe(noise);
  expect(unpacked(noise)).toBe(noise);
});

test('any frame at any place of a buffer comes back', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.nat(9000),
      fc.nat(7),
      (piece, length, offset) => {
        const source = Buffer.alloc(length + offset);
        for (let i = 0; i < length; i++) source[offset + i] = piece[i % piece.length]!;
        const frame = source.subarray(offset);
        expect(Buffer.compare(unpacked(packed(frame)).frame, frame)).toBe(0);
      },
    ),
  );
});

test.each([
  ['more than a block can stand for', 10_000 * 255 + 1, 10_000],
  ['more than a message may hold', LIMIT + 1, 100_000],
])('a frame that claims %s is refused before it is unpacked', (_, claim, bytes) => {
  const bomb = new Uint8Array(4 + bytes);
  new DataView(bomb.buffer).setUint32(0, claim, true);
  expect(() => unpacked(responseOf(bomb, FrameCodec.FRAME_CODEC_LZ4))).toThrow(/claims \d+, at most \d+/);
});

test('a codec of the future is named', () => {
  expect(() => unpacked(responseOf(LABELS, 7 as FrameCodec))).toThrow(/unknown codec 7/);
});

test('damaged blocks are refused, or give as many bytes as they claim', () => {
  const { frame } = packed(LABELS);
  fc.assert(
    fc.property(fc.nat(frame.length - 1), fc.nat(255), fc.nat(frame.length), (at, byte, length) => {
      const bytes = Uint8Array.from(frame);
      bytes[at] = byte;
      try {
        const cut = bytes.slice(0, length);
        const back = unpacked(responseOf(cut, FrameCodec.FRAME_CODEC_LZ4));
        expect(back.frame.length).toBe(new DataView(cut.buffer).getUint32(0, true));
      } catch (caught) {
        expect(caught).toBeInstanceOf(AppError);
        expect((caught as AppError).code).toBe('bad_data');
      }
    }),
    { numRuns: 1000 },
  );
});
