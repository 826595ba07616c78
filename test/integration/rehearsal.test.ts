// A start rehearses queries, and nothing of it can be seen afterwards.
import { expect, test } from 'vitest';
import { callApi, startTidemark } from '../support/tidemark.ts';

test('queries were evaluated before the process is ready, and no series is left of them', async () => {
  const tidemark = await startTidemark({ flags: ['--query.rehearsal=true'] });
  const metrics = await (await fetch(`${tidemark.url}/metrics`)).text();
  const tasks = /^tidemark_querier_thread_tasks_total (\d+)$/m.exec(metrics);
  expect(Number(tasks?.[1])).toBeGreaterThan(0);
  expect(metrics).toMatch(/^tidemark_ingester_series 0$/m);
  const { body } = await callApi(tidemark.url, 'query', {
    query: 'count({job="rehearsal"})',
    time: '2026-01-01T00:30:00Z',
  });
  expect(body).toEqual({ status: 'success', data: { resultType: 'vector', result: [] } });
});
