// /api/v1/query, query_range, format_query and parse_query: parameters in, a call to a querier, its result frames out as JSON.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { PromqlFeatures } from '../../lib/promql/features.ts';
import { astToJson } from '../../lib/promql/parse/ast-json.ts';
import { parseExpr } from '../../lib/promql/parse/parser.ts';
import { formatExpr } from '../../lib/promql/parse/printer.ts';
import {
  type AnswerCoverage,
  type QueryHeader,
  type QueryRequest,
  type QueryResponse,
  type QueryTrailer,
  ResultType,
} from '../../lib/wire/contracts.ts';
import type { Exchange } from '../http/exchange.ts';
import {
  forParameter,
  invalidParameter,
  type Parameters,
  parseDurationParameter,
  parseLimit,
  parseOptionalTime,
  parseTime,
} from '../http/parameters.ts';
import { ResponseStream } from '../http/response-stream.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { formatSeconds } from '../json/json-values.ts';
import { ResultJson } from '../json/result-json.ts';
import {
  coverageStats,
  readKeepReplicas,
  readNoCache,
  readPartialResponse,
  setCoverageHeader,
} from './answer-coverage.ts';
import { type QuerierChoice, withDeadline } from './calls.ts';

/** Prometheus' bound on the points of one series in a range query. */
const STEPS_MAX = 11_000;
/** The querier ends a query at its time-out; the gateway ends the call a little later, should the querier not. */
const DEADLINE_GRACE_MS = 5_000;
const TIMED_OUT = 'query timed out in expression evaluation';

const TYPE_NAMES: ReadonlyMap<ResultType, string> = new Map([
  [ResultType.RESULT_TYPE_SCALAR, 'scalar'],
  [ResultType.RESULT_TYPE_STRING, 'string'],
  [ResultType.RESULT_TYPE_VECTOR, 'vector'],
  [ResultType.RESULT_TYPE_MATRIX, 'matrix'],
]);

export interface QueryApiOptions {
  /** `--query.timeout`, milliseconds. */
  readonly queryTimeoutMs: number;
  readonly features: PromqlFeatures;
}

export interface QueryApiDeps {
  readonly queriers: QuerierChoice;
  readonly clock: Clock;
}

export function queryRoutes(options: QueryApiOptions, deps: QueryApiDeps): Route[] {
  const route = (template: string, read: (parameters: Parameters) => QueryRequest): Route => ({
    template,
    methods: ['GET', 'POST'],
    kind: 'api',
    handle: (exchange) => {
      const { parameters, request } = exchange;
      const noCache = readNoCache(parameters, request.headers['cache-control']);
      return runQuery(exchange, { ...read(parameters), ...(noCache ? { noCache } : {}) }, deps);
    },
  });
  return [
    route('/api/v1/query', (parameters) => readInstantQuery(parameters, options, deps.clock.nowMs())),
    route('/api/v1/query_range', (parameters) => readRangeQuery(parameters, options)),
    apiRoute(['GET', 'POST'], '/api/v1/format_query', ({ parameters }) => ({
      data: forParameter('query', () => formatExpr(parseExpr(parameters.get('query'), options.features))),
    })),
    apiRoute(['GET', 'POST'], '/api/v1/parse_query', ({ parameters }) => ({
      data: forParameter('query', () => astToJson(parseExpr(parameters.get('query'), options.features))),
    })),
  ];
}

function readInstantQuery(parameters: Parameters, options: QueryApiOptions, nowMs: number): QueryRequest {
  const limit = parseLimit(parameters);
  const time = parameters.get('time');
  const timeMs = time === '' ? nowMs : parseOptionalTime('time', time);
  return readRequest(parameters, options, { limit, startMs: timeMs, endMs: timeMs, stepMs: 0 });
}

function readRangeQuery(parameters: Parameters, options: QueryApiOptions): QueryRequest {
  const limit = parseLimit(parameters);
  const startMs = forParameter('start', () => parseTime(parameters.get('start')));
  const endMs = forParameter('end', () => parseTime(parameters.get('end')));
  if (endMs < startMs) throw invalidParameter('end', 'end timestamp must not be before start time');
  const stepMs = forParameter('step', () => parseDurationParameter(parameters.get('step')));
  if (stepMs <= 0) {
    throw invalidParameter(
      'step',
      'zero or negative query resolution step widths are not accepted. Try a positive integer',
    );
  }
  if (Math.floor((endMs - startMs) / stepMs) > STEPS_MAX) {
    throw new AppError(
      'bad_data',
      'exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)',
    );
  }
  return readRequest(parameters, options, { limit, startMs, endMs, stepMs });
}

function readRequest(
  parameters: Parameters,
  options: QueryApiOptions,
  times: Pick<QueryRequest, 'limit' | 'startMs' | 'endMs' | 'stepMs'>,
): QueryRequest {
  const timeout = parameters.get('timeout');
  const timeoutMs =
    timeout === ''
      ? options.queryTimeoutMs
      : Math.min(
          forParameter('timeout', () => parseDurationParameter(timeout)),
          options.queryTimeoutMs,
        );
  return {
    tenant: DEFAULT_TENANT,
    query: parameters.get('query'),
    ...times,
    timeoutMs,
    lookbackMs: readLookback(parameters.get('lookback_delta')),
    allowPartial: readPartialResponse(parameters),
    keepReplicas: readKeepReplicas(parameters),
    perStepStats: options.features.perStepStats && parameters.get('stats') === 'all',
  };
}

