// Metric metadata of both protocol versions, deduplicated: senders repeat it with every request or every minute, and only
// what changed, or was not sent for a while, goes on to the ingesters.
import type { MetricMetadata } from '../contracts.ts';

/** Prometheus' type names by the number in the protocols (1.0 and 2.0 number them alike). */
const TYPE_NAMES = [
  'unknown',
  'counter',
  'gauge',
  'histogram',
  'gaugehistogram',
  'summary',
  'info',
  'stateset',
] as const;

/** Type name of a number in the protocol; numbers from a later version are `unknown`. */
export function metadataTypeName(type: number): string {
  return TYPE_NAMES[type] ?? 'unknown';
}

/** Series suffixes that do not belong to the family's name, by type. (2.0 gives metadata with each series.) */
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_count', '_sum'],
  gaugehistogram: ['_bucket', '_gcount', '_gsum', '_count', '_sum'],
  summary: ['_count', '_sum'],
};

/** Name of the metric family of a series: `latency_seconds` of `latency_seconds_bucket`. */
export function metricFamilyOf(metric: string, type: string): string {
  for (const suffix of SUFFIXES[type] ?? []) {
    if (metric.endsWith(suffix) && metric.length > suffix.length) return metric.slice(0, -suffix.length);
  }
  return metric;
}

/** Remembers what was passed on, by metric family. */
export class RemoteWriteMetadataFilter {
  readonly #metricsMax: number;
  readonly #sent = new Map<string, string>();

  /** @param metricsMax  Most families remembered; more of them makes it forget all and pass everything on again. */
  constructor(metricsMax: number) {
    this.#metricsMax = metricsMax;
  }

  /** True when this is news; it counts as passed on from then. */
  admit(metadata: MetricMetadata): boolean {
    const key = `${metadata.type}\u0000${metadata.unit}\u0000${metadata.help}`;
    if (this.#sent.get(metadata.metric) === key) return false;
    if (this.#sent.size >= this.#metricsMax) this.#sent.clear();
    this.#sent.set(metadata.metric, key);
    return true;
  }

  clear(): void {
    this.#sent.clear();
  }
}
