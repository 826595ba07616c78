// Queries that run on two queriers: one gateway lists both and ends each by its id, whichever querier has it.
import { expect, test } from 'vitest';
import { startCluster } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi } from '../support/tidemark.ts';

const STEP_MS = 15_000;
const SAMPLES = 240;
const SERIES = 300;
const START_MS = Math.floor((Date.now() - SAMPLES * STEP_MS) / STEP_MS) * STEP_MS;
const END_S = (START_MS + SAMPLES * STEP_MS) / 1000;
/** Takes minutes: some ten milliseconds a series and window, for each of 2,000 steps. */
const LONG = {
  query: 'quantile_over_time(0.9, requests_total[1h:1s])',
  start: `${END_S - 2_000}`,
  end: `${END_S}`,
  step: '1',
};

interface Listed {
  readonly id: string;
  readonly querier: string;
  readonly query: string;
  readonly phase: string;
  readonly memoryBytes: number;
}

test.skipIf(!hasPrograms('nats-server'))(
  'queries on two queriers are listed and killed through one gateway',
  { timeout: 240_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 1, store: 1, querier: 2, gateway: 1 },
      flags: {
        ingester: ['--cluster.replication-factor=1', '--store.replication-factor=1'],
        gateway: ['--web.enable-admin-api'],
      },
    });
    const { url } = cluster.of('gateway')[0]!;
    const series = Array.from({ length: SERIES }, (_, i) => ({
      labels: { __name__: 'requests_total', instance: `host-${i}` },
      samples: Array.from({ length: SAMPLES }, (_, k) => [START_MS + k * STEP_MS, i * k] as const),
    }));
    expect(await sendWrite(url, snappyLiterals(encodeWriteRequest(series)))).toBe(204);

    const listed = async () => (await callApi(url, 'status/active_queries', {})).body.data as Listed[];
    const running = [callApi(url, 'query_range', LONG), callApi(url, 'query_range', LONG)];
    let found: readonly Listed[] = [];
    const both = async () => {
      found = await listed();
      return found.length === 2 && found.every(({ phase }) => phase === 'evaluating');
    };
    await waitFor('both queries evaluating', both, { describe: cluster.describe });
    expect(found.map(({ querier }) => querier).sort()).toEqual(['querier-0', 'querier-1']);
    expect(new Set(found.map(({ id }) => id)).size).toBe(2);
    expect(found.every(({ query, memoryBytes }) => query === LONG.query && memoryBytes > 0)).toBe(true);

    const kill = (id: string) => fetch(`${url}/api/v1/admin/queries/${id}`, { method: 'DELETE' });
    expect((await kill('0123456789abcdef')).status).toBe(404);
    const [first, second] = found as [Listed, Listed];
    expect((await kill(first.id)).status).toBe(200);
    const ended = await Promise.race(running);
    expect(ended.body).toMatchObject({ status: 'error', errorType: 'canceled' });
    expect((await listed()).map(({ id }) => id)).toEqual([second.id]);
    expect((await kill(second.id)).status).toBe(200);
    const outcomes = await Promise.all(running);
    expect(outcomes.map(({ body }) => body.status)).toEqual(['error', 'error']);
    await waitFor('nothing runs', async () => (await listed()).length === 0, { describe: cluster.describe });
  },
);
