// The scraper against real HTTP servers and a distributor in memory.
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../../test/support/programs.ts';
import { type RecordedSample, RecordingDistributor } from '../../test/support/recording-distributor.ts';
import { startScrapeTarget } from '../../test/support/scrape-target.ts';
import { systemClock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import { loadConfig } from '../lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { type ActiveTarget, TargetState, type TargetsResponse } from '../lib/wire/contracts.ts';
import { toWireMatchers } from '../lib/wire/matchers.ts';
import { ScrapeFetcher } from './fetching/scrape-fetcher.ts';
import type { ScraperOptions } from './options.ts';
import { createScraper, type Scraper } from './service.ts';

interface Rig {
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

const INTERVAL_MS = 100;

/** One for all tests: a thread that is not warm yet is too slow for scrapes every 100 ms. */
const fetcher = new ScrapeFetcher({ clock: systemClock, logger: createSilentLogger() });
beforeAll(() => warmUp(fetcher));
afterAll(() => fetcher.stop());

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

async function createRig(options: Partial<ScraperOptions> = {}): Promise<Rig> {
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

function labelled(name: string, address: string, rest = ''): string {
  const labels = [`instance="${address}"`, 'job="a"', ...(rest === '' ? [] : [rest])].toSorted();
  return `${name}{${labels.join(', ')}}`;
}

const jobOf = (address: string, rest = ''): string =>
  `{job_name: a, static_configs: [{targets: ["${address}"]}]${rest === '' ? '' : `, ${rest}`}}`;

/** Each time once, all on one grid. (A busy machine may skip a scrape.) */
function expectOnGrid(times: readonly number[]): void {
  const sorted = times.toSorted((a, b) => a - b);
  expect(new Set(sorted).size).toBe(sorted.length);
  for (const time of sorted) expect((time - sorted[0]!) % INTERVAL_MS).toBe(0);
}

describe('a target that works', () => {
  test('its samples and the report series, at the times of its grid', async () => {
    const target = await startScrapeTarget('x{y="z"} 1\nw 2 1234\nn NaN\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    const up = await rig.next(labelled('up', target.address));
    expect(up.value).toBe(1);
    const sample = rig.distributor.series(labelled('x', target.address, 'y="z"'))[0]!;
    expect(sample).toMatchObject({ timestampMs: up.timestampMs, value: 1 });
    expect(rig.distributor.series(labelled('w', target.address))[0]).toMatchObject({
      timestampMs: 1234,
      value: 2,
    });
    // Prometheus stores NaN as 0x7ff8000000000001.
    expect(rig.distributor.series(labelled('n', target.address))[0]).toMatchObject({
      high: 0x7ff80000,
      low: 1,
      stale: false,
    });
    expect(rig.distributor.series(labelled('scrape_samples_scraped', target.address))[0]!.value).toBe(3);
    expect(
      rig.distributor.series(labelled('scrape_samples_post_metric_relabeling', target.address))[0]!.value,
    ).toBe(3);
    expect(rig.distributor.series(labelled('scrape_series_added', target.address))[0]!.value).toBe(3);
    expect(
      rig.distributor.series(labelled('scrape_duration_seconds', target.address))[0]!.value,
    ).toBeLessThan(1);
    const second = await rig.next(labelled('up', target.address));
    const steps = (second.timestampMs - up.timestampMs) / INTERVAL_MS;
    expect(Number.isInteger(steps)).toBe(true);
    expect(rig.last(labelled('scrape_series_added', target.address))!.value).toBe(0);
  });

  test('a repeated series is resolved once', async () => {
    const target = await startScrapeTarget('a 1\nb{x="1"} 1\nb{x="2"} 2\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    const { resolved } = rig.distributor;
    for (let i = 0; i < 3; i++) await rig.next(labelled('up', target.address));
    expect(resolved).toBe(3 + 5);
    expect(rig.distributor.resolved).toBe(resolved);
  });

  test('the request says what Prometheus says', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address, 'params: {match: [x, y], "q": ["a b"]}, metrics_path: /m'));
    await rig.next(labelled('up', target.address));
    const { url, headers } = target.requests[0]!;
    expect(url).toBe('/m?match=x&match=y&q=a+b');
    expect(headers).toMatchObject({
      accept:
        'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,' +
        'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
      'accept-encoding': 'zstd, gzip;q=0.9',
      'user-agent': 'Tidemark/9.9.9',
      'x-prometheus-scrape-timeout-seconds': '0.1',
    });
  });

  test.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ])('compressed by %s, OpenMetrics, metadata', async (encoding, compress) => {
    const target = await startScrapeTarget('');
    target.answer = {
      headers: {
        'content-type': 'application/openmetrics-text; version=1.0.0; charset=utf-8',
        'content-encoding': encoding,
      },
      body: compress(
        '# HELP c_bytes h\\n1\n# TYPE c_bytes counter\n# UNIT c_bytes bytes\nc_bytes_total 5 # {a="b"} 1\n# EOF\n',
      ),
    };
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    expect((await rig.next(labelled('c_bytes_total', target.address))).value).toBe(5);
    expect(rig.distributor.metadata.get('c_bytes')).toEqual({
      metric: 'c_bytes',
      type: 'counter',
      help: 'h\n1',
      unit: 'bytes',
    });
  });

  test('bucket bounds in normal form, under their type line only', async () => {
    const target = await startScrapeTarget(
      '# TYPE h histogram\nh_bucket{le="1"} 1\n# TYPE s summary\ns{quantile=".5"} 1\n# TYPE g gauge\ng{le="1"} 1\n',
    );
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.names()).toEqual(
      expect.arrayContaining([
        labelled('h_bucket', target.address, 'le="1.0"'),
        labelled('s', target.address, 'quantile="0.5"'),
        labelled('g', target.address, 'le="1"'),
      ]),
    );
  });

  test('of a series twice in one exposition the first stays', async () => {
    const target = await startScrapeTarget('a 1\na  2\na{} 3\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('scrape_samples_scraped', target.address));
    expect(rig.distributor.series(labelled('a', target.address))).toMatchObject([{ value: 1 }]);
    expect(rig.last(labelled('scrape_samples_scraped', target.address))!.value).toBe(3);
  });
});

