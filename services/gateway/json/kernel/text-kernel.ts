// What long answers cost most, in WebAssembly (README.md): numbers as text, the samples of a series as JSON, the bits of a deflate block.
// All of it is over when a call returns: the one instance is room to compute in, and nobody's state.
import {
  compileWasm,
  WASM_PAGE_BYTES,
  type WasmGlobal,
  type WasmMemory,
} from '../../../lib/core/web-assembly.ts';
import type { Repeats } from '../repeats.ts';

/** What the sources in assembly/ export. */
interface KernelExports {
  readonly memory: WasmMemory;
  readonly SAMPLES_MAX: WasmGlobal;
  readonly SLOTS: WasmGlobal;
  readonly VALUES: WasmGlobal;
  readonly PLACES_BEFORE: WasmGlobal;
  readonly VALUES_BEFORE: WasmGlobal;
  readonly REPEAT_PLACES: WasmGlobal;
  readonly REPEAT_LENGTHS: WasmGlobal;
  readonly REPEAT_DISTANCES: WasmGlobal;
  readonly TEXT: WasmGlobal;
  readonly ROOM: WasmGlobal;
  readonly CODES: WasmGlobal;
  readonly written: WasmGlobal;
  readonly repeats: WasmGlobal;
  readonly held: WasmGlobal;
  readonly heldBits: WasmGlobal;
  putValue(to: number, value: number): number;
  putPairs(count: number, skip: number, start: number, notes: number): number;
  countSymbols(text: number, bytes: number, repeats: number, count: number): void;
  putSymbols(text: number, bytes: number, repeats: number, count: number, to: number): number;
  hold(bits: number, count: number): void;
}

/** Symbols of literals and runs, and of these and distances. */
const LITERALS = 286;
const SYMBOLS = LITERALS + 30;
/** The kernel stores whole words. */
const SLACK_BYTES = 64;

/** Bytes of a slot for the text of a time; at SLOT_LENGTH it has the text's length, at SLOT_COMMON how much of it begins the slot before. */
export const SLOT_BYTES = 32;
export const SLOT_LENGTH = 31;
export const SLOT_COMMON = 30;
/** The longest text of a time. */
export const SLOT_TEXT_MAX = 30;

/** Columns of the samples of one time grid, by place in the series; owned by whoever writes the answer. */
export interface TimeColumns {
  /** Texts of times, SLOT_BYTES each. */
  readonly slots: Uint8Array;
  /** Where each was written last, bytes since the beginning of the answer; −Infinity: nowhere. */
  readonly places: Float64Array;
  /** The value behind it then. */
  readonly values: Float64Array;
}

const exports = compileWasm<KernelExports>(new URL('./kernel.wasm', import.meta.url))();
const { SAMPLES_MAX, SLOTS, VALUES, PLACES_BEFORE, VALUES_BEFORE, TEXT, ROOM, CODES } = exports;
const { REPEAT_PLACES, REPEAT_LENGTHS, REPEAT_DISTANCES } = exports;

/** Views of the memory, which move when it grows. */
function viewsOf(buffer: ArrayBuffer) {
  const samples = SAMPLES_MAX.value;
  return {
    buffer,
    bytes: new Uint8Array(buffer),
    slots: new Uint8Array(buffer, SLOTS.value, SLOT_BYTES * samples),
    values: new Float64Array(buffer, VALUES.value, samples),
    placesBefore: new Float64Array(buffer, PLACES_BEFORE.value, samples),
    valuesBefore: new Float64Array(buffer, VALUES_BEFORE.value, samples),
    repeatPlaces: new Uint32Array(buffer, REPEAT_PLACES.value, 2 * samples),
    repeatLengths: new Uint32Array(buffer, REPEAT_LENGTHS.value, 2 * samples),
    repeatDistances: new Uint16Array(buffer, REPEAT_DISTANCES.value, 2 * samples),
    codes: new Uint32Array(buffer, CODES.value, SYMBOLS),
  };
}

let views = viewsOf(exports.memory.buffer);

/** Memory from ROOM on has so many bytes, afterwards. */
function reserve(bytes: number): void {
  const more = ROOM.value + bytes - views.buffer.byteLength;
  if (more <= 0) return;
  exports.memory.grow(Math.ceil(more / WASM_PAGE_BYTES));
  views = viewsOf(exports.memory.buffer);
}

/**
 * Writes a value's text at to[at, …), where 64 bytes are free, as formatValue has it.
 *
 * @returns  The position behind it; `at` for numbers with an exponent, which formatValue has to write.
 */
export function putValue(to: Uint8Array, at: number, value: number): number {
  const text = TEXT.value;
  const bytes = exports.putValue(text, value) - text;
  const from = views.bytes;
  for (let i = 0; i < bytes; i++) to[at + i] = from[text + i]!;
  return at + bytes;
}

