// The chunks of a series decoded in WebAssembly, all of them by one call (README.md). What is in no usual form, or no chunk at all, is left to
// the decoders in JavaScript, which know what to say of it. All of it is over when a call returns: the one instance is room to compute in, and
// nobody's state.
import { compileWasm, type WasmGlobal, type WasmMemory } from '../../../core/web-assembly.ts';
import type { SampleColumns } from '../../../model/sample-columns.ts';
import { decodeChunk } from '../decode-chunk.ts';

/** What the sources in assembly/ export. */
interface KernelExports {
  readonly memory: WasmMemory;
  readonly OUTCOME: WasmGlobal;
  readonly CHUNKS: WasmGlobal;
  readonly CHUNKS_MAX: WasmGlobal;
  readonly BYTES: WasmGlobal;
  readonly BYTES_MAX: WasmGlobal;
  readonly TIMES: WasmGlobal;
  readonly VALUES: WasmGlobal;
  readonly SAMPLES_MAX: WasmGlobal;
  decodeChunks(chunks: number, minMs: number, maxMs: number): number;
}

const exports = compileWasm<KernelExports>(new URL('./kernel.wasm', import.meta.url))();
const { buffer } = exports.memory;
const CHUNKS_MAX = exports.CHUNKS_MAX.value;
const SAMPLES_MAX = exports.SAMPLES_MAX.value;
const BYTES = exports.BYTES.value;
const BYTES_END = BYTES + exports.BYTES_MAX.value;
/** Chunks done, first sample in range, samples in range, 1 where one is NaN. */
const outcome = new Uint32Array(buffer, exports.OUTCOME.value, 4);
const outcomeGapMs = new Float64Array(buffer, exports.OUTCOME.value + 16, 1);
/** Start, end and encoding of each chunk. */
const laid = new Uint32Array(buffer, exports.CHUNKS.value, 3 * CHUNKS_MAX);
const room = new Uint8Array(buffer);
const times = new Float64Array(buffer, exports.TIMES.value, SAMPLES_MAX);
/** Of the values. */
const words = new Uint32Array(buffer, exports.VALUES.value, 2 * SAMPLES_MAX);

/** So many bytes or samples are copied sooner than a view of them is made. */
const COPIED_BYTE_BY_BYTE = 64;
const COPIED_ONE_BY_ONE = 32;

/** Chunks by number, in bytes[start, end) of what they stand in. */
export interface ChunkColumns {
  readonly start: Uint32Array;
  readonly end: Uint32Array;
  readonly encoding: Uint8Array;
  bytesOf(chunk: number): Uint8Array;
}

/**
 * Appends the samples of floats that chunks hold within [minTimeMs, maxTimeMs], and perhaps some beyond; says of the columns what is known then.
 *
 * @param chunks  Numbers of the chunks, in the order of their times. The first `count` are meant.
 * @param into    May hold others already, which these need not be behind; nothing is said of it then.
 * @returns       False when times do not ascend strictly; `into` has got some of the samples then.
 * @throws AppError `internal` when a chunk is corrupt.
 *
 * Cost: 1 to 3 ns per sample, 50 to 100 for a chunk.
 */
export function decodeInOrder(
  table: ChunkColumns,
  chunks: Uint32Array,
  count: number,
  minTimeMs: number,
  maxTimeMs: number,
  into: SampleColumns,
): boolean {
  const first = into.count;
  let next = 0;
  while (next < count) {
    const at = into.count;
    const chunkCount = lay(table, chunks, next, count);
    if (exports.decodeChunks(chunkCount, minTimeMs, maxTimeMs) === 0) return false;
    const done = outcome[0]!;
    if (done > 0) {
      append(into);
      if (done === count && first === 0) {
        into.gapMs = outcomeGapMs[0]!;
        into.hasNaN = outcome[3] !== 0;
      }
      next += done;
    } else {
      const chunk = chunks[next++]!;
      decodeChunk(table.encoding[chunk]!, table.bytesOf(chunk), table.start[chunk]!, table.end[chunk]!, into);
    }
    if (at > first && into.count > at && !(into.timestampsMs[at]! > into.timestampsMs[at - 1]!)) return false;
  }
  return true;
}

/** Lays chunks from number `from` on into the kernel's memory, as many as there is room for, and answers how many. */
function lay(table: ChunkColumns, chunks: Uint32Array, from: number, to: number): number {
  const count = Math.min(to - from, CHUNKS_MAX);
  let at = BYTES;
  for (let i = 0; i < count; i++) {
    const chunk = chunks[from + i]!;
    const start = table.start[chunk]!;
    const end = table.end[chunk]!;
    const behind = at + end - start;
    if (behind > BYTES_END) return i;
    const bytes = table.bytesOf(chunk);
    if (end - start < COPIED_BYTE_BY_BYTE) for (let b = start; b < end; b++) room[at + b - start] = bytes[b]!;
    else room.set(bytes.subarray(start, end), at);
    laid[3 * i] = at;
    laid[3 * i + 1] = behind;
    laid[3 * i + 2] = table.encoding[chunk]!;
    at = behind;
  }
  return count;
}

/** What is in range of what was decoded. Values are copied as words: NaN payloads stay. */
function append(into: SampleColumns): void {
  const from = outcome[1]!;
  const found = outcome[2]!;
  const at = into.count;
  into.reserve(at + found);
  into.count = at + found;
  if (found > COPIED_ONE_BY_ONE) {
    into.timestampsMs.set(times.subarray(from, from + found), at);
    into.words.set(words.subarray(2 * from, 2 * (from + found)), 2 * at);
    return;
  }
  const toTimes = into.timestampsMs;
  const toWords = into.words;
  for (let i = 0; i < found; i++) toTimes[at + i] = times[from + i]!;
  for (let i = 0; i < 2 * found; i++) toWords[2 * at + i] = words[2 * from + i]!;
}
