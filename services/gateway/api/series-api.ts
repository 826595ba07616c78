// /api/v1/series, labels, label/<name>/values and metadata: what exists, by matchers and time.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { type Matcher, matchesEmpty } from '../../lib/model/matcher.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import { goQuote } from '../../lib/promql/parse/go-quote.ts';
import { parseMetricSelector } from '../../lib/promql/parse/parser.ts';
import type { LabelSearchRequest, MatcherSet, MetadataResponse } from '../../lib/wire/contracts.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import type { ApiResult, Exchange } from '../http/exchange.ts';
import {
  forParameter,
  invalidParameter,
  type Parameters,
  parseLimit,
  parseTimeRange,
} from '../http/parameters.ts';
import { ResponseStream } from '../http/response-stream.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { labelsToJson } from '../json/result-json.ts';
import { unescapeLabelName } from '../json/value-escaping.ts';
import { readKeepReplicas, readPartialResponse, setCoverageHeader } from './answer-coverage.ts';
import { listing, type QuerierChoice } from './calls.ts';

const TRUNCATED = 'results truncated due to limit';
/** Selectors in one request; each costs a search. */
const SELECTORS_MAX = 1000;
const SELECTOR_CHARACTERS_MAX = 256 * 1024;

export interface SeriesApiDeps {
  readonly queriers: QuerierChoice;
  readonly clock: Clock;
}

export function seriesRoutes(deps: SeriesApiDeps): Route[] {
  return [
    {
      template: '/api/v1/series',
      methods: ['GET', 'POST'],
      kind: 'api',
      handle: (exchange) => answerSeries(exchange, deps),
    },
    apiRoute(['GET', 'POST'], '/api/v1/labels', (exchange) => searchLabels(exchange, '', deps)),
    apiRoute(['GET'], '/api/v1/label/{name}/values', (exchange) => {
      const name = unescapeLabelName(exchange.pathValue);
      if (name === '' || !name.isWellFormed()) {
        throw new AppError('bad_data', `invalid label name: ${goQuote(exchange.pathValue)}`);
      }
      return searchLabels(exchange, name, deps);
    }),
    apiRoute(['GET'], '/api/v1/metadata', (exchange) => answerMetadata(exchange, deps)),
  ];
}

/**
 * Selectors of `match[]`. Lets others run between them: each may hold a regular expression that takes long to compile.
 *
 * @throws AppError `bad_data` when one does not parse, or matches every series there is, or they are too many.
 */
export async function parseSelectors(parameters: Parameters): Promise<(readonly Matcher[])[]> {
  const texts = parameters.all('match[]');
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  if (texts.length > SELECTORS_MAX || characters > SELECTOR_CHARACTERS_MAX) {
    throw invalidParameter(
      'match[]',
      `${texts.length} selectors of ${characters} characters are over the limit of ${SELECTORS_MAX} selectors ` +
        `or ${SELECTOR_CHARACTERS_MAX} characters in one request; ask in several`,
    );
  }
  const selectors: (readonly Matcher[])[] = [];
  for (const text of texts) {
    if (selectors.length > 0) await nextTurn();
    selectors.push(parseSelector(text));
  }
  return selectors;
}

function parseSelector(text: string): readonly Matcher[] {
  const matchers = forParameter('match[]', () => parseMetricSelector(text));
  if (forParameter('match[]', () => matchers.every(matchesEmpty))) {
    throw invalidParameter('match[]', 'match[] must contain at least one non-empty matcher');
  }
  return matchers;
}

function toMatcherSets(selectors: readonly (readonly Matcher[])[]): MatcherSet[] {
  return selectors.map((matchers) => ({ matchers: toWireMatchers(matchers) }));
}

