// Series frames as LZ4 blocks between processes: their labels repeat, their chunks hardly do. Undone before anybody reads the
// message, and never done inside one process. Layout: FrameCodec in proto/tidemark/v1/read.proto.
import { compressSync, uncompressSync } from 'lz4-napi';
import { AppError } from '../../core/errors.ts';
import { FrameCodec, SelectResponse } from '../../wire/gen/tidemark/v1/read.ts';

/** Smaller frames save less than the two calls cost (7 µs and 3 µs measured, whatever the size). */
const FRAME_BYTES_MIN = 4096;
/** A frame that does not shrink by an eighth travels as it is: its reader is spared the work. */
const SAVED_MIN = 1 / 8;
/** Length of the frame, before the block. */
const HEAD_BYTES = 4;
/** The format's own limit: a byte of a block stands for 255 bytes at most. */
const EXPANSION_MAX = 255;

/** What makes messages smaller before they are sent, and undoes it. */
export interface MessagePacker {
  pack(message: unknown): unknown;
  unpack(message: unknown): unknown;
}

/** The packer of a message type; undefined where messages travel as they are. */
export function packerOf(messageType: unknown, messageBytesMax: number): MessagePacker | undefined {
  if (messageType !== SelectResponse) return undefined;
  return {
    pack: (message) => packFrame(message as SelectResponse),
    unpack: (message) => unpackFrame(message as SelectResponse, messageBytesMax),
  };
}

function packFrame(message: SelectResponse): SelectResponse {
  const { frame } = message;
  if (frame.length < FRAME_BYTES_MIN) return message;
  const packed = compressSync(Buffer.from(frame.buffer, frame.byteOffset, frame.length));
  if (packed.length > frame.length * (1 - SAVED_MIN)) return message;
  return { ...message, frame: packed, codec: FrameCodec.FRAME_CODEC_LZ4 };
}

/**
 * @throws AppError `bad_data` when the block is damaged, or claims more than it can hold or than a message may: nothing is
 *         allocated for it then.
 */
function unpackFrame(message: SelectResponse, messageBytesMax: number): SelectResponse {
  const { frame, codec = FrameCodec.FRAME_CODEC_UNSPECIFIED } = message;
  if (codec === FrameCodec.FRAME_CODEC_UNSPECIFIED) return message;
  if (codec !== FrameCodec.FRAME_CODEC_LZ4) {
    throw new AppError('bad_data', `a series frame of unknown codec ${codec}; update this process first`);
  }
  const size = frame.length < HEAD_BYTES ? -1 : sizeOf(frame);
  const sizeMax = Math.min(messageBytesMax, (frame.length - HEAD_BYTES) * EXPANSION_MAX);
  if (size < 0 || size > sizeMax) {
    throw new AppError(
      'bad_data',
      `a packed series frame of ${frame.length} bytes claims ${size}, at most ${sizeMax}`,
    );
  }
  let unpacked: Buffer;
  try {
    unpacked = uncompressSync(frame);
  } catch (cause) {
    throw new AppError('bad_data', `a packed series frame of ${frame.length} bytes is damaged`, { cause });
  }
  if (unpacked.length !== size) {
    throw new AppError(
      'bad_data',
      `a packed series frame has ${unpacked.length} bytes, not the ${size} that it claims`,
    );
  }
  return { ...message, frame: unpacked, codec: undefined };
}

function sizeOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset, HEAD_BYTES).getUint32(0, true);
}
