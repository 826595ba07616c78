// The byte work of decoding in WebAssembly: one module, compiled once; each kernel is an instance with a memory of its own, whose
// first bytes are the columns of known-series.ts and the rest its owner's. What it computes, and why not in JavaScript: README.md.
import { compileWasm, WASM_PAGE_BYTES, type WasmGlobal, type WasmMemory } from '../../core/web-assembly.ts';

/** What the sources in assembly/ export. Addresses and counts are unsigned; as results and globals they come as signed numbers. */
interface KernelExports {
  readonly memory: WasmMemory;
  readonly ROOM: WasmGlobal;
  readonly TAKEN_MAX: WasmGlobal;
  readonly REFERENCES: WasmGlobal;
  readonly TIMESTAMPS: WasmGlobal;
  readonly VALUES: WasmGlobal;
  readonly ENTRY_BYTES: WasmGlobal;
  readonly FAULT_LENGTH_TRUNCATED: WasmGlobal;
  readonly FAULT_LITERAL_TRUNCATED: WasmGlobal;
  readonly FAULT_COPY_TRUNCATED: WasmGlobal;
  readonly FAULT_OFFSET: WasmGlobal;
  readonly FAULT_OVERRUN: WasmGlobal;
  readonly FAULT_SHORT: WasmGlobal;
  readonly faultAt: WasmGlobal;
  readonly faultDecoded: WasmGlobal;
  readonly faultNumber: WasmGlobal;
  readonly next: WasmGlobal;
  readonly before: WasmGlobal;
  readonly taken: WasmGlobal;
  readonly ownNext: WasmGlobal;
  decodeElements(start: number, end: number, to: number, declared: number): number;
  layTable(at: number, count: number, end: number): void;
  takeKnown(start: number, end: number): number;
  rememberKnown(entry: number, start: number, end: number, reference: number): void;
  readonly refusedAt: WasmGlobal;
  readonly logTimesEnd: WasmGlobal;
  readReferences(start: number, end: number, count: number, to: number): number;
  readTimes(
    start: number,
    end: number,
    counts: number,
    sections: number,
    base: number,
    limit: number,
    to: number,
    log: number,
  ): number;
  readValues(start: number, end: number, count: number, to: number): number;
  putReferences(from: number, count: number, to: number): number;
  putTimes(
    from: number,
    ends: number,
    partitions: number,
    base: number,
    limit: number,
    to: number,
    byteEnds: number,
  ): number;
  putValues(from: number, ends: number, partitions: number, to: number, byteEnds: number): number;
}

const instantiate = compileWasm<KernelExports>(new URL('./kernel.wasm', import.meta.url));

/** An instance and its memory. Not for two owners at a time. */
export class WireKernel {
  readonly exports: KernelExports;
  /** The whole memory; another array once it has grown. */
  bytes: Uint8Array<ArrayBuffer>;

  /** @param roomBytes  Of memory from `room` on. What is not used of it takes no place in the machine's memory. */
  constructor(roomBytes: number) {
    this.exports = instantiate();
    this.bytes = new Uint8Array(this.exports.memory.buffer);
    this.grow(this.room + roomBytes);
  }

  /** Where the owner's memory begins. */
  get room(): number {
    return this.exports.ROOM.value;
  }

  /** Makes the memory at least so large. Views on it from before are of length 0 afterwards. */
  grow(bytes: number): void {
    const { memory } = this.exports;
    const more = bytes - memory.buffer.byteLength;
    if (more <= 0) return;
    memory.grow(Math.ceil(more / WASM_PAGE_BYTES));
    this.bytes = new Uint8Array(memory.buffer);
  }
}
