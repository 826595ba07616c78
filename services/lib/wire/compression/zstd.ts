// One zstd frame (RFC 8878), decompressed by Node under bounds: what its header declares is looked at before anything is
// allocated, and what comes out is counted while it comes. Only what senders of remote write make is taken: a single frame
// without a dictionary.
import { constants, zstdDecompressSync } from 'node:zlib';
import { AppError } from '../../core/errors.ts';

const MAGIC = 0xfd2fb528;
/** Magic, descriptor, and at least one byte of window or content size. */
const HEADER_BYTES_MIN = 6;
/** Bytes of the content size by its flag; without window a size is there in any case. */
const SIZE_BYTES: readonly number[] = [0, 2, 4, 8];
/** Output grows in pieces of this size where the frame does not say how large it is, or says more than is likely. */
const PIECE_BYTES = 256 * 1024;
const LIKELY_GROWTH = 16;

/** What a frame's header says. */
export interface ZstdFrameHeader {
  /** Bytes of the content; undefined when the frame does not say. */
  readonly contentBytes: number | undefined;
  /** Memory that its decoder has to keep, bytes. */
  readonly windowBytes: number;
}

/**
 * Reads the header, without decoding anything.
 *
 * @throws AppError `bad_data` when it is not the header of a frame that this file takes.
 */
export function readZstdFrameHeader(src: Uint8Array): ZstdFrameHeader {
  const view = new DataView(src.buffer, src.byteOffset, src.byteLength);
  if (src.length < HEADER_BYTES_MIN) throw malformed(`${src.length} bytes are no frame`);
  const magic = view.getUint32(0, true);
  if (magic !== MAGIC)
    throw malformed(`it begins with 0x${magic.toString(16)}, not with 0x${MAGIC.toString(16)}`);
  const descriptor = src[4]!;
  if ((descriptor & 8) !== 0) throw malformed('a reserved bit of its descriptor is set');
  if ((descriptor & 3) !== 0) throw malformed('it needs a dictionary, and there is none');
  const isSingle = (descriptor & 32) !== 0;
  const sizeBytes = isSingle && descriptor >>> 6 === 0 ? 1 : SIZE_BYTES[descriptor >>> 6]!;
  const sizeAt = isSingle ? 5 : 6;
  if (sizeAt + sizeBytes > src.length) throw malformed('its header is truncated');
  const contentBytes = readSize(view, sizeAt, sizeBytes);
  return { contentBytes, windowBytes: isSingle ? (contentBytes ?? 0) : windowOf(src[5]!) };
}

function readSize(view: DataView, at: number, bytes: number): number | undefined {
  switch (bytes) {
    case 1:
      return view.getUint8(at);
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    case 8:
      return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    default:
      return undefined;
  }
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + (base / 8) * (descriptor & 7);
}

/**
 * Decompresses a body that is one frame.
 *
 * @param src       Read only, not retained.
 * @param bytesMax  Neither content nor window may be larger.
 * @returns         The content, owned by the caller.
 * @throws AppError `resource_exhausted` over `bytesMax`, before it is allocated where the header says so; `bad_data` for
 *         anything that is not one whole frame, bytes behind it included.
 *
 * Cost: O(content), and 30 µs for the decoder's own tables.
 */
export function decompressZstd(src: Uint8Array, bytesMax: number): Uint8Array {
  const { contentBytes, windowBytes } = readZstdFrameHeader(src);
  if (contentBytes !== undefined && contentBytes > bytesMax)
    throw tooLarge(`to ${contentBytes} bytes`, bytesMax);
  if (windowBytes > bytesMax) throw tooLarge(`with a window of ${windowBytes} bytes`, bytesMax);
  const likely = Math.max(PIECE_BYTES, src.length * LIKELY_GROWTH);
  const chunkSize = contentBytes === undefined ? PIECE_BYTES : Math.max(64, Math.min(contentBytes, likely));
  const { content, consumed } = decode(src, bytesMax, chunkSize);
  if (contentBytes !== undefined && content.length !== contentBytes) {
    throw malformed(`${content.length} bytes came out, its header says ${contentBytes}`);
  }
  if (consumed !== src.length) throw malformed(`${src.length - consumed} bytes follow its frame`);
  return content;
}

function decode(
  src: Uint8Array,
  bytesMax: number,
  chunkSize: number,
): { content: Uint8Array; consumed: number } {
  try {
    // With `info` the answer has the engine, which knows how much it read; the types of Node do not say so.
    const { buffer, engine } = zstdDecompressSync(src, {
      maxOutputLength: bytesMax,
      chunkSize,
      info: true,
      params: { [constants.ZSTD_d_windowLogMax]: 31 },
    }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    return { content: buffer, consumed: engine.bytesWritten };
  } catch (caught) {
    const code = caught instanceof Error && 'code' in caught ? caught.code : undefined;
    if (code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(`to more than ${bytesMax} bytes`, bytesMax);
    const reason = caught instanceof Error ? caught.message : String(caught);
    throw malformed(reason, caught);
  }
}

function tooLarge(what: string, bytesMax: number): AppError {
  return new AppError(
    'resource_exhausted',
    `the request decompresses ${what}, the limit decodedBytesMax is ${bytesMax}; send fewer samples per request (max_samples_per_send)`,
  );
}

function malformed(what: string, cause?: unknown): AppError {
  return new AppError('bad_data', `malformed zstd body: ${what}`, { cause });
}