async function answerSeries(exchange: Exchange, deps: SeriesApiDeps): Promise<void> {
  const { parameters } = exchange;
  const limit = parseLimit(parameters);
  if (parameters.all('match[]').length === 0) throw new AppError('bad_data', 'no match[] parameter provided');
  const range = parseTimeRange(parameters);
  const request = {
    tenant: DEFAULT_TENANT,
    sets: toMatcherSets(await parseSelectors(parameters)),
    ...range,
    limit,
    allowPartial: readPartialResponse(parameters),
    keepReplicas: readKeepReplicas(parameters),
  };
  await listing(deps.clock, exchange.signal, async (context) => {
    const stream = new ResponseStream(exchange, () => deps.clock.monotonicMs());
    let truncated = false;
    const warnings: string[] = [];
    let separator = '{"status":"success","data":[';
    for await (const message of deps.queriers.next().series(request, context)) {
      truncated ||= message.truncated;
      if (message.coverage !== undefined) {
        setCoverageHeader(exchange.response, message.coverage);
        warnings.push(...message.coverage.missing);
      }
      if (message.frame.length > 0) separator = writeLabelSets(stream, message.frame, separator);
      await stream.flush();
    }
    stream.write(separator === ',' ? ']' : `${separator}]`);
    if (truncated) warnings.push(TRUNCATED);
    if (warnings.length > 0) stream.write(`,"warnings":${JSON.stringify(warnings)}`);
    stream.write('}');
    await stream.end();
  });
}

function writeLabelSets(stream: ResponseStream, frame: Uint8Array, first: string): string {
  let separator = first;
  try {
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        stream.write(separator + labelsToJson(bytes, start, end));
        separator = ',';
      },
      chunk: () => undefined,
    });
  } catch (caught) {
    throw new AppError('internal', `malformed answer of the querier: ${toAppError(caught).message}`, {
      cause: caught,
    });
  }
  return separator;
}

async function searchLabels(exchange: Exchange, labelName: string, deps: SeriesApiDeps): Promise<ApiResult> {
  const { parameters } = exchange;
  const limit = parseLimit(parameters);
  const range = parseTimeRange(parameters);
  const sets = toMatcherSets(await parseSelectors(parameters));
  const allowPartial = readPartialResponse(parameters);
  const request: LabelSearchRequest = {
    ...{ tenant: DEFAULT_TENANT, sets, ...range, labelName, limit },
    allowPartial,
  };
  const answer = await listing(deps.clock, exchange.signal, (context) =>
    deps.queriers.next().labels(request, context),
  );
  setCoverageHeader(exchange.response, answer.coverage);
  const warnings = answer.truncated ? [...answer.warnings, TRUNCATED] : answer.warnings;
  return { data: answer.values, warnings };
}

async function answerMetadata(exchange: Exchange, deps: SeriesApiDeps): Promise<ApiResult> {
  const { parameters } = exchange;
  const limit = parseOptionalCount(parameters, 'limit');
  const perMetric = parseOptionalCount(parameters, 'limit_per_metric');
  if (limit === 0) return { data: {} };
  const request = { tenant: DEFAULT_TENANT, metric: parameters.get('metric'), limit: limit ?? 0 };
  const answer = await listing(deps.clock, exchange.signal, (context) =>
    deps.queriers.next().metadata(request, context),
  );
  return { data: groupMetadata(answer, limit ?? Number.POSITIVE_INFINITY, perMetric ?? 0) };
}

/** Negative and absent mean none. */
function parseOptionalCount(parameters: Parameters, name: string): number | undefined {
  const text = parameters.get(name);
  if (text === '') return undefined;
  if (!/^[+-]?\d{1,9}$/.test(text)) throw new AppError('bad_data', `${name} must be a number`);
  const value = Number(text);
  return value < 0 ? undefined : value;
}

/** By metric; a metric whose type or help differs among its sources has several entries. */
function groupMetadata(
  { metadata }: MetadataResponse,
  metricsMax: number,
  perMetricMax: number,
): Record<string, { type: string; help: string; unit: string }[]> {
  const grouped: Record<string, { type: string; help: string; unit: string }[]> = Object.create(null);
  let metricCount = 0;
  for (const { metric, type, help, unit } of metadata) {
    let entries = grouped[metric];
    if (entries === undefined) {
      if (metricCount >= metricsMax) continue;
      metricCount++;
      entries = [];
      grouped[metric] = entries;
    }
    if (perMetricMax === 0 || entries.length < perMetricMax) entries.push({ type, help, unit });
  }
  return grouped;
}
