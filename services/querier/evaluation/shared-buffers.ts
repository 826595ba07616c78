// Shared memory that queries of one thread use one after the other. V8 does not know its size and collects it late: without
// this, a process that evaluates large queries keeps a gigabyte that nobody uses.

/** Bytes that are kept for the next queries; what comes back beyond goes with V8's collections. */
const KEPT_BYTES_MAX = 128 * 2 ** 20;
/** A buffer is used for what fills this share of it at least. */
const USED_SHARE_MIN = 1 / 4;
const BUFFER_BYTES_MIN = 1 << 20;

export class SharedBuffers {
  /** Ascending by size. Invariant: together at most KEPT_BYTES_MAX. */
  readonly #kept: SharedArrayBuffer[] = [];
  #keptBytes = 0;

  /** A buffer of at least so many bytes, with anything in it. The caller gives it back, or lets go of it. */
  take(bytes: number): SharedArrayBuffer {
    const at = this.#kept.findIndex(({ byteLength }) => byteLength >= bytes);
    const found = this.#kept[at];
    if (found !== undefined && bytes >= found.byteLength * USED_SHARE_MIN) {
      this.#kept.splice(at, 1);
      this.#keptBytes -= found.byteLength;
      return found;
    }
    // Sizes an eighth apart, so that queries which are nearly alike find each other's.
    const grain = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1))) - 3);
    return new SharedArrayBuffer(Math.max(BUFFER_BYTES_MIN, Math.ceil(bytes / grain) * grain));
  }

  /** Gives a buffer back that no thread reads or writes any more. */
  give(buffer: SharedArrayBuffer): void {
    this.#kept.push(buffer);
    this.#keptBytes += buffer.byteLength;
    this.#kept.sort((a, b) => a.byteLength - b.byteLength);
    // The small ones are soon made again.
    while (this.#keptBytes > KEPT_BYTES_MAX) this.#keptBytes -= this.#kept.shift()!.byteLength;
  }
}

/** Hands out pieces of one buffer. */
export class SharedArena {
  readonly #buffer: SharedArrayBuffer;
  #used = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#buffer = buffer;
  }

  /** Bytes that a piece takes: pieces stand where numbers of 8 bytes may. */
  static sizeOf(bytes: number): number {
    return Math.ceil(bytes / 8) * 8;
  }

  bytes(source: Uint8Array): Uint8Array<SharedArrayBuffer> {
    const piece = new Uint8Array(this.#buffer, this.#advance(source.length), source.length);
    piece.set(source);
    return piece;
  }

  uint32(source: Uint32Array, count: number): Uint32Array<SharedArrayBuffer> {
    const piece = new Uint32Array(this.#buffer, this.#advance(count * 4), count);
    piece.set(source.subarray(0, count));
    return piece;
  }

  uint16(source: Uint16Array, count: number): Uint16Array<SharedArrayBuffer> {
    const piece = new Uint16Array(this.#buffer, this.#advance(count * 2), count);
    piece.set(source.subarray(0, count));
    return piece;
  }

  int32(source: Int32Array, count: number): Int32Array<SharedArrayBuffer> {
    const piece = new Int32Array(this.#buffer, this.#advance(count * 4), count);
    piece.set(source.subarray(0, count));
    return piece;
  }

  float64(source: Float64Array, count: number): Float64Array<SharedArrayBuffer> {
    const piece = new Float64Array(this.#buffer, this.#advance(count * 8), count);
    piece.set(source.subarray(0, count));
    return piece;
  }

  #advance(bytes: number): number {
    const at = this.#used;
    this.#used += SharedArena.sizeOf(bytes);
    return at;
  }
}
