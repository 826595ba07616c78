import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { planOwners, skewOf } from './share-plan.ts';
import { BUCKETS, bucketOf, ownersUnder, type ShareRecord } from './share-record.ts';

const NO_OWNERS: ShareRecord = {
  term: 0,
  version: 0,
  fromMs: 0,
  instances: [],
  owners: new Uint16Array(BUCKETS),
};
const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `scraper-${i}`);
const byHash = (live: readonly string[]): string[] => ownersUnder(NO_OWNERS, live) as string[];

function recordOf(owners: readonly string[], live: readonly string[]): ShareRecord {
  return {
    ...NO_OWNERS,
    version: 1,
    instances: live,
    owners: Uint16Array.from(owners, (owner) => live.indexOf(owner)),
  };
}

/** So many targets, of costs that a function says. */
function costsOf(targets: number, cost: (i: number) => number): Float64Array {
  const costs = new Float64Array(BUCKETS);
  for (let i = 0; i < targets; i++) costs[bucketOf(`target ${i}`)]! += cost(i);
  return costs;
}

function movedCost(before: readonly string[], after: readonly string[], costs: Float64Array): number {
  let moved = 0;
  for (const [bucket, owner] of after.entries()) if (before[bucket] !== owner) moved += costs[bucket]!;
  return moved / costs.reduce((a, b) => a + b, 0);
}

describe('the plan', () => {
  test.each([
    [200, 5, 'equal', () => 1],
    [2000, 5, 'equal', () => 1],
    [2000, 3, 'a tenth of them ten times as large', (i: number) => (i % 10 === 0 ? 10 : 1)],
    [500, 7, 'from 1 to 50', (i: number) => 1 + (i % 50)],
  ] as const)(
    '%d targets on %d scrapers, %s: the busiest is less than a tenth above the mean',
    (targets, scrapers, _, cost) => {
      const live = names(scrapers);
      const costs = costsOf(targets, cost);
      const planned = planOwners(byHash(live), live, costs);
      expect(skewOf(planned, live, costs)).toBeLessThan(0.1);
    },
  );

  test('by hash alone it is more: the plan has something to do', () => {
    expect(
      skewOf(
        byHash(names(5)),
        names(5),
        costsOf(200, () => 1),
      ),
    ).toBeGreaterThan(0.1);
  });

  test('what is planned already stays', () => {
    const live = names(5);
    const costs = costsOf(1000, (i) => 1 + (i % 7));
    const planned = planOwners(byHash(live), live, costs);
    expect(planOwners(planned, live, costs)).toEqual(planned);
  });

  test('one that joins gets its share, and nothing else moves', () => {
    const costs = costsOf(2000, () => 1);
    const before = planOwners(byHash(names(4)), names(4), costs);
    const after = planOwners(before, names(5), costs);
    for (const [bucket, owner] of after.entries()) {
      if (owner !== before[bucket]) expect(owner).toBe('scraper-4');
    }
    expect(movedCost(before, after, costs)).toBeLessThan(0.21);
    expect(skewOf(after, names(5), costs)).toBeLessThan(0.1);
  });

  test('one that dies: only what it had moves, and what evens that out', () => {
    const live = names(5);
    const costs = costsOf(2000, () => 1);
    const before = planOwners(byHash(live), live, costs);
    const left = live.slice(0, 4);
    const fallback = ownersUnder(recordOf(before, live), left) as string[];
    for (const [bucket, owner] of fallback.entries()) {
      if (before[bucket] !== 'scraper-4') expect(owner).toBe(before[bucket]);
    }
    const after = planOwners(fallback, left, costs);
    expect(movedCost(before, after, costs)).toBeLessThan(0.26);
    expect(skewOf(after, left, costs)).toBeLessThan(0.1);
  });

  test('buckets without targets are shared out too, for targets to come', () => {
    const live = names(4);
    const planned = planOwners(Array(BUCKETS).fill('scraper-0'), live, new Float64Array(BUCKETS));
    for (const each of live) expect(planned.filter((owner) => owner === each).length).toBeGreaterThan(240);
  });

  test('a target that is more than a share stays alone, and nothing goes round in circles', () => {
    const live = names(3);
    const costs = costsOf(300, (i) => (i === 0 ? 1000 : 1));
    const planned = planOwners(byHash(live), live, costs);
    const heavy = planned[bucketOf('target 0')]!;
    expect(planned.filter((owner, bucket) => owner === heavy && costs[bucket]! > 0).length).toBeLessThan(3);
    expect(planOwners(planned, live, costs)).toEqual(planned);
  });

  test('whatever the costs: as good as a share and the largest bucket allow, and never worse than before', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.record({ target: fc.nat(), cost: fc.double({ min: 0, max: 1e6, noNaN: true }) }), {
          maxLength: 300,
        }),
        (scrapers, targets) => {
          const live = names(scrapers);
          const costs = new Float64Array(BUCKETS);
          for (const { target, cost } of targets) costs[bucketOf(`target ${target}`)]! += cost;
          const before = byHash(live);
          const planned = planOwners(before, live, costs);
          expect(planned.every((owner) => live.includes(owner))).toBe(true);
          const total = costs.reduce((a, b) => a + b, 0);
          const largest = total === 0 ? 0 : (Math.max(...costs) * scrapers) / total;
          const bound = Math.max(0.1, largest) + 0.05;
          expect(skewOf(planned, live, costs)).toBeLessThanOrEqual(bound);
        },
      ),
    );
  });
});
