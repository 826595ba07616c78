// An hour of generated series for the comparison with Prometheus 3.14: floats with gaps, markers and odd values, classic
// and native histograms of every kind. On whole steps of 30 s, so that edges of windows are met.
import { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { pick, type Random, randomOf } from '../support/random.ts';
import { snappyLiterals } from '../support/remote-write-body.ts';
import { field, histogram, labelV1, type SideFields, sample } from '../support/remote-write-encoder.ts';
import { type LoadedSample, MemoryQueryable } from './memory-queryable.ts';

/** First sample, Unix ms. */
export const FIRST_MS = 1_699_999_200_000;
const STEP_MS = 30_000;
const COUNT = 121;
const STALE = { high: 0x7ff00000, low: 2 };

/** What a series has at a step. */
type Point = number | FloatHistogram | 'stale' | undefined;

export interface UpstreamData {
  readonly storage: MemoryQueryable;
  /** The same as a remote write request, series in label order. */
  readonly request: Buffer;
}

/** Always the same data. */
export function generateData(): UpstreamData {
  const random = randomOf(42);
  const int = (below: number): number => Math.floor(random() * below);
  const writer = new DataWriter();
  for (const job of ['api', 'db']) {
    for (let i = 0; i < 3; i++) {
      const own = { job, instance: `host-${i}` };
      const zoned = { ...own, zone: i % 2 === 0 ? 'b' : 'a' };
      let requests = int(1000);
      let errors = 5;
      writer.add(
        { __name__: 'requests_total', ...zoned },
        series(() => (requests = random() < 0.03 ? int(5) : requests + int(100) / 4)),
      );
      writer.add(
        { __name__: 'errors_total', ...zoned },
        series(() => (random() < 0.1 ? undefined : (errors += int(3)))),
      );
      writer.add(
        { __name__: 'memory_bytes', ...own },
        series(() => (random() < 0.06 ? pick(random, ['stale', undefined]) : int(4000) / 4 - 200)),
      );
      const odd = [Number.NaN, Infinity, -Infinity, 0, -0, 1, 2.5, -3, 1e16, -1e16, 1e-10];
      writer.add(
        { __name__: 'odd', ...own },
        series(() => pick(random, odd)),
      );
      if (i === 0)
        writer.add(
          { __name__: 'rare', ...own },
          series((k) => (k % 11 === 0 ? k : undefined)),
        );
      for (const [bucket, le] of ['0.1', '0.5', '1', '+Inf'].entries()) {
        writer.add(
          { __name__: 'classic_bucket', ...own, le },
          series((k) => (bucket + 1) * k * 3 + (k % 7) * bucket),
        );
      }
      addNative(writer, random, own, i);
      const info = { version: `v${i}`, env: job === 'api' ? 'prod' : 'dev' };
      writer.add(
        { __name__: 'target_info', ...own, ...info },
        series(() => 1),
      );
    }
    writer.add(
      { __name__: 'job_info', job, owner: `team-${job}` },
      series(() => 1),
    );
  }
  writer.add(
    { __name__: 'single' },
    series((k) => k),
  );
  return { storage: writer.storage, request: writer.request() };
}

function addNative(writer: DataWriter, random: Random, own: Record<string, string>, i: number): void {
  const int = (below: number): number => Math.floor(random() * below);
  const bounds = i === 2 ? [0.5, 1, 2, 4] : [0.1, 1, 2, 5];
  writer.add({ __name__: 'latency', ...own }, counter(random, { schema: i }));
  writer.add(
    { __name__: 'latency_gauge', ...own },
    series(() =>
      random() < 0.05
        ? 'stale'
        : generateHistogram(random, {
            schema: 1,
            buckets: 1 + int(5),
            scale: 1.25 + int(3),
            isGauge: true,
            hasNegative: i === 1,
            zeroThreshold: i === 2 ? 0.25 : 0.001,
          }),
    ),
  );
  writer.add({ __name__: 'custom', ...own }, counter(random, { schema: 0, bounds }));
  writer.add(
    { __name__: 'mixed', ...own },
    series((k) => ((k + i) % 17 < 8 ? k * 2 : generateHistogram(random, { buckets: 3, scale: 1 + k }))),
  );
  writer.add({ __name__: 'whole', ...own }, counter(random, { schema: 2, hasNegative: true }), true);
}

function series(at: (step: number) => Point): Point[] {
  return Array.from({ length: COUNT }, (_, step) => at(step));
}

interface HistogramShape {
  readonly schema?: number;
  readonly buckets?: number;
  readonly scale?: number;
  readonly isGauge?: boolean;
  readonly hasNegative?: boolean;
  readonly zeroThreshold?: number;
  /** Custom buckets. */
  readonly bounds?: readonly number[];
}

function generateHistogram(random: Random, shape: HistogramShape): FloatHistogram {
  const { schema = 0, buckets = 5, scale = 1, bounds } = shape;
  const made = new FloatHistogram();
  made.schema = bounds === undefined ? schema : -53;
  made.customBounds = bounds ?? [];
  made.zeroThreshold = bounds === undefined ? (shape.zeroThreshold ?? 0.001) : 0;
  made.zeroCount = bounds === undefined ? Math.floor(random() * 3) * scale : 0;
  if (shape.isGauge === true) made.hint = 'gauge';
  for (let i = 0; i < buckets; i++) {
    made.positive.indexes.push(bounds === undefined ? i - 2 : i);
    made.positive.counts.push((1 + Math.floor(random() * 5)) * scale);
    if (shape.hasNegative !== true) continue;
    made.negative.indexes.push(i * 2);
    made.negative.counts.push((1 + Math.floor(random() * 5)) * scale);
  }
  made.count = totalOf(made);
  made.sum = made.count * 1.5;
  return made;
}

function totalOf({ zeroCount, positive, negative }: FloatHistogram): number {
  return [...positive.counts, ...negative.counts].reduce((sum, count) => sum + count, zeroCount);
}

/** A counter that is reset now and then, sometimes to another schema. */
function counter(random: Random, shape: HistogramShape): Point[] {
  let current = generateHistogram(random, shape);
  return series(() => {
    if (random() < 0.03) {
      const schema = (shape.schema ?? 0) - (random() < 0.3 ? 1 : 0);
      current = generateHistogram(random, { ...shape, schema });
    } else {
      current = current.copy();
      for (const { counts } of [current.positive, current.negative]) {
        for (let i = 0; i < counts.length; i++) counts[i] = counts[i]! + Math.floor(random() * 4);
      }
      current.count = totalOf(current);
      current.sum += Math.floor(random() * 50) / 4;
    }
    return current.copy();
  });
}

class DataWriter {
  readonly storage = new MemoryQueryable();
  readonly #series: { readonly labels: Labels; readonly body: Buffer }[] = [];

  add(labelSet: Readonly<Record<string, string>>, points: readonly Point[], isInteger = false): void {
    const labels = Labels.from(Object.entries(labelSet));
    const floats: Buffer[] = [];
    const histograms: Buffer[] = [];
    const samples: LoadedSample[] = [];
    points.forEach((point, step) => {
      const timeMs = FIRST_MS + step * STEP_MS;
      if (point === undefined) return;
      if (point instanceof FloatHistogram) {
        samples.push({ timeMs, value: 0, isStale: false, histogram: point });
        histograms.push(field(4, encode(point, timeMs, isInteger)));
      } else {
        const isStale = point === 'stale';
        samples.push({ timeMs, value: isStale ? 0 : point, isStale });
        floats.push(field(2, sample(isStale ? STALE : point, timeMs)));
      }
    });
    this.storage.append(labels, samples);
    const pairs = [...labels.entries()].map((pair) => labelV1(pair));
    this.#series.push({ labels, body: field(1, Buffer.concat([...pairs, ...floats, ...histograms])) });
  }

  /** In label order: in that order an empty Prometheus gives them back. */
  request(): Buffer {
    this.#series.sort((a, b) => a.labels.compareTo(b.labels));
    return snappyLiterals(Buffer.concat(this.#series.map(({ body }) => body)));
  }
}

function encode(from: FloatHistogram, timestampMs: number, isInteger: boolean): Buffer {
  const hints = { unknown: 0, reset: 1, not_reset: 2, gauge: 3 } as const;
  return histogram({
    timestampMs,
    float: !isInteger,
    count: from.count,
    sum: from.sum,
    schema: from.schema,
    zeroThreshold: from.zeroThreshold,
    zeroCount: from.zeroCount,
    positive: sideOf(from.positive, isInteger),
    negative: sideOf(from.negative, isInteger),
    customValues: [...from.customBounds],
    resetHint: hints[from.hint],
  });
}

function sideOf({ indexes, counts }: FloatHistogram['positive'], isInteger: boolean): SideFields {
  const spans: [number, number][] = [];
  indexes.forEach((index, i) => {
    const previous = indexes[i - 1];
    if (previous !== undefined && index === previous + 1) spans.at(-1)![1]++;
    else spans.push([previous === undefined ? index : index - previous - 1, 1]);
  });
  if (!isInteger) return { spans, counts };
  return { spans, deltas: counts.map((count, i) => count - (counts[i - 1] ?? 0)) };
}
