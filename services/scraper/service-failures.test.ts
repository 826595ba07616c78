// Targets that do not work, and hostile ones: each is down for its own reason, others are unaffected.
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../test/support/programs.ts';
import { startScrapeTarget } from '../../test/support/scrape-target.ts';
import { jobOf, labelled, scraperRigs } from '../../test/support/scraper-rig.ts';
import { loadConfig } from '../lib/runtime/config/load-config.ts';

const createRig = scraperRigs();

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
