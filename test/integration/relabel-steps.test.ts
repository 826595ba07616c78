// /api/v1/targets/relabel_steps beside a real Prometheus 3.14: every action, the same steps, and the same refusals.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createScraper } from '../../services/scraper/service.ts';
import { UPSTREAM } from '../support/discovery-oracle.ts';
import { startGateway } from '../support/gateway-rig.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { RecordingDistributor } from '../support/recording-distributor.ts';
import { freshFolder } from '../support/tidemark.ts';

const CONFIG = `scrape_configs:
  - job_name: all
    static_configs: [{targets: []}]
    relabel_configs:
      - {source_labels: [a, b], separator: "-", regex: "(.+)-(.*)", target_label: "c_$2", replacement: "\${1}!"}
      - {target_label: plain, replacement: x}
      - {source_labels: [a], action: keep, regex: "1|2"}
      - {source_labels: [a], modulus: 8, target_label: shard, action: hashmod}
      - {action: labelmap, regex: "__meta_(.+)", replacement: "m_$1"}
      - {action: labeldrop, regex: "m_x"}
      - {action: labelkeep, regex: "[a-m_]+.*|shard|plain"}
      - {source_labels: [b], action: uppercase, target_label: b}
      - {source_labels: [b], action: lowercase, target_label: low}
      - {source_labels: [a], action: dropequal, target_label: low}
      - {source_labels: [shard], regex: "[0-3]", action: drop}
      - {source_labels: [a], action: keepequal, target_label: a}
  - job_name: none
    static_configs: [{targets: []}]
`;

const LABELS = [
  { a: '1', b: 'xY', __meta_x: 'gone', __meta_y: 'stays' },
  { a: '2', b: '' },
  { a: '3' },
  { a: '1', b: '1' },
  {},
];

async function startOurs(): Promise<string> {
  const environment = { clock: systemClock, logger: createSilentLogger(), registry: new Registry() };
  const scraper = createScraper(
    { version: '1' },
    { ...environment, distributor: new RecordingDistributor() },
  );
  onTestFinished(async () => {
    await scraper.drain();
    await scraper.stop();
  });
  await scraper.start();
  await scraper.applyConfig(loadConfig(CONFIG, '/'));
  const gateway = await startGateway({ scraper: scraper.handlers });
  return gateway.url;
}

async function startUpstream(): Promise<string> {
  const folder = freshFolder();
  const file = path.join(folder, 'prometheus.yml');
  writeFileSync(file, CONFIG);
  const address = `127.0.0.1:${await freePort()}`;
  const flags = [
    `--config.file=${file}`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=${address}`,
  ];
  const running = startProcess(findProgram(UPSTREAM)!, [
    ...flags,
    '--scrape.discovery-reload-interval=100ms',
  ]);
  const url = `http://${address}`;
  await waitFor('the jobs', () => answers(`${url}/api/v1/targets/relabel_steps?scrapePool=all&labels={}`), {
    timeoutMs: 60_000,
    describe: running.output,
  });
  return url;
}

async function ask(url: string, query: string): Promise<unknown> {
  const response = await fetch(`${url}/api/v1/targets/relabel_steps?${query}`);
  return { status: response.status, body: await response.json() };
}

test.skipIf(!hasPrograms(UPSTREAM))(
  'every action makes the steps that Prometheus makes',
  async () => {
    const [upstream, ours] = await Promise.all([startUpstream(), startOurs()]);
    const queries = LABELS.map(
      (labels) => `scrapePool=all&labels=${encodeURIComponent(JSON.stringify(labels))}`,
    );
    queries.push('scrapePool=none&labels={}', 'scrapePool=unknown&labels={}', 'labels={}', 'scrapePool=all');
    for (const query of queries) expect(await ask(ours, query), query).toEqual(await ask(upstream, query));
    for (const labels of ['[', '[]', '{"a": 1}', '3']) {
      expect(await ask(ours, `scrapePool=all&labels=${labels}`), labels).toMatchObject({
        status: 400,
        body: { errorType: 'bad_data', error: expect.stringMatching(/^error parsing labels: /) },
      });
    }
  },
  120_000,
);
