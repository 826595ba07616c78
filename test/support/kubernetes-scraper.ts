// A scraper that runs as a pod of a scripted cluster: what the API server has becomes targets, and their samples are recorded.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import { onTestFinished } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { SYSTEM_DNS } from '../../services/lib/discovery/dns-discovery.ts';
import { WatchHub } from '../../services/lib/discovery/kubernetes/watch-hub.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { TargetState, type TargetsResponse } from '../../services/lib/wire/contracts.ts';
import { createScraper, type Scraper } from '../../services/scraper/service.ts';
import { certificate } from './certificate.ts';
import { KubernetesApi } from './kubernetes-api.ts';
import { waitFor } from './programs.ts';
import { RecordingDistributor } from './recording-distributor.ts';
import { freshFolder } from './tidemark.ts';

/** Where pods find their service account. */
export const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface KubernetesScraper {
  readonly api: KubernetesApi;
  readonly scraper: Scraper;
  readonly distributor: RecordingDistributor;
  /** Items of `scrape_configs`, and further sections. */
  apply(jobs: string, sections?: string): Promise<void>;
  targets(): Promise<TargetsResponse>;
}

/** Everything ends with the test. */
export async function startKubernetesScraper(): Promise<KubernetesScraper> {
  const tls = certificate(freshFolder());
  const api = await KubernetesApi.start({ tls, tokens: ['account'] });
  const folder = freshFolder();
  writeFileSync(path.join(folder, 'ca.crt'), tls.cert);
  writeFileSync(path.join(folder, 'token'), 'account');
  const { port } = new URL(api.url);
  const distributor = new RecordingDistributor();
  const environment = { clock: systemClock, logger: createSilentLogger(), registry: new Registry() };
  const pod = {
    variables: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: port },
    serviceAccountFolder: folder,
  };
  const discovery = { hub: new WatchHub({ ...environment, pod }), dns: SYSTEM_DNS };
  const scraper = createScraper({ version: '1' }, { ...environment, distributor, discovery });
  onTestFinished(async () => {
    await scraper.drain();
    await scraper.stop();
  });
  await scraper.start();
  const apply = (jobs: string, sections = ''): Promise<void> => {
    // Pods find their account in a fixed folder; this process is none.
    const yaml = `global: {scrape_interval: 200ms}\n${jobs === '' ? '' : `scrape_configs:\n${jobs.replaceAll(ACCOUNT, folder)}`}${sections}`;
    return scraper.applyConfig(loadConfig(yaml, '/'));
  };
  const request = { state: TargetState.TARGET_STATE_ANY, scrapePool: '' };
  const targets = (): Promise<TargetsResponse> =>
    scraper.handlers.targets(request, { signal: new AbortController().signal });
  return { api, scraper, distributor, apply, targets };
}

/** Waits for a sample of 1. */
export const sampled = (rig: KubernetesScraper, series: string): Promise<unknown> =>
  waitFor(series, async () => rig.distributor.series(series).at(-1)?.value === 1, {
    describe: () =>
      rig.distributor
        .names()
        .filter((name) => name.startsWith('up'))
        .join('\n'),
  });
