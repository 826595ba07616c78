// Lists of block ids as bytes: sixteen for each, since a merged block names hundreds of sealed ones.
import { AppError } from '../../lib/core/errors.ts';

const ID_BYTES = 16;

export function packIds(ids: readonly string[]): Buffer {
  return Buffer.from(ids.join(''), 'hex');
}

/** @throws AppError `bad_data` when the bytes are no list of ids. */
export function unpackIds(bytes: Uint8Array): string[] {
  if (bytes.length % ID_BYTES !== 0) {
    throw new AppError(
      'bad_data',
      `a list of block ids has ${bytes.length} bytes, no multiple of ${ID_BYTES}`,
    );
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
  return Array.from({ length: bytes.length / ID_BYTES }, (_, i) => text.slice(32 * i, 32 * i + 32));
}
