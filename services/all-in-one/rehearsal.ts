// What the process does once before it says that it is ready: it answers queries over made-up series, by its own gateway, querier,
// threads and ingester code, on a connection that leads nowhere.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type Duplex, duplexPair } from 'node:stream';
import { Registry } from 'prom-client';
import { QuerierChoice } from '../gateway/api/calls.ts';
import { queryRoutes } from '../gateway/api/query-api.ts';
import { createCors } from '../gateway/http/cors.ts';
import { Dispatcher } from '../gateway/http/dispatcher.ts';
import { RequestMetrics } from '../gateway/http/request-metrics.ts';
import { RouteTable } from '../gateway/http/route.ts';
import { DEFAULT_HTTP_LIMITS } from '../gateway/options.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import type { QuerierOptions } from '../querier/options.ts';
import {
  REHEARSAL_MS_MAX,
  type RehearsalDeps,
  type RehearsedQuery,
  rehearseOn,
  type Stage,
} from '../querier/rehearsal/rehearsed-queries.ts';
import { createQuerier } from '../querier/service.ts';
import { EmbeddedCluster } from './embedded-cluster.ts';
import { makeRehearsedIngester } from './rehearsed-ingester.ts';

/**
 * Rehearses, over HTTP as users ask; see `rehearseOn`.
 *
 * @param turns  Of all queries. Default: as many as most of the code needs.
 */
export function rehearse(options: QuerierOptions, deps: RehearsalDeps, turns?: number): Promise<void> {
  return rehearseOn((own) => createStage(own, deps), options, deps, turns);
}

/** Path and parameters of a query. */
function targetOf({ query, startMs, endMs, stepMs }: RehearsedQuery): string {
  const seconds = (ms: number) => String(ms / 1000);
  const times =
    stepMs === 0
      ? { time: seconds(endMs) }
      : { start: seconds(startMs), end: seconds(endMs), step: seconds(stepMs) };
  const path = stepMs === 0 ? '/api/v1/query' : '/api/v1/query_range';
  return `${path}?${new URLSearchParams({ query, ...times }).toString()}`;
}

/** The services that answer queries, beside those of the process: of their own are only series, metrics and connection. */
function createStage(options: QuerierOptions, { threads, clock }: RehearsalDeps): Stage {
  // Whoever rehearses says what went wrong.
  const logger = createSilentLogger();
  const registry = new Registry();
  const cluster = new EmbeddedCluster({ instance: 'rehearsal', partitionCount: 1 });
  cluster.joinIngester(makeRehearsedIngester(clock));
  const querier = createQuerier(options, { cluster, clock, logger, registry, threads });
  cluster.joinQuerier(querier.handlers);
  const dispatcher = new Dispatcher(
    { limits: DEFAULT_HTTP_LIMITS, pathPrefix: '' },
    {
      routes: new RouteTable(
        queryRoutes(
          { queryTimeoutMs: 2 * REHEARSAL_MS_MAX, features: options.features },
          { queriers: new QuerierChoice(cluster), clock },
        ),
      ),
      setCors: createCors('.*'),
      metrics: new RequestMetrics(registry, () => 1),
      clock,
      logger,
      isReady: () => true,
      isStopping: () => false,
    },
  );
  const connection = connect((request, response) => dispatcher.handle(request, response));
  return {
    ask: async (query) => {
      const status = await connection.ask(targetOf(query));
      if (status !== 200) throw new Error(`${query.query} was answered with status ${status}`);
    },
    close: async () => {
      connection.close();
      await querier.stop();
    },
  };
}

/** A connection to a server that listens nowhere. */
function connect(handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>) {
  let answered: ((status: number) => void) | undefined;
  let failed: ((error: unknown) => void) | undefined;
  const server = createServer((request, response) => {
    response.once('close', () => answered?.(response.statusCode));
    handle(request, response).catch((caught: unknown) => failed?.(caught));
  });
  const [near, far]: Duplex[] = duplexPair();
  // What a socket has beside a stream, and answers ask for while they wait.
  server.emit('connection', Object.assign(far!, { setTimeout: () => far }));
  near!.resume();
  near!.once('close', () => failed?.(new Error('the connection was ended')));
  return {
    ask: (target: string) =>
      new Promise<number>((resolve, reject) => {
        answered = resolve;
        failed = reject;
        near!.write(`GET ${target} HTTP/1.1\r\nHost: rehearsal\r\nAccept-Encoding: gzip\r\n\r\n`);
      }),
    close: () => {
      near!.destroy();
      far!.destroy();
      server.close();
    },
  };
}
