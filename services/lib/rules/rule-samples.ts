// What goes in and out of a rule: an instant vector as columns, and the samples that a rule writes. Values stay in typed
// arrays, so that staleness markers keep their bits.
import type { FloatHistogram } from '../model/float-histogram.ts';
import type { Labels } from '../model/labels.ts';
import { putStale, wordsOf } from '../model/sample-columns.ts';

/** An instant query's answer: one value per label set. A scalar is one value without labels. */
export interface QueryVector {
  readonly labels: readonly Labels[];
  /** Float64Array[≥ labels.length]. */
  readonly values: Float64Array;
  /** Where entry i is set, element i is that native histogram and its value means nothing. Absent when all are floats. */
  readonly histograms?: readonly (FloatHistogram | undefined)[] | undefined;
}

/** Samples to write, one per series. */
export class RuleSamples {
  readonly labels: Labels[] = [];
  /** Unix milliseconds in [0, labels.length). */
  timestampsMs = new Float64Array(64);
  values = new Float64Array(64);
  /** By index, where the sample is a native histogram and not its value. */
  readonly histograms = new Map<number, FloatHistogram>();

  get count(): number {
    return this.labels.length;
  }

  add(labels: Labels, timeMs: number, value: number): void {
    const index = this.#next(labels, timeMs);
    this.values[index] = value;
  }

  addHistogram(labels: Labels, timeMs: number, histogram: FloatHistogram): void {
    this.histograms.set(this.#next(labels, timeMs), histogram);
  }

  /** Adds a staleness marker. */
  addStale(labels: Labels, timeMs: number): void {
    const index = this.#next(labels, timeMs);
    putStale(wordsOf(this.values), index);
  }

  #next(labels: Labels, timeMs: number): number {
    const index = this.labels.length;
    if (index === this.values.length) {
      const timestampsMs = new Float64Array(index * 2);
      timestampsMs.set(this.timestampsMs);
      const values = new Float64Array(index * 2);
      new Uint8Array(values.buffer).set(new Uint8Array(this.values.buffer));
      this.timestampsMs = timestampsMs;
      this.values = values;
    }
    this.labels.push(labels);
    this.timestampsMs[index] = timeMs;
    return index;
  }
}
