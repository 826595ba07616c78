// A highly available pair: two real Prometheus servers scrape the same target and send what they have to Tidemark, with external labels
// that tell them apart. One is killed and comes back. Queries see one series, without a gap and without a reset that was none.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { hasPrograms, type RunningProcess, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { callApi, freshFolder, queryInstant, startTidemark } from '../support/tidemark.ts';

const INTERVAL_S = 1;
const OUTAGE_MS = 6_000;
const BEFORE_MS = 5_000;

/** Counts milliseconds; ten series of it. */
async function startCounter(): Promise<string> {
  const startedMs = performance.now();
  const server = http.createServer((_request, response) => {
    const count = Math.floor(performance.now() - startedMs);
    const lines = Array.from({ length: 10 }, (_, i) => `work_total{n="${i}"} ${count + i}\n`);
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
    response.end(`# TYPE work_total counter\n${lines.join('')}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Member {
  running: RunningProcess;
  readonly start: () => Promise<void>;
}

async function startMember(replica: string, target: string, url: string): Promise<Member> {
  const folder = freshFolder();
  const config = path.join(folder, 'prometheus.yml');
  const port = await freePort();
  writeFileSync(
    config,
    `global:
  scrape_interval: ${INTERVAL_S}s
  external_labels: { cluster: c, prometheus_replica: ${replica} }
scrape_configs: [{ job_name: pair, static_configs: [{ targets: ['${target}'] }] }]
remote_write: [{ url: '${url}/api/v1/write', queue_config: { batch_send_deadline: 300ms } }]
`,
  );
  const run = () =>
    startProcess(findProgram('prometheus')!, [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
  const member: Member = {
    running: run(),
    start: async () => {
      member.running = run();
      await waitFor('Prometheus ready', () => answers(`http://127.0.0.1:${port}/-/ready`), {
        describe: member.running.output,
      });
    },
  };
  await waitFor('Prometheus ready', () => answers(`http://127.0.0.1:${port}/-/ready`), {
    describe: member.running.output,
  });
  return member;
}

interface RawSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [number, string])[];
}

/** Stored samples of [fromS, toS] as queries see them. */
async function samplesOf(
  url: string,
  selector: string,
  fromS: number,
  toS: number,
  more: Readonly<Record<string, string>> = {},
): Promise<RawSeries[]> {
  const query = `${selector}[${Math.ceil((toS - fromS) * 1000)}ms]`;
  const { body } = await callApi(url, 'query', { query, time: String(toS), ...more });
  return (body.data as { result: RawSeries[] }).result;
}

test.skipIf(!hasPrograms('prometheus'))(
  'two servers are one, also while one is away',
  { timeout: 180_000 },
  async () => {
    const tidemark = await startTidemark({ timeoutMs: 60_000 });
    const { url } = tidemark;
    const target = await startCounter();
    const [first, second] = await Promise.all(['p-0', 'p-1'].map((name) => startMember(name, target, url)));
    const isThere = async (replica: string, sinceS: number): Promise<boolean> => {
      const { body } = await callApi(url, 'query', {
        query: `timestamp(work_total{n="0",prometheus_replica="${replica}"})`,
      });
      const [found] = (body.data as { result: { value: [number, string] }[] }).result;
      return found !== undefined && Number(found.value[1]) > sinceS;
    };
    await waitFor('both write', async () => (await isThere('p-0', 0)) && (await isThere('p-1', 0)));
    const startS = Date.now() / 1000;
    await sleep(BEFORE_MS);

    // The one that is followed goes, and comes back; then the other one.
    await first!.running.end('SIGKILL');
    await sleep(OUTAGE_MS);
    // Newer than what the first one left behind: the second is followed.
    await waitFor('the other one is seen', async () => {
      const [found] = await queryInstant(url, 'timestamp(work_total{n="0"})');
      return Number(found!.value[1]) > Date.now() / 1000 - 5 * INTERVAL_S;
    });
    await first!.start();
    const backS = Date.now() / 1000;
    await waitFor('it writes again', () => isThere('p-0', backS));
    await sleep(BEFORE_MS);
    await second!.running.end('SIGKILL');
    await sleep(2_500);
    const endS = Date.now() / 1000 - 2;

    const apart = await samplesOf(url, 'work_total', startS, endS, { dedup: 'false' });
    expect(new Set(apart.map(({ metric }) => metric.prometheus_replica))).toEqual(new Set(['p-0', 'p-1']));
    expect(apart).toHaveLength(20);

    const united = await samplesOf(url, 'work_total', startS, endS);
    expect(united).toHaveLength(10);
    const stored = new Map(
      apart.map(({ metric, values }) => [`${metric.prometheus_replica} ${metric.n}`, values]),
    );
    for (const { metric, values } of united) {
      expect(metric).not.toHaveProperty('prometheus_replica');
      const own = stored.get(`p-0 ${metric.n}`)!;
      const other = stored.get(`p-1 ${metric.n}`)!;
      const all = new Set([...own, ...other].map(String));
      for (const [i, sample] of values.entries()) {
        expect(all.has(String(sample))).toBe(true);
        if (i === 0) continue;
        const [beforeS, before] = values[i - 1]!;
        // No scrape that both missed: no gap of more than two, and a counter that never falls.
        const both = [...own, ...other].map(([seconds]) => seconds).sort((a, b) => a - b);
        const missed = both.filter((seconds) => seconds > beforeS && seconds < sample[0]);
        if (sample[0] - beforeS > 2.5 * INTERVAL_S) expect(missed).toEqual([]);
        expect(Number(sample[1])).toBeGreaterThanOrEqual(Number(before));
      }
      // About as many as one server would have.
      expect(values.length).toBeLessThan(((endS - startS) / INTERVAL_S) * 1.3);
      expect(values.length).toBeGreaterThan(((endS - startS) / INTERVAL_S) * 0.5);
    }

    const at = String(endS);
    const spanS = Math.floor(endS - startS);
    const resets = await callApi(url, 'query', { query: `sum(resets(work_total[${spanS}s]))`, time: at });
    expect((resets.body.data as { result: unknown[] }).result).toMatchObject([{ value: [endS, '0'] }]);
    // A thousand milliseconds a second, all the time; scrapes that are late say a little more. A false reset would be ten times that.
    const { body } = await callApi(url, 'query_range', {
      query: 'rate(work_total{n="3"}[6s])',
      ...{ start: String(startS + 6), end: at, step: '1' },
    });
    const [rates] = (body.data as { result: RawSeries[] }).result;
    expect(rates!.values.length).toBeGreaterThanOrEqual(spanS - 8);
    for (const [, rate] of rates!.values) expect(Math.abs(Number(rate) - 1000)).toBeLessThan(400);

    const listed = await callApi(url, 'series', { 'match[]': 'work_total{n="1"}', start: String(startS) });
    expect(listed.body.data).toEqual([
      { __name__: 'work_total', n: '1', job: 'pair', instance: target, cluster: 'c' },
    ]);
  },
);
