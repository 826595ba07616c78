import { expect, test } from 'vitest';
import { MemoryBudget, MemoryPool } from './memory-budget.ts';

test('a query over its own limit fails for good', () => {
  const pool = new MemoryPool(1000);
  const budget = new MemoryBudget(pool, 100);
  budget.charge(100);
  expect(() => budget.charge(1)).toThrow(
    expect.objectContaining({
      code: 'execution',
      message: expect.stringMatching(/more than 100 bytes of memory.*--query\.max-memory/),
    }),
  );
  expect([budget.usedBytes, pool.usedBytes]).toEqual([100, 100]);
  budget.charge(-60);
  budget.charge(50);
  expect([budget.usedBytes, budget.peakBytes]).toEqual([90, 100]);
});

test('a query that finds the pool empty may come again', () => {
  const pool = new MemoryPool(150);
  const first = new MemoryBudget(pool, 100);
  const second = new MemoryBudget(pool, 100);
  first.charge(100);
  expect(() => second.charge(51)).toThrow(
    expect.objectContaining({
      code: 'unavailable',
      message: expect.stringContaining('--query.max-memory-total'),
    }),
  );
  first.release();
  first.release();
  expect(pool.usedBytes).toBe(0);
  second.charge(51);
  expect(pool.usedBytes).toBe(51);
});

test('nobody charges a query that is over', () => {
  const pool = new MemoryPool(150);
  const budget = new MemoryBudget(pool, 100);
  budget.charge(10);
  budget.release();
  expect(() => budget.charge(1)).toThrow(expect.objectContaining({ code: 'canceled' }));
  budget.charge(-5);
  expect(pool.usedBytes).toBe(0);
});
