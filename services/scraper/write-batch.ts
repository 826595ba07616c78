// The samples of one scrape on their way to the distributor: growable columns, used again after the write.
import type { SeriesReference, WriteColumns } from '../lib/distributor/appender.ts';
import { ExtraColumns } from '../lib/model/extra-columns.ts';
import { putStale, wordsOf } from '../lib/model/sample-columns.ts';
import type { MetricMetadata } from '../lib/wire/contracts.ts';
import { COLUMN_BYTES_PER_SAMPLE } from '../lib/wire/remote-write/remote-write-columns.ts';

/** Prometheus' ordinary NaN, `0x7ff8000000000001`: what a NaN in an exposition is stored as. */
const NORMAL_NAN_HIGH = 0x7ff80000;
const NORMAL_NAN_LOW = 1;

export class WriteBatch implements WriteColumns {
  count = 0;
  references: Uint32Array<ArrayBuffer>;
  timestampsMs: Float64Array<ArrayBuffer>;
  values: Float64Array<ArrayBuffer>;
  /** Native histograms, start times and exemplars; most targets have none. */
  extras: ExtraColumns | undefined;
  /** What became known or changed with these samples. */
  metadata: MetricMetadata[] = [];
  #words: Uint32Array;

  constructor(capacity: number) {
    this.references = new Uint32Array(capacity);
    this.timestampsMs = new Float64Array(capacity);
    this.values = new Float64Array(capacity);
    this.#words = wordsOf(this.values);
  }

  add(reference: SeriesReference, timestampMs: number, value: number): void {
    if (this.count === this.references.length) this.#grow();
    const at = this.count++;
    this.references[at] = reference;
    this.timestampsMs[at] = timestampMs;
    if (!Number.isNaN(value)) {
      this.values[at] = value;
    } else {
      this.#words[2 * at] = NORMAL_NAN_LOW;
      this.#words[2 * at + 1] = NORMAL_NAN_HIGH;
    }
  }

  /** Adds a sample whose value is given as the words of its bits. */
  addWords(reference: SeriesReference, timestampMs: number, low: number, high: number): void {
    if (this.count === this.references.length) this.#grow();
    const at = this.count++;
    this.references[at] = reference;
    this.timestampsMs[at] = timestampMs;
    this.#words[2 * at] = low;
    this.#words[2 * at + 1] = high;
  }

  addStale(reference: SeriesReference, timestampMs: number): void {
    if (this.count === this.references.length) this.#grow();
    const at = this.count++;
    this.references[at] = reference;
    this.timestampsMs[at] = timestampMs;
    putStale(this.#words, at);
  }

  /** The columns for what is no float sample, made when they are first needed. */
  needExtras(): ExtraColumns {
    this.extras ??= new ExtraColumns();
    return this.extras;
  }

  /** Float samples that take as much memory as what is in the batch. */
  get weight(): number {
    const { extras } = this;
    if (extras === undefined) return this.count;
    return this.count + extras.count + Math.ceil(extras.contentBytes / COLUMN_BYTES_PER_SAMPLE);
  }

  /** Drops all samples; metadata stays. */
  clear(): void {
    this.count = 0;
    this.extras?.reset();
  }

  /** Adds a copy of all that is in `other`. */
  append(other: WriteBatch): void {
    while (this.references.length < this.count + other.count) this.#grow();
    this.references.set(other.references.subarray(0, other.count), this.count);
    this.timestampsMs.set(other.timestampsMs.subarray(0, other.count), this.count);
    this.#words.set(other.#words.subarray(0, 2 * other.count), 2 * this.count);
    this.count += other.count;
    for (const each of other.metadata) this.metadata.push(each);
    const { extras } = other;
    if (extras === undefined || extras.count === 0) return;
    const { references, timestampsMs, kinds, starts, ends, bytes } = extras;
    const own = this.needExtras();
    for (let i = 0; i < extras.count; i++)
      own.addRaw(references[i]!, timestampsMs[i]!, kinds[i]!, bytes, starts[i]!, ends[i]!);
  }

  /** Moves the last `count` float samples of `other` into this empty batch. */
  takeLast(other: WriteBatch, count: number): void {
    while (this.references.length < count) this.#grow();
    const from = other.count - count;
    this.references.set(other.references.subarray(from, other.count));
    this.timestampsMs.set(other.timestampsMs.subarray(from, other.count));
    this.#words.set(other.#words.subarray(2 * from, 2 * other.count));
    this.count = count;
    other.count = from;
  }

  reset(): void {
    this.clear();
    this.metadata = [];
  }

  #grow(): void {
    const size = this.references.length * 2;
    const references = new Uint32Array(size);
    references.set(this.references);
    this.references = references;
    const timestampsMs = new Float64Array(size);
    timestampsMs.set(this.timestampsMs);
    this.timestampsMs = timestampsMs;
    // As words: markers and NaN payloads stay what they are.
    const values = new Float64Array(size);
    const words = wordsOf(values);
    words.set(this.#words);
    this.values = values;
    this.#words = words;
  }
}

/** Batches in use again: allocation follows the busiest moment, not the number of targets. */
export class WriteBatches {
  readonly #free: WriteBatch[] = [];
  readonly #keptMax: number;

  constructor(keptMax: number) {
    this.#keptMax = keptMax;
  }

  acquire(): WriteBatch {
    return this.#free.pop() ?? new WriteBatch(FIRST_SAMPLES);
  }

  release(batch: WriteBatch): void {
    if (this.#free.length >= this.#keptMax || batch.references.length > KEPT_SAMPLES_MAX) return;
    if ((batch.extras?.bytes.length ?? 0) > KEPT_EXTRA_BYTES_MAX) return;
    batch.reset();
    this.#free.push(batch);
  }
}

const FIRST_SAMPLES = 1024;
/** 2.5 MiB of columns: larger ones are rare and not kept. */
const KEPT_SAMPLES_MAX = 131_072;
const KEPT_EXTRA_BYTES_MAX = 1 << 20;
