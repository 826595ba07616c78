import { expect, test } from 'vitest';
import { define, newHead, RANGE_MS } from '../../../test/support/head-rig.ts';
import type { Tenant, Tenants } from '../tenants.ts';
import { unsealed } from './unsealed.ts';

test('from the oldest range on that is not known to be on the stores', () => {
  const head = newHead();
  const sealed = new Map<number, number>();
  const tenants: Pick<Tenants, 'get'> = {
    get: (name) => (name === 't' ? ({ head, sealed } as unknown as Tenant) : undefined),
  };
  const oldest = (tenant = 't') => unsealed({ tenant }, tenants).oldestMs;
  const id = define(head, { __name__: 'x' });
  const write = (timeMs: number) =>
    head.appendSamples(Uint32Array.of(id), Float64Array.of(timeMs), Float64Array.of(1), 0, 1, 1);

  expect([oldest(), oldest('nobody')]).toEqual([undefined, undefined]);
  write(5 * RANGE_MS + 7);
  write(6 * RANGE_MS);
  expect(oldest()).toBe(5 * RANGE_MS);
  // Frozen is not sealed.
  head.freeze(5 * RANGE_MS, 1);
  expect(oldest()).toBe(5 * RANGE_MS);
  // In memory still, but on the stores.
  sealed.set(1, 0);
  expect(oldest()).toBe(6 * RANGE_MS);
  // A late sample opens a range beside the one that is sealed.
  write(5 * RANGE_MS + 8);
  expect(oldest()).toBe(5 * RANGE_MS);
  write(2 * RANGE_MS - 1);
  expect(oldest()).toBe(RANGE_MS);
  head.freeze(6 * RANGE_MS, 2);
  head.freeze(5 * RANGE_MS, 3);
  head.freeze(RANGE_MS, 4);
  for (const generation of [2, 3, 4]) sealed.set(generation, 0);
  expect(oldest()).toBeUndefined();
  head.drop(4);
  expect(oldest()).toBeUndefined();
});
