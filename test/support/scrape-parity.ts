// Two servers that scrape the same targets by the same prometheus.yml, compared series by series and value by value. The mirror between
// (scrape-mirror.ts) gives both the same expositions, so that a difference is one of reading, not of time.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { startProcess } from './process.ts';
import { answers, findProgram, freePort, waitFor } from './programs.ts';
import { REAL_TARGET_PROGRAMS, startRealTargets } from './real-targets.ts';
import { startScrapeMirror } from './scrape-mirror.ts';
import { freshFolder, queryInstant, startTidemark } from './tidemark.ts';

export const PARITY_PROGRAMS = ['prometheus', ...REAL_TARGET_PROGRAMS] as const;

/** What takes time or depends on when a server was asked differs between any two servers. */
const UNEQUAL = new Set(['scrape_duration_seconds']);

export interface ParityOptions {
  /** Compare for this long, at least once. */
  readonly durationMs: number;
  readonly scrapeIntervalMs: number;
  /** Name of the Prometheus on the PATH that is compared with. */
  readonly peer: 'prometheus' | 'prometheus-3.14';
  readonly onRound?: (round: ParityRound) => void;
}

export interface ParityRound {
  /** Series that are compared. */
  readonly series: number;
  /** Empty when both have the same. */
  readonly differences: readonly string[];
}

/** Runs rounds: a new exposition of every target, two scrapes by each server, all live series of both compared. */
export async function compareScrapes(options: ParityOptions): Promise<ParityRound[]> {
  const mirror = await startScrapeMirror(await startRealTargets());
  try {
    await mirror.refresh();
    const isNewest = options.peer === 'prometheus-3.14';
    const config =
      configOf((name) => mirror.addressOf(name), await freePort(), options.scrapeIntervalMs) +
      (isNewest ? newestJobs((name) => mirror.addressOf(name)) : '');
    const tidemark = await startTidemark({ config });
    const peerUrl = await startPeer(options.peer, config);
    const rounds: ParityRound[] = [];
    const deadline = performance.now() + options.durationMs;
    do {
      await mirror.refresh();
      await waitFor('two scrapes of everything', () => Promise.resolve(mirror.wasScraped(AGENTS, 2)), {
        timeoutMs: 60_000 + 4 * options.scrapeIntervalMs,
      });
      rounds.push(await compareOnce(tidemark.url, peerUrl));
      options.onRound?.(rounds.at(-1)!);
    } while (performance.now() < deadline);
    return rounds;
  } finally {
    await mirror.close();
  }
}

const AGENTS = ['Tidemark', 'Prometheus'];

/** The jobs that the documents of each exporter show, with the relabelling that people do. */
function configOf(addressOf: (name: string) => string, deadPort: number, intervalMs: number): string {
  const interval = `${intervalMs}ms`;
  const at = (name: string): string => `static_configs: [{ targets: ['${addressOf(name)}'] }]`;
  return `global: { scrape_interval: ${interval}, scrape_timeout: ${interval}, external_labels: { cluster: c } }
scrape_configs:
  - job_name: node
    static_configs: [{ targets: ['${addressOf('node')}'], labels: { rack: a1 } }]
    relabel_configs:
      - { source_labels: [__address__], regex: '(.*):\\d+', target_label: host }
    metric_relabel_configs:
      - { source_labels: [__name__], regex: 'go_gc_.*', action: drop }
      - { source_labels: [mode], regex: 'i(.*)', target_label: mode_tail }
  - { job_name: alertmanager, ${at('alertmanager')} }
  - { job_name: pushgateway, honor_labels: true, ${at('pushgateway')} }
  - { job_name: pushgateway-renamed, params: { again: ['1'] }, ${at('pushgateway')} }
  - { job_name: nats, ${at('nats')} }
  - { job_name: nginx, ${at('nginx')} }
  - { job_name: prometheus, sample_limit: 5000, ${at('prometheus')} }
  - { job_name: limited, sample_limit: 10, params: { again: ['2'] }, ${at('prometheus')} }
  - { job_name: dead, static_configs: [{ targets: ['127.0.0.1:${deadPort}'] }] }
`;
}

/** What Debian's Prometheus does not know yet. */
function newestJobs(addressOf: (name: string) => string): string {
  const job = (name: string, keys: string): string =>
    `  - { job_name: ${name}, ${keys}, static_configs: [{ targets: ['${addressOf('prometheus')}'] }] }\n`;
  const convert = 'convert_classic_histograms_to_nhcb: true';
  return (
    job('custom-buckets', `${convert}, params: { again: ['3'] }`) +
    job(
      'custom-and-classic',
      `${convert}, always_scrape_classic_histograms: true, params: { again: ['4'] }`,
    ) +
    job('extra', `extra_scrape_metrics: true, params: { again: ['5'] }`)
  );
}

async function startPeer(program: ParityOptions['peer'], config: string): Promise<string> {
  const folder = freshFolder();
  const file = path.join(folder, 'prometheus.yml');
  writeFileSync(file, config);
  const port = await freePort();
  const running = startProcess(findProgram(program)!, [
    `--config.file=${file}`,
    `--storage.tsdb.path=${path.join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  const url = `http://127.0.0.1:${port}`;
  await waitFor('Prometheus', () => answers(`${url}/-/ready`), { describe: running.output });
  return url;
}

/** What was scraped last may be on its way into a query still: equal within five seconds is equal. */
async function compareOnce(oursUrl: string, theirsUrl: string): Promise<ParityRound> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    const [ours, theirs] = await Promise.all([samplesOf(oursUrl), samplesOf(theirsUrl)]);
    const differences = differencesOf(ours, theirs);
    if (differences.length === 0 || performance.now() > deadline) return { series: theirs.size, differences };
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

function differencesOf(ours: ReadonlyMap<string, string>, theirs: ReadonlyMap<string, string>): string[] {
  const differences: string[] = [];
  for (const [series, value] of ours) {
    const other = theirs.get(series);
    if (other === undefined) differences.push(`only ours: ${series} ${value}`);
    else if (other !== value) differences.push(`ours ${value}, theirs ${other}: ${series}`);
  }
  for (const [series, value] of theirs)
    if (!ours.has(series)) differences.push(`only theirs: ${series} ${value}`);
  return differences;
}

/** Value of every series that is alive. */
async function samplesOf(url: string): Promise<Map<string, string>> {
  const samples = await queryInstant(url, '{job!=""}');
  return new Map(
    samples.map((sample) => {
      // A native histogram has its parts in place of a value.
      const { histogram } = sample as { readonly histogram?: readonly [number, unknown] };
      const shown = histogram === undefined ? sample.value[1] : JSON.stringify(histogram[1]);
      return [keyOf(sample.metric), UNEQUAL.has(sample.metric.__name__ ?? '') ? '' : shown];
    }),
  );
}

/** Prometheus 3 writes `le` and `quantile` as floats (`1.0`), Debian's 2.42 as they stand in the exposition. */
function keyOf(metric: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(metric).map(([name, value]) => {
    const isBound = (name === 'le' || name === 'quantile') && /^-?\d+$/.test(value);
    return [name, isBound ? `${value}.0` : value];
  });
  return JSON.stringify(pairs.sort(([a], [b]) => (a! < b! ? -1 : 1)));
}
