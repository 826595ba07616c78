// What the process does once before it says that it is ready: it answers queries over made-up series, by its own gateway, querier,
// threads and ingester code, on a connection that leads nowhere. V8 compiles what runs often; without this a user's first dozens
// of queries take two to three times as long as all that follow.
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
import type { Clock } from '../lib/core/clock.ts';
import { createSilentLogger, type Logger } from '../lib/runtime/logger.ts';
import type { WorkerPool } from '../lib/runtime/worker-pool.ts';
import type { QuerierOptions } from '../querier/options.ts';
import { createQuerier } from '../querier/service.ts';
import { EmbeddedCluster } from './embedded-cluster.ts';
import { makeRehearsedIngester, REHEARSED_END_MS, REHEARSED_SPAN_MS } from './rehearsal-series.ts';

/** Turns of all queries, those of the main thread and of the others: after so many, most of what they run is compiled. */
const TURNS_MAX = 13;
/** The start waits no longer, however slow the machine is. */
const REHEARSAL_MS_MAX = 1_500;

/** The kinds of queries that dashboards and rules consist of. Without a step: an instant query. */
const QUERIES: readonly { readonly query: string; readonly stepSeconds?: number }[] = [
  { query: 'sum by (instance) (rate(rehearsed_seconds_total[5m]))' },
  {
    query: 'sum by (mode) (rate(rehearsed_seconds_total{mode!="idle",instance=~"host-.*"}[5m]))',
    stepSeconds: 15,
  },
  { query: 'rehearsed_bytes', stepSeconds: 15 },
  { query: '100 * (1 - rehearsed_bytes / rehearsed_limit_bytes)', stepSeconds: 15 },
  { query: 'topk(5, rate(rehearsed_seconds_total{mode="user"}[5m]))', stepSeconds: 15 },
  { query: 'quantile by (job) (0.99, rehearsed_bytes)', stepSeconds: 15 },
  { query: 'avg_over_time(rehearsed_bytes[10m])', stepSeconds: 15 },
  { query: 'count({job="rehearsal"})', stepSeconds: 60 },
  {
    query:
      'sum by (mode) (increase(rehearsed_seconds_total[5m])) + on (mode) max by (mode) (rehearsed_seconds_total)',
    stepSeconds: 15,
  },
  { query: 'max_over_time(sum(rate(rehearsed_seconds_total{mode="user"}[1m]))[10m:1m])', stepSeconds: 30 },
  { query: 'histogram_quantile(0.9, sum by (le) (rate(rehearsed_seconds_bucket[5m])))', stepSeconds: 30 },
];

export interface RehearsalDeps {
  /** The querier's, which is what is to be trained. Running. */
  readonly threads: WorkerPool;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends it: the process is told to stop. */
  readonly signal?: AbortSignal;
}

/**
 * Answers the queries above in turn, until they were answered often enough or took long enough. Nothing of it is stored, listed or counted
 * but the threads' tasks. What goes wrong is logged: a start does not depend on it.
 *
 * Cost: at most REHEARSAL_MS_MAX, and about 1.5 s of CPU, half of it the compilers'.
 */
export async function rehearse(
  options: QuerierOptions,
  deps: RehearsalDeps,
  turns: number = TURNS_MAX,
): Promise<void> {
  const { clock, logger, signal } = deps;
  const startedMs = clock.monotonicMs();
  // Small queries are the main thread's, others the threads': both are to be trained, these the more.
  const stages = [createStage({ ...options, mainThreadSamplesMax: 0 }, deps), createStage(options, deps)];
  let answers = 0;
  try {
    for (let turn = 0; turn < turns; turn++) {
      for (const { query, stepSeconds } of QUERIES) {
        if (signal?.aborted === true || clock.monotonicMs() - startedMs >= REHEARSAL_MS_MAX) return;
        const status = await stages[turn % 4 === 3 ? 1 : 0]!.ask(targetOf(query, stepSeconds));
        if (status !== 200) throw new Error(`${query} was answered with status ${status}`);
        answers++;
      }
    }
  } catch (err) {
    if (signal?.aborted === true) return;
    logger.warn({ err }, 'queries were not rehearsed; the first ones will be slower');
  } finally {
    for (const stage of stages) await stage.close();
    logger.debug({ answers, elapsedMs: clock.monotonicMs() - startedMs }, 'queries rehearsed');
  }
}

/** Path and parameters of a query over all made-up samples. */
function targetOf(query: string, stepSeconds: number | undefined): string {
  const endSeconds = REHEARSED_END_MS / 1000;
  const times =
    stepSeconds === undefined
      ? { time: String(endSeconds) }
      : {
          start: String(endSeconds - REHEARSED_SPAN_MS / 1000),
          end: String(endSeconds),
          step: String(stepSeconds),
        };
  const path = stepSeconds === undefined ? '/api/v1/query' : '/api/v1/query_range';
  return `${path}?${new URLSearchParams({ query, ...times }).toString()}`;
}

interface Stage {
  /** Asks for a target; answers the status when the whole answer is written. */
  ask(target: string): Promise<number>;
  close(): Promise<void>;
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
          { queryTimeoutMs: REHEARSAL_MS_MAX, features: options.features },
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
    ask: (target) => connection.ask(target),
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
