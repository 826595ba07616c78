// The byte work of decoding in WebAssembly: one module, compiled once; each kernel is an instance with a memory of its own, whose
// first bytes are the columns of known-series.ts and the rest its owner's. What it computes, and why not in JavaScript: README.md.
import { readFileSync } from 'node:fs';

/** As much of the runtime's WebAssembly as is used here: its types come with those of browsers only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

interface Global {
  value: number;
}

const module = new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)));

const PAGE_BYTES = 65_536;

/** What the sources in assembly/ export. Addresses and counts are unsigned; as results and globals they come as signed numbers. */
interface KernelExports {
  readonly memory: Memory;
  readonly ROOM: Global;
  readonly TAKEN_MAX: Global;
  readonly REFERENCES: Global;
  readonly TIMESTAMPS: Global;
  readonly VALUES: Global;
  readonly ENTRY_BYTES: Global;
  readonly FAULT_LENGTH_TRUNCATED: Global;
  readonly FAULT_LITERAL_TRUNCATED: Global;
  readonly FAULT_COPY_TRUNCATED: Global;
  readonly FAULT_OFFSET: Global;
  readonly FAULT_OVERRUN: Global;
  readonly FAULT_SHORT: Global;
  readonly faultAt: Global;
  readonly faultDecoded: Global;
  readonly faultNumber: Global;
  readonly next: Global;
  readonly before: Global;
  readonly taken: Global;
  readonly ownNext: Global;
  decodeElements(start: number, end: number, to: number, declared: number): number;
  layTable(at: number, count: number, end: number): void;
  takeKnown(start: number, end: number): number;
  rememberKnown(entry: number, start: number, end: number, reference: number): void;
}

/** An instance and its memory. Not for two owners at a time. */
export class WireKernel {
  readonly exports: KernelExports;
  /** The whole memory; another array once it has grown. */
  bytes: Uint8Array<ArrayBuffer>;

  /** @param roomBytes  Of memory from `room` on. What is not used of it takes no place in the machine's memory. */
  constructor(roomBytes: number) {
    this.exports = new WebAssembly.Instance(module).exports as KernelExports;
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
    memory.grow(Math.ceil(more / PAGE_BYTES));
    this.bytes = new Uint8Array(memory.buffer);
  }
}
