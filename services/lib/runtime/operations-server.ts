// The small HTTP server of a service that has no API of its own: /-/healthy, /-/ready and /metrics.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { AppError } from '../core/errors.ts';
import type { Logger } from './logger.ts';
import type { Service } from './service.ts';

export interface OperationsServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listenAddress: string;
}

export interface OperationsServerDeps {
  readonly registry: Registry;
  readonly logger: Logger;
  /** Whether the process can do its job. */
  readonly isReady: () => boolean;
}

/** Connections at one time: probes and scrapes need a handful. */
const CONNECTIONS_MAX = 256;
const HEADERS_TIMEOUT_MS = 5_000;

/** A service that answers probes and scrapes. `port` is the bound port once started. */
export function createOperationsServer(
  options: OperationsServerOptions,
  deps: OperationsServerDeps,
): Service & { readonly port: () => number } {
  const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: HEADERS_TIMEOUT_MS });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => {
    answer(request, response, deps).catch((err: unknown) => {
      deps.logger.error({ err }, 'an operations request failed');
      response.destroy();
    });
  });
  let port = 0;
  let listening = false;
  const close = async (): Promise<void> => {
    if (!listening) return;
    listening = false;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return {
    name: 'operations',
    port: () => port,
    start: async () => {
      port = await listen(server, options.listenAddress);
      listening = true;
    },
    isReady: () => listening,
    drain: () => Promise.resolve(),
    stop: close,
  };
}

function listen(server: Server, address: string): Promise<number> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new AppError('unavailable', `cannot listen on ${address}: ${cause.message}`, { cause })),
    );
    server.listen(Number(address.slice(colon + 1)), host === '' ? '0.0.0.0' : host, () => {
      const bound = server.address();
      resolve(bound !== null && typeof bound === 'object' ? bound.port : 0);
    });
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  deps: OperationsServerDeps,
): Promise<void> {
  const path = (request.url ?? '').split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end('Method Not Allowed\n');
    return;
  }
  switch (path) {
    case '/-/healthy':
      response.end('Tidemark is healthy.\n');
      return;
    case '/-/ready':
      response.statusCode = deps.isReady() ? 200 : 503;
      response.end(deps.isReady() ? 'Tidemark is ready.\n' : 'Service Unavailable\n');
      return;
    case '/metrics':
      response.setHeader('content-type', deps.registry.contentType);
      response.end(await deps.registry.metrics());
      return;
    default:
      response.writeHead(404).end('404 page not found\n');
  }
}
