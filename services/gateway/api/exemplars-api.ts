// /api/v1/query_exemplars: exemplars of the series that a query's selectors find, whatever the query makes of their samples.

import { ByteReader } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Matcher } from '../../lib/model/matcher.ts';
import { formatTimestamp, formatValue } from '../../lib/model/number-format.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { Expr } from '../../lib/promql/ast.ts';
import type { PromqlFeatures } from '../../lib/promql/features.ts';
import { parseExpr } from '../../lib/promql/parse/parser.ts';
import { ExemplarList } from '../../lib/tsdb/chunk/exemplar-list.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import type { Exchange } from '../http/exchange.ts';
import { parseTimeRange } from '../http/parameters.ts';
import { ResponseStream } from '../http/response-stream.ts';
import type { Route } from '../http/route.ts';
import { labelsToJson } from '../json/result-json.ts';
import { readKeepReplicas, readPartialResponse, setCoverageHeader } from './answer-coverage.ts';
import { listing, type QuerierChoice } from './calls.ts';

/** An exemplar's value, before its labels (model/extra-columns.ts). */
const VALUE_BYTES = 8;

export interface ExemplarsApiDeps {
  readonly queriers: QuerierChoice;
  readonly clock: Clock;
}

export function exemplarsRoutes(
  options: { readonly features: PromqlFeatures },
  deps: ExemplarsApiDeps,
): Route[] {
  return [
    {
      template: '/api/v1/query_exemplars',
      methods: ['GET', 'POST'],
      kind: 'api',
      handle: (exchange) => answerExemplars(exchange, options.features, deps),
    },
  ];
}

async function answerExemplars(
  exchange: Exchange,
  features: PromqlFeatures,
  deps: ExemplarsApiDeps,
): Promise<void> {
  const { parameters } = exchange;
  const range = parseTimeRange(parameters);
  if (range.maxTimeMs < range.minTimeMs) {
    throw new AppError('bad_data', 'end timestamp must not be before start timestamp');
  }
  const expr = parseExpr(parameters.get('query'), features);
  const selectors = selectorsOf(expr);
  if (selectors.length === 0) {
    // As Prometheus: nothing to answer with.
    exchange.response.writeHead(204).end();
    return;
  }
  const sets = selectors.map((matchers) => ({ matchers: toWireMatchers(matchers) }));
  const allowPartial = readPartialResponse(parameters);
  const keepReplicas = readKeepReplicas(parameters);
  const request = { tenant: DEFAULT_TENANT, sets, ...range, limit: 0, allowPartial, keepReplicas };
  await listing(deps.clock, exchange.signal, async (context) => {
    const stream = new ResponseStream(exchange, () => deps.clock.monotonicMs());
    let separator = '{"status":"success","data":[';
    const warnings: string[] = [];
    for await (const { frame, coverage } of deps.queriers.next().exemplars(request, context)) {
      if (coverage !== undefined) {
        setCoverageHeader(exchange.response, coverage);
        warnings.push(...coverage.missing);
      }
      if (frame.length > 0) separator = writeSeries(stream, frame, separator);
      await stream.flush();
    }
    stream.write(separator === ',' ? ']' : `${separator}]`);
    stream.write(warnings.length === 0 ? '}' : `,"warnings":${JSON.stringify(warnings)}}`);
    await stream.end();
  });
}

function writeSeries(stream: ResponseStream, frame: Uint8Array, first: string): string {
  let separator = first;
  const list = new ExemplarList();
  try {
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        stream.write(`${separator}{"seriesLabels":${labelsToJson(bytes, start, end)},"exemplars":[`);
        separator = ',';
      },
      // The querier sends one chunk a series.
      chunk: (_encoding, _minTimeMs, _maxTimeMs, bytes, start, end) => {
        list.clear();
        list.addChunk(bytes, start, end);
        stream.write(`${exemplarsJson(list)}]}`);
      },
    });
  } catch (caught) {
    throw new AppError('internal', `malformed answer of the querier: ${toAppError(caught).message}`, {
      cause: caught,
    });
  }
  return separator;
}

function exemplarsJson({ contents, timestampsMs }: ExemplarList): string {
  return contents
    .map((content, i) => {
      const value = formatValue(new ByteReader(content).f64());
      const labels = labelsToJson(content, VALUE_BYTES, content.length);
      return `{"labels":${labels},"value":"${value}","timestamp":${formatTimestamp(timestampsMs[i]!)}}`;
    })
    .join(',');
}

/** Matchers of all selectors in an expression, in their order. */
export function selectorsOf(expr: Expr): (readonly Matcher[])[] {
  const found: (readonly Matcher[])[] = [];
  collect(expr, found);
  return found;
}

/** Depth is the parser's to bound. */
function collect(expr: Expr, found: (readonly Matcher[])[]): void {
  switch (expr.kind) {
    case 'vector-selector':
      found.push(expr.matchers);
      return;
    case 'matrix-selector':
      found.push(expr.vector.matchers);
      return;
    case 'call':
      for (const argument of expr.args) collect(argument, found);
      return;
    case 'aggregation':
      if (expr.param !== undefined) collect(expr.param, found);
      collect(expr.expr, found);
      return;
    case 'binary':
      collect(expr.left, found);
      collect(expr.right, found);
      return;
    case 'subquery':
    case 'unary':
    case 'paren':
      collect(expr.expr, found);
      return;
    case 'number':
    case 'string':
      return;
  }
}
