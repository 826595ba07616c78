// Series of a head as another thread of this process reads them: labels and closed chunks by their places in memory that both share,
// copies of what still changes. Plain data; the head's side of it is in tsdb/head (series-run-writer.ts, series-run-reader.ts).

/** Pages of a list that the reader of one answer does not know: they stand in it from number `from` on, one of them perhaps anew. */
export interface NewPages<Page> {
  readonly from: number;
  readonly pages: readonly Page[];
}

/** Chunks of one time range. */
export interface RunRange {
  /** Names the range among those of the answer. */
  readonly range: number;
  /** Unix ms: times in the pages are counted from it. */
  readonly startMs: number;
  /** Exclusive. */
  readonly endMs: number;
  /** The mean of all series that have closed chunks there. */
  readonly chunksPerSeries: number;
  readonly known: NewPages<Uint32Array<SharedArrayBuffer>>;
  readonly bytes: NewPages<Uint8Array<SharedArrayBuffer>>;
}

/** Some of the series of an answer; runs of one answer are read in order. What they refer to stays as it is until the answer's hold ends. */
export interface SeriesRun {
  readonly seriesCount: number;
  /** Chunks that overlap this are meant, Unix ms, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /**
   * Series after series: how many label pairs, their numbers, names ascending; how many ranges, and of each its number and the newest
   * chunk; bytes of the open chunk, 0 without one. Each series has a chunk that overlaps.
   */
  readonly words: Uint32Array<ArrayBuffer>;
  /** Open chunks one behind the other, in XOR encoding. */
  readonly open: Uint8Array<ArrayBuffer>;
  /** First and last time of each open chunk, Unix ms. */
  readonly openTimesMs: Float64Array<ArrayBuffer>;
  /** Where label pairs stand, and their bytes. */
  readonly pairPlaces: NewPages<Uint32Array<SharedArrayBuffer>>;
  readonly pairBytes: NewPages<Uint8Array<SharedArrayBuffer>>;
  readonly ranges: readonly RunRange[];
}

/** Keeps what runs refer to as it is. */
export interface RunHold {
  /** Ends it, once no thread reads the runs any more. Safe to call twice. */
  release(): void;
}

/** What a run takes of memory by itself. */
export function runBytes({ words, open, openTimesMs }: SeriesRun): number {
  return words.byteLength + open.byteLength + openTimesMs.byteLength;
}