describe('labels', () => {
  test('conflicts: exported_ by default, the exposition’s with honor_labels', async () => {
    const target = await startScrapeTarget('a{instance="i",job="j",exported_job="k"} 1\nb{instance=""} 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.names()).toContain(
      `a{exported_exported_job="j", exported_instance="i", exported_job="k", instance="${target.address}", job="a"}`,
    );
    expect(rig.distributor.names()).toContain(labelled('b', target.address));
    await rig.apply(jobOf(target.address, 'honor_labels: true'));
    await rig.next('a{exported_job="k", instance="i", job="j"}');
    expect(rig.distributor.names()).toContain('b{job="a"}');
  });

  test('metric relabelling drops and renames', async () => {
    const target = await startScrapeTarget('a{x="1"} 1\nb 2\n');
    const rig = await createRig();
    await rig.apply(
      jobOf(
        target.address,
        'metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}, {source_labels: [x], target_label: y}, {regex: x, action: labeldrop}]',
      ),
    );
    await rig.next(labelled('a', target.address, 'y="1"'));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.names().filter((name) => /^[ab]\{/.test(name))).toEqual([
      labelled('a', target.address, 'y="1"'),
    ]);
    expect(rig.last(labelled('scrape_samples_scraped', target.address))!.value).toBe(2);
    expect(rig.last(labelled('scrape_samples_post_metric_relabeling', target.address))!.value).toBe(1);
  });

  test('honor_timestamps: false takes the time of the scrape', async () => {
    const target = await startScrapeTarget('a 1 5\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address, 'honor_timestamps: false'));
    const up = await rig.next(labelled('up', target.address));
    expect(rig.last(labelled('a', target.address))!.timestampMs).toBe(up.timestampMs);
  });
});

describe('staleness', () => {
  test('a series that is gone ends with the marker’s exact bits', async () => {
    const target = await startScrapeTarget('a 1\nb 2\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('b', target.address));
    target.answer = { body: 'a 1\n' };
    const marker = await waitFor('the marker', async () => {
      const last = rig.last(labelled('b', target.address))!;
      return last.stale && last;
    });
    expect([marker.high, marker.low]).toEqual([0x7ff00000, 2]);
    const ends = rig.distributor.series(labelled('b', target.address)).length;
    await rig.next(labelled('up', target.address));
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.series(labelled('b', target.address)).length).toBe(ends);
    expect(rig.last(labelled('a', target.address))!.stale).toBe(false);
    target.answer = { body: 'a 1\nb 3\n' };
    expect((await rig.next(labelled('b', target.address))).value).toBe(3);
  });

  test('a failed scrape ends all series at its time, and up says 0', async () => {
    const target = await startScrapeTarget('a 1\nb 2\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('b', target.address));
    target.answer = { status: 500, body: '' };
    const down = await waitFor('up 0', async () => {
      const last = rig.last(labelled('up', target.address))!;
      return last.value === 0 && last;
    });
    for (const name of ['a', 'b']) {
      expect(rig.last(labelled(name, target.address))).toMatchObject({
        stale: true,
        timestampMs: down.timestampMs,
      });
    }
    expect((await rig.active()).lastError).toBe('server returned HTTP status 500 Internal Server Error');
  });

  test('samples with their own time end only where that is asked for', async () => {
    const target = await startScrapeTarget('a 1 1000\n');
    const rig = await createRig();
    await rig.apply(
      jobOf(target.address),
      jobOf(target.address, 'track_timestamps_staleness: true').replace('a,', 'b,'),
    );
    const tracked = labelled('a', target.address).replace('"a"', '"b"');
    await rig.next(tracked);
    await rig.next(labelled('a', target.address));
    target.answer = { body: '' };
    await waitFor('the marker', async () => rig.last(tracked)!.stale);
    await rig.next(labelled('up', target.address));
    expect(rig.distributor.series(labelled('a', target.address)).every((each) => !each.stale)).toBe(true);
  });

  test('a target that is removed ends, report series included; one that stays does not', async () => {
    const gone = await startScrapeTarget('a 1\n');
    const stays = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(`{job_name: a, static_configs: [{targets: ["${gone.address}", "${stays.address}"]}]}`);
    await rig.next(labelled('a', gone.address));
    await rig.next(labelled('a', stays.address));
    await rig.apply(jobOf(stays.address));
    for (const name of ['a', 'up', 'scrape_duration_seconds']) {
      await waitFor(`${name} ends`, async () => rig.last(labelled(name, gone.address))!.stale);
    }
    const [marker, before] = rig.distributor.series(labelled('a', gone.address)).toReversed();
    expect(marker!.timestampMs - before!.timestampMs).toBe(INTERVAL_MS);
    await rig.next(labelled('up', stays.address));
    expect(rig.distributor.series(labelled('a', stays.address)).every((each) => !each.stale)).toBe(true);
    expect((await rig.targets()).active).toHaveLength(1);
  });

  test('a job that is removed ends', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    await rig.apply();
    await waitFor('the end', async () => rig.last(labelled('a', target.address))!.stale);
    expect((await rig.targets()).active).toEqual([]);
  });

  test('a process that stops ends nothing: the next one goes on', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    await rig.scraper.drain();
    await rig.scraper.stop();
    expect(rig.distributor.series(labelled('a', target.address)).every((each) => !each.stale)).toBe(true);
    expect(rig.scraper.isReady()).toBe(false);
  });
});

