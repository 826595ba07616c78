// Metric metadata of one tenant, as last written. Bounded: best effort is all that is promised.
import type { MetricMetadata } from '../../lib/wire/contracts.ts';

/** Longest help text that is kept, UTF-16 code units. */
const HELP_LENGTH_MAX = 4096;

export class MetadataTable {
  readonly #entries = new Map<string, MetricMetadata>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Takes entries; returns those that were new or changed. */
  update(entries: readonly MetricMetadata[]): MetricMetadata[] {
    const changed: MetricMetadata[] = [];
    for (const { metric, type, help, unit } of entries) {
      const known = this.#entries.get(metric);
      const kept = { metric, type, help: help.slice(0, HELP_LENGTH_MAX), unit };
      if (known === undefined ? this.#entries.size >= this.#max : isSame(known, kept)) continue;
      this.#entries.set(metric, kept);
      changed.push(kept);
    }
    return changed;
  }

  /** Takes entries of metrics that are not known; returns those that it took. */
  addMissing(entries: readonly MetricMetadata[]): MetricMetadata[] {
    return this.update(entries.filter(({ metric }) => !this.#entries.has(metric)));
  }

  /** Entries of one metric, or of all (empty name), at most `limit` (0: all), sorted by metric. */
  list(metric: string, limit: number): MetricMetadata[] {
    if (metric !== '') {
      const entry = this.#entries.get(metric);
      return entry === undefined ? [] : [entry];
    }
    const all = [...this.#entries.values()].sort((a, b) => (a.metric < b.metric ? -1 : 1));
    return limit > 0 ? all.slice(0, limit) : all;
  }
}

function isSame(a: MetricMetadata, b: MetricMetadata): boolean {
  return a.type === b.type && a.help === b.help && a.unit === b.unit;
}
