// How engines hand over series and compressed chunks without an object per chunk: they call, the receiver copies.

/** Encodings of chunk bytes. Numbers are part of our wire and disk formats. */
export const CHUNK_XOR = 1;
/** Times and values as packed integers: what sealed blocks hold (tsdb/docs/format/chunk-columns.md). */
export const CHUNK_COLUMNS = 2;
/** Native histogram samples (tsdb/docs/format/chunk-histograms.md). */
export const CHUNK_HISTOGRAMS = 3;
/** When the series' samples began to count (tsdb/docs/format/chunk-marks.md). No samples. */
export const CHUNK_START_TIMES = 4;
/** Exemplars of the series (the same document). No samples; only handed over where they are asked for. */
export const CHUNK_EXEMPLARS = 5;
/** What stands for float samples that were downsampled (tsdb/docs/format/chunk-aggregates.md). */
export const CHUNK_AGGREGATES = 6;
/** How many histograms each one stands for that downsampling kept (the same document). No samples. */
export const CHUNK_WEIGHTS = 7;

/** True for encodings that this version knows. */
export function isKnownEncoding(encoding: number): boolean {
  return encoding >= CHUNK_XOR && encoding <= CHUNK_WEIGHTS;
}

/** Receives series one after another, each followed by its chunks. Byte ranges are only valid during the call. */
export interface ChunkSink {
  /** Begins a series: canonical label bytes (model/labels.ts) in bytes[start, end). */
  beginSeries(bytes: Uint8Array, start: number, end: number): void;
  /**
   * One chunk of the series begun last, in bytes[start, end).
   *
   * @param encoding   CHUNK_….
   * @param minTimeMs  First sample's time. Chunks of a series come ascending by it, but may overlap.
   * @param maxTimeMs  Last sample's time; of start times, that of the last sample that they may hold for.
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
