import { expect, test } from 'vitest';
import { runChurn } from './kubernetes-churn.ts';

test('targets are right after pods have changed, come and gone', async () => {
  const result = await runChurn({ pods: 600, rate: 100, seconds: 2 });
  expect(result.isRight).toBe(true);
  expect(result.changes).toBeGreaterThan(100);
  expect(result.lagMs.max).toBeLessThan(5_000);
});
