// From a request to its route and back: parameters, CORS, readiness, errors in the form of their surface, metrics.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { HttpLimits } from '../options.ts';
import { errorEnvelope, retryAfterOf, statusOf } from './api-error.ts';
import type { SetCorsHeaders } from './cors.ts';
import { type Exchange, sendJson, sendText } from './exchange.ts';
import { sendNotReady } from './management.ts';
import { Parameters, readParameters } from './parameters.ts';
import { type RequestMetrics, UNKNOWN_ROUTE } from './request-metrics.ts';
import type { Route, RouteTable } from './route.ts';
import { SlowReaders } from './slow-readers.ts';

const API_PREFIX = '/api/v1/';
/** What a proxy records for a client that left; it is not sent to anybody. */
const STATUS_CLIENT_CLOSED = 499;

export interface DispatcherDeps {
  readonly routes: RouteTable;
  readonly setCors: SetCorsHeaders;
  readonly metrics: RequestMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
  isReady(): boolean;
  isStopping(): boolean;
}

export class Dispatcher {
  readonly #limits: HttpLimits;
  /** Path of the external URL, without a slash at its end; served beside the root. */
  readonly #pathPrefix: string;
  readonly #deps: DispatcherDeps;
  readonly #slowReaders: SlowReaders;

  constructor(options: { readonly limits: HttpLimits; readonly pathPrefix: string }, deps: DispatcherDeps) {
    this.#limits = options.limits;
    this.#pathPrefix = options.pathPrefix;
    this.#deps = deps;
    this.#slowReaders = new SlowReaders({ bytesMax: options.limits.unreadBytesMax }, () =>
      deps.metrics.cutOff(),
    );
  }

  /** Answers one request. Never throws. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics, clock } = this.#deps;
    const startedMs = clock.monotonicMs();
    const departure = new Departure();
    let routeName = UNKNOWN_ROUTE;
    metrics.begin();
    response.once('close', () => {
      const code = response.headersSent ? response.statusCode : STATUS_CLIENT_CLOSED;
      metrics.end(routeName, request.method, code, (clock.monotonicMs() - startedMs) / 1000);
      if (!response.writableFinished) departure.happened();
    });
    if (this.#deps.isStopping()) response.setHeader('Connection', 'close');
    let isApi = false;
    try {
      const { path, search } = splitTarget(request.url ?? '/');
      const inner = this.#withoutPrefix(path);
      isApi = inner.startsWith(API_PREFIX);
      const route = await this.#route(request, response, inner, isApi);
      if (route === undefined) return;
      routeName = route.match.metricsRoute ?? route.match.template;
      await this.#run(route.match, route.pathValue, { request, response, search, departure });
    } catch (caught) {
      await this.#fail(request, response, toAppError(caught), isApi);
    }
  }

  #withoutPrefix(path: string): string {
    const prefix = this.#pathPrefix;
    if (prefix === '' || !path.startsWith(prefix)) return path;
    if (path.length === prefix.length) return '/';
    return path[prefix.length] === '/' ? path.slice(prefix.length) : path;
  }

  /** The route, or undefined when the request is answered already. */
  async #route(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    isApi: boolean,
  ): Promise<{ match: Route; pathValue: string } | undefined> {
    if (isApi && request.method === 'OPTIONS') {
      this.#deps.setCors(request, response);
      response.statusCode = 204;
      response.end();
      return undefined;
    }
    const found = this.#deps.routes.find(request.method ?? 'GET', path);
    switch (found.kind) {
      case 'none':
        await sendText({ request, response }, 404, '404 page not found\n');
        return undefined;
      case 'wrong-method':
        response.setHeader('Allow', [...found.allowed, ...(isApi ? ['OPTIONS'] : [])].sort().join(', '));
        await sendText({ request, response }, 405, 'Method Not Allowed\n');
        return undefined;
      case 'found':
        if (isApi) this.#deps.setCors(request, response);
        return { match: found.route, pathValue: found.pathValue };
    }
  }

  async #run(
    route: Route,
    pathValue: string,
    exchange: Pick<Exchange, 'request' | 'response'> & {
      readonly search: string;
      readonly departure: Departure;
    },
  ): Promise<void> {
    const { request, response, search, departure } = exchange;
    const stopping = this.#deps.isStopping();
    if (route.kind === 'api' && (stopping || !this.#deps.isReady())) {
      await sendNotReady({ request, response }, stopping);
      return;
    }
    const parameters =
      route.kind === 'plain' || route.ownsBody === true
        ? new Parameters([])
        : await readParameters(request, search, this.#limits);
    const { stallTimeoutMs } = this.#limits;
    const slowReaders = this.#slowReaders;
    const known = { request, response, parameters, stallTimeoutMs, pathValue, slowReaders };
    await route.handle(new DispatchedExchange(known, departure));
  }

  async #fail(
    request: IncomingMessage,
    response: ServerResponse,
    error: AppError,
    isApi: boolean,
  ): Promise<void> {
    const where = { method: request.method, path: (request.url ?? '').split('?', 1)[0]!.slice(0, 200) };
    if (error.code === 'internal') this.#deps.logger.error({ err: error, ...where }, 'request failed');
    if (response.headersSent || response.destroyed) {
      // The status is out: cutting the answer off is the only way left to say that it is not whole.
      if (error.code !== 'canceled' && !response.writableEnded) {
        this.#deps.logger.warn({ err: error, ...where }, 'answer cut off');
      }
      response.destroy();
      return;
    }
    for (const name of ['Content-Length', 'Content-Encoding', 'X-Tidemark-Coverage'])
      response.removeHeader(name);
    if (!request.complete) response.setHeader('Connection', 'close');
    const status = statusOf(error);
    const retryAfter = retryAfterOf(error);
    if (retryAfter !== undefined) response.setHeader('Retry-After', String(retryAfter));
    if (isApi) await sendJson({ request, response }, status, errorEnvelope(error));
    else await sendText({ request, response }, status, `${error.message}\n`);
  }
}

