// The frame that chunks of start times and of exemplars have in common (docs/format/chunk-marks.md).
import { ByteReader, unzigzag } from '../../core/bytes.ts';
import { AppError, toAppError } from '../../core/errors.ts';

/**
 * Walks the entries of a chunk.
 *
 * @param what     For messages.
 * @param readRest  Reads what follows an entry's time.
 * @throws AppError `internal` when the bytes are not a whole chunk, or times descend.
 */
export function readMarkChunk(
  what: string,
  countMax: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  readRest: (reader: ByteReader, timeMs: number) => void,
): void {
  try {
    const reader = new ByteReader(bytes, start, end);
    const count = reader.varint();
    // Two bytes at least for each entry.
    if (count === 0 || count > countMax || count * 2 > reader.remaining) {
      throw new AppError('bad_data', `${count} entries in ${reader.remaining} bytes`);
    }
    let timeMs = 0;
    for (let i = 0; i < count; i++) {
      const previousMs = timeMs;
      timeMs += unzigzag(reader.varint());
      if (!Number.isSafeInteger(timeMs) || (i > 0 && timeMs < previousMs)) {
        throw new AppError('bad_data', `time ${timeMs} after ${previousMs}`);
      }
      readRest(reader, timeMs);
    }
    if (reader.remaining !== 0)
      throw new AppError('bad_data', `${reader.remaining} bytes behind its entries`);
  } catch (caught) {
    const error = toAppError(caught);
    throw new AppError('internal', `corrupt ${what} chunk: ${error.message}`, { cause: error });
  }
}
