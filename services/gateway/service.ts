// The gateway: puts the routes of its modules into one table and serves them. Stateless; everything it tells it asks
// from the other services, the distributor or its host.
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { Clock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import type { Distributor } from '../lib/distributor/appender.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { Service } from '../lib/runtime/service.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import { activeQueriesRoutes } from './api/active-queries-api.ts';
import { adminRoutes } from './api/admin-api.ts';
import { ArrivalRate } from './api/arrival-rate.ts';
import { QuerierChoice } from './api/calls.ts';
import { clusterRoutes } from './api/cluster-api.ts';
import { deleteRoutes } from './api/delete-api.ts';
import { examineRoutes } from './api/examine-api.ts';
import { exemplarsRoutes } from './api/exemplars-api.ts';
import { featuresRoutes } from './api/features-api.ts';
import { federateRoutes } from './api/federate-api.ts';
import { queryRoutes } from './api/query-api.ts';
import { remoteReadRoute } from './api/remote-read-api.ts';
import { rulesRoutes } from './api/rules-api.ts';
import { seriesRoutes } from './api/series-api.ts';
import { statusRoutes } from './api/status-api.ts';
import { storeMovesRoutes } from './api/store-moves-api.ts';
import { targetsRoutes } from './api/targets-api.ts';
import { tsdbStatusRoutes } from './api/tsdb-status-api.ts';
import type { GatewayHost } from './host.ts';
import { createCors } from './http/cors.ts';
import { Dispatcher } from './http/dispatcher.ts';
import { HttpServer } from './http/http-server.ts';
import { managementRoutes } from './http/management.ts';
import { pageRoutes } from './http/page-assets.ts';
import { RequestMetrics } from './http/request-metrics.ts';
import { type Route, RouteTable } from './http/route.ts';
import { DEFAULT_HTTP_LIMITS, type GatewayOptions } from './options.ts';
import { createRemoteWriteHandler } from './remote-write/remote-write.ts';

const SAMPLES_COUNTER = 'tidemark_distributor_samples_written_total';

export interface GatewayDeps {
  readonly cluster: Cluster;
  readonly distributor: Distributor;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly host: GatewayHost;
}

export interface Gateway extends Service {
  /** Where it listens; undefined unless started. */
  address(): AddressInfo | undefined;
}

/**
 * Makes a gateway. It serves from `start` on; the API answers 503 until the host is ready.
 *
 * @throws AppError `bad_data` when the CORS pattern or the external URL is malformed.
 */
export function createGateway(options: GatewayOptions, deps: GatewayDeps): Gateway {
  const { clock, logger, registry, host } = deps;
  const limits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
  const arrivals = new ArrivalRate(options.samplesCounterName ?? SAMPLES_COUNTER, { registry, clock });
  const metrics = new RequestMetrics(registry, () => server.connections);
  const dispatcher = new Dispatcher(
    { limits, pathPrefix: pathPrefixOf(options.externalUrl) },
    {
      routes: new RouteTable(collectRoutes(options, deps, arrivals, () => server.isClosing)),
      setCors: createCors(options.corsOrigin),
      metrics,
      clock,
      logger,
      isReady: () => host.isReady(),
      isStopping: () => server.isClosing,
    },
  );
  const server = new HttpServer(limits, { clock }, (request, response) => {
    dispatcher.handle(request, response).catch((err: unknown) => {
      logger.error({ err }, 'an error could not be answered');
      response.destroy();
    });
  });
  const close = async (): Promise<void> => {
    arrivals.stop();
    await server.close();
  };
  return {
    name: 'gateway',
    start: async () => {
      await server.listen(options.listenAddress);
      arrivals.start();
      logger.info({ ...server.address() }, 'gateway listens');
    },
    isReady: () => server.isListening && !server.isClosing,
    drain: close,
    stop: close,
    address: () => server.address(),
  };
}

function collectRoutes(
  options: GatewayOptions,
  deps: GatewayDeps,
  arrivals: ArrivalRate,
  isStopping: () => boolean,
): Route[] {
  const { cluster, clock, host, registry, logger } = deps;
  const queriers = new QuerierChoice(cluster);
  return [
    ...queryRoutes(options, { queriers, clock }),
    ...seriesRoutes({ queriers, clock }),
    ...exemplarsRoutes(options, { queriers, clock }),
    ...featuresRoutes(options),
    ...federateRoutes(options, { queriers, clock, host }),
    ...targetsRoutes({ cluster, clock }),
    ...rulesRoutes({ cluster, clock }),
    ...clusterRoutes({ host }),
    ...examineRoutes({ host, clock }),
    ...storeMovesRoutes({ cluster, clock, host }),
    ...statusRoutes({ host, queriers, clock, arrivals }),
    ...tsdbStatusRoutes({ cluster, clock, registry }),
    ...activeQueriesRoutes(options, { cluster, clock }),
    ...adminRoutes(options, { cluster, clock, host }),
    ...deleteRoutes(options, { cluster, clock }),
    ...managementRoutes(options, { host, registry, logger, isStopping }),
    ...pageRoutes(),
    writeRoute(deps),
    remoteReadRoute(options, { queriers, clock, host, registry }),
  ];
}

function writeRoute(deps: GatewayDeps): Route {
  const handle = createRemoteWriteHandler({}, deps);
  return {
    template: '/api/v1/write',
    methods: ['POST'],
    kind: 'api',
    ownsBody: true,
    handle: ({ request, response }) => handle(request, response, DEFAULT_TENANT),
  };
}

/** Path of the external URL without a slash at its end; empty for none. */
function pathPrefixOf(externalUrl: string): string {
  if (externalUrl === '') return '';
  try {
    return new URL(externalUrl).pathname.replace(/\/+$/, '');
  } catch (cause) {
    throw new AppError(
      'bad_data',
      `flag --web.external-url: ${JSON.stringify(externalUrl)} is not a URL, like http://tidemark.example:9090/`,
      { cause },
    );
  }
}
