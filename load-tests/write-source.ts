// The samples that the write load sends: many targets with the families of node-families.ts, each scrape a step further, as
// remote write 1.0 bodies. Label bytes are made once per series, so that making a body costs less than taking it.
import { ByteWriter } from '../services/lib/core/bytes.ts';
import { compressSnappy } from '../services/lib/wire/compression/snappy-compress.ts';
import { type Family, NODE_FAMILIES } from './node-families.ts';

export interface WriteSourceOptions {
  /** Series at one time. */
  readonly series: number;
  /** Series in one request. */
  readonly batch: number;
  /** Fraction of targets that are replaced each hour: new instance label, new series. */
  readonly churnPerHour: number;
  /** Seconds between two samples of one series. */
  readonly intervalSeconds: number;
  /** The same seed, the same samples. */
  readonly seed: number;
}

/** One request. */
export interface WriteBody {
  readonly body: Uint8Array;
  readonly samples: number;
}

interface Template {
  readonly family: Family;
  readonly labels: Readonly<Record<string, string>>;
}

const WIRE_VARINT = 0;
const WIRE_DOUBLE = 1;
const WIRE_BYTES = 2;
const tag = (field: number, wire: number): number => field * 8 + wire;

/** Every series of one target. */
export function templatesOf(families: readonly Family[]): readonly Template[] {
  return families.flatMap((family) => {
    let combinations: Record<string, string>[] = [{}];
    for (const [name, values] of Object.entries(family.labels)) {
      combinations = combinations.flatMap((labels) => values.map((value) => ({ ...labels, [name]: value })));
    }
    return combinations.map((labels) => ({ family, labels }));
  });
}

/** Makes requests in turn: request i of a round has the series [i × batch, (i + 1) × batch). */
export class WriteSource {
  readonly requestsPerRound: number;
  readonly #options: WriteSourceOptions;
  readonly #templates = templatesOf(NODE_FAMILIES);
  readonly #labels: Uint8Array[];
  readonly #values: Float64Array;
  /** Of each target: how often it was replaced. */
  readonly #generations: Uint32Array;
  #replaced = 0;
  #random: number;

  constructor(options: WriteSourceOptions) {
    this.#options = options;
    this.#random = options.seed >>> 0;
    this.requestsPerRound = Math.ceil(options.series / options.batch);
    this.#generations = new Uint32Array(Math.ceil(options.series / this.#templates.length));
    this.#values = new Float64Array(options.series);
    this.#labels = Array.from(this.#values, (_, i) => this.#encodeLabels(i));
    for (let i = 0; i < options.series; i++) this.#values[i] = this.#firstValue(i);
  }

  get targets(): number {
    return this.#generations.length;
  }

  /**
   * The next samples of one request's series.
   *
   * @param request  0 … requestsPerRound − 1.
   * @param timeMs   Unix milliseconds, the timestamp of every sample; in 2004 … 2109, six bytes on the wire.
   */
  next(request: number, timeMs: number): WriteBody {
    const start = request * this.#options.batch;
    const end = Math.min(this.#options.series, start + this.#options.batch);
    const out = new ByteWriter((end - start) * 192);
    for (let i = start; i < end; i++) {
      this.#values[i] = this.#step(i);
      this.#putSeries(out, i, timeMs);
    }
    return { body: compressSnappy(out.bytes.subarray(0, out.length)), samples: end - start };
  }

  /** Replaces the targets whose time has come after so many seconds of load. */
  churn(elapsedSeconds: number): void {
    const due = Math.floor((elapsedSeconds / 3600) * this.#options.churnPerHour * this.targets);
    for (; this.#replaced < due; this.#replaced++) this.#replace(this.#replaced % this.targets);
  }

  /** Series that were ever sent. */
  get seriesEver(): number {
    return this.#options.series + this.#replaced * this.#templates.length;
  }

  #replace(target: number): void {
    this.#generations[target]!++;
    const start = target * this.#templates.length;
    const end = Math.min(this.#options.series, start + this.#templates.length);
    for (let i = start; i < end; i++) {
      this.#labels[i] = this.#encodeLabels(i);
      this.#values[i] = this.#firstValue(i);
    }
  }

  #putSeries(out: ByteWriter, index: number, timeMs: number): void {
    const labels = this.#labels[index]!;
    // A double with its tag, and a timestamp of six bytes with its own: Unix milliseconds are that long from 2004 to 2109.
    const sampleBytes = 9 + 7;
    out.varint(tag(1, WIRE_BYTES));
    out.varint(labels.length + 2 + sampleBytes);
    out.raw(labels);
    out.varint(tag(2, WIRE_BYTES));
    out.varint(sampleBytes);
    out.varint(tag(1, WIRE_DOUBLE));
    out.f64(this.#values[index]!);
    out.varint(tag(2, WIRE_VARINT));
    out.varint(timeMs);
  }

  #encodeLabels(index: number): Uint8Array {
    const target = Math.floor(index / this.#templates.length);
    const { family, labels } = this.#templates[index % this.#templates.length]!;
    const generation = this.#generations[target]!;
    const all: Record<string, string> = {
      ...labels,
      __name__: family.name,
      cluster: 'load',
      instance: `10.${(target >> 8) & 255}.${target & 255}.${1 + (generation % 254)}:${9100 + Math.floor(generation / 254)}`,
      job: 'node',
    };
    const out = new ByteWriter(256);
    for (const name of Object.keys(all).sort()) {
      const nameBytes = Buffer.from(name);
      const valueBytes = Buffer.from(all[name]!);
      out.varint(tag(1, WIRE_BYTES));
      out.varint(nameBytes.length + valueBytes.length + 4);
      out.varint(tag(1, WIRE_BYTES));
      out.varint(nameBytes.length);
      out.raw(nameBytes);
      out.varint(tag(2, WIRE_BYTES));
      out.varint(valueBytes.length);
      out.raw(valueBytes);
    }
    return out.take();
  }

  #firstValue(index: number): number {
    const { family } = this.#templates[index % this.#templates.length]!;
    if (family.movement === 'constant') return family.start;
    return quantised(family.start * (0.5 + this.#nextRandom()), family.quantum);
  }

  #step(index: number): number {
    const { family } = this.#templates[index % this.#templates.length]!;
    const value = this.#values[index]!;
    switch (family.movement) {
      case 'constant':
        return value;
      case 'counter':
        if (family.pace === 0) return value;
        return quantised(
          value + family.pace * this.#options.intervalSeconds * (0.5 + this.#nextRandom()),
          family.quantum,
        );
      case 'gauge':
        return quantised(
          Math.max(0, value * (1 + family.pace * (2 * this.#nextRandom() - 1))),
          family.quantum,
        );
    }
  }

  /** A linear congruential generator: the same on every machine. */
  #nextRandom(): number {
    this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#random / 2 ** 32;
  }
}

/** A multiple of the quantum, as few digits as the quantum has: 0.1 + 0.2 must not become a long fraction. */
function quantised(value: number, quantum: number): number {
  const steps = Math.round(value / quantum);
  return quantum < 1 ? steps / Math.round(1 / quantum) : steps * quantum;
}
