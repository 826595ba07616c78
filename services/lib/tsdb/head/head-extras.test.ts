// Histograms, start times and exemplars in a head against lists in memory: whatever the order, repetitions and freezes, select and
// seal give what the rules say.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeHistogram, histograms } from '../../../../test/support/histograms.ts';
import { ByteWriter, compareBytes } from '../../core/bytes.ts';
import { systemClock } from '../../core/clock.ts';
import { CHUNK_EXEMPLARS, type ChunkSink } from '../../model/chunk-sink.ts';
import { ExtraColumns } from '../../model/extra-columns.ts';
import { FloatHistogram } from '../../model/float-histogram.ts';
import { type CountsKind, encodeHistogram } from '../../model/histogram-codec.ts';
import { decodeLabels, encodeLabels, Labels } from '../../model/labels.ts';
import { EXEMPLARS_MAX } from '../chunk/exemplar-list.ts';
import { SeriesSamples } from '../chunk/series-samples.ts';
import { Head } from './head.ts';
import { sealRange } from './head-seal.ts';
import { selectHead } from './head-select.ts';

const RANGE_MS = 1000;
const NAMES = ['a', 'b', 'c'];

function makeHead(): { head: Head; ids: number[] } {
  const head = new Head({ rangeMs: RANGE_MS, chunkSamplesTarget: 4, hashSeed: 1 });
  const ids = NAMES.map((name) => {
    const labels = new ByteWriter();
    encodeLabels(Labels.from([['__name__', name]]), labels);
    return head.define(labels.bytes, 0, labels.length, 0);
  });
  return { head, ids };
}

const ALL = {
  minTimeMs: -(2 ** 52),
  maxTimeMs: 2 ** 52,
  partitions: undefined,
  labelsOnly: false,
  seriesMax: 100,
};

/** Series by name with all that was handed over, and the encodings. */
class Collected implements ChunkSink {
  readonly series = new Map<string, SeriesSamples>();
  readonly encodings = new Set<number>();
  #current = new SeriesSamples();

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    const name = decodeLabels(bytes, start, end).get('__name__');
    this.#current = this.series.get(name) ?? new SeriesSamples();
    this.series.set(name, this.#current);
  }

  chunk(encoding: number, _min: number, _max: number, bytes: Uint8Array, start: number, end: number): void {
    this.encodings.add(encoding);
    const own = bytes.slice(start, end);
    this.#current.addChunk(encoding, own, 0, own.length);
  }

  of(name: string): SeriesSamples {
    const found = this.series.get(name) ?? new SeriesSamples();
    found.settle();
    return found;
  }
}

function select(
  head: Head,
  how: { readonly exemplars?: boolean; readonly maxTimeMs?: number } = {},
): Collected {
  const collected = new Collected();
  const matchers = [{ name: '__name__', operator: '=~', value: '.+' } as const];
  const steps = selectHead(head, { ...ALL, ...how, matchers }, systemClock, collected);
  while (!steps.next().done);
  return collected;
}

function seal(head: Head, generation: number): Collected {
  const collected = new Collected();
  const range = head.frozenRanges().find((one) => one.generation === generation)!;
  const steps = sealRange(head, range, systemClock, {
    addSeries: (bytes, start, end) => collected.beginSeries(bytes, start, end),
    addChunk: (encoding, minTimeMs, maxTimeMs, _samples, bytes, start, end) =>
      collected.chunk(encoding, minTimeMs, maxTimeMs, bytes, start, end),
  });
  while (!steps.next().done);
  return collected;
}

interface Sample {
  readonly series: number;
  readonly timeMs: number;
  readonly histogram: FloatHistogram;
  readonly kind: CountsKind;
}

const samples = fc.array(
  fc.record({
    series: fc.nat(NAMES.length - 1),
    timeMs: fc.integer({ min: -1500, max: 1500 }),
    drawn: histograms,
  }),
  { maxLength: 120 },
);

function encoded({ histogram, kind }: Sample): Uint8Array {
  const out = new ByteWriter(256);
  encodeHistogram(histogram, kind, out);
  return out.take();
}

/** Of equal times the greatest bytes, by time. */
function expected(all: readonly Sample[], series: number): unknown[] {
  const byTime = new Map<number, Sample>();
  for (const sample of all) {
    if (sample.series !== series) continue;
    const known = byTime.get(sample.timeMs);
    if (known === undefined || compareBytes(encoded(sample), encoded(known)) > 0)
      byTime.set(sample.timeMs, sample);
  }
  return [...byTime.values()]
    .sort((a, b) => a.timeMs - b.timeMs)
    .map(({ timeMs, kind, histogram }) => [timeMs, kind, describeHistogram(histogram)]);
}

