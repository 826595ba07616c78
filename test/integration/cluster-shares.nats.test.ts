// Work that is shared out: targets over scrapers, rule groups over alert evaluators. A process that is killed leaves its share
// to the others, and no series ends. And a process that starts before NATS waits for it.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { MEMBER_EXPIRY_MS, startCluster, startNats, startNode } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { answers, freePort, waitFor } from '../support/programs.ts';
import { callApi, freshFolder, queryInstant } from '../support/tidemark.ts';

const present = hasPrograms('nats-server');
const TARGETS = 8;
const GROUPS = 6;

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

function rulesFile(): string {
  const file = path.join(freshFolder(), 'rules.yml');
  const groups = range(GROUPS).map(
    (n) =>
      `- { name: g${n}, interval: 1s, rules: [{ record: recorded, expr: vector(${n}), labels: { n: "${n}" } }] }`,
  );
  writeFileSync(file, `groups:\n${groups.join('\n')}\n`);
  return file;
}

test.skipIf(!present)(
  'targets and rule groups move when their process is killed',
  { timeout: 120_000 },
  async () => {
    const nats = await startNats();
    const natsUrl = nats.url;
    const configFile = path.join(freshFolder(), 'prometheus.yml');
    const ingester = await startNode('ingester', 'ingester-0', {
      ...{ natsUrl, zone: '', configFile, flags: ['--cluster.replication-factor=1'] },
    });
    const target = ingester.url.slice('http://'.length);
    const statics = range(TARGETS).map((n) => `{ targets: ['${target}'], labels: { n: "${n}" } }`);
    const cluster = await startCluster({
      counts: { querier: 1, gateway: 1, scraper: 2, 'alert-evaluator': 2 },
      config: `global: { scrape_interval: 1s, scrape_timeout: 1s }
rule_files: ['${rulesFile()}']
scrape_configs: [{ job_name: j, static_configs: [${statics.join(', ')}] }]\n`,
      nats,
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const { url } = cluster.of('gateway')[0]!;
    const scraped = async (scraper: string): Promise<number> => {
      const text = await (await fetch(`${scraper}/metrics`)).text();
      return Number(/^tidemark_scraper_targets (\d+)$/m.exec(text)?.[1]);
    };
    const activeTargets = async (): Promise<string[]> => {
      const { body } = await callApi(url, 'targets', { state: 'active' });
      const { activeTargets: active } = body.data as {
        activeTargets: { labels: { n: string }; health: string }[];
      };
      return active.filter(({ health }) => health === 'up').map(({ labels }) => labels.n);
    };
    const groups = async (): Promise<string[]> => {
      const { body } = await callApi(url, 'rules', {});
      return (body.data as { groups: { name: string }[] }).groups.map(({ name }) => name);
    };
    const allTargets = range(TARGETS).map(String);
    const allGroups = range(GROUPS).map((n) => `g${n}`);
    const isWhole = async (): Promise<boolean> =>
      (await activeTargets()).sort().join() === allTargets.join() &&
      (await groups()).sort().join() === allGroups.join();
    await waitFor('all targets and groups, each once', isWhole, { describe: cluster.describe });
    await waitFor(
      'all series',
      async () => (await queryInstant(url, 'count(up) + count(recorded) == 14')).length === 1,
    );
    const shares = await Promise.all(cluster.of('scraper').map((scraper) => scraped(scraper.url)));
    expect(shares.reduce((sum, targets) => sum + targets, 0)).toBe(TARGETS);

    const killedAt = Date.now() / 1000;
    await cluster.of('scraper')[0]!.end('SIGKILL');
    await cluster.of('alert-evaluator')[0]!.end('SIGKILL');
    await waitFor('all of it at those that are left', async () => {
      const [fresh] = await queryInstant(
        url,
        `count(timestamp(up) > ${killedAt + 1}) + count(timestamp(recorded) > ${killedAt + 1})`,
      );
      return Number(fresh?.value[1]) === TARGETS + GROUPS && (await isWhole());
    });
    await sleep(MEMBER_EXPIRY_MS);
    for (const time of range(Math.floor(Date.now() / 1000 - killedAt)).map((s) => killedAt + s)) {
      const [series] = await queryInstant(url, 'count(up) + count(recorded)', time);
      expect([time - killedAt, series?.value[1]]).toEqual([time - killedAt, String(TARGETS + GROUPS)]);
    }
  },
);

test.skipIf(!present)('a process that starts before NATS waits for it', { timeout: 60_000 }, async () => {
  const port = await freePort();
  const store = await startNode('store', 'early', {
    natsUrl: `nats://127.0.0.1:${port}`,
    zone: '',
    configFile: '',
  });
  await waitFor('healthy', () => answers(`${store.url}/-/healthy`), { describe: store.output });
  await waitFor('a clear line', () => Promise.resolve(/level=warn.*out of reach/.test(store.output())), {
    describe: store.output,
  });
  expect((await fetch(`${store.url}/-/ready`)).status).toBe(503);
  await startNats(port);
  await store.ready(15_000);
  await store.end('SIGTERM');
  expect(store.exited()).toBe(0);
});
