// Reads all samples of the series that a selector matches over the query API: metric by metric, in slices of time, so that no
// answer is large. An answer of a range selector has the samples as they are stored, staleness markers left out.
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { Labels, METRIC_NAME, quoteLabel } from '../../lib/model/labels.ts';
import { type Matcher, printMatcher } from '../../lib/model/matcher.ts';
import { parseMetricSelector } from '../../lib/promql/parse/parser.ts';

/** Samples of one answer, about: thirty bytes each. */
const SAMPLES_TARGET = 200_000;
/** Answers beyond this are not read: the slice is halved. */
const ANSWER_BYTES_MAX = 128 << 20;
const SLICE_MS_MIN = 1000;
/** Metrics are asked for as a whole up to so many series, then one by one. */
const SERIES_TOGETHER_MAX = 2000;
/** Samples per series and millisecond before any have been seen. */
const DENSITY_AT_FIRST = 1 / 5000;
const REQUEST_TIMEOUT_MS = 150_000;
const TRIES = 5;

/** Samples of one series within one slice. */
export interface ExportedSamples {
  readonly metric: Readonly<Record<string, string>>;
  /** `[seconds, value]`, as the API writes them. */
  readonly values: readonly (readonly [number, string])[];
  /** Native histograms that stand between them. */
  readonly histograms: number;
}

export interface ExportRange {
  /** A series selector: `{job="node"}`. */
  readonly match: string;
  /** Both inclusive. */
  readonly startMs: number;
  readonly endMs: number;
}

interface MatrixSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly values?: readonly (readonly [number, string])[];
  readonly histograms?: readonly unknown[];
}

type Metric = Readonly<Record<string, string>>;

export class ExportReader {
  readonly #api: string;
  #density = DENSITY_AT_FIRST;

  constructor(url: string) {
    this.#api = `${url.replace(/\/+$/, '')}/api/v1/`;
  }

  /**
   * Yields all samples of the range: metrics and series in order, each series' slices in order of time.
   *
   * @throws AppError with the server's words when it refuses; `unavailable` when it does not answer.
   */
  async *read({ match, startMs, endMs }: ExportRange): AsyncGenerator<ExportedSamples> {
    const matchers = parseMatchers(match);
    const byName = new Map<string, Metric[]>();
    const parameters = { 'match[]': match, start: seconds(startMs), end: seconds(endMs) };
    for (const metric of (await this.#ask('series', parameters)) as Metric[]) {
      const name = metric[METRIC_NAME] ?? '';
      const known = byName.get(name);
      if (known === undefined) byName.set(name, [metric]);
      else known.push(metric);
    }
    for (const name of [...byName.keys()].sort()) {
      const metrics = byName.get(name)!;
      const expected = metrics.length * (endMs - startMs + 1) * this.#density;
      if (metrics.length <= SERIES_TOGETHER_MAX && expected <= SAMPLES_TARGET) {
        const whole = await this.#query(withName(matchers, name), startMs, endMs);
        if (whole !== undefined) {
          yield* whole;
          continue;
        }
      }
      for (const metric of metrics) yield* this.#readSeries(metric, startMs, endMs);
    }
  }

  async *#readSeries(metric: Metric, startMs: number, endMs: number): AsyncGenerator<ExportedSamples> {
    const labels = Labels.from(Object.entries(metric));
    const selector = `{${[...labels].map(([name, value]) => `${quoteLabel(name)}=${quoteLabel(value)}`).join(',')}}`;
    for (let from = startMs; from <= endMs; ) {
      let length = Math.max(SLICE_MS_MIN, Math.floor(SAMPLES_TARGET / this.#density));
      for (;;) {
        const to = Math.min(endMs, from + length - 1);
        const found = await this.#query(selector, from, to);
        if (found === undefined) {
          if (length <= SLICE_MS_MIN)
            throw new AppError(
              'resource_exhausted',
              `${selector}: a second of it is more than the server answers`,
            );
          length = Math.max(SLICE_MS_MIN, Math.floor(length / 2));
          continue;
        }
        // The selector matches series with further labels too.
        for (const one of found) if (Labels.from(Object.entries(one.metric)).key === labels.key) yield one;
        from = to + 1;
        break;
      }
    }
  }

  /** Undefined when the answer would be too large. */
  async #query(selector: string, startMs: number, endMs: number): Promise<ExportedSamples[] | undefined> {
    const lengthMs = endMs - startMs + 1;
    const query = `${selector}[${lengthMs}ms]`;
    const data = await this.#ask('query', { query, time: seconds(endMs) }, true);
    if (data === undefined) return undefined;
    let samples = 0;
    const found = (data as { readonly result: readonly MatrixSeries[] }).result.map((series) => {
      const values = series.values ?? [];
      samples = Math.max(samples, values.length);
      return { metric: series.metric, values, histograms: series.histograms?.length ?? 0 };
    });
    if (samples > 0) this.#density = Math.max(samples / lengthMs, this.#density / 2);
    return found;
  }

  /** `data` of an answer; undefined when `mayBeTooMuch` and it is. */
  async #ask(
    endpoint: string,
    parameters: Readonly<Record<string, string>>,
    mayBeTooMuch = false,
  ): Promise<unknown> {
    const url = `${this.#api}${endpoint}`;
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await fetch(url, {
          method: 'POST',
          body: new URLSearchParams(parameters),
          signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        });
        const text = await readText(response);
        if (text === undefined || response.status === 422) {
          if (mayBeTooMuch) return undefined;
          throw new AppError(
            'resource_exhausted',
            `${url}: ${text ?? `more than ${ANSWER_BYTES_MAX} bytes`}`,
          );
        }
        if (response.ok) return (JSON.parse(text) as { readonly data: unknown }).data;
        if (response.status < 500)
          throw new AppError('bad_data', `${url}: ${response.status} ${text.slice(0, 500)}`);
        throw new Error(`${response.status} ${text.slice(0, 500)}`);
      } catch (caught) {
        if (caught instanceof AppError) throw caught;
        if (attempt >= TRIES)
          throw new AppError('unavailable', `${url}: ${reasonOf(caught)}`, { cause: caught });
        await new Promise((resolve) => setTimeout(resolve, 500 * attempt));
      }
    }
  }
}

function reasonOf(caught: unknown): string {
  if (!(caught instanceof Error)) return String(caught);
  return caught.cause instanceof Error ? caught.cause.message : caught.message;
}

/** The body, or undefined when it is too long. */
async function readText(response: Response): Promise<string | undefined> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    if (bytes > ANSWER_BYTES_MAX) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

function seconds(timeMs: number): string {
  return (timeMs / 1000).toFixed(3);
}

/** @throws AppError `bad_data` when it is no selector. */
function parseMatchers(match: string): readonly Matcher[] {
  try {
    return parseMetricSelector(match);
  } catch (caught) {
    throw new AppError('bad_data', `--match=${match}: ${toAppError(caught).message}`, { cause: caught });
  }
}

/** A selector of the series of `name` that the matchers match. */
function withName(matchers: readonly Matcher[], name: string): string {
  return `{${[`${METRIC_NAME}=${quoteLabel(name)}`, ...matchers.map(printMatcher)].join(',')}}`;
}
