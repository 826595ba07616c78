// /federate: the latest sample of every series that matches, in the text format, for another Prometheus to scrape. A series
// whose latest sample is a staleness marker is left out. Float samples only.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { parseDuration } from '../../lib/model/duration.ts';
import {
  compareUtf8,
  decodeLabels,
  isLegacyLabelName,
  isLegacyMetricName,
  type Labels,
} from '../../lib/model/labels.ts';
import { type Matcher, printMatcher } from '../../lib/model/matcher.ts';
import { formatValue } from '../../lib/model/number-format.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import type { QueryRequest } from '../../lib/wire/contracts.ts';
import { readResultFrame } from '../../lib/wire/frames/result-frame.ts';
import type { GatewayHost } from '../host.ts';
import { type Exchange, sendBody, sendText } from '../http/exchange.ts';
import type { Route } from '../http/route.ts';
import { type QuerierChoice, withDeadline } from './calls.ts';
import { parseSelectors } from './series-api.ts';

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
/** Prometheus' default of --query.lookback-delta. */
const LOOKBACK = '5m';
/** Series of one answer: about 20 MB of text, and half a second of work in turns. */
const SERIES_MAX = 100_000;
/** Lines written between two turns of the event loop. */
const LINES_PER_TURN = 2048;

export interface FederateDeps {
  readonly queriers: QuerierChoice;
  readonly clock: Clock;
  readonly host: GatewayHost;
}

export function federateRoutes(options: { readonly queryTimeoutMs: number }, deps: FederateDeps): Route[] {
  return [
    {
      template: '/federate',
      methods: ['GET'],
      kind: 'api',
      handle: async (exchange) => {
        try {
          await federate(exchange, options.queryTimeoutMs, deps);
        } catch (caught) {
          const error = toAppError(caught);
          // Scrapers read no envelope. What is not the caller's fault is worth another scrape.
          if (error.code === 'canceled') throw error;
          await sendText(exchange, error.code === 'bad_data' ? 400 : 503, `${error.message}\n`);
        }
      },
    },
  ];
}

interface LatestSample {
  readonly name: string;
  readonly labels: Labels;
  readonly timeMs: number;
  readonly value: number;
}

async function federate(exchange: Exchange, timeoutMs: number, deps: FederateDeps): Promise<void> {
  const { clock, host } = deps;
  const selectors = await parseSelectors(exchange.parameters);
  const lookback = host.flags().get('query.lookback-delta') ?? LOOKBACK;
  const onTimeout = () => new AppError('timeout', 'federation timed out: select fewer series');
  const latest = await withDeadline(clock, timeoutMs, exchange.signal, onTimeout, async (context) => {
    const found = new Map<string, LatestSample>();
    const instant = { timeMs: clock.nowMs(), lookbackMs: parseDuration(lookback), timeoutMs };
    for (const matchers of selectors) await addLatest(found, matchers, instant, deps.queriers, context);
    return [...found.values()];
  });
  latest.sort((a, b) => compareUtf8(a.name, b.name) || a.labels.compareTo(b.labels));
  const allowsUtf8 = /escaping=allow-utf-8/.test(exchange.request.headers.accept ?? '');
  const external = [...(host.externalLabels?.() ?? new Map<string, string>())];
  const text = await writeText(latest, withInstance(external), allowsUtf8);
  await sendBody(exchange, 200, CONTENT_TYPE, text);
}

/**
 * Asks twice: the instant vector says which series are there, not stale; the range has their samples with the times at
 * which they were taken.
 */
async function addLatest(
  found: Map<string, LatestSample>,
  matchers: readonly Matcher[],
  instant: { readonly timeMs: number; readonly lookbackMs: number; readonly timeoutMs: number },
  queriers: QuerierChoice,
  context: CallContext,
): Promise<void> {
  const selector = `{${matchers.map(printMatcher).join(',')}}`;
  const { timeMs, lookbackMs, timeoutMs } = instant;
  const request = (query: string): QueryRequest => ({
    ...{ tenant: DEFAULT_TENANT, query, startMs: timeMs, endMs: timeMs, stepMs: 0 },
    ...{ timeoutMs, lookbackMs, limit: 0, allowPartial: false },
  });
  const present = new Set<string>();
  for await (const { part } of queriers.next().query(request(selector), context)) {
    if (part?.$case !== 'frame') continue;
    readResultFrame(part.value, (bytes, start, end) => present.add(keyOf(bytes, start, end)));
    if (present.size > SERIES_MAX) throw tooMany();
  }
  if (present.size === 0) return;
  for await (const { part } of queriers.next().query(request(`${selector}[${lookbackMs}ms]`), context)) {
    if (part?.$case !== 'frame') continue;
    readResultFrame(part.value, (bytes, start, end, timestampsMs, values, count, histograms) => {
      const key = keyOf(bytes, start, end);
      // The text format has no native histograms: upstream leaves them out of it too.
      if (histograms?.[count - 1] !== undefined) return;
      if (count === 0 || !present.has(key) || found.has(key)) return;
      const labels = decodeLabels(bytes, start, end);
      const name = labels.get('__name__');
      if (name === '') return;
      found.set(key, { name, labels, timeMs: timestampsMs[count - 1]!, value: values[count - 1]! });
    });
    if (found.size > SERIES_MAX) throw tooMany();
  }
}

function keyOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}

function tooMany(): AppError {
  return new AppError(
    'bad_data',
    `match[] selects more than the limit of ${SERIES_MAX} series; narrow it, or federate aggregates`,
  );
}

/** Without a label `instance` the scraper would set its own. */
function withInstance(external: readonly (readonly [string, string])[]): (readonly [string, string])[] {
  const all = external.some(([name]) => name === 'instance')
    ? [...external]
    : [...external, ['instance', ''] as const];
  return all.sort(([a], [b]) => compareUtf8(a, b));
}

async function writeText(
  latest: readonly LatestSample[],
  external: readonly (readonly [string, string])[],
  allowsUtf8: boolean,
): Promise<string> {
  const lines: string[] = [];
  let family: string | undefined;
  for (const [i, { name, labels, timeMs, value }] of latest.entries()) {
    if (i % LINES_PER_TURN === LINES_PER_TURN - 1) await nextTurn();
    const written = writeName(name, isLegacyMetricName(name), allowsUtf8);
    if (name !== family) lines.push(`# TYPE ${written} untyped`);
    family = name;
    const pairs = [...labels.entries()].filter(([label]) => label !== '__name__');
    for (const [label, text] of external) if (!labels.has(label)) pairs.push([label, text]);
    const inBraces = pairs.map(
      ([label, text]) => `${writeName(label, isLegacyLabelName(label), allowsUtf8)}="${escapeValue(text)}"`,
    );
    const head = written.startsWith('"')
      ? `{${[written, ...inBraces].join(',')}}`
      : `${written}{${inBraces.join(',')}}`;
    lines.push(`${head} ${formatValue(value)} ${timeMs}`);
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** A name beyond the old character set is quoted for who reads that, and has underscores for who does not. */
function writeName(name: string, isLegacy: boolean, allowsUtf8: boolean): string {
  if (isLegacy) return name;
  if (allowsUtf8) return `"${escapeValue(name)}"`;
  return name.replace(/^[0-9]/, '_').replace(/[^a-zA-Z0-9_:]/gu, '_');
}

function escapeValue(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}
