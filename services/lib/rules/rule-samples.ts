// What goes in and out of a rule: an instant vector as columns, and the samples that a rule writes. Values stay in typed
// arrays, so that staleness markers keep their bits.
import type { Labels } from '../model/labels.ts';
import { putStale, wordsOf } from '../model/sample-columns.ts';

/** An instant query's answer: one value per label set. A scalar is one value without labels. */
export interface QueryVector {
  readonly labels: readonly Labels[];
  /** Float64Array[≥ labels.length]. */
  readonly values: Float64Array;
}

/** Samples to write, one per series. */
export class RuleSamples {
  readonly labels: Labels[] = [];
  /** Unix milliseconds in [0, labels.length). */
  timestampsMs = new Float64Array(64);
  values = new Float64Array(64);

  get count(): number {
    return this.labels.length;
  }

  add(labels: Labels, timeMs: number, value: number): void {
    const index = this.#next(labels, timeMs);
    this.values[index] = value;
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
