import { afterEach, describe, expect, test } from 'vitest';
import { type GatewayRig, type PlayedServices, startGateway } from '../../../test/support/gateway-rig.ts';
import type { ActiveQuery } from '../../lib/wire/contracts.ts';

const QUERY: ActiveQuery = {
  id: '00aa00bb00cc00dd',
  tenant: 'anonymous',
  query: 'sum(up)',
  startMs: 1000,
  endMs: 61_000,
  stepMs: 15_000,
  arrivedMs: 1_700_000_000_000,
  durationMs: 103,
  phase: 'evaluating',
  series: 5,
  samples: 600,
  memoryBytes: 4096,
};

let rig: GatewayRig;
afterEach(() => rig.close());

async function start(killed: string[], adminApiEnabled: boolean): Promise<void> {
  const querier: PlayedServices['querier'] = {
    activeQueries: async () => ({ queries: [QUERY] }),
    killQuery: async ({ id }) => {
      killed.push(id);
      return { found: id === QUERY.id };
    },
  };
  rig = await startGateway({ querier }, { adminApiEnabled });
}

async function call(method: string, path: string) {
  const response = await fetch(`${rig.url}/api/v1${path}`, { method });
  return { status: response.status, body: await response.json() };
}

test('the list names the querier of each query', async () => {
  await start([], false);
  expect(await call('GET', '/status/active_queries')).toEqual({
    status: 200,
    body: {
      status: 'success',
      data: [
        {
          id: '00aa00bb00cc00dd',
          querier: 'played',
          tenant: 'anonymous',
          query: 'sum(up)',
          start: 1000,
          end: 61_000,
          step: 15_000,
          startedAt: '2023-11-14T22:13:20.000Z',
          duration: '0.103s',
          durationSeconds: 0.103,
          phase: 'evaluating',
          series: 5,
          samples: 600,
          memoryBytes: 4096,
        },
      ],
    },
  });
});

test('a querier that does not answer is a warning', async () => {
  rig = await startGateway({ querier: {} });
  expect(await call('GET', '/status/active_queries')).toMatchObject({
    status: 200,
    body: { data: [], warnings: [expect.stringContaining('querier played did not answer')] },
  });
});

describe('killing', () => {
  test('needs the admin API', async () => {
    const killed: string[] = [];
    await start(killed, false);
    expect((await call('DELETE', `/admin/queries/${QUERY.id}`)).status).toBe(403);
    expect(killed).toEqual([]);
  });

  test('ends the query, or says that there is none', async () => {
    const killed: string[] = [];
    await start(killed, true);
    expect(await call('DELETE', `/admin/queries/${QUERY.id}`)).toMatchObject({
      status: 200,
      body: { status: 'success', data: { id: QUERY.id } },
    });
    expect(await call('DELETE', '/admin/queries/other')).toMatchObject({
      status: 404,
      body: { errorType: 'not_found', error: 'no query "other" is under way' },
    });
    expect(killed).toEqual([QUERY.id, 'other']);
  });
});