function found({ histograms: list }: SeriesSamples): unknown[] {
  return list.timestampsMs.map((timeMs, i) => [
    timeMs,
    list.kinds[i],
    describeHistogram(list.histograms[i]!),
  ]);
}

describe('histograms', () => {
  test('are what a map holds, in whatever order they came, repeated, frozen in between, sealed', () => {
    fc.assert(
      fc.property(samples, fc.nat(120), (drawn, freezeAt) => {
        const all = drawn.map(({ series, timeMs, drawn: { histogram, kind } }) => ({
          series,
          timeMs,
          histogram,
          kind,
        }));
        const { head, ids } = makeHead();
        const extras = new ExtraColumns();
        for (const [i, { series, timeMs, histogram, kind }] of [...all, ...all.slice(0, 40)].entries()) {
          extras.reset();
          extras.addHistogram(ids[series]!, timeMs, histogram, kind);
          head.appendExtras(extras, 1);
          if (i === freezeAt) head.freeze(0, 1);
        }
        const selected = select(head);
        for (const [series, name] of NAMES.entries())
          expect(found(selected.of(name))).toEqual(expected(all, series));
        let generation = 2;
        for (const startMs of head.closedRangeStarts(Number.POSITIVE_INFINITY))
          head.freeze(startMs, generation++);
        const united = new Collected();
        for (const { generation: own } of head.frozenRanges()) {
          for (const [name, series] of seal(head, own).series) {
            const into = united.series.get(name) ?? new SeriesSamples();
            united.series.set(name, into);
            series.settle();
            const { timestampsMs, histograms: list, kinds } = series.histograms;
            for (let i = 0; i < list.length; i++) into.histograms.add(timestampsMs[i]!, list[i]!, kinds[i]!);
          }
        }
        for (const [series, name] of NAMES.entries())
          expect(found(united.of(name))).toEqual(expected(all, series));
        const slotBytes = head.slots.bytesHeld;
        for (const { generation: own } of head.frozenRanges()) head.drop(own);
        expect(select(head).series.size).toBe(0);
        // What is dropped gives its room back.
        for (let i = 0; i < 4; i++) {
          extras.reset();
          for (const { series, timeMs, histogram, kind } of all)
            extras.addHistogram(ids[series]!, timeMs, histogram, kind);
          head.appendExtras(extras, 1);
          for (const startMs of head.closedRangeStarts(Number.POSITIVE_INFINITY))
            head.freeze(startMs, generation++);
          for (const { generation: own } of head.frozenRanges()) head.drop(own);
        }
        expect(head.slots.bytesHeld).toBeLessThanOrEqual(Math.max(slotBytes, 1 << 20));
      }),
      { numRuns: 60 },
    );
  });

  test('one that fits no slot is a chunk at once', () => {
    const { head, ids } = makeHead();
    const histogram = new FloatHistogram();
    const indexes = Array.from({ length: 6000 }, (_, i) => i * 2);
    histogram.positive = { indexes, counts: indexes.map((i) => i + 0.5) };
    const extras = new ExtraColumns();
    for (const timeMs of [5, 3, 4]) extras.addHistogram(ids[0]!, timeMs, histogram, 'float');
    head.appendExtras(extras, 1);
    const { histograms: list } = select(head).of('a');
    expect(list.timestampsMs).toEqual([3, 4, 5]);
    expect(describeHistogram(list.histograms[1]!)).toEqual(describeHistogram(histogram));
  });

  test('an equal content is sealed to equal bytes, in whatever order it came', () => {
    const chunksOf = (order: readonly number[]): string[] => {
      const { head, ids } = makeHead();
      const extras = new ExtraColumns();
      for (const i of order) {
        const histogram = new FloatHistogram();
        histogram.count = i;
        histogram.positive = { indexes: [0, i % 3 === 0 ? 1 : 4], counts: [i, 1] };
        extras.reset();
        extras.addHistogram(ids[0]!, i, histogram, 'integer');
        extras.addExemplar(ids[0]!, i, i, Uint8Array.of(1, 97, 1, 98), 0, 4);
        if (i % 20 === 0) extras.addStartTime(ids[0]!, i, i % 60);
        head.appendExtras(extras, 1);
      }
      head.freeze(0, 1);
      const chunks: string[] = [];
      const steps = sealRange(head, head.frozenRanges()[0]!, systemClock, {
        addSeries: () => undefined,
        addChunk: (encoding, min, max, count, bytes, start, end) =>
          chunks.push(
            `${encoding} ${min} ${max} ${count} ${Buffer.from(bytes.subarray(start, end)).toString('hex')}`,
          ),
      });
      while (!steps.next().done);
      return chunks;
    };
    const ascending = Array.from({ length: 300 }, (_, i) => i);
    const shuffled = ascending.map((i) => (i * 7) % 300);
    expect(chunksOf([...shuffled, ...shuffled])).toEqual(chunksOf(ascending));
    expect(chunksOf(ascending)).toHaveLength(3);
  });
});

