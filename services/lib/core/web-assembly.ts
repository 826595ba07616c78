// As much of the runtime's WebAssembly as kernels use: its types come with those of browsers only.
import { readFileSync } from 'node:fs';

declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

/** Memory grows by pages of so many bytes. */
export const WASM_PAGE_BYTES = 65_536;

/** A module's memory. Growing detaches the buffer: views on it from before are of length 0 afterwards. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

/** A number that a module exports; what is a variable in its source can be set. */
export interface WasmGlobal {
  value: number;
}

/**
 * Compiles a module that imports nothing.
 *
 * @returns Makes an instance with a memory of its own; what it exports, as whoever calls knows it.
 * @throws  Error when the file cannot be read or is no module: the installation is damaged.
 */
export function compileWasm<Exports>(file: URL): () => Exports {
  const module = new WebAssembly.Module(readFileSync(file));
  return () => new WebAssembly.Instance(module).exports as Exports;
}
