// Encodes whole columns as one XOR chunk (docs/format/chunk-xor.md).
import { assert } from '../../core/assert.ts';
import type { ByteWriter } from '../../core/bytes.ts';
import {
  appendXorSample,
  putXorHeader,
  resetXorState,
  XOR_APPEND_BYTES_MAX,
  XOR_STATE_WORDS,
  xorStateBytes,
} from './xor-appender.ts';
import { XOR_SAMPLES_MAX } from './xor-decoder.ts';

/** Bytes of one chunk with `count` samples at most: 68 bits of time and 77 of value each, and the header. */
export function xorChunkBytesMax(count: number): number {
  return 20 + Math.ceil((count * 145) / 8) + XOR_APPEND_BYTES_MAX;
}

/**
 * Appends to `dst` one chunk with samples [from, to).
 *
 * @param timestampsMs  Unix ms, safe integers, strictly ascending in [from, to).
 * @param values        Kept bit for bit.
 * @param to            At most 65,535 above `from`.
 *
 * Cost: O(n), one small allocation.
 */
export function encodeXorChunk(
  timestampsMs: Float64Array,
  values: Float64Array,
  from: number,
  to: number,
  dst: ByteWriter,
): void {
  const count = to - from;
  assert(count >= 0 && count <= XOR_SAMPLES_MAX, `chunk of ${count} samples; 0 to ${XOR_SAMPLES_MAX} fit`);
  dst.reserve(xorChunkBytesMax(count));
  if (count === 0) {
    dst.u16(0);
    return;
  }
  const state = new Float64Array(XOR_STATE_WORDS / 2);
  const stateWords = new Uint32Array(state.buffer);
  resetXorState(stateWords, 0);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  const { bytes, view, length: at } = dst;
  for (let i = from; i < to; i++) {
    const timeMs = timestampsMs[i]!;
    // Not assert(): its message would be built for every sample.
    if (i > from && !(timeMs > timestampsMs[i - 1]!)) outOfOrder(i, timeMs);
    appendXorSample(
      stateWords,
      state,
      0,
      view,
      at,
      timestampsMs,
      i,
      words[2 * i]! | 0,
      words[2 * i + 1]! | 0,
    );
  }
  putXorHeader(stateWords, 0, bytes, at);
  dst.length = at + xorStateBytes(stateWords, 0);
}

function outOfOrder(index: number, timeMs: number): never {
  throw new Error(`assertion failed: sample ${index} at ${timeMs} ms is not after the one before`);
}