describe('exemplars', () => {
  test('the newest of each series and range stay, and come only where they are asked for', () => {
    const { head, ids } = makeHead();
    const order = Array.from({ length: 400 }, (_, i) => (i * 171) % 400);
    for (const i of [...order, ...order]) {
      const extras = new ExtraColumns();
      extras.addExemplar(ids[0]!, i, i / 2, Uint8Array.of(1, 97, 1, 98), 0, 4);
      head.appendExtras(extras, 1);
    }
    const { exemplars } = select(head, { exemplars: true }).of('a');
    expect(exemplars.timestampsMs).toEqual(
      Array.from({ length: EXEMPLARS_MAX }, (_, i) => 400 - EXEMPLARS_MAX + i),
    );
    const { buffer, byteOffset } = exemplars.contents[0]!;
    expect(new DataView(buffer, byteOffset).getFloat64(0, true)).toBe((400 - EXEMPLARS_MAX) / 2);
    expect(select(head).series.size).toBe(0);
    expect(select(head, { exemplars: true, maxTimeMs: 100 }).series.size).toBe(0);
    head.freeze(0, 1);
    expect([...seal(head, 1).encodings]).toEqual([CHUNK_EXEMPLARS]);
  });
});

describe('start times', () => {
  const add = (head: Head, id: number, timeMs: number, startMs: number) => {
    const extras = new ExtraColumns();
    extras.addStartTime(id, timeMs, startMs);
    head.appendExtras(extras, 1);
  };
  const addFloat = (head: Head, id: number, timeMs: number) =>
    head.appendSamples(Uint32Array.of(id), Float64Array.of(timeMs), Float64Array.of(1), 0, 1, 1);
  const startsOf = ({ startTimes }: SeriesSamples) =>
    startTimes.timestampsMs.map((at, i) => [at, startTimes.startsMs[i]]);

  test('hold on into later ranges, repeat nothing, and stand at the first sample of each block', () => {
    const { head, ids } = makeHead();
    for (const timeMs of [100, 200, 1100, 1200, 2500]) {
      add(head, ids[0]!, timeMs, timeMs < 1200 ? 50 : 1150);
      addFloat(head, ids[0]!, timeMs);
    }
    addFloat(head, ids[1]!, 100);
    const selected = select(head);
    expect(startsOf(selected.of('a'))).toEqual([
      [100, 50],
      [1200, 1150],
    ]);
    expect(startsOf(selected.of('b'))).toEqual([]);
    head.freeze(0, 1);
    head.freeze(1000, 2);
    expect(startsOf(seal(head, 1).of('a'))).toEqual([[100, 50]]);
    expect(startsOf(seal(head, 2).of('a'))).toEqual([
      [1100, 50],
      [1200, 1150],
    ]);
    head.drop(1);
    head.drop(2);
    expect(head.startTimes.count).toBe(2);
    head.freeze(2000, 3);
    expect(startsOf(seal(head, 3).of('a'))).toEqual([[2500, 1150]]);
  });

  test('a late one goes to its place, and one that repeats what holds goes nowhere', () => {
    const { head, ids } = makeHead();
    addFloat(head, ids[0]!, 10);
    addFloat(head, ids[0]!, 90);
    for (const [timeMs, startMs] of [
      [30, 2],
      [10, 1],
      [20, 1],
      [40, 2],
      [25, 9],
    ] as const)
      add(head, ids[0]!, timeMs, startMs);
    expect(startsOf(select(head).of('a'))).toEqual([
      [10, 1],
      [25, 9],
      [30, 2],
    ]);
  });

  test('a sender that repeats itself with every sample takes no memory', () => {
    const { head, ids } = makeHead();
    for (let i = 0; i < 1000; i++) add(head, ids[0]!, i, 7);
    add(head, ids[0]!, 1000, 8);
    addFloat(head, ids[0]!, 5);
    expect(head.startTimes.count).toBeLessThan(20);
    expect(startsOf(select(head).of('a'))).toEqual([
      [5, 7],
      [1000, 8],
    ]);
  });

  test('an id that goes to another series takes none along', () => {
    const { head, ids } = makeHead();
    add(head, ids[0]!, 10, 5);
    const steps = head.collectSeries(2);
    while (!steps.next().done);
    expect(head.startTimes.count).toBe(0);
  });
});
