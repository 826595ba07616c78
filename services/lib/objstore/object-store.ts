// What Tidemark needs of an object store, whoever offers it: whole objects under names, seen by readers all at once or not at all.

export interface ObjectEntry {
  readonly key: string;
  readonly sizeBytes: number;
  /** Changes when the object does; means nothing else. */
  readonly tag: string;
  /** When it was written, Unix milliseconds by the store's clock. */
  readonly modifiedMs: number;
}

/** What the store says of an object without reading it. */
export interface ObjectStat {
  readonly sizeBytes: number;
  /** CRC-32 of all bytes; undefined where the store does not know it. */
  readonly crc32: number | undefined;
}

/**
 * A right to remove, which ends. The store itself refuses a removal that reaches it after the end, by its own clock: whoever was stopped
 * after it had asked, or whose request was long on its way, has no effect any more.
 */
export interface RemovalRight {
  /** For how long from now nobody else can have it, by a monotonic clock, milliseconds; 0 when it is over, or has not begun. */
  leftMs(): number;
}

/** What an object must be after an upload. */
export interface ObjectDigest {
  readonly sizeBytes: number;
  /** CRC-32 of all bytes. */
  readonly crc32: number;
}

/**
 * Keys are relative: what they begin with in the bucket is the store's own business. Calls try again by themselves what may succeed later, and
 * throw AppError: `not_found` for an object that is not there, `unavailable` when the store cannot be reached or is busy, `bad_data` when it
 * refuses what was asked (credentials, permissions, no such bucket), or the signal's reason. Messages name bucket, key and remedy.
 */
export interface ObjectStore {
  /** For people: `s3://bucket/prefix`. */
  readonly name: string;
  put(key: string, bytes: Uint8Array, signal: AbortSignal): Promise<void>;
  /**
   * Uploads a file, in parts when it is large; nothing is seen of it before all of it is there. `onProgress` gets bytes that are there, and is
   * awaited: who wants it slower answers later.
   */
  putFile(
    key: string,
    file: { readonly path: string; readonly sizeBytes: number },
    onProgress: (doneBytes: number) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Size of the object as the store has it now, and its checksum where the store knows it. */
  statOf(key: string, signal: AbortSignal): Promise<ObjectStat>;
  /** Size and checksum as the store has the object now; where it does not know the checksum, the object is read. */
  digestOf(key: string, signal: AbortSignal): Promise<ObjectDigest>;
  /** A small object, whole. `resource_exhausted` when it is larger than `bytesMax`. */
  get(key: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Bytes [start, end) of an object, with one request: `end - start` is what the caller has memory for. */
  getRange(key: string, start: number, end: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Bytes from `start` to the end, in pieces as they come; goes on by itself where a connection breaks. */
  read(key: string, start: number, sizeBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** All objects whose key begins so, in the order of their keys. */
  list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectEntry>;
  /**
   * No error when it is not there. The right is asked before each attempt.
   *
   * @throws AppError `failed_precondition` when it is over: what comes after that has no effect.
   */
  remove(key: string, right: RemovalRight, signal: AbortSignal): Promise<void>;
}
