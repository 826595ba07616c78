// The same prometheus.yml given to a real Prometheus and to the scraper: the same series, names and labels, for node-exporter,
// Prometheus' own metrics, and a target that is down. What Prometheus 3 does otherwise than the 2.42 at hand is filtered by rule.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { normaliseBound } from '../../services/lib/exposition/bucket-label.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createScraper } from '../../services/scraper/service.ts';
import { startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { RecordingDistributor } from '../support/recording-distributor.ts';

const prometheus = findProgram('prometheus');
const nodeExporter = findProgram('prometheus-node-exporter');
const missing = [
  prometheus === undefined && 'prometheus',
  nodeExporter === undefined && 'prometheus-node-exporter',
].filter((name) => name !== false);
if (missing.length > 0 && process.env.CI === 'true') throw new Error(`CI needs ${missing.join(', ')}`);
if (missing.length > 0) console.warn(`skipped: scrape parity needs ${missing.join(', ')} on the PATH`);

const CONFIG = (exporter: string, self: string): string => `
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: node
    static_configs:
      - targets: ["${exporter}"]
        labels: {region: eu, job: renamed}
    metric_relabel_configs:
      - {source_labels: [__name__], regex: "node_(arp|textfile)_.*", action: drop}
      - {source_labels: [device], regex: "(.+)", target_label: dev, replacement: "x-\${1}"}
  - job_name: prometheus
    honor_labels: true
    static_configs:
      - targets: ["${self}"]
    relabel_configs:
      - {source_labels: [__address__], target_label: instance, regex: "(.*):.*"}
      - {source_labels: [__address__], modulus: 97, action: hashmod, target_label: shard}
  - job_name: dead
    static_configs:
      - targets: ["127.0.0.1:1"]
`;

/** Series that one side has by chance: runtime internals that come and go, and what scraping itself changes. */
const VOLATILE =
  /^(?:node_network_|node_netstat_|node_scrape_collector_|net_conntrack_|prometheus_http_|promhttp_|prometheus_tsdb_)/;

describe.skipIf(missing.length > 0)('Prometheus and Tidemark on one prometheus.yml', () => {
  test('give the same series', { timeout: 90_000 }, async () => {
    const [exporterPort, prometheusPort] = [await freePort(), await freePort()];
    const exporter = `127.0.0.1:${exporterPort}`;
    const self = `127.0.0.1:${prometheusPort}`;
    const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-parity-'));
    const file = path.join(folder, 'prometheus.yml');
    const yaml = CONFIG(exporter, self);
    writeFileSync(file, yaml);
    startProcess(nodeExporter!, [`--web.listen-address=${exporter}`]);
    startProcess(prometheus!, [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=${self}`,
    ]);
    await waitFor('node-exporter', () => answers(`http://${exporter}/metrics`));
    await waitFor('prometheus', () => answers(`http://${self}/-/ready`));

    const distributor = new RecordingDistributor();
    const scraper = createScraper(
      { version: '0.0.0' },
      { distributor, clock: systemClock, logger: createSilentLogger(), registry: new Registry() },
    );
    onTestFinished(async () => {
      await scraper.drain();
      await scraper.stop();
    });
    await scraper.start();
    await scraper.applyConfig(loadConfig(yaml, folder));

    // Both scrape a Prometheus whose own series come with time: equal at some moment soon is what is asked.
    let gaps: string[] = [];
    await waitFor(
      'the same series on both sides',
      async () => {
        const theirs = await seriesOf(`http://${self}`);
        const ours = new Set(distributor.names());
        gaps = [...gapsOf('only in Prometheus', theirs, ours), ...gapsOf('only in Tidemark', ours, theirs)];
        return gaps.length === 0 && jobsUp(theirs) && jobsUp(ours) && ours.size > 400;
      },
      { timeoutMs: 40_000, describe: () => gaps.join('\n') },
    );
    const up = (name: string): number => distributor.series(name).at(-1)!.value;
    expect(up(`up{instance="${exporter}", job="renamed", region="eu"}`)).toBe(1);
    expect(up('up{instance="127.0.0.1:1", job="dead"}')).toBe(0);
  });
});

function gapsOf(where: string, a: ReadonlySet<string>, b: ReadonlySet<string>): string[] {
  return [...a].filter((name) => !VOLATILE.test(name) && !b.has(name)).map((name) => `${where}: ${name}`);
}

function jobsUp(names: ReadonlySet<string>): boolean {
  const reports = [...names].filter((name) => name.startsWith('scrape_series_added{'));
  const families = ['node_cpu_seconds_total{', 'prometheus_build_info{'];
  return reports.length === 3 && families.every((start) => [...names].some((name) => name.startsWith(start)));
}

/** Every series of a Prometheus as it is printed, with the bucket bounds that Prometheus 3 would store. */
async function seriesOf(base: string): Promise<Set<string>> {
  const response = await fetch(
    `${base}/api/v1/series?${new URLSearchParams({ 'match[]': '{__name__!=""}' }).toString()}`,
  );
  const { data } = (await response.json()) as { data: Record<string, string>[] };
  return new Set(
    data.map((labels) => {
      const histogram = labels.__name__!.endsWith('_bucket');
      const entries = Object.entries(labels).map(([name, value]): [string, string] =>
        (name === 'le' && histogram) || name === 'quantile' ? [name, normaliseBound(value)] : [name, value],
      );
      return Labels.from(entries).toString();
    }),
  );
}
