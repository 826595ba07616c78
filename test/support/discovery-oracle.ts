// A real Prometheus 3.14 and our scraper side by side: what both discover under the same configuration, whose jobs drop all of their
// targets by relabelling, so that nothing is scraped.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import { expect, onTestFinished } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import type { DiscoverySources } from '../../services/lib/discovery/discovery.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { TargetState } from '../../services/lib/wire/contracts.ts';
import { createScraper } from '../../services/scraper/service.ts';
import { startProcess } from './process.ts';
import { answers, findProgram, freePort, waitFor } from './programs.ts';
import { RecordingDistributor } from './recording-distributor.ts';
import { freshFolder } from './tidemark.ts';

/** Built with the kinds of discovery that Tidemark runs, by .ci/run. */
export const UPSTREAM = 'prometheus-3.14';

/** Relabelling that drops every target. */
export const DROP_ALL =
  'relabel_configs: [{target_label: dropped, replacement: "yes"}, {action: drop, source_labels: [dropped], regex: "yes"}]';

/** Discovered label sets by job, each as sorted JSON. */
export type Found = Readonly<Record<string, readonly string[]>>;

function group(targets: readonly { scrapePool: string; discoveredLabels: Record<string, string> }[]): Found {
  const found: Record<string, Set<string>> = {};
  for (const { scrapePool, discoveredLabels } of targets) {
    const sorted = Object.entries(discoveredLabels).toSorted(([a], [b]) => (a < b ? -1 : 1));
    (found[scrapePool] ??= new Set()).add(JSON.stringify(sorted));
  }
  return Object.fromEntries(Object.entries(found).map(([job, sets]) => [job, [...sets].toSorted()]));
}

/** A Prometheus 3.14 with the configuration; it ends with the test. The answer asks for what it found and dropped. */
export async function startUpstream(config: string): Promise<() => Promise<Found>> {
  const folder = freshFolder();
  const file = path.join(folder, 'prometheus.yml');
  writeFileSync(file, config);
  const address = `127.0.0.1:${await freePort()}`;
  const running = startProcess(findProgram(UPSTREAM)!, [
    `--config.file=${file}`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=${address}`,
    '--scrape.discovery-reload-interval=1s',
  ]);
  await waitFor('Prometheus', () => answers(`http://${address}/-/ready`), { describe: running.output });
  return async () => {
    const response = await fetch(`http://${address}/api/v1/targets?state=dropped`);
    const body = (await response.json()) as { data: { droppedTargets: Parameters<typeof group>[0] } };
    return group(body.data.droppedTargets);
  };
}

/** Our scraper with the configuration; it ends with the test. */
export async function startOurs(config: string, discovery?: DiscoverySources): Promise<() => Promise<Found>> {
  const scraper = createScraper(
    { version: '1' },
    {
      distributor: new RecordingDistributor(),
      clock: systemClock,
      logger: createSilentLogger(),
      registry: new Registry(),
      ...(discovery === undefined ? {} : { discovery }),
    },
  );
  onTestFinished(async () => {
    await scraper.drain();
    await scraper.stop();
  });
  await scraper.start();
  await scraper.applyConfig(loadConfig(config, '/'));
  const signal = new AbortController().signal;
  const request = { state: TargetState.TARGET_STATE_DROPPED, scrapePool: '' };
  return async () => group((await scraper.handlers.targets(request, { signal })).dropped);
}

/**
 * Waits until both have found the same, `least` label sets or more, with each of `signs` somewhere in them; fails with the first
 * job where they have not.
 */
export async function expectSame(
  upstream: () => Promise<Found>,
  ours: () => Promise<Found>,
  least: number,
  signs: readonly string[] = [],
  timeoutMs = 40_000,
): Promise<number> {
  let theirs: Found = {};
  let own: Found = {};
  const count = (): number => Object.values(theirs).reduce((sum, sets) => sum + sets.length, 0);
  await waitFor(
    'the same targets',
    async () => {
      [theirs, own] = await Promise.all([upstream(), ours()]);
      const text = JSON.stringify(sortKeys(theirs));
      return (
        count() >= least &&
        signs.every((sign) => text.includes(sign)) &&
        text === JSON.stringify(sortKeys(own))
      );
    },
    { timeoutMs },
  ).catch(() => {
    for (const job of new Set([...Object.keys(theirs), ...Object.keys(own)])) {
      const missing = (theirs[job] ?? []).filter((set) => !own[job]?.includes(set));
      const extra = (own[job] ?? []).filter((set) => !theirs[job]?.includes(set));
      expect({ job, extra: extra.slice(0, 2) }).toEqual({ job, extra: missing.slice(0, 2) });
    }
    throw new Error(`Prometheus found ${count()} targets, ${least} were expected`);
  });
  return count();
}

function sortKeys(found: Found): unknown {
  return Object.entries(found).toSorted(([a], [b]) => (a < b ? -1 : 1));
}
