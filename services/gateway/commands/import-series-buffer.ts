// Samples that come in any order, collected and grouped by series before they are sent: a log and an exposition name a
// different series with each sample. Contents are bytes of request fields, nothing is made per sample.
import { ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { HistogramParts } from '../../lib/model/histogram-parts.ts';
import {
  putExemplar,
  putHistogram,
  putLabels,
  putSample,
  type RequestCollector,
  SERIES_BYTES_TARGET,
} from './import-request.ts';

/** Entries between two flushes; each is 20 bytes and more. */
const ENTRIES_MAX = 1 << 19;
const CONTENT_BYTES_MAX = 64 << 20;
/** Labels of all series that are known at a time. */
const LABEL_BYTES_MAX = 1 << 30;

const SAMPLE = 0;
const HISTOGRAM = 1;
const EXEMPLAR = 2;

export class SeriesBuffer {
  readonly #labels = new ByteWriter(1 << 16);
  #labelEnds = new Float64Array(1024);
  #seriesCount = 0;
  readonly #contents = new ByteWriter(1 << 20);
  readonly #series = new Uint32Array(ENTRIES_MAX);
  readonly #ends = new Uint32Array(ENTRIES_MAX);
  readonly #kinds = new Uint8Array(ENTRIES_MAX);
  #count = 0;

  get seriesCount(): number {
    return this.#seriesCount;
  }

  /**
   * Makes a series known; returns its index.
   *
   * @throws AppError `resource_exhausted` beyond a gigabyte of labels.
   */
  addSeries(labels: readonly Uint8Array[]): number {
    const index = this.#seriesCount++;
    if (index >= this.#labelEnds.length) {
      const grown = new Float64Array(this.#labelEnds.length * 2);
      grown.set(this.#labelEnds);
      this.#labelEnds = grown;
    }
    putLabels(this.#labels, labels);
    this.#labelEnds[index] = this.#labels.length;
    if (this.#labels.length > LABEL_BYTES_MAX)
      throw new AppError(
        'resource_exhausted',
        `${index} series have more than ${LABEL_BYTES_MAX} bytes of labels`,
      );
    return index;
  }

  /** Whether `flush` should be called before more is added. */
  get isFull(): boolean {
    return this.#count >= ENTRIES_MAX || this.#contents.length >= CONTENT_BYTES_MAX;
  }

  sample(series: number, timestampMs: number, high: number, low: number): void {
    putSample(this.#contents, timestampMs, high, low);
    this.#end(series, SAMPLE);
  }

  histogram(series: number, timestampMs: number, parts: HistogramParts, isStale: boolean): void {
    putHistogram(this.#contents, parts, isStale, timestampMs);
    this.#end(series, HISTOGRAM);
  }

  exemplar(series: number, timestampMs: number, value: number, labels: readonly Uint8Array[]): void {
    putExemplar(this.#contents, labels, value, timestampMs);
    this.#end(series, EXEMPLAR);
  }

  #end(series: number, kind: number): void {
    const at = this.#count++;
    this.#series[at] = series;
    this.#kinds[at] = kind;
    this.#ends[at] = this.#contents.length;
  }

  /** Hands everything over, series by series; each series' entries in the order in which they came. */
  flush(collector: RequestCollector): void {
    const count = this.#count;
    // Series and position in one number: sorting is by the former, and stable by the latter.
    const order = new Float64Array(count);
    for (let i = 0; i < count; i++) order[i] = this.#series[i]! * ENTRIES_MAX + i;
    order.sort();
    const contents = new ByteWriter(SERIES_BYTES_TARGET);
    const counts = { samples: 0, histograms: 0, exemplars: 0 };
    for (let i = 0; i < count; i++) {
      const at = order[i]! % ENTRIES_MAX;
      const series = this.#series[at]!;
      contents.raw(this.#contents.bytes, at === 0 ? 0 : this.#ends[at - 1]!, this.#ends[at]!);
      const kind = this.#kinds[at]!;
      if (kind === SAMPLE) counts.samples++;
      else if (kind === HISTOGRAM) counts.histograms++;
      else counts.exemplars++;
      const isSeriesEnd = i + 1 === count || this.#series[order[i + 1]! % ENTRIES_MAX] !== series;
      if (!isSeriesEnd && contents.length < SERIES_BYTES_TARGET) continue;
      collector.add(this.labelFields(series), contents.bytes.subarray(0, contents.length), { ...counts });
      contents.reset();
      counts.samples = counts.histograms = counts.exemplars = 0;
    }
    this.#count = 0;
    this.#contents.reset();
  }

  /** Label fields of a series; valid until the next one is added. */
  labelFields(series: number): Uint8Array {
    const start = series === 0 ? 0 : this.#labelEnds[series - 1]!;
    return this.#labels.bytes.subarray(start, this.#labelEnds[series]);
  }

  /** Forgets all series; what was added has to be flushed before. */
  forgetSeries(): void {
    this.#seriesCount = 0;
    this.#labels.reset();
  }
}