describe('targets that do not work', () => {
  test.each<[string, Parameters<typeof jobOf>[1], object, RegExp]>([
    ['hangs up', '', { hangUp: true }, /socket hang up|ECONNRESET/],
    [
      'takes too long',
      'scrape_timeout: 50ms',
      { delayMs: 500, body: 'a 1\n' },
      /no complete answer within 0.05s \(scrape_timeout\)/,
    ],
    ['sends nonsense', '', { body: 'a 1\nb b b\n' }, /^line 2: "b" is not a number$/],
    ['sends no type', '', { headers: {}, body: 'a 1\n' }, /no Content-Type and no fallback_scrape_protocol/],
    [
      'sends another type',
      '',
      { headers: { 'content-type': 'text/html' }, body: 'a 1\n' },
      /unsupported Content-Type "text\/html"/,
    ],
    [
      'sends an encoding',
      '',
      { headers: { 'content-type': 'text/plain', 'content-encoding': 'br' }, body: 'a' },
      /content encoding "br"/,
    ],
    [
      'sends damaged gzip',
      '',
      { headers: { 'content-type': 'text/plain', 'content-encoding': 'gzip' }, body: 'a' },
      /gzip body is damaged/,
    ],
    [
      'is over body_size_limit',
      'body_size_limit: 10B',
      { body: 'a{b="cccccc"} 1\n' },
      /more than 10 bytes \(body_size_limit\)/,
    ],
    [
      'is over sample_limit',
      'sample_limit: 1',
      { body: 'a 1\nb 1\n' },
      /sample limit exceeded: 2 samples after relabelling, the limit is 1/,
    ],
    [
      'is over label_limit',
      'label_limit: 3',
      { body: 'a{x="1"} 1\n' },
      /label_limit exceeded \(metric: a, number of labels: 4, limit: 3\)/,
    ],
    [
      'is over label_name_length_limit',
      'label_name_length_limit: 8',
      { body: 'a{x23456789="1"} 1\n' },
      /label_name_length_limit exceeded/,
    ],
    [
      'is over label_value_length_limit',
      'label_value_length_limit: 30',
      { body: `a{x="${'v'.repeat(31)}"} 1\n` },
      /label_value_length_limit exceeded/,
    ],
    [
      'names a UTF-8 metric under legacy rules',
      'metric_name_validation_scheme: legacy',
      { body: '{"a.b"} 1\n' },
      /invalid metric name "a.b"/,
    ],
    [
      'has too many siblings',
      'target_limit: 1, static_configs: [{targets: [x1, x2]}]',
      {},
      /target_limit exceeded \(number of targets: 2, limit: 1\)/,
    ],
  ])('%s', async (_, settings, answer, reason) => {
    const target = await startScrapeTarget('');
    target.answer = answer;
    const rig = await createRig();
    const limited = settings!.includes('static_configs');
    await rig.apply(limited ? `{job_name: a, ${settings}}` : jobOf(target.address, settings));
    const address = limited ? 'x1' : target.address;
    expect((await rig.next(labelled('up', address))).value).toBe(0);
    const active = await rig.active();
    expect(active.lastError).toMatch(reason);
    expect(active.health).toBe('down');
    expect(rig.distributor.names().filter((name) => /^[ab]\{/.test(name))).toEqual([]);
  });

  test('one that answers nobody is down, and says where', async () => {
    const rig = await createRig();
    await rig.apply(jobOf('127.0.0.1:1'));
    expect((await rig.next(labelled('up', '127.0.0.1:1'))).value).toBe(0);
    expect((await rig.active()).lastError).toBe(
      'Get "http://127.0.0.1:1/metrics": connect ECONNREFUSED 127.0.0.1:1',
    );
  });

  test('the fallback protocol reads what has no type', async () => {
    const target = await startScrapeTarget('');
    target.answer = { headers: {}, body: 'a 1\n' };
    const rig = await createRig();
    await rig.apply(jobOf(target.address, 'fallback_scrape_protocol: PrometheusText0.0.4'));
    expect((await rig.next(labelled('a', target.address))).value).toBe(1);
  });

  test('a huge body, and a small one that decompresses to a huge one, end at the built-in limit', async () => {
    const target = await startScrapeTarget('');
    const rig = await createRig({ bodyBytesMax: 1_000_000 });
    target.answer = { headers: { 'content-type': 'text/plain' }, endlessBytes: 1e9 };
    await rig.apply(jobOf(target.address, 'scrape_interval: 1s, extra_scrape_metrics: true'));
    expect((await rig.next(labelled('up', target.address))).value).toBe(0);
    expect((await rig.active()).lastError).toContain('more than 1000000 bytes (body_size_limit)');
    expect(rig.last(labelled('scrape_body_size_bytes', target.address))!.value).toBe(-1);
    for (const [encoding, compress] of [
      ['gzip', gzipSync],
      ['zstd', zstdCompressSync],
    ] as const) {
      const body = compress(Buffer.alloc(50_000_000));
      target.answer = { headers: { 'content-type': 'text/plain', 'content-encoding': encoding }, body };
      expect((await rig.next(labelled('up', target.address))).value).toBe(0);
      expect((await rig.active()).lastError).toContain('more than 1000000 bytes (body_size_limit)');
    }
  });

  test('failed scrapes stand in scrape_failure_log_file: the job’s own, or that of global', async () => {
    const target = await startScrapeTarget('');
    target.answer = { status: 500 };
    const rig = await createRig();
    const file = path.join(mkdtempSync(path.join(tmpdir(), 'tidemark-failures-')), 'failed.log');
    await rig.apply(jobOf(target.address, `scrape_failure_log_file: "${file}"`));
    const lines = await waitFor('two lines', async () => {
      const found = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
      return found.length >= 2 && found;
    });
    const line = JSON.parse(lines[0]!) as Record<string, string>;
    expect(line).toMatchObject({ level: 'ERROR', job_name: 'a', target: `http://${target.address}/metrics` });
    expect(line.msg).toBe('server returned HTTP status 500 Internal Server Error');
    expect(Math.abs(Date.parse(line.time!) - Date.now())).toBeLessThan(60_000);
    const config = loadConfig(
      'global: {scrape_failure_log_file: g.log}\nscrape_configs: [{job_name: x}, {job_name: y, scrape_failure_log_file: /o.log}]',
      '/base',
    );
    expect(config.scrapeConfigs.map(({ failureLogFile }) => failureLogFile)).toEqual([
      '/base/g.log',
      '/o.log',
    ]);
  });

  test('a failed scrape reports what it saw', async () => {
    const target = await startScrapeTarget('a 1\nb 1\nc 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address, 'sample_limit: 2'));
    await rig.next(labelled('up', target.address));
    expect(rig.last(labelled('scrape_samples_scraped', target.address))!.value).toBe(3);
    expect(rig.last(labelled('scrape_samples_post_metric_relabeling', target.address))!.value).toBe(3);
    expect(rig.last(labelled('scrape_series_added', target.address))!.value).toBe(0);
  });
});

test('hostile targets are refused by the right limit, and a good one beside them is scraped on', async () => {
  const good = await startScrapeTarget('good 1\n');
  const text = { 'content-type': 'text/plain' };
  // 4 GB of zeros, in forty members.
  const member = gzipSync(Buffer.alloc(100_000_000));
  const bomb = {
    headers: { ...text, 'content-encoding': 'gzip' },
    body: Buffer.concat(Array(40).fill(member)),
  };
  const labels = Array.from({ length: 1_000_000 }, (_, i) => `l${i}="v"`).join(',');
  const hostile: readonly [Parameters<typeof startScrapeTarget>[0], object, RegExp][] = [
    ['', { headers: text, endlessBytes: 1e9 }, /more than 20000000 bytes \(body_size_limit\)/],
    ['', bomb, /more than 20000000 bytes \(body_size_limit\)/],
    [`a{${labels}} 1\n`, {}, /a series of \d+ bytes begins with "a\{l0=.*; the most is 262144/],
    ['', { headers: { 'content-type': 'image/png' }, body: 'a 1\n' }, /image\/png/],
    ['', { headers: text, body: Buffer.from('a{b="\xff"} 1\n', 'latin1') }, /UTF-8/],
    ['', { headers: text, dripMs: 20 }, /no complete answer within 0.5s \(scrape_timeout\)/],
  ];
  const targets = await Promise.all(
    hostile.map(async ([body, answer]) => {
      const target = await startScrapeTarget(body);
      target.answer = { ...target.answer, ...answer };
      return target;
    }),
  );
  const rig = await createRig({ bodyBytesMax: 20_000_000 });
  const listOf = (all: typeof targets): string => all.map(({ address }) => `"${address}"`).join(', ');
  // What is refused for its size gets the time to become too large on a busy machine.
  await rig.apply(
    `{job_name: a, scrape_interval: 500ms, scrape_timeout: 500ms, static_configs: [{targets: [${listOf([good, targets.at(-1)!])}]}]}`,
    `{job_name: b, scrape_interval: 5s, scrape_timeout: 5s, static_configs: [{targets: [${listOf(targets.slice(0, -1))}]}]}`,
  );
  await waitFor(
    'all of them scraped',
    async () => (await rig.targets()).active.every(({ health }) => health !== 'unknown'),
    { timeoutMs: 20_000 },
  );
  const { active } = await rig.targets();
  targets.forEach(({ address }, i) => {
    const found = active.find(({ scrapeUrl }) => scrapeUrl.includes(address))!;
    expect([found.health, found.lastError]).toEqual(['down', expect.stringMatching(hostile[i]![2])]);
  });
  await waitFor(
    'ten scrapes of the good one',
    async () => rig.distributor.series(labelled('good', good.address)).length >= 10,
  );
  expect(rig.distributor.series(labelled('up', good.address)).every(({ value }) => value === 1)).toBe(true);
});

describe('credentials', () => {
  const auth = 'basic_auth: {username: u, password: p}, http_headers: {X-Key: {secrets: [s]}}';

  test('go to the target, and with a redirect to the same host, not to another', async () => {
    const elsewhere = await startScrapeTarget('a 1\n');
    const target = await startScrapeTarget('');
    target.answer = { status: 302, headers: { location: `http://${elsewhere.address}/other` } };
    const rig = await createRig();
    await rig.apply(jobOf(target.address, auth));
    expect((await rig.next(labelled('a', target.address))).value).toBe(1);
    expect(target.requests[0]!.headers).toMatchObject({ authorization: 'Basic dTpw', 'x-key': 's' });
    expect(elsewhere.requests[0]!.url).toBe('/other');
    expect(elsewhere.requests[0]!.headers.authorization).toBeUndefined();
    expect(elsewhere.requests[0]!.headers['x-key']).toBeUndefined();
    expect(elsewhere.requests[0]!.headers['user-agent']).toBe('Tidemark/9.9.9');
  });

  test('redirects are not followed for ever, nor where they are switched off', async () => {
    const target = await startScrapeTarget('');
    target.answer = { status: 301, headers: { location: '/again' } };
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    // A busy machine may need more than one scrape's time for ten of them.
    await waitFor('the limit of redirects', async () =>
      (await rig.active()).lastError.includes('stopped after 10 redirects'),
    );
    await rig.apply(jobOf(target.address, 'follow_redirects: false'));
    await waitFor(
      'the other error',
      async () => (await rig.active()).lastError === 'server returned HTTP status 301 Moved Permanently',
    );
  });

  test('a token file is read at each scrape', async () => {
    const file = path.join(mkdtempSync(path.join(tmpdir(), 'tidemark-token-')), 'token');
    writeFileSync(file, 'one\n');
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address, `authorization: {credentials_file: ${file}}`));
    await rig.next(labelled('a', target.address));
    expect(target.requests[0]!.headers.authorization).toBe('Bearer one');
    writeFileSync(file, 'two\n');
    await waitFor(
      'the new token',
      async () => target.requests.at(-1)!.headers.authorization === 'Bearer two',
    );
  });
});

describe('reload', () => {
  test('the same configuration, another job: loops and caches stay', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    await rig.apply(jobOf(target.address), '{job_name: b, static_configs: [{targets: ["127.0.0.1:1"]}]}');
    const { resolved } = rig.distributor;
    await rig.next(labelled('a', target.address));
    await rig.next(labelled('a', target.address));
    const own = resolved + 5;
    expect(rig.distributor.resolved).toBeLessThanOrEqual(own);
    const times = rig.distributor.series(labelled('up', target.address)).map((each) => each.timestampMs);
    expectOnGrid(times);
    expect(target.requests.every((each) => each.socket === target.requests[0]!.socket)).toBe(true);
  });

  test('other rules: series of before that are gone end, the others go on without a marker', async () => {
    const target = await startScrapeTarget('a 1\nb 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('b', target.address));
    await rig.apply(
      jobOf(target.address, 'metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]'),
    );
    await waitFor('the end of b', async () => rig.last(labelled('b', target.address))!.stale);
    await rig.next(labelled('a', target.address));
    expect(rig.distributor.series(labelled('a', target.address)).every((each) => !each.stale)).toBe(true);
  });

  test('a target that leaves and comes back before its next scrape has no gap and no marker', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    const job = jobOf(target.address, 'scrape_interval: 1s');
    await rig.apply(job);
    await rig.next(labelled('a', target.address));
    await rig.apply('{job_name: a, scrape_interval: 1s}');
    expect((await rig.targets()).active).toEqual([]);
    await rig.apply(job);
    await rig.next(labelled('a', target.address));
    await rig.next(labelled('a', target.address));
    const samples = rig.distributor.series(labelled('a', target.address));
    expect(samples.every((each) => !each.stale)).toBe(true);
    expect(samples.map((each) => each.timestampMs - samples[0]!.timestampMs)).toEqual([0, 1000, 2000]);
  });
});

