// Three scraper processes of a cluster on a real NATS: one of them asks the API server for all, and when it is killed another does.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type Node, startNode } from '../support/cluster.ts';
import { type ApiObject, KubernetesApi } from '../support/kubernetes-api.ts';
import { startNats } from '../support/nats.ts';
import { hasPrograms } from '../support/process.ts';
import { waitFor } from '../support/programs.ts';
import { freshFolder } from '../support/tidemark.ts';

const PODS = 20;

const pod = (i: number): ApiObject => ({
  metadata: { name: `p${i}`, namespace: 'shop', annotations: { long: 'x'.repeat(2_000) } },
  spec: { containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 1 }] }] },
  // Nothing listens there.
  status: { podIP: `127.9.0.${i}`, phase: 'Running' },
});

/** The sum of a metric's values with these labels. */
async function metricOf(node: Node, name: string, labels = ''): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name) && line.includes(labels));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

async function sum(nodes: readonly Node[], name: string, labels = ''): Promise<number> {
  const values = await Promise.all(nodes.map((node) => metricOf(node, name, labels)));
  return values.reduce((a, b) => a + b, 0);
}

test.skipIf(!hasPrograms('nats-server'))(
  'one discovery for three scrapers, and the next when its process is killed',
  async () => {
    const api = await KubernetesApi.start();
    for (let i = 1; i <= PODS; i++) api.put('pods', pod(i));
    const nats = await startNats();
    onTestFinished(() => nats.kill());
    const configFile = path.join(freshFolder(), 'prometheus.yml');
    writeFileSync(
      configFile,
      `global: {scrape_interval: 1h}\nscrape_configs:\n  - {job_name: pods, kubernetes_sd_configs: [{api_server: "${api.url}", role: pod}]}\n`,
    );
    const options = { natsUrl: nats.url, zone: '', configFile };
    const scrapers = await Promise.all([1, 2, 3].map((i) => startNode('scraper', `scraper-${i}`, options)));
    const describe = (): string => scrapers.map((node) => node.output()).join('\n');
    const targets = (nodes: readonly Node[], count: number): Promise<unknown> =>
      waitFor(`${count} targets`, async () => (await sum(nodes, 'tidemark_scraper_targets')) === count, {
        timeoutMs: 60_000,
        describe,
      });
    await targets(scrapers, PODS);
    await waitFor(
      'two followers',
      async () => (await sum(scrapers, 'tidemark_scraper_discovery_items', 'source="there"')) === 2,
      { timeoutMs: 60_000, describe },
    );
    expect(await sum(scrapers, 'tidemark_scraper_discovery_lease')).toBe(1);
    // Nobody else asks, now or by a watch that lingers.
    await waitFor('one watch', async () => api.watchCount === 1, { timeoutMs: 60_000 });
    api.put('pods', pod(PODS + 1));
    await targets(scrapers, PODS + 1);

    const leases = await Promise.all(
      scrapers.map((node) => metricOf(node, 'tidemark_scraper_discovery_lease')),
    );
    const holder = scrapers[leases.indexOf(1)]!;
    const rest = scrapers.filter((node) => node !== holder);
    await holder.end('SIGKILL');
    await waitFor(
      'the next holder',
      async () => (await sum(rest, 'tidemark_scraper_discovery_lease')) === 1,
      {
        timeoutMs: 60_000,
        describe,
      },
    );
    api.remove('pods', 'p1', 'shop');
    await targets(rest, PODS);
    expect(await sum(rest, 'tidemark_scraper_discovery_items')).toBe(2);
  },
  180_000,
);
