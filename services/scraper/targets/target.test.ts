import { describe, expect, test } from 'vitest';
import { compileRelabeler } from '../../lib/relabel/relabel.ts';
import { loadConfig } from '../../lib/runtime/config/load-config.ts';
import { buildTargets, globalUrl, nextScrapeMs, type Target, type TargetOutcome } from './target.ts';

function build(job: string): readonly TargetOutcome[] {
  const config = loadConfig(`scrape_configs: [{job_name: a, ${job}}]`, '/').scrapeConfigs[0]!;
  const relabel = compileRelabeler(config.relabelConfigs);
  return config.discovery.staticConfigs.flatMap((group) => [...buildTargets(config, group, relabel)]);
}

function one(job: string): Target {
  const [outcome] = build(job);
  if (outcome?.kind !== 'active') throw new Error(JSON.stringify(outcome));
  return outcome.target;
}

describe('buildTargets', () => {
  test('defaults become labels, and the labels decide', () => {
    const target = one(
      'static_configs: [{targets: ["h:1"], labels: {__scheme__: https, __metrics_path__: /x y, job: own, __scrape_interval__: 5s, __scrape_timeout__: 2s}}]',
    );
    expect(target.scrapeUrl).toBe('https://h:1/x%20y');
    expect(Object.fromEntries(target.labels.entries())).toEqual({ job: 'own', instance: 'h:1' });
    expect(target.scrapeIntervalMs).toBe(5000);
    expect(target.scrapeTimeoutMs).toBe(2000);
  });

  test('no port is added, a default one stays in what people see', () => {
    expect(one('static_configs: [{targets: [h]}]').scrapeUrl).toBe('http://h/metrics');
    expect(one('static_configs: [{targets: ["h:80"]}]').scrapeUrl).toBe('http://h:80/metrics');
    expect(one('static_configs: [{targets: ["[::1]:9"]}]').scrapeUrl).toBe('http://[::1]:9/metrics');
    expect(one('metrics_path: "/a?b#c", static_configs: [{targets: [h]}]').scrapeUrl).toBe(
      'http://h/a%3Fb%23c',
    );
  });

  test('parameters, and labels that replace their first value', () => {
    const target = one(
      'params: {m: [one, two], z: [x]}, static_configs: [{targets: ["probe:1"]}], relabel_configs: [' +
        '{source_labels: [__param_m], target_label: was}, {target_label: __param_m, replacement: new}, {target_label: __param_t, replacement: "http://x/?y"}]',
    );
    expect(target.scrapeUrl).toBe('http://probe:1/metrics?m=new&m=two&t=http%3A%2F%2Fx%2F%3Fy&z=x');
    expect(target.labels.get('was')).toBe('one');
  });

  test('the blackbox pattern: address into a parameter, instance from it', () => {
    const target = one(
      'metrics_path: /probe, static_configs: [{targets: ["https://example.org"]}], relabel_configs: [' +
        '{source_labels: [__address__], target_label: __param_target}, {source_labels: [__param_target], target_label: instance}, ' +
        '{target_label: __address__, replacement: "bb:9115"}]',
    );
    expect(target.scrapeUrl).toBe('http://bb:9115/probe?target=https%3A%2F%2Fexample.org');
    expect(target.labels.get('instance')).toBe('https://example.org');
  });

  test.each<[string, string]>([
    ['{target_label: __address__, replacement: ""}', 'no address'],
    ['{target_label: __address__, replacement: "a/b"}', 'is not a valid hostname'],
    ['{target_label: __address__, replacement: "a b:c"}', 'is not host:port'],
    ['{target_label: __scheme__, replacement: ftp}', 'is not http or https'],
    ['{target_label: __scrape_interval__, replacement: x}', 'error parsing scrape interval'],
    ['{target_label: __scrape_interval__, replacement: "0"}', 'scrape interval cannot be 0'],
    [
      '{target_label: __scrape_timeout__, replacement: 2m}',
      'scrape timeout cannot be greater than scrape interval ("2m" > "1m")',
    ],
  ])('%s fails: %s', (step, reason) => {
    const [outcome] = build(`static_configs: [{targets: [h]}], relabel_configs: [${step}]`);
    expect(outcome).toMatchObject({ kind: 'failed', reason: expect.stringContaining(reason) });
  });

  test('equal targets have equal keys, others have others', () => {
    const key = (job: string): string => one(job).key;
    expect(key('static_configs: [{targets: ["h:1"]}]')).toBe(
      key('static_configs: [{targets: ["h:1"], labels: {__meta_x: y}}]'),
    );
    expect(key('static_configs: [{targets: ["h:1"]}]')).not.toBe(
      key('metrics_path: /x, static_configs: [{targets: ["h:1"]}]'),
    );
    expect(key('static_configs: [{targets: ["h:1"]}]')).not.toBe(
      key('static_configs: [{targets: ["h:1"], labels: {x: y}}]'),
    );
  });
});

test('scrape times lie on a grid that the identity decides', () => {
  const target = one('scrape_interval: 15s, static_configs: [{targets: ["h:1"]}]');
  const first = nextScrapeMs(target, 1_700_000_000_000);
  expect(first).toBeGreaterThanOrEqual(1_700_000_000_000);
  expect(first).toBeLessThan(1_700_000_015_000);
  expect(nextScrapeMs(target, first)).toBe(first);
  expect(nextScrapeMs(target, first + 1)).toBe(first + 15_000);
  const again = one('scrape_interval: 15s, static_configs: [{targets: ["h:1"]}]');
  expect(nextScrapeMs(again, first)).toBe(first);
  const offsets = new Set(
    Array.from({ length: 50 }, (_, i) =>
      nextScrapeMs(one(`scrape_interval: 15s, static_configs: [{targets: ["h:${i}"]}]`), 0),
    ),
  );
  expect(offsets.size).toBeGreaterThan(45);
});

test('loopback addresses are shown as the machine’s name', () => {
  for (const host of ['localhost', '127.0.0.1', '[::1]']) {
    expect(globalUrl(one(`static_configs: [{targets: ["${host}:1"]}]`), 'me')).toBe('http://me:1/metrics');
  }
  expect(globalUrl(one('static_configs: [{targets: ["other:1"]}]'), 'me')).toBe('http://other:1/metrics');
});
