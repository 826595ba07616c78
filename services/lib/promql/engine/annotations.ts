// Warnings and infos of a query, in Prometheus' words, each once: of the same words at several places the last one said
// stays, as in Prometheus. Positions are kept apart from the words, and some of them collect figures while the query runs.
import { formatDuration } from '../../model/duration.ts';
import type { Position } from '../ast.ts';
import { goQuote } from '../parse/go-quote.ts';
import { printPosition } from '../parse/parse-error.ts';
import { formatG, formatPrecise } from './go-format.ts';
import type { AnnotationRecord } from './parts/partial.ts';

interface ForcedMonotonicity {
  minTimeMs: number;
  maxTimeMs: number;
  minBucket: number;
  maxBucket: number;
  maxDiff: number;
  count: number;
}

interface Annotation {
  readonly words: string;
  readonly position: Position;
  readonly forced: ForcedMonotonicity | undefined;
}

const QUANTILE_HELP = 'https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile';

/** Collects what is to be said about a query. */
export class Annotations {
  #warnings = new Map<string, Annotation>();
  #infos = new Map<string, Annotation>();

  invalidQuantile(value: number, at: Position): void {
    this.#warn(`quantile value should be between 0 and 1, got ${formatG(value)}`, at);
  }

  invalidRatio(value: number, used: number, at: Position): void {
    this.#warn(
      `ratio value should be between -1 and 1, got ${formatG(value)}, capping to ${formatG(used)}`,
      at,
    );
  }

  badBucketLabel(metric: string, label: string, at: Position): void {
    this.#warn(
      `bucket label "le" is missing or has a malformed value of ${goQuote(label)}${forMetric(metric)}`,
      at,
    );
  }

  sortInRangeQuery(at: Position): void {
    this.#warn('sort is ineffective for range queries since results are always ordered by labels', at);
  }

  possibleNonCounter(metric: string, at: Position): void {
    this.#info(
      `metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ${goQuote(metric)}`,
      at,
    );
  }

  /** Samples are no longer kept, and times or windows are not multiples of what is. */
  aggregated(metric: string, resolutionMs: number, at: Position): void {
    this.#info(
      `samples of metric name ${goQuote(metric)} are only kept at a resolution of ${formatDuration(resolutionMs)} in a part of the range; times and windows are taken as if they were multiples of it`,
      at,
    );
  }

  /** Samples are no longer kept, and aggregates do not answer the function. */
  notAggregated(func: string, metric: string, resolutionMs: number, at: Position): void {
    this.#warn(
      `samples of metric name ${goQuote(metric)} are only kept at a resolution of ${formatDuration(resolutionMs)} in a part of the range, which ${func} cannot be computed from; it was given one sample for each of these intervals`,
      at,
    );
  }

  startOverlap(metric: string, at: Position): void {
    this.#warn(`start times of samples overlap for metric name ${goQuote(metric)}`, at);
  }

  mixedSamples(metric: string, at: Position): void {
    this.#warn(`encountered a mix of histograms and floats for metric name ${goQuote(metric)}`, at);
  }

  mixedSamplesInAggregation(at: Position): void {
    this.#warn('encountered a mix of histograms and floats for aggregation', at);
  }

  mixedClassicAndNative(metric: string, at: Position): void {
    this.#warn(`vector contains a mix of classic and native histograms${forMetric(metric)}`, at);
  }

  mixedSchemas(metric: string, at: Position): void {
    this.#warn(
      `vector contains a mix of histograms with exponential and custom buckets schemas for metric name ${goQuote(metric)}`,
      at,
    );
  }

  notACounter(metric: string, at: Position): void {
    this.#warn(`this native histogram metric is not a counter: ${goQuote(metric)}`, at);
  }

  notAGauge(metric: string, at: Position): void {
    this.#warn(`this native histogram metric is not a gauge: ${goQuote(metric)}`, at);
  }

  incompatibleLayout(operator: string, at: Position): void {
    this.#warn(`incompatible bucket layout encountered for binary operator ${operator}`, at);
  }

  /** @param operation  `addition`, `subtraction` or `aggregation`. */
  resetCollision(operation: string, at: Position): void {
    this.#warn(`conflicting counter resets during histogram ${operation}`, at);
  }

  reconciledBounds(operation: string, at: Position): void {
    this.#info(`mismatched custom buckets were reconciled during ${operation}`, at);
  }

  histogramIgnored(aggregation: string, at: Position): void {
    this.#info(`ignored histogram in ${aggregation} aggregation`, at);
  }

  histogramsIgnoredInRange(metric: string, at: Position): void {
    this.#info(
      `ignored histograms in a range containing both floats and histograms for metric name ${goQuote(metric)}`,
      at,
    );
  }

  quantileOfNaN(isResultNaN: boolean, metric: string, at: Position): void {
    const effect = isResultNaN ? 'result is NaN' : 'result is skewed higher';
    this.#info(`input to histogram_quantile has NaN observations, ${effect}${forMetric(metric)}`, at);
  }

  fractionOfNaN(metric: string, at: Position): void {
    this.#info(
      `input to histogram_fraction has NaN observations, which are excluded from all fractions${forMetric(metric)}`,
      at,
    );
  }

  incompatibleTypes(operator: string, left: string, right: string, at: Position): void {
    this.#info(
      `incompatible sample types encountered for binary operator ${goQuote(operator)}: ${left} ${operator} ${right}`,
      at,
    );
  }

  forcedMonotonicity(
    metric: string,
    at: Position,
    timeMs: number,
    minBucket: number,
    maxBucket: number,
    maxDiff: number,
  ): void {
    const words = `input to histogram_quantile needed to be fixed for monotonicity (see ${QUANTILE_HELP})${forMetric(metric)}`;
    const forced = { minTimeMs: timeMs, maxTimeMs: timeMs, minBucket, maxBucket, maxDiff, count: 1 };
    const known = this.#info(words, at, forced);
    if (known === undefined || known === forced) return;
    known.minTimeMs = Math.min(known.minTimeMs, timeMs);
    known.maxTimeMs = Math.max(known.maxTimeMs, timeMs);
    known.minBucket = Math.min(known.minBucket, minBucket);
    known.maxBucket = Math.max(known.maxBucket, maxBucket);
    known.maxDiff = Math.max(known.maxDiff, maxDiff);
    known.count++;
  }

  get isEmpty(): boolean {
    return this.#warnings.size === 0 && this.#infos.size === 0;
  }

  /** What is said while `act` runs is not said yet, but given back, to be absorbed when Prometheus would say it. */
  async apart(act: () => Promise<void>): Promise<readonly AnnotationRecord[]> {
    const [warnings, infos] = [this.#warnings, this.#infos];
    this.#warnings = new Map();
    this.#infos = new Map();
    try {
      await act();
      return this.records();
    } finally {
      this.#warnings = warnings;
      this.#infos = infos;
    }
  }

  /** Everything that was said, for the merge. */
  records(): AnnotationRecord[] {
    const of = (isWarning: boolean, { words, position }: Annotation): AnnotationRecord => {
      return { isWarning, words, position };
    };
    return [
      ...[...this.#warnings.values()].map((annotation) => of(true, annotation)),
      ...[...this.#infos.values()].map((annotation) => of(false, annotation)),
    ];
  }

  /** Takes over what was said of a part. */
  absorb(records: readonly AnnotationRecord[]): void {
    for (const { isWarning, words, position } of records) {
      if (isWarning) this.#warn(words, position);
      else this.#info(words, position);
    }
  }

  /** Warnings as printed, with `(line:column)` in `query` unless it is empty. */
  warnings(query: string): string[] {
    return [...this.#warnings.values()].map((annotation) => `PromQL warning: ${print(annotation, query)}`);
  }

  infos(query: string): string[] {
    return [...this.#infos.values()].map((annotation) => `PromQL info: ${print(annotation, query)}`);
  }

  #warn(words: string, position: Position): void {
    this.#warnings.set(words, { words, position, forced: undefined });
  }

  #info(words: string, position: Position, forced?: ForcedMonotonicity): ForcedMonotonicity | undefined {
    const known = this.#infos.get(words);
    this.#infos.set(words, { words, position, forced: known?.forced ?? forced });
    return known?.forced ?? forced;
  }
}

function forMetric(metric: string): string {
  return metric === '' ? '' : ` for metric name ${goQuote(metric)}`;
}

function print(annotation: Annotation, query: string): string {
  if (query === '') return annotation.words;
  return `${annotation.words}${printForced(annotation.forced)} (${printPosition(query, annotation.position.start)})`;
}

function printForced(forced: ForcedMonotonicity | undefined): string {
  if (forced === undefined) return '';
  return (
    `, from buckets ${formatG(forced.minBucket)} to ${formatG(forced.maxBucket)}` +
    `, with a max diff of ${formatPrecise(forced.maxDiff, 2)}, over ${forced.count} samples` +
    ` from ${printTime(forced.minTimeMs)} to ${printTime(forced.maxTimeMs)}`
  );
}

function printTime(timeMs: number): string {
  const date = new Date(Math.trunc(timeMs / 1000) * 1000);
  return Number.isNaN(date.getTime()) ? String(timeMs) : date.toISOString().replace('.000Z', 'Z');
}
