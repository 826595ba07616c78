// The result cache of a real cluster: three ingesters and two stores as processes. Whatever happens between two questions (late writes, also while an ingester is
// away; deletes and their undoing; blocks made; a killed ingester that comes back; a further one that takes partitions over), the answer from the cache is that of
// evaluation, and names the same coverage.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, seesMembers, startCluster, startNode } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { freshFolder } from '../support/tidemark.ts';

const MINUTE_MS = 60_000;
/** Three pieces of two hours, at a step a minute. */
const SPAN_MINUTES = 360;
const SERIES = 12;
const NOW_MS = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;

const QUERIES = ['sum(m)', 'max by (n) (rate(m[10m]))', 'sum_over_time(m[30m] offset 1h)'];

interface Told {
  readonly status: number;
  readonly text: string;
  readonly coverage: string;
}

async function ask(url: string, query: string, more = ''): Promise<Told> {
  const times = { start: NOW_MS / 1000 - SPAN_MINUTES * 60, end: NOW_MS / 1000, step: 60 };
  const parameters = new URLSearchParams({
    ...{ query, start: `${times.start}`, end: `${times.end}`, step: `${times.step}` },
  });
  const response = await fetch(`${url}/api/v1/query_range?${parameters.toString()}${more}`);
  const coverage = response.headers.get('x-tidemark-coverage') ?? '';
  return { status: response.status, text: await response.text(), coverage };
}

async function cachedSteps(url: string, query: string): Promise<number> {
  const { text } = await ask(url, query, '&stats=true');
  const answer = JSON.parse(text) as { data?: { stats?: { resultCache?: { cachedSteps: number } } } };
  return answer.data?.stats?.resultCache?.cachedSteps ?? 0;
}

/** What the cache answers is what evaluation answers, twice: filled and from what was kept. */
async function compare(url: string, when: string): Promise<void> {
  for (const query of QUERIES) {
    for (let i = 0; i < 2; i++) {
      const cached = await ask(url, query);
      const whole = await ask(url, query, '&nocache=1');
      expect([whole.status, whole.coverage.startsWith('complete')], `${when}: ${whole.text}`).toEqual([
        200,
        true,
      ]);
      expect(cached.text, `${when}: ${query}`).toBe(whole.text);
      expect(cached.coverage).toMatch(/^complete; partitions=64\/64; /);
    }
  }
}

/** Until answers come from the cache: a cluster that has just changed rests its caches. */
async function expectHits(url: string): Promise<void> {
  await waitFor('answers come from the cache', async () => (await cachedSteps(url, 'sum(m)')) > 200);
}

let value = 0;

/** Resolves when it was acknowledged. */
async function write(url: string, fromMinute: number, minutes: number, shiftMs = 0): Promise<void> {
  value++;
  const series = Array.from({ length: SERIES }, (_, n) => ({
    labels: { __name__: 'm', n: `${n}` },
    samples: Array.from({ length: minutes }, (_, i): [number, number] => [
      NOW_MS - (fromMinute - i) * MINUTE_MS + shiftMs,
      value + n / 8 + i,
    ]),
  }));
  await waitFor('the write is taken', async () => {
    const status = await sendWrite(url, snappyLiterals(encodeWriteRequest(series)));
    return status === 204;
  });
}

test.skipIf(!hasPrograms('nats-server'))(
  'the cache of a cluster answers what evaluation answers, whatever happened',
  { timeout: 600_000 },
  async () => {
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 1, gateway: 1 },
      flags: { gateway: ['--web.enable-admin-api'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const { url } = cluster.of('gateway')[0]!;
    const post = async (call: string): Promise<Response> => {
      const response = await fetch(`${url}/api/v1/admin/tsdb/${call}`, { method: 'POST' });
      expect(response.ok, await response.clone().text()).toBe(true);
      return response;
    };
    await waitFor('all members', () => seesMembers(url, cluster.nodes.length));
    await write(url, SPAN_MINUTES + 60, SPAN_MINUTES + 60);
    await compare(url, 'at first');
    await expectHits(url);

    await write(url, 300, 1, 15_000);
    await compare(url, 'after a late sample');
    await write(url, 200, 40, 20_000);
    await compare(url, 'after a backfill');
    await expectHits(url);

    const from = NOW_MS / 1000 - 250 * 60;
    const deleted = await post(`delete_series?match[]=m{n="3"}&start=${from}&end=${from + 3600}`);
    await compare(url, 'after a delete');
    await post(`undo_delete?id=${deleted.headers.get('tidemark-delete-id')}`);
    await compare(url, 'after it was undone');

    await post('seal');
    await compare(url, 'after blocks were made');
    await expectHits(url);
    await write(url, 320, 2, 25_000);
    await compare(url, 'after a late sample beside a block');
    await post(`delete_series?match[]=m{n="4"}&start=${from}&end=${from + 3600}`);
    await compare(url, 'after a delete in blocks');
    await post('clean_tombstones');
    await compare(url, 'after it was cleaned');
    await expectHits(url);

    const victim = cluster.of('ingester')[1]!;
    await victim.end('SIGKILL');
    await write(url, 150, 3, 5_000);
    await compare(url, 'with an ingester away');
    await victim.start();
    await victim.ready();
    await write(url, 149, 3, 6_000);
    await compare(url, 'with the ingester back');
    await expectHits(url);

    const configFile = path.join(freshFolder(), 'prometheus.yml');
    writeFileSync(configFile, 'global: {}\n');
    const newcomer = await startNode('ingester', 'ingester-3', {
      natsUrl: cluster.nats.url,
      zone: 'zone-0',
      configFile,
    });
    await newcomer.ready();
    await compare(url, 'with a further ingester');
    await waitFor('it owns partitions', async () => {
      const { members } = await membersOf(url);
      return members.some(({ instance, state }) => instance === 'ingester-3' && state === 'ready');
    });
    await write(url, 100, 5, 7_000);
    await compare(url, 'with owners that changed');
    await write(url, 90, 5, 8_000);
    await compare(url, 'with writes of new owners');
    await expectHits(url);
  },
);
