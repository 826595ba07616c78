// Room that distributors may fill without asking, and have not filled yet. Each takes an eighth of what is free when it is told that more
// than half of the limit is (lib/distributor/series-admission.ts); what is promised is kept free for it, so that any number of writers at once
// stay within the limit together.

/** How long a distributor takes series without asking, a minute, and how long a write may be on its way. */
const GRANT_MS = 90_000;
/** Grants that are remembered of a tenant; with more nobody gets any until one ends. */
const GRANTS_MAX = 64;
/** Of the room, what one grant is; the distributor computes the same from what it is told. */
export const GRANT_SHARE = 1 / 8;
/**
 * Of the limit, what all grants together may be. It bounds how early series are refused for the sake of writers that never use theirs: at
 * three quarters of the limit, for as long as a grant lasts.
 */
const GRANTED_SHARE_MAX = 1 / 4;

interface Grant {
  /** What is left of it. */
  series: number;
  readonly untilMs: number;
}

interface TenantGrants {
  readonly open: Grant[];
  /** Series in memory when it was last looked at. */
  seriesCount: number;
}

/** By tenant; in memory, since grants are short. */
export class SeriesGrants {
  readonly #tenants = new Map<string, TenantGrants>();

  /**
   * Series that others may still bring, at most. Series that have come since the last look count as brought under the oldest grants: so
   * it is never less than what is open.
   */
  open(tenant: string, seriesCount: number, nowMs: number): number {
    const grants = this.#tenants.get(tenant);
    if (grants === undefined) return 0;
    let brought = Math.max(0, seriesCount - grants.seriesCount);
    grants.seriesCount = seriesCount;
    for (const grant of grants.open) {
      const used = Math.min(grant.series, brought);
      grant.series -= used;
      brought -= used;
    }
    while (grants.open.length > 0 && (grants.open[0]!.untilMs <= nowMs || grants.open[0]!.series === 0))
      grants.open.shift();
    return grants.open.reduce((sum, { series }) => sum + series, 0);
  }

  /**
   * What is to be said of the series in memory, after admitting some: the truth, and then the asker takes its share of the room; or half of
   * the limit, when there is nothing left to promise.
   */
  report(tenant: string, seriesCount: number, limit: number, nowMs: number): number {
    const grants = this.#tenants.get(tenant) ?? { open: [], seriesCount };
    // Those that were admitted a moment ago were brought under no grant.
    grants.seriesCount = seriesCount;
    const isHalfFree = seriesCount < limit / 2;
    const grant = Math.floor((limit - seriesCount) * GRANT_SHARE);
    if (!isHalfFree || grant === 0) return seriesCount;
    const granted = grants.open.reduce((sum, { series }) => sum + series, 0);
    if (granted + grant > limit * GRANTED_SHARE_MAX || grants.open.length >= GRANTS_MAX)
      return Math.max(seriesCount, Math.ceil(limit / 2));
    grants.open.push({ series: grant, untilMs: nowMs + GRANT_MS });
    this.#tenants.set(tenant, grants);
    return seriesCount;
  }
}