describe('the Targets call', () => {
  test('active and dropped, by state and pool', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig({ externalHost: 'host.example' });
    await rig.apply(
      `{job_name: a, static_configs: [{targets: ["${target.address}", "drop:1", "drop:2"], labels: {env: x, __meta_secret: m}}], keep_dropped_targets: 1, ` +
        'relabel_configs: [{source_labels: [__address__], regex: "drop.*", action: drop}, {source_labels: [__meta_secret], target_label: kept}, {target_label: __tmp, replacement: t}]}',
      '{job_name: b, static_configs: [{targets: ["a/b"]}], relabel_configs: [{target_label: x, replacement: y}]}',
    );
    await waitFor('the first scrape', async () => (await rig.active()).health === 'up');
    const all = await rig.targets();
    expect(all.active).toHaveLength(1);
    expect(all.active[0]).toMatchObject({
      labels: { env: 'x', kept: 'm', job: 'a', instance: target.address },
      discoveredLabels: {
        __address__: target.address,
        __meta_secret: 'm',
        __scheme__: 'http',
        env: 'x',
        job: 'a',
      },
      scrapePool: 'a',
      scrapeUrl: `http://${target.address}/metrics`,
      globalUrl: `http://host.example:${target.address.split(':')[1]}/metrics`,
      scrapeInterval: '100ms',
      scrapeTimeout: '100ms',
      lastSamplesScraped: 1,
      lastError: '',
    });
    expect(Object.keys(all.active[0]!.labels)).not.toContain('__tmp');
    expect(all.dropped).toHaveLength(1);
    expect(all.dropped[0]!.discoveredLabels.__address__).toBe('drop:1');
    expect(all.droppedCounts).toEqual({ a: 2, b: 0 });
    expect((await rig.targets(TargetState.TARGET_STATE_DROPPED)).active).toEqual([]);
    expect((await rig.targets(TargetState.TARGET_STATE_ACTIVE)).dropped).toEqual([]);
    expect((await rig.targets(TargetState.TARGET_STATE_ANY, 'b')).active).toEqual([]);
  });
});

