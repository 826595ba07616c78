// /api/v1/cluster/examine: what `tidemark doctor` cannot see from where it runs: each live member's clock, and some of its metrics, as this
// gateway reads them at the member's own HTTP server.
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import type { ClusterMember, GatewayHost } from '../host.ts';
import { apiRoute, type Route } from '../http/route.ts';

/** Longest wait for a member, all of them at once. */
const TIMEOUT_MS = 3_000;
/** Largest page of metrics that is read. */
const PAGE_BYTES_MAX = 8 << 20;
const PREFIX = /^tidemark_/;
/** Metrics that are handed on, without what all names begin with. */
const NAMES: ReadonlySet<string> = new Set([
  'tls_certificate_expiry_timestamp_seconds',
  'tls_last_reload_successful',
  'tls_transition',
  'notifications_failing',
  'gateway_http_requests_total',
  'ingester_fenced_total',
  'ingester_disk_free_bytes',
  'ingester_disk_watermark_bytes',
]);
/** Of one name: more are left out. */
const VALUES_MAX = 1_000;

export interface ExaminedMember {
  readonly service: string;
  readonly instance: string;
  /** Why it could not be examined; empty when it was. */
  readonly obstacle: string;
  /** By how much its clock is ahead of this gateway's, seconds, give or take one; null when it did not say. */
  readonly clockAheadSeconds: number | null;
  readonly metrics: readonly MetricValue[];
}

export interface MetricValue {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface ExamineDeps {
  readonly host: GatewayHost;
  readonly clock: Clock;
}

export function examineRoutes(deps: ExamineDeps): Route[] {
  const route = apiRoute(['GET'], '/api/v1/cluster/examine', async (exchange) => {
    const live = (deps.host.members?.().members ?? []).filter(({ state }) => state !== 'absent');
    const signal = AbortSignal.any([exchange.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    return {
      data: { members: await Promise.all(live.map((member) => examine(member, deps.clock, signal))) },
    };
  });
  return [{ ...route, kind: 'plain' }];
}

async function examine(
  { service, instance, httpAddress }: ClusterMember,
  clock: Clock,
  signal: AbortSignal,
): Promise<ExaminedMember> {
  const name = { service, instance };
  try {
    const sentMs = clock.nowMs();
    const response = await fetch(`http://${httpAddress}/metrics`, { signal });
    const clockAheadSeconds = aheadSeconds(response.headers.get('date'), sentMs, clock.nowMs());
    const text = response.ok ? await readPage(response) : '';
    const obstacle = response.ok ? '' : `its /metrics answered ${response.status}`;
    return { ...name, obstacle, clockAheadSeconds, metrics: metricsOf(text) };
  } catch (caught) {
    const { message } = toAppError(caught);
    const obstacle = `its HTTP server, ${httpAddress}, could not be asked: ${message}`;
    return { ...name, obstacle, clockAheadSeconds: null, metrics: [] };
  }
}

/** The header has whole seconds, rounded down: half a second is added. */
function aheadSeconds(date: string | null, sentMs: number, receivedMs: number): number | null {
  const saidMs = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(saidMs)) return null;
  return Math.round(saidMs + 500 - (sentMs + receivedMs) / 2) / 1000;
}

/** @throws Error when it is too large. */
async function readPage(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of response.body ?? []) {
    text += decoder.decode(piece as Uint8Array, { stream: true });
    if (text.length > PAGE_BYTES_MAX) throw new Error(`its metrics are more than ${PAGE_BYTES_MAX} bytes`);
  }
  return text;
}

/** Of the names above, out of a page of metrics. */
export function metricsOf(text: string): MetricValue[] {
  const found: MetricValue[] = [];
  for (const line of text.split('\n')) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null || !NAMES.has(match[1]!.replace(PREFIX, '')) || found.length >= VALUES_MAX) continue;
    const labels = Object.fromEntries(
      Array.from((match[2] ?? '').matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g), ([, name, value]) => [
        name!,
        value!,
      ]),
    );
    found.push({ name: match[1]!, labels, value: Number(match[3]) });
  }
  return found;
}
