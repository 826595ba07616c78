// Scrapers that join, leave and are killed while they scrape: 3 → 5 → 2, real processes on a real NATS. Every series has one sample per
// interval throughout; only those of the one that was killed may lack one. After each change nobody has a tenth more than the others.
// TIDEMARK_SCALE_TARGETS, TIDEMARK_SCALE_SERIES (of each) and TIDEMARK_SCALE_INTERVAL (seconds) make it larger.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type Node, startCluster, startNode } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { loadFactor, waitFor } from '../support/programs.ts';
import { callApi, freshFolder, type MatrixSeries } from '../support/tidemark.ts';

const TARGETS = Number(process.env.TIDEMARK_SCALE_TARGETS ?? 60);
const SERIES = Number(process.env.TIDEMARK_SCALE_SERIES ?? 2);
/** Longer than it takes to know that a killed process is gone (3 s), as the usual intervals are. */
const INTERVAL_SECONDS = Number(process.env.TIDEMARK_SCALE_INTERVAL ?? 5);

/** One server for all targets, told apart by a parameter, which says how often it was asked. */
async function startTargets(): Promise<{ address: string; scrapes: () => number }> {
  let scrapes = 0;
  const more = Array.from({ length: Math.max(0, SERIES - 2) }, (_, i) => `more{series="${i}"} ${i}\n`).join(
    '',
  );
  const server = http.createServer((_request, response) => {
    scrapes++;
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
    response.end(`scrapes_total ${scrapes}\nconstant 1\n${more}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, scrapes: () => scrapes };
}

async function targetsOf(node: Node): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  return Number(/^tidemark_scraper_targets (\d+)/m.exec(text)?.[1] ?? 0);
}

/** Samples as they were written: Unix seconds, per series. */
async function rawSamples(gateway: Node, metric: string): Promise<readonly MatrixSeries[]> {
  const { body } = await callApi(gateway.url, 'query', { query: `${metric}{job="many"}[5m]` });
  if (body.status !== 'success') throw new Error(body.error);
  return (body.data as { result: MatrixSeries[] }).result;
}

/** The longest time between two samples of each series, in intervals. */
function gapsOf(series: readonly MatrixSeries[]): number[] {
  return series.map(({ values }) =>
    values.reduce(
      (longest, [time], i) =>
        i === 0 ? 0 : Math.max(longest, (time - values[i - 1]![0]) / INTERVAL_SECONDS),
      0,
    ),
  );
}

test.skipIf(!hasPrograms('nats-server'))(
  'scrapers join, leave and are killed: a sample per interval, no hole but the killed one’s',
  { timeout: 240_000 + 24 * INTERVAL_SECONDS * 1000 },
  async () => {
    const targets = await startTargets();
    const folder = freshFolder();
    const names = Array.from(
      { length: TARGETS },
      (_, i) => `{ targets: ['${targets.address}'], labels: { __param_n: '${i}', instance: 'i${i}' } }`,
    );
    const config = `scrape_configs:
  - { job_name: many, scrape_interval: ${INTERVAL_SECONDS}s, scrape_timeout: ${INTERVAL_SECONDS}s, static_configs: [${names.join(', ')}] }
`;
    const configFile = path.join(folder, 'prometheus.yml');
    writeFileSync(configFile, config);
    const cluster = await startCluster({
      counts: { ingester: 1, querier: 1, gateway: 1, scraper: 3 },
      flags: { ingester: ['--cluster.replication-factor=1', '--store.replication-factor=1'] },
      config,
    });
    const gateway = cluster.of('gateway')[0]!;
    const options = { natsUrl: cluster.nats.url, zone: '', configFile };
    let scrapers = [...cluster.of('scraper')];
    const shared = (): Promise<unknown> =>
      waitFor(
        `${TARGETS} targets shared evenly by ${scrapers.length} scrapers`,
        async () => {
          const counts = await Promise.all(scrapers.map(targetsOf));
          const mean = TARGETS / scrapers.length;
          // The targets cost the same: nobody has a tenth more than the others, or one target where that is more.
          const isEven = Math.max(...counts) <= Math.max(mean * 1.1, Math.ceil(mean));
          return isEven && counts.reduce((a, b) => a + b, 0) === TARGETS;
        },
        { timeoutMs: 60_000, describe: cluster.describe },
      );
    /** Until every target was scraped so many times more. */
    const rounds = async (count: number): Promise<void> => {
      const until = targets.scrapes() + count * TARGETS;
      await waitFor('scrapes', () => Promise.resolve(targets.scrapes() >= until), { timeoutMs: 120_000 });
    };
    const check = async (gapMax: number): Promise<void> => {
      for (const metric of ['up', 'constant', 'scrapes_total']) {
        const series = await rawSamples(gateway, metric);
        expect(series.length, metric).toBe(TARGETS);
        for (const [i, gap] of gapsOf(series).entries())
          expect(gap, `${metric} ${JSON.stringify(series[i])}`).toBeLessThanOrEqual(gapMax + 0.001);
        // One sample per interval, whoever took it: all of a series lie on its grid.
        for (const { metric: labels, values } of series) {
          const offsets = new Set(
            values.map(([time]) => Math.round(time * 1000) % (INTERVAL_SECONDS * 1000)),
          );
          const times = new Set(values.map(([time]) => time));
          expect([offsets.size, times.size], JSON.stringify(labels)).toEqual([1, values.length]);
        }
      }
    };
    await shared();
    await rounds(1);

    const joined = await Promise.all([3, 4].map((i) => startNode('scraper', `scraper-${i}`, options)));
    scrapers = [...scrapers, ...joined];
    await shared();
    await rounds(1);
    await check(1);

    // Two leave in order, one after the other.
    for (const leaver of [scrapers[0]!, scrapers[3]!]) {
      await leaver.end('SIGTERM');
      expect(leaver.exited()).toBe(0);
      scrapers = scrapers.filter((each) => each !== leaver);
      await shared();
    }
    await rounds(1);
    await check(1);

    const killed = scrapers[1]!;
    scrapers = scrapers.filter((each) => each !== killed);
    await killed.end('SIGKILL');
    await shared();
    await rounds(2);
    // Of each target that it had, the one scrape that was due until it was known to be gone.
    await check(Math.max(2, Math.ceil(loadFactor())));
    // And the check sees such a hole: for three seconds of five its targets were nobody's.
    expect(Math.max(...gapsOf(await rawSamples(gateway, 'up')))).toBeGreaterThan(1.5);
  },
);