test('metadata of targets, by their labels and by metric', async () => {
  const target = await startScrapeTarget('# TYPE a counter\n# HELP a As.\na 1\n# TYPE b untyped\nb 1\nc 1\n');
  const rig = await createRig();
  await rig.apply(jobOf(target.address));
  // A scrape that finds new series reads its metadata the next time.
  for (let i = 0; i < 2; i++) await rig.next(labelled('a', target.address));
  const context = { signal: new AbortController().signal };
  const ask = async (metric: string, job: string, limit = 0) => {
    const matchers = toWireMatchers([{ name: 'job', operator: '=', value: job }]);
    const { families, targets } = await rig.scraper.handlers.targetMetadata(
      { matchers, metric, limit },
      context,
    );
    return targets.flatMap((each) => each.families.map((position) => families[position]));
  };
  const a = { metric: 'a', type: 'counter', help: 'As.', unit: '' };
  const b = { metric: 'b', type: 'unknown', help: '', unit: '' };
  expect(await ask('', 'a')).toEqual([a, b]);
  expect(await ask('b', 'a')).toEqual([b]);
  expect(await ask('', 'a', 1)).toEqual([a]);
  expect(await ask('', 'other')).toEqual([]);
});

describe('the distributor', () => {
  test('does not take samples for a while: none is lost, loops go on', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    const requests = target.requests.length;
    await waitFor('scrapes to go on', async () => target.requests.length > requests + 3);
    const scraped = target.requests.length - 1;
    rig.distributor.failure = undefined;
    await waitFor(
      'all of them',
      async () => rig.distributor.series(labelled('a', target.address)).length >= scraped,
    );
    expectOnGrid(rig.distributor.series(labelled('a', target.address)).map((each) => each.timestampMs));
  });

  test('takes none for too long: the oldest are given up, and counted', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig({ spoolSamplesMax: 15 });
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    await rig.apply(jobOf(target.address));
    const dropped = async (): Promise<number> => {
      const metric = await rig.registry.getSingleMetric('tidemark_scraper_samples_dropped_total')!.get();
      return metric.values
        .filter((each) => each.labels.reason === 'spool_full')
        .reduce((sum, each) => sum + each.value, 0);
    };
    await waitFor('samples given up', async () => (await dropped()) >= 12);
    const spooled = await rig.registry.getSingleMetric('tidemark_scraper_spooled_samples')!.get();
    expect(spooled.values[0]!.value).toBeLessThanOrEqual(15);
  });

  test('takes none over a restart: what was scraped waits on disk and is written', async () => {
    const target = await startScrapeTarget('a 1\n');
    const spoolFolder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
    const first = await createRig({ spoolFolder });
    first.distributor.failure = new AppError('unavailable', 'no quorum');
    await first.apply(jobOf(target.address));
    await waitFor('samples on disk', async () => readdirSync(spoolFolder).length > 1);
    // A process that is killed leaves its files as they are now; those that it writes later must not be there.
    const spooled = path.join(mkdtempSync(path.join(tmpdir(), 'tidemark-test-')), 'spool');
    // A spool file never changes; others may vanish while they are copied.
    const isWhole = (from: string) => from === spoolFolder || from.endsWith('.spool');
    cpSync(spoolFolder, spooled, { recursive: true, filter: isWhole });
    const files = readdirSync(spooled).filter((name) => name.endsWith('.spool'));
    const samples = files.reduce((sum, name) => sum + Number(name.slice(13, -'.spool'.length)), 0);
    const second = await createRig({ spoolFolder: spooled });
    await waitFor('the spool to be sent', async () => readdirSync(spooled).length === 0);
    const written = second.distributor.names().flatMap((name) => second.distributor.series(name));
    expect(written.length).toBe(samples);
    expectOnGrid(second.distributor.series(labelled('up', target.address)).map((each) => each.timestampMs));
  });

  test('takes none until the end: what waits is on disk when the scraper has stopped', async () => {
    const target = await startScrapeTarget('a 1\n');
    const spoolFolder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
    const rig = await createRig({ spoolFolder });
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('up', target.address));
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    const before = target.requests.length;
    await waitFor('scrapes to go on', async () => target.requests.length > before + 2);
    await rig.scraper.drain();
    await rig.scraper.stop();
    const scraped = target.requests.length;
    const second = await createRig({ spoolFolder });
    await waitFor('the spool to be sent', async () => readdirSync(spoolFolder).length === 0);
    const times = [...rig.distributor.series(labelled('up', target.address))]
      .concat(second.distributor.series(labelled('up', target.address)))
      .map((each) => each.timestampMs);
    // The scrape that was under way at the end brought nothing.
    expect(times.length).toBeGreaterThanOrEqual(scraped - 1);
    expectOnGrid(times);
  });

  test('forgets references: the series are resolved again and nothing is lost', async () => {
    const target = await startScrapeTarget('# TYPE h histogram\nh_bucket{le="1"} 1\na 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    rig.distributor.forgetReferences();
    for (let i = 0; i < 3; i++) await rig.next(labelled('a', target.address));
    const scraped = rig.distributor.series(labelled('up', target.address)).length;
    expect(scraped).toBeGreaterThanOrEqual(target.requests.length - 2);
    for (const name of [
      labelled('a', target.address),
      labelled('h_bucket', target.address, 'le="1.0"'),
      labelled('up', target.address),
    ]) {
      const times = rig.distributor.series(name).map((each) => each.timestampMs);
      expect(times.length).toBeGreaterThanOrEqual(scraped);
      expectOnGrid(times);
    }
    expect(rig.distributor.names().some((name) => name.includes('le="1"'))).toBe(false);
  });

  test('forgets references while samples wait: all of them are resolved again', async () => {
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig({ writesInFlightMax: 1 });
    await rig.apply(jobOf(target.address));
    await rig.next(labelled('a', target.address));
    rig.distributor.failure = new AppError('unavailable', 'no quorum');
    const requests = target.requests.length;
    await waitFor('scrapes to go on', async () => target.requests.length > requests + 3);
    rig.distributor.forgetReferences();
    const scraped = target.requests.length - 1;
    rig.distributor.failure = undefined;
    await waitFor(
      'all of them',
      async () => rig.distributor.series(labelled('a', target.address)).length >= scraped,
    );
    expectOnGrid(rig.distributor.series(labelled('a', target.address)).map((each) => each.timestampMs));
    expect(rig.distributor.series(labelled('up', target.address)).length).toBeGreaterThanOrEqual(scraped);
  });

  test('takes scrapes of a moment in one write, each by itself where one of them is refused', async () => {
    const targets = await Promise.all([1, 2, 3].map(() => startScrapeTarget('a 1\n')));
    const rig = await createRig({ writeGatherMs: 50 });
    const addresses = targets.map(({ address }) => `"${address}"`).join(', ');
    await rig.apply(`{job_name: a, static_configs: [{targets: [${addresses}]}]}`);
    const series = targets.map(({ address }) => labelled('a', address));
    const written = (): number => series.reduce((sum, name) => sum + rig.distributor.series(name).length, 0);
    await waitFor('thirty scrapes', async () => written() >= 30);
    expect(rig.distributor.writes).toBeLessThan(written() * 0.75);
    // References of a part are forgotten: all are written in the end, and none twice.
    rig.distributor.forgetReferences();
    const before = written();
    await waitFor('thirty more', async () => written() >= before + 30);
    for (const name of series) expectOnGrid(rig.distributor.series(name).map((each) => each.timestampMs));
  });

  test('refuses a series: the others are written, the refused are counted', async () => {
    const target = await startScrapeTarget('a 1\nb 1\n');
    const rig = await createRig();
    rig.distributor.refuse = (labels) =>
      labels.get('__name__') === 'b' ? new AppError('bad_data', 'too long') : undefined;
    await rig.apply(jobOf(target.address));
    expect((await rig.next(labelled('a', target.address))).value).toBe(1);
    expect((await rig.next(labelled('up', target.address))).value).toBe(1);
    const metric = await rig.registry.getSingleMetric('tidemark_scraper_samples_dropped_total')!.get();
    expect(metric.values.find((each) => each.labels.reason === 'series_refused')!.value).toBeGreaterThan(0);
  });
});
