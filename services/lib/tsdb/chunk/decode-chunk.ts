// The one place that knows which decoder a chunk's encoding means.
import { ByteReader } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import type { SampleColumns } from '../../model/sample-columns.ts';
import { decodeColumnsChunk } from './columns-decoder.ts';
import { decodeXorChunk, XOR_HEADER_BYTES, xorSampleCount } from './xor-decoder.ts';

/** True for encodings that `decodeChunk` takes. */
export function isChunkEncoding(encoding: number): boolean {
  return encoding === CHUNK_XOR || encoding === CHUNK_COLUMNS;
}

/**
 * Decodes one chunk of float samples and appends them to caller-owned columns.
 *
 * @param encoding  CHUNK_XOR or CHUNK_COLUMNS, as it came with the chunk.
 * @param bytes     Holds the chunk in bytes[start, end). Read only, not retained.
 * @param into      Grows by the chunk's samples; timestamps of one chunk ascend strictly.
 * @throws AppError `internal` when the bytes are not a whole chunk or the encoding is unknown.
 */
export function decodeChunk(
  encoding: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  into: SampleColumns,
): void {
  if (encoding === CHUNK_COLUMNS) decodeColumnsChunk(bytes, start, end, into);
  else if (encoding === CHUNK_XOR) decodeXorChunk(bytes, start, end, into);
  else throw new AppError('internal', `unknown chunk encoding ${encoding}: written by a newer version?`);
}

/**
 * Samples that a chunk of floats says it holds; the rest of it is not looked at.
 *
 * @throws AppError `bad_data` or `internal` when not even the count is there, or the encoding is not one of floats.
 */
export function chunkSampleCount(encoding: number, bytes: Uint8Array, start: number, end: number): number {
  if (encoding === CHUNK_COLUMNS) return new ByteReader(bytes, start, end).varint();
  if (encoding !== CHUNK_XOR || end - start < XOR_HEADER_BYTES) {
    throw new AppError('internal', `no samples of encoding ${encoding} in ${end - start} bytes`);
  }
  return xorSampleCount(bytes, start);
}
