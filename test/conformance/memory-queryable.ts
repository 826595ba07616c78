// Series in memory as a Queryable: what test scripts load.
import type { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import type { Labels } from '../../services/lib/model/labels.ts';
import { compileMatcher } from '../../services/lib/model/matcher.ts';
import type { Queryable, SelectRequest, SeriesSet } from '../../services/lib/model/queryable.ts';
import { putStale, type SampleColumns, wordsOf } from '../../services/lib/model/sample-columns.ts';

/** One loaded sample. */
export interface LoadedSample {
  readonly timeMs: number;
  /** Ignored where isStale. */
  readonly value: number;
  readonly isStale: boolean;
  readonly histogram?: FloatHistogram;
  /** When the counter began, Unix milliseconds; 0 or absent: unknown. */
  readonly startMs?: number;
}

interface Series {
  readonly labels: Labels;
  readonly samples: Map<number, LoadedSample>;
}

export class MemoryQueryable implements Queryable {
  readonly #series = new Map<string, Series>();

  /** Adds samples to a series; a later sample of the same time replaces the earlier one. */
  append(labels: Labels, samples: readonly LoadedSample[]): void {
    let series = this.#series.get(labels.key);
    if (series === undefined) this.#series.set(labels.key, (series = { labels, samples: new Map() }));
    for (const sample of samples) series.samples.set(sample.timeMs, sample);
    noteResets(series);
  }

  clear(): void {
    this.#series.clear();
  }

  select(request: SelectRequest): Promise<SeriesSet> {
    const tests = request.matchers.map((matcher) => ({ name: matcher.name, test: compileMatcher(matcher) }));
    const found = [...this.#series.values()].filter(
      ({ labels, samples }) =>
        tests.every(({ name, test }) => test(labels.get(name))) &&
        [...samples.keys()].some((timeMs) => timeMs >= request.minTimeMs && timeMs <= request.maxTimeMs),
    );
    found.sort((a, b) => a.labels.compareTo(b.labels));
    return Promise.resolve(new MemorySeriesSet(found));
  }
}

/**
 * What Prometheus' storage would say of resets: that there was none where it knows. Where it saw one it says nothing,
 * unless the sender did (prometheus/prometheus issue 15346).
 */
function noteResets(series: Series): void {
  let previous: FloatHistogram | undefined;
  for (const sample of [...series.samples.values()].sort((a, b) => a.timeMs - b.timeMs)) {
    const { histogram } = sample;
    if (histogram !== undefined && histogram.hint !== 'gauge') {
      const stored = histogram.copy();
      // Hints of an earlier load are made anew; only a written reset stays.
      if (stored.hint === 'not_reset') stored.hint = 'unknown';
      if (previous !== undefined && !stored.isResetFrom(previous)) stored.hint = 'not_reset';
      series.samples.set(sample.timeMs, { ...sample, histogram: stored });
    }
    previous = histogram;
  }
}

class MemorySeriesSet implements SeriesSet {
  readonly warnings = [];
  readonly #series: readonly Series[];

  constructor(series: readonly Series[]) {
    this.#series = series;
  }

  get size(): number {
    return this.#series.length;
  }

  labels(index: number): Labels {
    return this.#series[index]!.labels;
  }

  read(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    const samples = [...this.#series[index]!.samples.values()]
      .filter(({ timeMs }) => timeMs >= minTimeMs && timeMs <= maxTimeMs)
      .sort((a, b) => a.timeMs - b.timeMs);
    into.count = 0;
    into.reserve(samples.length);
    const words = wordsOf(into.values);
    samples.forEach(({ timeMs, value, isStale }, i) => {
      into.timestampsMs[i] = timeMs;
      if (isStale) putStale(words, i);
      else into.values[i] = value;
    });
    into.count = samples.length;
    into.histograms = samples.some(({ histogram }) => histogram !== undefined)
      ? samples.map(({ histogram }) => histogram)
      : undefined;
    into.startTimesMs = samples.some(({ startMs }) => startMs !== undefined)
      ? Float64Array.from(samples, ({ startMs }) => startMs ?? 0)
      : undefined;
  }

  release(): void {}
}