/** An exchange whose signal is made when somebody asks for it. A class: an accessor of a literal is defined anew for each request. */
class DispatchedExchange implements Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly parameters: Parameters;
  readonly stallTimeoutMs: number;
  readonly slowReaders: SlowReaders;
  readonly pathValue: string;
  readonly #departure: Departure;

  constructor(known: Omit<Exchange, 'signal'>, departure: Departure) {
    this.request = known.request;
    this.response = known.response;
    this.parameters = known.parameters;
    this.stallTimeoutMs = known.stallTimeoutMs;
    this.slowReaders = known.slowReaders;
    this.pathValue = known.pathValue;
    this.#departure = departure;
  }

  get signal(): AbortSignal {
    return this.#departure.signal;
  }
}

/** The client's leaving, as a signal that is made when somebody asks for it: writes have one of their own. */
class Departure {
  #controller: AbortController | undefined;
  #hasHappened = false;

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#hasHappened) this.#abort(this.#controller);
    }
    return this.#controller.signal;
  }

  happened(): void {
    this.#hasHappened = true;
    if (this.#controller !== undefined) this.#abort(this.#controller);
  }

  #abort(controller: AbortController): void {
    controller.abort(new AppError('canceled', 'the client closed the connection'));
  }
}

/** Path and query string of a request target, absolute form included. */
function splitTarget(target: string): { path: string; search: string } {
  const local = target.startsWith('/') ? target : target.replace(/^[a-zA-Z][a-zA-Z0-9+.-]*:\/\/[^/?]*/, '');
  const at = local.indexOf('?');
  const path = at < 0 ? local : local.slice(0, at);
  return { path: path === '' ? '/' : path, search: at < 0 ? '' : local.slice(at + 1) };
}
