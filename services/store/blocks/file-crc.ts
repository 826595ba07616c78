// The CRC-32 of a whole file, read piece by piece.
import { crc32 } from 'node:zlib';
import type { Disk } from '../../lib/core/disk.ts';

const PIECE_BYTES_MAX = 256 * 1024;

/**
 * Reads the file to its end.
 *
 * @param onPiece  Awaited after each piece, with its length: to count, or to slow down.
 * @throws the disk's error.
 */
export async function fileCrc(
  file: string,
  disk: Disk,
  onPiece: (length: number) => Promise<void> | undefined = () => undefined,
): Promise<number> {
  const handle = await disk.open(file, 'read');
  try {
    const bytes = new Uint8Array(Math.min(PIECE_BYTES_MAX, Math.max(1, await handle.size())));
    let crc = 0;
    for (let at = 0; ; ) {
      const count = await handle.read(bytes, 0, bytes.length, at);
      if (count === 0) return crc;
      crc = crc32(bytes.subarray(0, count), crc);
      at += count;
      await onPiece(count);
    }
  } finally {
    await handle.close();
  }
}
