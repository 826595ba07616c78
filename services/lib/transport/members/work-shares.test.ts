import { expect, test } from 'vitest';
import { FakeControlPlane, ManualClock } from '../../../../test/support/fake-control-plane.ts';
import type { MemberRecord } from '../control-plane.ts';
import { createWorkShares } from './work-shares.ts';

const KEYS = Array.from({ length: 100 }, (_, i) => `target-${i}`);
const scrapers = (...names: string[]): Partial<MemberRecord>[] =>
  names.map((instance) => ({ service: 'scraper', instance }));

test('shares follow the live members of the service, once a change has lasted', async () => {
  const control = new FakeControlPlane();
  const clock = new ManualClock();
  const options = { service: 'scraper', instance: 'a', settleMs: 500 } as const;
  const shares = createWorkShares(options, { control, clock });
  let changes = 0;
  shares.onChange(() => changes++);
  const owned = (): number => KEYS.filter((key) => shares.owns(key)).length;
  const others = (): number => KEYS.filter((key) => shares.othersOwn(key)).length;
  expect([owned(), others()]).toEqual([0, 0]);
  control.set(scrapers('a'));
  await clock.advance(600);
  expect([owned(), changes]).toEqual([KEYS.length, 1]);

  control.set([...scrapers('a', 'b'), { service: 'ingester', instance: 'c' }]);
  await clock.advance(400);
  expect(owned()).toBe(KEYS.length);
  await clock.advance(200);
  const half = owned();
  expect(half).toBeGreaterThan(25);
  expect(half).toBeLessThan(75);
  expect(others()).toBe(KEYS.length - half);

  control.set(scrapers('a'));
  await clock.advance(200);
  control.set(scrapers('a', 'b'));
  await clock.advance(1_000);
  expect([owned(), changes]).toEqual([half, 2]);

  control.set([...scrapers('b'), { service: 'scraper', instance: 'a', state: 'draining' }]);
  await clock.advance(600);
  expect([owned(), changes]).toEqual([0, 3]);
  shares.close();
  control.set(scrapers('a'));
  await clock.advance(1_000);
  expect([owned(), changes]).toEqual([0, 3]);
});
