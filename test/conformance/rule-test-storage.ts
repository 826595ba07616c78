// Series in memory for rule unit tests: samples come in ascending time, so that reading is a binary search. Samples after
// a limit are not there yet.
import type { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import { type Labels, METRIC_NAME } from '../../services/lib/model/labels.ts';
import { compileMatcher } from '../../services/lib/model/matcher.ts';
import type { Queryable, SelectRequest, SeriesSet } from '../../services/lib/model/queryable.ts';
import { SampleColumns, wordsOf } from '../../services/lib/model/sample-columns.ts';
import type { RuleSamples } from '../../services/lib/rules/rule-samples.ts';

interface Series {
  readonly labels: Labels;
  readonly samples: SampleColumns;
}

export class RuleTestStorage implements Queryable {
  /** Newest time that queries see. */
  limitMs = Number.POSITIVE_INFINITY;
  readonly #byKey = new Map<string, Series>();
  readonly #byName = new Map<string, Series[]>();

  /** Appends samples; within a series they ascend. A sample of a time that is there already is left out. */
  append(written: RuleSamples): void {
    const words = wordsOf(written.values);
    for (let i = 0; i < written.count; i++) {
      const { samples } = this.#series(written.labels[i]!);
      const { count } = samples;
      const timeMs = written.timestampsMs[i]!;
      if (count > 0 && samples.timestampsMs[count - 1]! >= timeMs) continue;
      samples.reserve(count + 1);
      samples.timestampsMs[count] = timeMs;
      const into = wordsOf(samples.values);
      into[2 * count] = words[2 * i]!;
      into[2 * count + 1] = words[2 * i + 1]!;
      const histogram = written.histograms.get(i);
      if (histogram !== undefined) keepHistogram(samples, count, histogram);
      samples.count = count + 1;
    }
  }

  #series(labels: Labels): Series {
    const known = this.#byKey.get(labels.key);
    if (known !== undefined) return known;
    const series = { labels, samples: new SampleColumns(64) };
    this.#byKey.set(labels.key, series);
    const name = labels.get(METRIC_NAME);
    const sameName = this.#byName.get(name);
    if (sameName === undefined) this.#byName.set(name, [series]);
    else sameName.push(series);
    return series;
  }

  select(request: SelectRequest): Promise<SeriesSet> {
    const maxTimeMs = Math.min(request.maxTimeMs, this.limitMs);
    const tests = request.matchers.map((matcher) => ({ name: matcher.name, test: compileMatcher(matcher) }));
    const named = request.matchers.find(({ name, operator }) => name === METRIC_NAME && operator === '=');
    const candidates =
      named === undefined ? [...this.#byKey.values()] : (this.#byName.get(named.value) ?? []);
    const found = candidates.filter(
      ({ labels, samples }) =>
        tests.every(({ name, test }) => test(labels.get(name))) &&
        lowerBound(samples, request.minTimeMs) < lowerBound(samples, maxTimeMs + 1),
    );
    found.sort((a, b) => a.labels.compareTo(b.labels));
    return Promise.resolve({
      size: found.length,
      labels: (index) => found[index]!.labels,
      read: (index, minTimeMs, untilMs, into) =>
        copyRange(found[index]!.samples, minTimeMs, Math.min(untilMs, this.limitMs), into),
      warnings: [],
      release: () => undefined,
    });
  }
}

/** Prometheus' storage notes where a histogram follows another one without a reset. */
function keepHistogram(samples: SampleColumns, index: number, histogram: FloatHistogram): void {
  const kept = (samples.histograms ??= []);
  const previous = kept[index - 1];
  const follows = previous !== undefined && histogram.hint !== 'gauge' && !histogram.isResetFrom(previous);
  kept[index] = follows ? histogram.withHint('not_reset') : histogram;
}

/** Index of the first sample at or after `timeMs`. */
function lowerBound({ timestampsMs, count }: SampleColumns, timeMs: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (timestampsMs[middle]! < timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

function copyRange(from: SampleColumns, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
  const start = lowerBound(from, minTimeMs);
  const end = Math.max(lowerBound(from, maxTimeMs + 1), start);
  into.count = 0;
  into.reserve(end - start);
  into.timestampsMs.set(from.timestampsMs.subarray(start, end));
  wordsOf(into.values).set(wordsOf(from.values).subarray(2 * start, 2 * end));
  into.histograms = from.histograms?.slice(start, end);
  into.count = end - start;
}
