// How a head keeps chunks that take no more samples: as the smaller of the XOR chunk that they were and a column chunk, which
// has a third of the bytes on what exporters send. The first byte says which: an XOR chunk begins with the upper byte of its
// count, which is 0 below 256 samples, a column chunk with the varint of its count, which never is.
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { ChunkEncoder, putConstantChunk } from '../chunk/chunk-encoder.ts';
import { decodeXorChunk, XOR_HEADER_BYTES, xorFirstTimeMs, xorSampleCount } from '../chunk/xor-decoder.ts';

/** Most samples of a chunk whose first byte says what it is. */
export const CLOSED_CHUNK_SAMPLES_MAX = 255;

/** Encoding of the closed chunk that begins at a place. */
export function closedChunkEncoding(bytes: Uint8Array, start: number): number {
  return bytes[start] === 0 ? CHUNK_XOR : CHUNK_COLUMNS;
}

/** Makes closed chunks; keeps its scratch. */
export class ClosedChunkEncoder {
  readonly #encoder = new ChunkEncoder(CLOSED_CHUNK_SAMPLES_MAX);
  readonly #columns = new SampleColumns(CLOSED_CHUNK_SAMPLES_MAX);
  readonly #out = new ByteWriter(4096);

  /** What the last call of `encode` left: bytes[0, length). */
  get bytes(): Uint8Array {
    return this.#out.bytes;
  }

  /**
   * Encodes a whole XOR chunk of at most CLOSED_CHUNK_SAMPLES_MAX samples again.
   *
   * @returns Bytes of the outcome, which is never longer than the chunk.
   *
   * Cost: 40 to 80 ns per sample, but next to nothing for what is constant: four chunks of five that exporters fill.
   */
  encode(chunk: Uint8Array, start: number, end: number): number {
    this.#out.reset();
    if (tryConstant(chunk, start, end, this.#out)) return this.#out.length;
    this.#out.reset();
    const columns = this.#columns;
    columns.count = 0;
    decodeXorChunk(chunk, start, end, columns);
    this.#encoder.encode(columns.timestampsMs, columns.values, 0, columns.count, this.#out);
    if (this.#out.length > end - start) {
      this.#out.reset();
      this.#out.raw(chunk, start, end);
    }
    return this.#out.length;
  }
}

/**
 * Writes the column chunk of an XOR chunk whose samples are all the same on a regular grid: behind the second one's time
 * there is a zero for its value, and two for each further sample.
 */
function tryConstant(chunk: Uint8Array, start: number, end: number, out: ByteWriter): boolean {
  const count = xorSampleCount(chunk, start);
  if (count < 3) return false;
  let at = start + XOR_HEADER_BYTES;
  while (chunk[at]! >= 128) at++;
  const valueAt = at + 1;
  at = valueAt + 8;
  let stepMs = 0;
  let factor = 1;
  for (;;) {
    const byte = chunk[at++]!;
    stepMs += (byte & 127) * factor;
    if (byte < 128) break;
    factor *= 128;
  }
  if (at + Math.ceil((2 * count - 3) / 8) !== end || stepMs > Number.MAX_SAFE_INTEGER / count) return false;
  for (; at < end; at++) if (chunk[at] !== 0) return false;
  const high = wordAt(chunk, valueAt);
  putConstantChunk(out, count, xorFirstTimeMs(chunk, start, end), stepMs, wordAt(chunk, valueAt + 4), high);
  return out.length <= end - start;
}

/** Four bytes, the most significant first. */
function wordAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
