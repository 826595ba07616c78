// The same prometheus.yml given to Prometheus and to Tidemark: both end up with the same series, for a node-exporter, an
// Alertmanager and a target that is dead. Prometheus 3 writes `le` and `quantile` as floats (`1.0`), Debian's 2.42 does not.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { freshFolder, queryInstant, startTidemark } from '../support/tidemark.ts';

const PROGRAMS = ['prometheus', 'prometheus-node-exporter', 'prometheus-alertmanager'] as const;

test.skipIf(!hasPrograms(...PROGRAMS))(
  'the series of a scrape are those of Prometheus',
  { timeout: 120_000 },
  async () => {
    const folder = freshFolder();
    const [node, manager, dead, peer] = [
      ...[await freePort(), await freePort(), await freePort(), await freePort()],
    ] as const;
    startProcess(findProgram(PROGRAMS[1])!, [`--web.listen-address=127.0.0.1:${node}`]);
    const managerConfig = path.join(folder, 'alertmanager.yml');
    writeFileSync(managerConfig, 'route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n');
    startProcess(findProgram(PROGRAMS[2])!, [
      `--config.file=${managerConfig}`,
      `--storage.path=${path.join(folder, 'alertmanager')}`,
      `--web.listen-address=127.0.0.1:${manager}`,
      '--cluster.listen-address=',
    ]);
    await waitFor('the exporter', () => answers(`http://127.0.0.1:${node}/metrics`));
    await waitFor('Alertmanager', () => answers(`http://127.0.0.1:${manager}/-/ready`));
    const targets = path.join(folder, 'targets.json');
    writeFileSync(
      targets,
      JSON.stringify([
        { targets: [`127.0.0.1:${manager}`], labels: { team: 'on call', __meta_secret: 'x' } },
      ]),
    );
    const config = `global: { scrape_interval: 1s, scrape_timeout: 1s, external_labels: { cluster: c } }
scrape_configs:
  - job_name: node
    static_configs: [{ targets: ['127.0.0.1:${node}'], labels: { rack: a1 } }]
    relabel_configs:
      - { source_labels: [__address__], regex: '.*:(\\d+)', target_label: port, replacement: 'p\${1}' }
    metric_relabel_configs:
      - { source_labels: [__name__], regex: 'go_gc_.*', action: drop }
      - { regex: 'cpu', action: labeldrop }
      - { source_labels: [mode], regex: 'i(.*)', target_label: mode_tail }
  - job_name: alertmanager
    file_sd_configs: [{ files: ['${targets}'] }]
  - job_name: dead
    static_configs: [{ targets: ['127.0.0.1:${dead}'] }]
`;
    const tidemark = await startTidemark({ config });
    const configFile = path.join(folder, 'prometheus.yml');
    writeFileSync(configFile, config);
    const prometheus = startProcess(findProgram(PROGRAMS[0])!, [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${peer}`,
    ]);
    const peerUrl = `http://127.0.0.1:${peer}`;
    await waitFor('Prometheus', () => answers(`${peerUrl}/-/ready`), { describe: () => prometheus.output() });
    for (const url of [tidemark.url, peerUrl]) {
      await waitFor('four scrapes of each target', async () => {
        const counts = await queryInstant(url, 'count_over_time(up[1m])');
        return counts.length === 3 && counts.every(({ value }) => Number(value[1]) >= 4);
      });
    }
    // An exporter's own series may appear between the scrape of the one and that of the other: equal at one moment is enough.
    let compared: { ours: string[]; theirs: string[] } = { ours: [], theirs: [] };
    await waitFor(
      'equal series',
      async () => {
        const [ours, theirs] = await Promise.all([seriesOf(tidemark.url), seriesOf(peerUrl)]);
        compared = { ours, theirs };
        return theirs.length > 300 && ours.join('\n') === theirs.join('\n');
      },
      { describe: () => differenceOf(compared) },
    );
    for (const query of ['up', 'scrape_samples_scraped', 'scrape_samples_post_metric_relabeling']) {
      const [a, b] = await Promise.all([valuesOf(tidemark.url, query), valuesOf(peerUrl, query)]);
      expect(a, query).toEqual(b);
    }
  },
);

function differenceOf({ ours, theirs }: { ours: readonly string[]; theirs: readonly string[] }): string {
  const extra = ours.filter((series) => !theirs.includes(series)).map((series) => `only ours: ${series}`);
  const missing = theirs
    .filter((series) => !ours.includes(series))
    .map((series) => `only Prometheus: ${series}`);
  return [...extra, ...missing].join('\n');
}

/** All series that are alive, as text, `le` and `quantile` as Prometheus 3 writes them. */
async function seriesOf(url: string): Promise<string[]> {
  const samples = await queryInstant(url, '{job=~"node|alertmanager|dead"}');
  return samples.map(({ metric }) => keyOf(metric)).sort((a, b) => (a < b ? -1 : 1));
}

async function valuesOf(url: string, query: string): Promise<[string, string][]> {
  const samples = await queryInstant(url, query);
  return samples
    .map(({ metric, value }): [string, string] => [keyOf(metric), value[1]])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

function keyOf(metric: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(metric).map(([name, value]) => {
    const isBound = (name === 'le' || name === 'quantile') && /^-?\d+$/.test(value);
    return [name, isBound ? `${value}.0` : value];
  });
  return JSON.stringify(pairs.sort(([a], [b]) => (a! < b! ? -1 : 1)));
}
