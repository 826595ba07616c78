// One page: a fixed number of raw bytes of a section, stored as they are or as zstd, behind a CRC.
import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { AppError } from '../../core/errors.ts';
import { PAGE_HEADER_BYTES, PAGE_STORED, PAGE_ZSTD } from './block-format.ts';

/** Below this a page is stored as it is: a zstd call costs more than it can save. */
const COMPRESS_BYTES_MIN = 512;
/** Over 1, 3 saves 6 % of XOR chunks and 1 % of column chunks; 5 would save little more and take three times as long. */
const ZSTD_LEVEL = 3;

/** The page as it stands in the file. */
export function encodePage(raw: Uint8Array): Uint8Array<ArrayBuffer> {
  const packed = raw.length < COMPRESS_BYTES_MIN ? undefined : compress(raw);
  const codec = packed === undefined ? PAGE_STORED : PAGE_ZSTD;
  const payload = packed ?? raw;
  const page = new Uint8Array(PAGE_HEADER_BYTES + payload.length);
  page[4] = codec;
  page.set(payload, PAGE_HEADER_BYTES);
  new DataView(page.buffer).setUint32(0, crc32(page.subarray(4)), true);
  return page;
}

/** Undefined unless at least a sixteenth is saved. */
function compress(raw: Uint8Array): Uint8Array | undefined {
  const packed = zstdCompressSync(raw, {
    params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL },
    chunkSize: raw.length + 256,
  });
  return packed.length <= raw.length - (raw.length >>> 4) ? packed : undefined;
}

/**
 * Checks and expands the page in file[start, end).
 *
 * @param rawBytes  What it must expand to; nothing larger is allocated.
 * @param where     For messages: file, section and page.
 * @returns         The raw bytes; may be a view of `file`.
 * @throws AppError `internal` when a bit is wrong: the block must not be served.
 */
export function decodePage(
  file: Uint8Array,
  start: number,
  end: number,
  rawBytes: number,
  where: string,
): Uint8Array {
  const checked = file.subarray(start + 4, end);
  const stated =
    (file[start]! | (file[start + 1]! << 8) | (file[start + 2]! << 16) | (file[start + 3]! << 24)) >>> 0;
  const actual = crc32(checked);
  if (stated !== actual) {
    throw corruptBlock(where, `its CRC is ${actual.toString(16)}, written was ${stated.toString(16)}`);
  }
  const codec = checked[0]!;
  const payload = checked.subarray(1);
  if (codec === PAGE_STORED) {
    if (payload.length !== rawBytes)
      throw corruptBlock(where, `${payload.length} bytes, expected ${rawBytes}`);
    return payload;
  }
  if (codec !== PAGE_ZSTD) throw corruptBlock(where, `unknown codec ${codec}`);
  return expand(payload, rawBytes, where);
}

function expand(payload: Uint8Array, rawBytes: number, where: string): Uint8Array {
  let raw: Uint8Array;
  try {
    // Room for one more: a buffer that is full makes zlib ask for another. A view of a Buffer takes far longer than of plain bytes.
    const expanded = zstdDecompressSync(payload, {
      maxOutputLength: rawBytes,
      chunkSize: Math.max(64, rawBytes + 1),
    });
    raw = new Uint8Array(expanded.buffer, expanded.byteOffset, expanded.length);
  } catch (cause) {
    throw corruptBlock(where, 'zstd cannot expand it', cause);
  }
  if (raw.length !== rawBytes)
    throw corruptBlock(where, `expands to ${raw.length} bytes, expected ${rawBytes}`);
  return raw;
}

/** What a reader throws on a damaged block. */
export class CorruptBlockError extends AppError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('internal', message, options);
    this.name = 'CorruptBlockError';
  }
}

export function corruptBlock(where: string, why: string, cause?: unknown): CorruptBlockError {
  return new CorruptBlockError(`${where} is corrupt: ${why}`, cause === undefined ? undefined : { cause });
}
