// Scripts over HTTP: series by remote write 2.0, `clear` by a delete of everything, queries at the query API.
import { AppError } from '../../services/lib/core/errors.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { parseValue } from '../../services/lib/model/number-format.ts';
import { postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { type HistogramJson, parseApiHistogram } from './api-histogram.ts';
import type { Answer, AnswerSeries } from './script-answer.ts';
import { encodeLoaded } from './script-series.ts';
import type { LoadedSeries, ScriptQuery, ScriptSubject } from './script-subject.ts';

const WRITE_HEADERS = {
  'content-type': 'application/x-protobuf;proto=io.prometheus.write.v2.Request',
  'x-prometheus-remote-write-version': '2.0.0',
};
const REQUEST_TIMEOUT_MS = 60_000;
/** What the API puts before the parser's own words. */
const PARAMETER_PREFIX = 'invalid parameter "query": ';

interface SeriesJson {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
  readonly histogram?: readonly [number, HistogramJson];
  readonly histograms?: readonly (readonly [number, HistogramJson])[];
}

type AnswerJson =
  | { readonly resultType: 'vector' | 'matrix'; readonly result: readonly SeriesJson[] }
  | { readonly resultType: 'scalar'; readonly result: readonly [number, string] }
  | { readonly resultType: 'string'; readonly result: readonly [number, string] };

interface Envelope {
  readonly status: 'success' | 'error';
  readonly error?: string;
  readonly errorType?: string;
  readonly data?: AnswerJson;
  readonly warnings?: readonly string[];
  readonly infos?: readonly string[];
}

export interface HttpSubjectOptions {
  /** Of a gateway, with the admin API. */
  readonly url: string;
  readonly concurrency: number;
  readonly asksPinned: (index: number) => boolean;
}

/** A server as a script's subject. It counts what it did. */
export class HttpSubject implements ScriptSubject {
  readonly concurrency: number;
  readonly asksPinned: (index: number) => boolean;
  readonly parses = true;
  queries = 0;
  writes = 0;
  samples = 0;
  deletes = 0;
  readonly #options: HttpSubjectOptions;

  constructor(options: HttpSubjectOptions) {
    this.#options = options;
    this.concurrency = options.concurrency;
    this.asksPinned = options.asksPinned;
  }

  async clear(): Promise<void> {
    this.deletes++;
    const url = `${this.#options.url}/api/v1/admin/tsdb/delete_series`;
    const response = await fetch(url, {
      method: 'POST',
      body: new URLSearchParams({ 'match[]': '{__name__!=""}' }),
    });
    if (response.status !== 204)
      throw new Error(`delete_series: ${response.status} ${await response.text()}`);
  }

  async load(series: readonly LoadedSeries[]): Promise<void> {
    this.writes++;
    // As upstream's runner: of lines with the same labels the last one counts.
    const distinct = new Map(series.map((one) => [one.labels.key, one]));
    const body = snappyLiterals(encodeLoaded([...distinct.values()]));
    const { status, text } = await postWrite(this.#options.url, body, WRITE_HEADERS);
    if (status !== 204) throw new Error(`write: ${status} ${text}`);
    for (const { samples } of series) this.samples += samples.length;
  }

  async evaluate(query: ScriptQuery): Promise<Answer> {
    const { text, startMs, endMs, stepMs } = query;
    const envelope = await this.#ask(text, startMs, endMs, stepMs);
    if (envelope.status === 'error') {
      throw new AppError('execution', (envelope.error ?? '').replace(PARAMETER_PREFIX, ''));
    }
    return toAnswer(envelope);
  }

  async refuse(text: string, timeMs: number): Promise<string> {
    const envelope = await this.#ask(text, timeMs, timeMs, 0);
    if (envelope.status !== 'error') throw new Error(`${text}: expected an error, got an answer over HTTP`);
    return (envelope.error ?? '').replace(PARAMETER_PREFIX, '');
  }

  async #ask(query: string, startMs: number, endMs: number, stepMs: number): Promise<Envelope> {
    this.queries++;
    const seconds = (timeMs: number): string => String(timeMs / 1000);
    const [endpoint, times] =
      stepMs === 0
        ? ['query', { time: seconds(endMs) }]
        : ['query_range', { start: seconds(startMs), end: seconds(endMs), step: seconds(stepMs) }];
    const body = new URLSearchParams({ query, ...times });
    const response = await fetch(`${this.#options.url}/api/v1/${endpoint}`, {
      method: 'POST',
      body,
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    return (await response.json()) as Envelope;
  }
}

function toAnswer({ data, warnings = [], infos = [] }: Envelope): Answer {
  const base = { warnings, infos, text: '', series: [] };
  if (data === undefined) throw new Error('an answer without data');
  if (data.resultType === 'string') return { ...base, type: 'string', text: data.result[1] };
  if (data.resultType === 'scalar') {
    const series = toSeries({ metric: {}, value: data.result });
    return { ...base, type: 'scalar', series: [series] };
  }
  return { ...base, type: data.resultType, series: data.result.map(toSeries) };
}

/** Floats and histograms of one series stand apart; together they are in the order of time. */
function toSeries(json: SeriesJson): AnswerSeries {
  const floats = json.values ?? (json.value === undefined ? [] : [json.value]);
  const shown = json.histograms ?? (json.histogram === undefined ? [] : [json.histogram]);
  const samples = [
    ...floats.map(([seconds, text]) => ({ seconds, value: numberOf(text), histogram: undefined })),
    ...shown.map(([seconds, histogram]) => ({
      seconds,
      value: Number.NaN,
      histogram: parseApiHistogram(histogram),
    })),
  ].sort((a, b) => a.seconds - b.seconds);
  return {
    labels: Labels.from(Object.entries(json.metric)),
    timestampsMs: Float64Array.from(samples, ({ seconds }) => Math.round(seconds * 1000)),
    values: Float64Array.from(samples, ({ value }) => value),
    count: samples.length,
    histograms: shown.length === 0 ? undefined : samples.map(({ histogram }) => histogram),
  };
}

function numberOf(text: string): number {
  const value = parseValue(text);
  if (value === undefined) throw new Error(`${text} in an answer is no number`);
  return value;
}
