import { expect } from 'vitest';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { CHUNK_COLUMNS, type ChunkSink } from '../../services/lib/model/chunk-sink.ts';
import { decodeLabels, encodeLabels, Labels } from '../../services/lib/model/labels.ts';
import { SampleColumns, wordsOf } from '../../services/lib/model/sample-columns.ts';
import type { RunHold, SeriesRun } from '../../services/lib/model/series-run.ts';
import { decodeChunk } from '../../services/lib/tsdb/chunk/decode-chunk.ts';
import { sortAndDedupeSamples } from '../../services/lib/tsdb/chunk/merge-samples.ts';
import { Head } from '../../services/lib/tsdb/head/head.ts';
import { type HeadSelection, selectHead } from '../../services/lib/tsdb/head/head-select.ts';
import { type RunSink, SeriesRunReader } from '../../services/lib/tsdb/head/series-run-reader.ts';
import { SeriesRunWriter } from '../../services/lib/tsdb/head/series-run-writer.ts';

/** Of a head's ranges. */
export const RANGE_MS = 1000;

/** A head with short ranges. */
export function newHead(chunkSamplesTarget = 120): Head {
  return new Head({ rangeMs: RANGE_MS, chunkSamplesTarget, hashSeed: 7 });
}

/** Takes all steps, with `between` after each. */
export function drain<T>(steps: Generator<void, T>, between?: () => void): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    between?.();
  }
}

/** Labels as heads take them. */
export function bytesOf(labels: Labels): Uint8Array {
  const dst = new ByteWriter();
  encodeLabels(labels, dst);
  return dst.take();
}

/** The series' id. */
export function define(head: Head, entries: Record<string, string>, partition = 0): number {
  const bytes = bytesOf(Labels.from(Object.entries(entries)));
  return head.define(bytes, 0, bytes.length, partition);
}

/** A sample as [time, high word, low word]: comparisons must not pass through a number. */
export type Sample = readonly [timeMs: number, high: number, low: number];

/** Its words as samples have them. */
export function wordsOfNumber(value: number): readonly [high: number, low: number] {
  const words = wordsOf(new Float64Array([value]));
  return [words[1]!, words[0]!];
}

/** Samples of one series, as of a segment of the log. */
export function append(head: Head, id: number, samples: readonly Sample[], segment = 1): void {
  const values = new Float64Array(samples.length);
  const words = wordsOf(values);
  samples.forEach(([, high, low], i) => {
    words[2 * i] = low;
    words[2 * i + 1] = high;
  });
  const ids = new Uint32Array(samples.length).fill(id);
  const times = Float64Array.from(samples, ([timeMs]) => timeMs);
  head.appendSamples(ids, times, values, 0, samples.length, segment);
}

/** The same of numbers without a payload. */
export function appendNumbers(
  head: Head,
  id: number,
  samples: readonly (readonly [number, number])[],
  segment = 1,
): void {
  append(
    head,
    id,
    samples.map(([timeMs, value]) => [timeMs, ...wordsOfNumber(value)]),
    segment,
  );
}

/** Everything that a head has. */
export const ALL: HeadSelection = {
  matchers: [],
  minTimeMs: Number.MIN_SAFE_INTEGER,
  maxTimeMs: Number.MAX_SAFE_INTEGER,
  partitions: undefined,
  labelsOnly: false,
  seriesMax: 1e6,
};

/** Floats of a selection: series → samples, through the bytes that a querier gets. Chunks must come ascending. */
export function contentOf(
  head: Head,
  selection: Partial<HeadSelection> = {},
  between?: () => void,
): Map<string, Sample[]> {
  return contentOfSink((sink) => {
    drain(selectHead(head, { ...ALL, ...selection }, systemClock, sink), between);
  });
}

/**
 * The same through runs, of series that they are for, as another thread reads them.
 *
 * @param afterwards  What happens before anybody reads them.
 */