/** What `putPairs` wrote: read at once. */
export interface Pairs {
  /** Samples; fewer than asked for where a value has an exponent. */
  readonly samples: number;
  readonly text: Uint8Array;
}

/** Most samples of one call of `putPairs`. */
export const PAIRS_MAX = SAMPLES_MAX.value;

/**
 * Writes the samples [from, end) of a series whose times stand in `columns`, each from the end of the one before to its value's last digit.
 *
 * @param values   Of the series. At most PAIRS_MAX of them are asked for.
 * @param skip     So many bytes of the first time's text are left out.
 * @param startAt  Where the text begins, bytes since the beginning of the answer.
 * @param repeats  Gets what stands before, places counted from `piecePlace`; undefined: it is not looked for.
 */
export function putPairs(
  columns: TimeColumns,
  values: Float64Array,
  from: number,
  end: number,
  skip: number,
  startAt: number,
  repeats: Repeats | undefined,
  piecePlace: number,
): Pairs {
  const count = end - from;
  const own = views;
  own.slots.set(columns.slots.subarray(SLOT_BYTES * from, SLOT_BYTES * end));
  own.values.set(values.subarray(from, end));
  own.placesBefore.set(columns.places.subarray(from, end));
  own.valuesBefore.set(columns.values.subarray(from, end));
  const bytes = exports.putPairs(count, skip, startAt, repeats === undefined ? 0 : 1);
  const samples = exports.written.value;
  columns.places.set(own.placesBefore.subarray(0, samples), from);
  columns.values.set(own.valuesBefore.subarray(0, samples), from);
  const found = exports.repeats.value;
  for (let i = 0; i < found; i++)
    repeats!.add(piecePlace + own.repeatPlaces[i]!, own.repeatLengths[i]!, own.repeatDistances[i]! + 1);
  return { samples, text: own.bytes.subarray(TEXT.value, TEXT.value + bytes) };
}

/** A text that stands in the kernel's memory, until the next call that is not about it. */
export interface LaidText {
  readonly text: number;
  readonly bytes: number;
  readonly repeats: number;
  readonly count: number;
  /** Where its symbols may be written. */
  readonly out: number;
}

/** Lays a text into the memory, with its repeats, and room for its symbols. */
export function layText(piece: Uint8Array, repeats: Repeats | undefined): LaidText {
  const count = repeats?.count ?? 0;
  const text = ROOM.value;
  const repeatsAt = text + Math.ceil((piece.length + SLACK_BYTES) / 8) * 8;
  const out = repeatsAt + Math.ceil((10 * count + SLACK_BYTES) / 8) * 8;
  // At most 15 bits for a byte; a repeat takes less than its bytes would.
  reserve(out - text + 2 * piece.length + 1024);
  const { buffer, bytes } = views;
  bytes.set(piece, text);
  if (repeats !== undefined) {
    new Uint32Array(buffer, repeatsAt, count).set(repeats.places.subarray(0, count));
    new Uint32Array(buffer, repeatsAt + 4 * count, count).set(repeats.lengths.subarray(0, count));
    new Uint16Array(buffer, repeatsAt + 8 * count, count).set(repeats.distances.subarray(0, count));
  }
  return { text, bytes: piece.length, repeats: repeatsAt, count, out };
}

/** How often each symbol occurs: literals and runs, then distances. Good until the next call. */
export function countSymbols({ text, bytes, repeats, count }: LaidText): Uint32Array {
  exports.countSymbols(text, bytes, repeats, count);
  return views.codes;
}

/** Bits of a stream that are no byte yet, fewer than 8. */
export interface HeldBits {
  readonly held: number;
  readonly heldBits: number;
}

/**
 * The text's symbols and the end of the block, behind bits that are held.
 *
 * @param codes  Bits of each symbol, lowest first, and from bit 16 on how many; as `countSymbols` has them.
 * @returns      Whole bytes, good until the next call, and what is no byte yet.
 */
export function putSymbols(
  laid: LaidText,
  literals: Uint32Array,
  distances: Uint32Array,
  before: HeldBits,
): HeldBits & { readonly bytes: Uint8Array } {
  const { text, bytes, repeats, count, out } = laid;
  const { codes } = views;
  codes.set(literals.subarray(0, LITERALS));
  codes.set(distances, LITERALS);
  exports.hold(before.held, before.heldBits);
  const length = exports.putSymbols(text, bytes, repeats, count, out);
  return {
    bytes: views.bytes.subarray(out, out + length),
    held: exports.held.value,
    heldBits: exports.heldBits.value,
  };
}
