// gzip while the text is still being written: each piece is compressed as soon as it is there, several at a time in Node's
// pool. Pieces are deflated each for itself up to a flush, so that they stand one behind the other in a single gzip member
// (RFC 1952), which every client unpacks.
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw } from 'node:zlib';
import { GZIP_LEVEL } from './exchange.ts';

/** Of a piece: each costs 0.1 to 0.2 ms beside its compression, and what the last one takes is waited for. */
export const GZIP_PIECE_BYTES = 256 * 1024;

/** Pieces compressed at one time: the pool also syncs logs. */
const AT_ONCE_MAX = 2;
/** Magic, deflate, no flags, no time, fastest, unknown system. */
export const GZIP_HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
const deflateRawAsync = promisify(deflateRaw);

/** The end of a member: checksum and length of what was compressed. */
export function gzipTrailer(crc: number, bytes: number): Buffer<ArrayBuffer> {
  const trailer = Buffer.allocUnsafe(8);
  trailer.writeUInt32LE(crc, 0);
  trailer.writeUInt32LE(bytes % 2 ** 32, 4);
  return trailer;
}

export class GzipPieces {
  /** In order; each settles when its bytes may follow those before it. */
  readonly #pieces: Promise<Buffer>[] = [Promise.resolve(GZIP_HEADER)];
  #running = 0;
  /** Pieces whose turn has not come. */
  readonly #waiting: (() => void)[] = [];
  #crc = 0;
  #bytes = 0;

  /** Pieces that were not taken. */
  get pending(): number {
    return this.#pieces.length;
  }

  /** Begins to compress a piece, which must not change any more. */
  add(piece: Buffer): void {
    this.#push(piece, constants.Z_SYNC_FLUSH);
  }

  /** Adds the last piece, which may be empty, and the trailer. */
  finish(piece: Buffer): void {
    this.#push(piece, constants.Z_FINISH);
    this.#pieces.push(Promise.resolve(gzipTrailer(this.#crc, this.#bytes)));
  }

  /** The oldest piece; undefined when all were taken. */
  take(): Promise<Buffer> | undefined {
    return this.#pieces.shift();
  }

  #push(piece: Buffer, finishFlush: number): void {
    this.#crc = crc32(piece, this.#crc);
    this.#bytes += piece.length;
    const compressed = this.#compress(piece, finishFlush);
    // Whoever takes it learns of it; an answer that is given up takes no more.
    compressed.catch(() => undefined);
    this.#pieces.push(compressed);
  }

  async #compress(piece: Buffer, finishFlush: number): Promise<Buffer> {
    if (this.#running >= AT_ONCE_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      const chunkSize = Math.max(1024, piece.length >> 2);
      return await deflateRawAsync(piece, { level: GZIP_LEVEL, finishFlush, chunkSize });
    } finally {
      // The turn passes on, or ends.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
