// Shares out buckets by what they cost, with few moves: what stands stays unless somebody has too much. A pure function: the holder of
// the lease computes it, the others are told.
import { BUCKETS } from './share-record.ts';

/** A plan is good when nobody has more than this part above the mean. */
export const PLANNED_SKEW = 0.03;
/** All empty buckets together count as this part of the whole: they are shared out too, for targets to come. */
const EMPTY_SHARE = 0.02;

/** How far the busiest is above the mean, as a part of it; 0 when there is nothing to do. */
export function skewOf(
  owners: readonly (string | undefined)[],
  live: readonly string[],
  costs: Float64Array,
): number {
  const loads = loadsOf(owners, live, costs);
  const total = [...loads.values()].reduce((a, b) => a + b, 0);
  if (total === 0 || live.length === 0) return 0;
  return (Math.max(...loads.values()) * live.length) / total - 1;
}

/**
 * New owners by bucket.
 *
 * @param owners  Owners now, each of them alive.
 * @param costs   Float64Array[BUCKETS], in any unit.
 * @returns       Owners such that none has more than PLANNED_SKEW above the mean, as far as single buckets allow.
 *
 * Cost: O(moves × BUCKETS).
 */
export function planOwners(
  owners: readonly string[],
  live: readonly string[],
  costs: Float64Array,
): string[] {
  const planned = [...owners];
  const weights = withEmptyShare(costs);
  const loads = loadsOf(planned, live, weights);
  const mean = [...loads.values()].reduce((a, b) => a + b, 0) / live.length;
  for (let moves = 0; moves < BUCKETS; moves++) {
    const [most, least] = extremes(loads);
    const excess = Math.max(loads.get(most)! - mean, mean - loads.get(least)!);
    if (excess <= mean * PLANNED_SKEW) break;
    const bucket = bestMove(planned, weights, most, loads.get(most)! - mean, loads.get(least)! - mean);
    if (bucket < 0) break;
    planned[bucket] = least;
    loads.set(most, loads.get(most)! - weights[bucket]!);
    loads.set(least, loads.get(least)! + weights[bucket]!);
  }
  return planned;
}

/**
 * The bucket of `from` whose move leaves the two nearest to the mean; −1 when none makes it better. Of equals the first: every
 * computation of the same state gives the same plan.
 *
 * @param over   What `from` has above the mean.
 * @param under  The same of the receiver, usually negative.
 */
function bestMove(
  owners: readonly string[],
  weights: Float64Array,
  from: string,
  over: number,
  under: number,
): number {
  let best = -1;
  let bestWorst = Math.max(Math.abs(over), Math.abs(under));
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    if (owners[bucket] !== from) continue;
    const weight = weights[bucket]!;
    const worst = Math.max(Math.abs(over - weight), Math.abs(under + weight));
    if (worst >= bestWorst) continue;
    best = bucket;
    bestWorst = worst;
  }
  return best;
}

function withEmptyShare(costs: Float64Array): Float64Array {
  const total = costs.reduce((a, b) => a + b, 0);
  const each = total === 0 ? 1 : (total * EMPTY_SHARE) / BUCKETS;
  return costs.map((cost) => cost + each);
}

function loadsOf(
  owners: readonly (string | undefined)[],
  live: readonly string[],
  weights: Float64Array,
): Map<string, number> {
  const loads = new Map(live.map((instance) => [instance, 0]));
  for (const [bucket, owner] of owners.entries()) {
    if (owner !== undefined && loads.has(owner)) loads.set(owner, loads.get(owner)! + weights[bucket]!);
  }
  return loads;
}

/** Who has most and who least; of equals the first by name. */
function extremes(loads: ReadonlyMap<string, number>): [most: string, least: string] {
  const sorted = [...loads].toSorted(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return [sorted[0]![0], sorted.at(-1)![0]];
}
