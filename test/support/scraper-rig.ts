// Scrapers for tests: real HTTP servers and connections, a distributor in memory.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, onTestFinished } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { type ActiveTarget, TargetState, type TargetsResponse } from '../../services/lib/wire/contracts.ts';
import { ScrapeFetcher } from '../../services/scraper/fetching/scrape-fetcher.ts';
import type { ScraperOptions } from '../../services/scraper/options.ts';
import { createScraper, type Scraper } from '../../services/scraper/service.ts';
import { waitFor } from './programs.ts';
import { type RecordedSample, RecordingDistributor } from './recording-distributor.ts';

/** A scraper, what it wrote, and how to tell it things. */
export interface ScraperRig {
  readonly scraper: Scraper;
  readonly distributor: RecordingDistributor;
  readonly registry: Registry;
  /** Jobs as YAML, one flow map a line. */
  apply(...jobs: readonly string[]): Promise<void>;
  targets(state?: TargetState, scrapePool?: string): Promise<TargetsResponse>;
  active(): Promise<ActiveTarget>;
  /** The next sample of a series after those there now. */
  next(series: string): Promise<RecordedSample>;
  last(series: string): RecordedSample | undefined;
}

export const INTERVAL_MS = 100;

/**
 * How a file of tests makes scrapers, each of which ends with its test. They have one fetch thread together: one that is not warm yet is
 * too slow for scrapes every 100 ms. Call once, outside of tests.
 */
export function scraperRigs(): (options?: Partial<ScraperOptions>) => Promise<ScraperRig> {
  const fetcher = new ScrapeFetcher({ clock: systemClock, logger: createSilentLogger() });
  beforeAll(() => warmUp(fetcher));
  afterAll(() => fetcher.stop());
  return (options = {}) => createRig(options, fetcher);
}

async function warmUp(fetcher: ScrapeFetcher): Promise<void> {
  const server = http.createServer((_request, response) => response.end('a 1\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const config = loadConfig('scrape_configs: [{job_name: a}]', '/').scrapeConfigs[0]!;
  const client = fetcher.open({ ...config, version: '1' });
  for (let i = 0; i < 50; i++) {
    const { fetched } = client.order({ dueMs: 0, url, timeoutMs: 10_000, bodyBytesMax: 1000, patienceMs: 0 });
    (await fetched)!.release();
  }
  client.close();
  server.close();
}

async function createRig(options: Partial<ScraperOptions>, fetcher: ScrapeFetcher): Promise<ScraperRig> {
  const distributor = new RecordingDistributor();
  const registry = new Registry();
  const scraper = createScraper(
    { version: '9.9.9', writeGatherMs: 0, ...options },
    { distributor, clock: systemClock, logger: createSilentLogger(), registry, fetcher },
  );
  onTestFinished(async () => {
    distributor.failure = undefined;
    await scraper.drain();
    await scraper.stop();
  });
  await scraper.start();
  const targets = (
    state: TargetState = TargetState.TARGET_STATE_ANY,
    scrapePool = '',
  ): Promise<TargetsResponse> =>
    scraper.handlers.targets({ state, scrapePool }, { signal: new AbortController().signal });
  return {
    scraper,
    distributor,
    registry,
    targets,
    apply: (...jobs) => {
      const yaml = `global: {scrape_interval: ${INTERVAL_MS}ms}\nscrape_configs:\n${jobs.map((job) => `  - ${job}\n`).join('')}`;
      return scraper.applyConfig(loadConfig(yaml, '/'));
    },
    active: async () => (await targets()).active[0]!,
    next: (series) => {
      const before = distributor.series(series).length;
      return waitFor(`a sample of ${series}`, async () => distributor.series(series)[before], {
        describe: () => distributor.names().join('\n'),
      });
    },
    last: (series) => distributor.series(series).at(-1),
  };
}

/** A series of that target in job `a`. */
export function labelled(name: string, address: string, rest = ''): string {
  const labels = [`instance="${address}"`, 'job="a"', ...(rest === '' ? [] : [rest])].toSorted();
  return `${name}{${labels.join(', ')}}`;
}

/** Job `a` with one target. */
export const jobOf = (address: string, rest = ''): string =>
  `{job_name: a, static_configs: [{targets: ["${address}"]}]${rest === '' ? '' : `, ${rest}`}}`;

/** Each time once, all on one grid. (A busy machine may skip a scrape.) */
export function expectOnGrid(times: readonly number[]): void {
  const sorted = times.toSorted((a, b) => a - b);
  expect(new Set(sorted).size).toBe(sorted.length);
  for (const time of sorted) expect((time - sorted[0]!) % INTERVAL_MS).toBe(0);
}
