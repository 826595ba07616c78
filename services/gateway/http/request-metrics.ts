// The gateway's own metrics. Label values come from fixed tables: routes, methods and status codes of ours, never text of
// a client.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { registerReadGauge } from '../../lib/runtime/read-metrics.ts';

/** Route of requests that lead nowhere. */
export const UNKNOWN_ROUTE = 'unknown';
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']);

export class RequestMetrics {
  readonly #requests: Counter<'route' | 'method' | 'code'>;
  readonly #seconds: Histogram<'route'>;
  readonly #inFlight: Gauge;
  readonly #cutOff: Counter;

  constructor(registry: Registry, connections: () => number) {
    const registers = [registry];
    this.#requests = new Counter({
      name: 'tidemark_gateway_http_requests_total',
      help: 'HTTP requests answered, by route, method and status code.',
      labelNames: ['route', 'method', 'code'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'tidemark_gateway_http_request_duration_seconds',
      help: 'From the request line to the end of the answer, by route.',
      labelNames: ['route'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 120],
      registers,
    });
    this.#inFlight = new Gauge({
      name: 'tidemark_gateway_http_requests_in_flight',
      help: 'HTTP requests being answered.',
      registers,
    });
    this.#cutOff = new Counter({
      name: 'tidemark_gateway_http_slow_readers_cut_off_total',
      help: 'Answers cut off because clients that did not read them held too much memory together.',
      registers,
    });
    registerReadGauge(registry, 'tidemark_gateway_http_connections', 'Open HTTP connections.', connections);
  }

  begin(): void {
    this.#inFlight.inc();
  }

  /** An answer ended for want of a reader. */
  cutOff(): void {
    this.#cutOff.inc();
  }

  end(route: string, method: string | undefined, code: number, seconds: number): void {
    this.#inFlight.dec();
    const known = method !== undefined && METHODS.has(method) ? method : 'other';
    this.#requests.inc({ route, method: known, code: String(code) });
    this.#seconds.observe({ route }, seconds);
  }
}
