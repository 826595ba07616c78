// How engines hand over series and compressed chunks without an object per chunk: they call, the receiver copies.

/** Encodings of chunk bytes. Numbers are part of our wire and disk formats. */
export const CHUNK_XOR = 1;
/** Times and values as packed integers: what sealed blocks hold (tsdb/docs/format/chunk-columns.md). */
export const CHUNK_COLUMNS = 2;

/** Receives series one after another, each followed by its chunks. Byte ranges are only valid during the call. */
export interface ChunkSink {
  /** Begins a series: canonical label bytes (model/labels.ts) in bytes[start, end). */
  beginSeries(bytes: Uint8Array, start: number, end: number): void;
  /**
   * One chunk of the series begun last, in bytes[start, end).
   *
   * @param encoding   CHUNK_XOR or CHUNK_COLUMNS.
   * @param minTimeMs  First sample's time. Chunks of a series come ascending by it, but may overlap.
   * @param maxTimeMs  Last sample's time.
   */
  chunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void;
}
