// The one place that knows which decoder a chunk's encoding means.
import { AppError } from '../../core/errors.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import type { SampleColumns } from '../../model/sample-columns.ts';
import { decodeColumnsChunk } from './columns-decoder.ts';
import { decodeXorChunk } from './xor-decoder.ts';

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