/** Not wrapped as an invalid parameter by Prometheus either. */
function readLookback(text: string): number {
  if (text === '') return 0;
  try {
    return Math.max(0, parseDurationParameter(text));
  } catch (caught) {
    throw new AppError('bad_data', `error parsing lookback delta duration: ${toAppError(caught).message}`, {
      cause: caught,
    });
  }
}

function runQuery(exchange: Exchange, request: QueryRequest, deps: QueryApiDeps): Promise<void> {
  const onTimeout = () => new AppError('timeout', TIMED_OUT);
  if (request.timeoutMs <= 0) throw onTimeout();
  const deadlineMs = request.timeoutMs + DEADLINE_GRACE_MS;
  return withDeadline(deps.clock, deadlineMs, exchange.signal, onTimeout, async (context) => {
    try {
      await streamResult(exchange, deps.queriers.next().query(request, context), request, deps.clock);
    } catch (caught) {
      // Nothing but the text is refused as that.
      const error = toAppError(caught);
      throw error.code === 'bad_data' ? invalidParameter('query', error.message) : error;
    }
  });
}

async function streamResult(
  exchange: Exchange,
  answers: AsyncIterable<QueryResponse>,
  request: QueryRequest,
  clock: Clock,
): Promise<void> {
  const startedMs = clock.monotonicMs();
  const stream = new ResponseStream(exchange, () => clock.monotonicMs());
  let result: ResultJson | undefined;
  let closing = '';
  let header: QueryHeader | undefined;
  let trailer: QueryTrailer | undefined;
  for await (const { part } of answers) {
    switch (part?.$case) {
      case 'header':
        header = part.value;
        setCoverageHeader(exchange.response, header.coverage);
        closing = writeOpening(stream, header, request.endMs);
        result = new ResultJson(stream, header.resultType);
        break;
      case 'frame':
        writeFrame(result, part.value);
        await stream.flush();
        break;
      case 'trailer':
        trailer = part.value;
        break;
      case undefined:
        break;
    }
  }
  if (result === undefined || trailer === undefined) {
    throw new AppError('internal', 'the querier ended its answer without a header or trailer');
  }
  const stats = exchange.parameters.get('stats');
  stream.write(closing);
  if (stats !== '') {
    const elapsedMs = clock.monotonicMs() - startedMs;
    stream.write(`,"stats":${statsJson(trailer, header?.coverage, request, elapsedMs)}`);
  }
  stream.write('}');
  stream.write(annotationsJson('warnings', [...trailer.warnings, ...statsWarnings(stats)]));
  stream.write(annotationsJson('infos', trailer.infos));
  stream.write('}');
  await stream.end();
}

/** Writes up to where the series go; answers what comes behind them. */
function writeOpening(stream: ResponseStream, header: QueryHeader, timeMs: number): string {
  const type = TYPE_NAMES.get(header.resultType);
  if (type === undefined) {
    throw new AppError('internal', `the querier answered with the unknown result type ${header.resultType}`);
  }
  stream.write(`{"status":"success","data":{"resultType":"${type}","result":`);
  if (type === 'scalar') return '';
  if (type === 'string') {
    stream.write(`[${formatSeconds(timeMs)},${JSON.stringify(header.stringValue)}]`);
    return '';
  }
  stream.write('[');
  return ']';
}

function writeFrame(result: ResultJson | undefined, frame: Uint8Array): void {
  if (result === undefined)
    throw new AppError('internal', 'the querier sent a result frame before its header');
  try {
    result.addFrame(frame);
  } catch (caught) {
    throw new AppError('internal', `malformed answer of the querier: ${toAppError(caught).message}`, {
      cause: caught,
    });
  }
}

function annotationsJson(name: string, texts: readonly string[]): string {
  return texts.length === 0 ? '' : `,"${name}":${JSON.stringify(texts)}`;
}

function statsWarnings(stats: string): string[] {
  if (stats === '' || stats === 'true' || stats === 'all') return [];
  return [`stats=${stats} is deprecated and behaves like stats=true: use "true" or "all"`];
}

/** Seconds where Prometheus has seconds. Phases that do not exist here are 0. */
function statsJson(
  trailer: QueryTrailer,
  coverage: AnswerCoverage | undefined,
  request: QueryRequest,
  totalMs: number,
): string {
  const { steps } = trailer;
  const evaluateSeconds = trailer.evaluateMs / 1000;
  return JSON.stringify({
    timings: {
      evalTotalTime: (trailer.fetchMs + trailer.evaluateMs) / 1000,
      resultSortTime: 0,
      queryPreparationTime: (trailer.planMs + trailer.fetchMs) / 1000,
      innerEvalTime: evaluateSeconds,
      execQueueTime: trailer.queueMs / 1000,
      execTotalTime: totalMs / 1000,
    },
    samples: {
      ...(steps && { totalQueryableSamplesPerStep: withTimes(steps.samplesRead, request) }),
      totalQueryableSamples: trailer.samplesRead,
      ...(steps && { samplesReadPerStep: withTimes(steps.samplesFetched, request) }),
      samplesRead: trailer.samplesFetched ?? trailer.samplesRead,
      peakSamples: trailer.samplesPeak,
    },
    ...(coverage && { coverage: coverageStats(coverage) }),
    // Samples and times above are then those of the other steps.
    ...(trailer.cachedSteps !== undefined && { resultCache: { cachedSteps: trailer.cachedSteps } }),
  });
}

/** Pairs of a step's time in seconds and its number. */
function withTimes(numbers: readonly number[], { startMs, stepMs }: QueryRequest): [number, number][] {
  return numbers.map((count, step) => [(startMs + step * stepMs) / 1000, count]);
}
