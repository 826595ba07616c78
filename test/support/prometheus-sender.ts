// A real Prometheus that scrapes itself and remote-writes what it finds, what it says about that, and every sample that it or another
// server holds: for tests of a sender that Tidemark did not write.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { startProcess } from './process.ts';
import { answers, findProgram, freePort, waitFor } from './programs.ts';
import { freshFolder } from './tidemark.ts';

export interface PrometheusSender {
  readonly url: string;
  /** Label `job` of everything that it sends. */
  readonly job: string;
}

/**
 * Scrapes itself every second and remote-writes to the gateway, again every second at most where that fails.
 *
 * @param options.program  Default: `prometheus` on the PATH.
 * @param options.job      Default: `prometheus`.
 * @param options.message  `protobuf_message` of remote write 2.0, which Debian's Prometheus does not know.
 */
export async function startPrometheusSender(
  gateway: string,
  options: { readonly program?: string; readonly job?: string; readonly message?: string } = {},
): Promise<PrometheusSender> {
  const { program = 'prometheus', job = 'prometheus', message } = options;
  const port = await freePort();
  const folder = freshFolder();
  const config = path.join(folder, 'prometheus.yml');
  writeFileSync(
    config,
    `global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: ${job}
    static_configs: [{ targets: ['127.0.0.1:${port}'] }]
remote_write:
  - url: ${gateway}/api/v1/write
    queue_config: { batch_send_deadline: 500ms, min_backoff: 100ms, max_backoff: 1s }
${message === undefined ? '' : `    protobuf_message: ${message}\n`}`,
  );
  const running = startProcess(findProgram(program)!, [
    `--config.file=${config}`,
    `--web.listen-address=127.0.0.1:${port}`,
    `--storage.tsdb.path=${path.join(folder, 'data')}`,
  ]);
  const url = `http://127.0.0.1:${port}`;
  await waitFor(`${program} ready`, () => answers(`${url}/-/ready`), { describe: running.output });
  return { url, job };
}

/** Every sample of the job up to `untilMs`: `labels time` → value. */
export async function samplesOfJob(url: string, job: string, untilMs: number): Promise<Map<string, string>> {
  const parameters = new URLSearchParams({ query: `{job="${job}"}[30m]`, time: String(untilMs / 1000) });
  const response = await fetch(`${url}/api/v1/query?${parameters.toString()}`);
  const body = (await response.json()) as {
    error?: string;
    data?: { result: { metric: Record<string, string>; values: [number, string][] }[] };
  };
  if (body.data === undefined) throw new Error(`${url}: ${response.status} ${body.error}`);
  const samples = new Map<string, string>();
  for (const { metric, values } of body.data.result) {
    const names = Object.keys(metric).sort();
    const labels = JSON.stringify(names.map((name) => [name, metric[name]]));
    for (const [seconds, value] of values) samples.set(`${labels} ${Math.round(seconds * 1000)}`, value);
  }
  return samples;
}

/**
 * Sum of a counter of Prometheus about itself.
 *
 * @param isVector  It has labels for a reason, and is not there while it never happened.
 */
export async function counterOf({ url }: PrometheusSender, name: string, isVector = false): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`));
  if (!isVector) expect(lines.length, name).toBeGreaterThan(0);
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/**
 * Waits until it has sent what it has by now, and fails unless the server holds all of it, and it gave up nothing.
 *
 * @returns samples that were compared.
 */
export async function expectAllArrived(sender: PrometheusSender, server: string): Promise<number> {
  const untilMs = Date.now() - 1_000;
  await waitFor(
    'all sent',
    async () => {
      const name = 'prometheus_remote_storage_queue_highest_sent_timestamp_seconds';
      return 1000 * (await counterOf(sender, name)) > untilMs;
    },
    { timeoutMs: 60_000 },
  );
  expect(await counterOf(sender, 'prometheus_remote_storage_samples_failed_total')).toBe(0);
  expect(await counterOf(sender, 'prometheus_remote_storage_samples_dropped_total', true)).toBe(0);
  const sent = await samplesOfJob(sender.url, sender.job, untilMs);
  const held = await samplesOfJob(server, sender.job, untilMs);
  const differing = [...sent].filter(([name, value]) => held.get(name) !== value);
  expect(differing.slice(0, 3)).toEqual([]);
  return sent.size;
}
