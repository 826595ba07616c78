// Writes a frozen range out: series by series, samples merged and cut into chunks anew, so that the outcome depends on the
// set of samples only and not on how they came.
import { ByteWriter } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { SeriesChunker, SeriesSamples } from '../chunk/series-samples.ts';
import type { Head } from './head.ts';
import { type HeadMask, hideInRange } from './masked-series.ts';
import type { RangeChunks } from './range-chunks.ts';

/** Where a sealed range goes: a block builder. Byte ranges are valid during the call. */
export interface SealSink {
  addSeries(bytes: Uint8Array, start: number, end: number, partition: number): void;
  addChunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    sampleCount: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void;
}

/**
 * Samples per chunk in blocks. Part of what makes equal content equal blocks, so never configurable. Two hours at the
 * usual 15 s are 480: one chunk. The bound keeps what a short query must decode small where scrapes are more frequent.
 */
export const BLOCK_CHUNK_SAMPLES = 960;
const SLICE_MS = 8;

/**
 * Hands all series of a frozen range to the sink, in no particular order. Yields every few milliseconds of work; appends
 * may go on in between. Series of a frozen range cannot leave the head before the range. What deletes hide is left out.
 *
 * @param keeps  False for partitions that are left out.
 * @throws AppError `internal` when a chunk in memory is corrupt.
 */
export function* sealRange(
  head: Head,
  range: RangeChunks,
  clock: Clock,
  sink: SealSink,
  masks: readonly HeadMask[] = [],
  keeps: (partition: number) => boolean = () => true,
): Generator<void> {
  const series = new SeriesSamples();
  const labels = new ByteWriter(1024);
  const chunker = new SeriesChunker(BLOCK_CHUNK_SAMPLES);
  let sliceEndsMs = clock.monotonicMs() + SLICE_MS;
  for (const id of range.seriesIds()) {
    if (clock.monotonicMs() >= sliceEndsMs) {
      yield;
      sliceEndsMs = clock.monotonicMs() + SLICE_MS;
    }
    const partition = head.partitionOf(id);
    if (!keeps(partition)) continue;
    series.clear();
    range.readSeries(id, series.floats);
    range.extras?.readSeries(id, series);
    head.startTimes.read(id, series.startTimes);
    labels.reset();
    head.index.writeLabels(id, labels);
    if (masks.length > 0) hideInRange(series, masks, range, labels.bytes, labels.length);
    series.settle();
    sink.addSeries(labels.bytes, 0, labels.length, partition);
    chunker.emit(series, sink.addChunk.bind(sink));
  }
}
