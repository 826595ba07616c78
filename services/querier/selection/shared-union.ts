// A union as threads share it: columns and frames in shared memory.

/** Columns of its chunks, one element for each. */
export interface SharedChunks {
  readonly frame: Uint32Array<SharedArrayBuffer>;
  readonly start: Uint32Array<SharedArrayBuffer>;
  readonly end: Uint32Array<SharedArrayBuffer>;
  readonly minMs: Float64Array<SharedArrayBuffer>;
  readonly maxMs: Float64Array<SharedArrayBuffer>;
  readonly encoding: Uint8Array<SharedArrayBuffer>;
  readonly next: Int32Array<SharedArrayBuffer>;
  /** The rank of its replica. Absent where no series has one. */
  readonly replica?: Uint16Array<SharedArrayBuffer>;
}

/** A sorted union that other threads can read: everything is in shared memory. */
export interface SharedUnion {
  readonly frames: readonly Uint8Array<SharedArrayBuffer>[];
  readonly order: Uint32Array<SharedArrayBuffer>;
  readonly series: {
    readonly frame: Uint32Array<SharedArrayBuffer>;
    readonly labelStart: Uint32Array<SharedArrayBuffer>;
    readonly labelEnd: Uint32Array<SharedArrayBuffer>;
    readonly firstChunk: Int32Array<SharedArrayBuffer>;
  };
  readonly chunks: SharedChunks;
  readonly hasExtras: boolean;
  readonly coarsestMs: number;
}
