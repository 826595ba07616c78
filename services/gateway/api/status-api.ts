// /api/v1/status/*: what this process is, how it is configured, what the head holds, and how fast samples arrive.
import { hostname } from 'node:os';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { NamedCount } from '../../lib/wire/contracts.ts';
import type { GatewayHost } from '../host.ts';
import type { ApiResult, Exchange } from '../http/exchange.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { formatTime } from '../json/json-values.ts';
import type { ArrivalRate } from './arrival-rate.ts';
import { listing, type QuerierChoice } from './calls.ts';

const TOP_LIST_DEFAULT = 10;
const TOP_LIST_MAX = 10_000;

export interface StatusApiDeps {
  readonly host: GatewayHost;
  readonly queriers: QuerierChoice;
  readonly clock: Clock;
  readonly arrivals: ArrivalRate;
}

export function statusRoutes(deps: StatusApiDeps): Route[] {
  const { host } = deps;
  return [
    apiRoute(['GET'], '/api/v1/status/buildinfo', () => ({ data: host.buildInformation })),
    apiRoute(['GET'], '/api/v1/status/runtimeinfo', () => ({ data: describeRuntime(host, deps.clock) })),
    apiRoute(['GET'], '/api/v1/status/config', () => ({ data: { yaml: host.configYaml() } })),
    apiRoute(['GET'], '/api/v1/status/flags', () => ({ data: Object.fromEntries(host.flags()) })),
    apiRoute(['GET'], '/api/v1/status/tsdb', (exchange) => describeHead(exchange, deps)),
    apiRoute(['GET'], '/api/v1/status/arrivals', () => ({ data: deps.arrivals.describe() })),
  ];
}

function describeRuntime(host: GatewayHost, clock: Clock) {
  const { successful, atMs } = host.lastReload();
  return {
    startTime: formatTime(host.startedAtMs),
    CWD: process.cwd(),
    hostname: hostname(),
    serverTime: formatTime(clock.nowMs()),
    reloadConfigSuccess: successful,
    lastConfigTime: formatTime(atMs),
    corruptionCount: 0,
    // Go's figures have no counterpart: the fields stand for clients that read them.
    goroutineCount: process.getActiveResourcesInfo().length,
    GOMAXPROCS: 1,
    GOMEMLIMIT: process.constrainedMemory() || 0,
    GOGC: '',
    GODEBUG: '',
    storageRetention: host.storageRetention,
  };
}

async function describeHead(exchange: Exchange, deps: StatusApiDeps): Promise<ApiResult> {
  const limit = readTopListLimit(exchange.parameters.get('limit'));
  const head = await listing(deps.clock, exchange.signal, (context) =>
    deps.queriers.next().headStatistics({ tenant: DEFAULT_TENANT, limit }, context),
  );
  return {
    data: {
      headStats: {
        numSeries: head.series,
        numLabelPairs: head.labelPairs,
        chunkCount: head.chunks,
        minTime: head.minTimeMs,
        maxTime: head.maxTimeMs,
        // Ours: Prometheus has no limit.
        ...(head.seriesLimit === undefined ? {} : { seriesLimit: head.seriesLimit }),
      },
      seriesCountByMetricName: head.seriesCountByMetricName.map(countJson),
      labelValueCountByLabelName: head.labelValueCountByLabelName.map(countJson),
      memoryInBytesByLabelName: head.memoryInBytesByLabelName.map(countJson),
      seriesCountByLabelValuePair: head.seriesCountByLabelValuePair.map(countJson),
    },
  };
}

function countJson({ name, value }: NamedCount) {
  return { name, value };
}

function readTopListLimit(text: string): number {
  if (text === '') return TOP_LIST_DEFAULT;
  const limit = /^\+?\d{1,9}$/.test(text) ? Number(text) : 0;
  if (limit < 1) throw new AppError('bad_data', 'limit must be a positive number');
  if (limit > TOP_LIST_MAX) throw new AppError('bad_data', `limit must not exceed ${TOP_LIST_MAX}`);
  return limit;
}
