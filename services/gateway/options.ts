// What a gateway is told at its start. Limits of the HTTP server have defaults here, with their reasons.
import type { PromqlFeatures } from '../lib/promql/features.ts';
import { memoryShare } from '../lib/runtime/memory-limit.ts';

export interface GatewayOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listenAddress: string;
  /** `--web.external-url`; its path is served as a prefix too. Empty: none. */
  readonly externalUrl: string;
  /** `--web.enable-lifecycle`: /-/reload and /-/quit. */
  readonly lifecycleEnabled: boolean;
  /** `--web.enable-admin-api`. */
  readonly adminApiEnabled: boolean;
  /** `--web.cors.origin`: RE2 expression, anchored; `.*` answers `*`. */
  readonly corsOrigin: string;
  /** `--query.timeout`, milliseconds: the default, and what `timeout=` may not exceed. */
  readonly queryTimeoutMs: number;
  readonly features: PromqlFeatures;
  /** Counter of samples that arrived, whatever their way in: what the page's figure is made of. */
  readonly samplesCounterName?: string;
  readonly limits?: Partial<HttpLimits>;
}

/** Bounds of the HTTP server. */
export interface HttpLimits {
  /** Connections at one time; more are closed on arrival. */
  readonly connectionsMax: number;
  /** Time to send the headers, milliseconds. */
  readonly headersTimeoutMs: number;
  /** Time to send a whole request, milliseconds. */
  readonly requestTimeoutMs: number;
  /** How long an idle connection is kept, milliseconds. */
  readonly keepAliveTimeoutMs: number;
  /** Requests on one connection, so that load balancing gets a chance to even out. */
  readonly requestsPerConnectionMax: number;
  /** Bytes of the request line and headers. */
  readonly headerBytesMax: number;
  /** Bytes of a form body. */
  readonly formBytesMax: number;
  /** Parameters of a query string or form. */
  readonly parametersMax: number;
  /** How long an answer waits for a client that reads nothing of it, milliseconds. */
  readonly stallTimeoutMs: number;
  /** Bytes of answers, all together, that may wait for clients; over it those that have waited longest are cut off. */
  readonly unreadBytesMax: number;
  /** How long draining waits for requests in flight, milliseconds. */
  readonly drainTimeoutMs: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  connectionsMax: 4096,
  headersTimeoutMs: 10_000,
  // A remote-write sender gives up after 30 s.
  requestTimeoutMs: 60_000,
  // Go's clients drop idle connections after 5 min or less: ours must not be the first to close, or a write in flight is
  // lost to a reset.
  keepAliveTimeoutMs: 310_000,
  requestsPerConnectionMax: 10_000,
  // Dashboards that send long queries by GET stay well below.
  headerBytesMax: 128 * 1024,
  formBytesMax: 4 * 1024 * 1024,
  parametersMax: 10_000,
  stallTimeoutMs: 60_000,
  unreadBytesMax: memoryShare(1 / 8, 128 * 1024 * 1024),
  // A process has 30 s from SIGTERM to its end, and other services drain after this one.
  drainTimeoutMs: 15_000,
};