export function contentOfRuns(
  head: Head,
  selection: Partial<HeadSelection> = {},
  between?: () => void,
  afterwards?: () => void,
): { readonly content: Map<string, Sample[]>; readonly seriesInRuns: number } {
  let seriesInRuns = 0;
  const content = contentOfSink((sink) => {
    const { runs, hold } = runsOf(head, sink, selection, between);
    afterwards?.();
    const reader = new SeriesRunReader(runSinkOf(sink));
    for (const run of runs) reader.read(run);
    hold.release();
    seriesInRuns = runs.reduce((sum, { seriesCount }) => sum + seriesCount, 0);
  });
  return { content, seriesInRuns };
}

/** Runs of a selection, as they come to another thread. @param sink  Takes what runs are not for. */
export function runsOf(
  head: Head,
  sink: ChunkSink,
  selection: Partial<HeadSelection> = {},
  between?: () => void,
): { readonly runs: readonly SeriesRun[]; readonly hold: RunHold } {
  const { minTimeMs, maxTimeMs } = { ...ALL, ...selection };
  const writer = new SeriesRunWriter(minTimeMs, maxTimeMs, 0);
  const runs: SeriesRun[] = [];
  const take = (): void => {
    const run = writer.take(true);
    if (run !== undefined) runs.push(structuredClone(run));
  };
  drain(selectHead(head, { ...ALL, ...selection }, systemClock, sink, writer), () => {
    take();
    between?.();
  });
  take();
  return { runs, hold: writer };
}

/** Hands on what runs say. */
function runSinkOf(sink: ChunkSink): RunSink {
  const pages: Uint8Array[] = [];
  const labels = new Uint8Array(1024);
  return {
    labelView: new DataView(labels.buffer),
    labelRoom: () => 3,
    addPages: (added) => pages.push(...added) - added.length,
    beginSeries: (bytes) => sink.beginSeries(labels, 3, 3 + bytes),
    chunk: (page, encoding, minTimeMs, maxTimeMs, start, end) =>
      sink.chunk(encoding, minTimeMs, maxTimeMs, pages[page]!, start, end),
  };
}

function contentOfSink(fill: (sink: ChunkSink) => void): Map<string, Sample[]> {
  const content = new Map<string, Sample[]>();
  let columns = new SampleColumns(4);
  let labels: string | undefined;
  let lastFirstMs = Number.NEGATIVE_INFINITY;
  const finish = () => {
    if (labels === undefined) return;
    sortAndDedupeSamples(columns);
    const words = wordsOf(columns.values);
    content.set(
      labels,
      Array.from({ length: columns.count }, (_, i) => [
        columns.timestampsMs[i]!,
        words[2 * i + 1]!,
        words[2 * i]!,
      ]),
    );
  };
  const sink: ChunkSink = {
    beginSeries(bytes, start, end) {
      finish();
      labels = decodeLabels(bytes, start, end).toString();
      expect(content.has(labels)).toBe(false);
      columns = new SampleColumns(4);
      lastFirstMs = Number.NEGATIVE_INFINITY;
    },
    chunk(encoding, minTimeMs, maxTimeMs, bytes, start, end) {
      if (encoding > CHUNK_COLUMNS) return;
      const before = columns.count;
      decodeChunk(encoding, bytes, start, end, columns);
      expect(columns.timestampsMs[before]).toBe(minTimeMs);
      expect(columns.timestampsMs[columns.count - 1]).toBe(maxTimeMs);
      expect(minTimeMs).toBeGreaterThanOrEqual(lastFirstMs);
      lastFirstMs = minTimeMs;
    },
  };
  fill(sink);
  finish();
  return content;
}

/** Of most tests. */
export const SERIES = [
  { __name__: 'up', job: 'a' },
  { __name__: 'up', job: 'b' },
  { __name__: 'up', job: 'b', zone: 'x' },
  { __name__: 'down' },
];
/** Their texts. */
export const NAMES = SERIES.map((entries) => Labels.from(Object.entries(entries)).toString());
