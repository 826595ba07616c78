// biome-ignore-all lint/suspicious/noTemplateCurlyInString: `${NAME}` is a variable of the configuration file
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError } from './config-error.ts';
import { loadConfig } from './load-config.ts';
import type { PrometheusConfig, ScrapeConfig } from './prometheus-config.ts';

function load(yaml: string): PrometheusConfig {
  return loadConfig(yaml, '/etc/prom', { environment: { REGION: 'eu', EMPTY: '' } });
}

function job(yaml: string): ScrapeConfig {
  return load(`scrape_configs:\n  - job_name: a\n${yaml.replaceAll(/^/gm, '    ')}\n`).scrapeConfigs[0]!;
}

function errorOf(yaml: string): ConfigError {
  try {
    load(yaml);
  } catch (caught) {
    expect(caught).toBeInstanceOf(ConfigError);
    return caught as ConfigError;
  }
  throw new Error('the configuration was accepted');
}

describe('defaults', () => {
  test('an empty file is a configuration', () => {
    const { global, scrapeConfigs, ruleFiles, alerting, notices } = load('');
    expect(global).toMatchObject({
      scrapeIntervalMs: 60_000,
      scrapeTimeoutMs: 10_000,
      evaluationIntervalMs: 60_000,
      ruleQueryOffsetMs: 0,
    });
    expect(scrapeConfigs).toEqual([]);
    expect(ruleFiles).toEqual([]);
    expect(alerting).toEqual({ alertRelabelConfigs: [], alertmanagers: [] });
    expect(notices).toEqual([]);
  });

  test('a job with nothing but its name', () => {
    expect(job('')).toMatchObject({
      jobName: 'a',
      scrapeIntervalMs: 60_000,
      scrapeTimeoutMs: 10_000,
      metricsPath: '/metrics',
      scheme: 'http',
      honorLabels: false,
      honorTimestamps: true,
      enableCompression: true,
      scrapeProtocols: [
        'OpenMetricsText1.0.0',
        'OpenMetricsText0.0.1',
        'PrometheusText1.0.0',
        'PrometheusText0.0.4',
      ],
      fallbackScrapeProtocol: undefined,
      sampleLimit: 0,
      nameValidation: 'utf8',
      nameEscaping: 'allow-utf-8',
    });
  });

  test('a short interval shortens the default time-out', () => {
    expect(load('global: {scrape_interval: 5s}').global.scrapeTimeoutMs).toBe(5000);
    expect(job('scrape_interval: 3s')).toMatchObject({ scrapeIntervalMs: 3000, scrapeTimeoutMs: 3000 });
  });

  test('jobs take over what global says, and say otherwise', () => {
    const { scrapeConfigs } = load(
      'global: {sample_limit: 10, body_size_limit: 1MB, scrape_interval: 30s, label_limit: 5, scrape_protocols: [PrometheusText0.0.4]}\n' +
        'scrape_configs: [{job_name: a}, {job_name: b, sample_limit: 20, scrape_interval: 1m, label_limit: 6}]',
    );
    expect(scrapeConfigs[0]).toMatchObject({
      sampleLimit: 10,
      bodySizeLimitBytes: 1_048_576,
      scrapeIntervalMs: 30_000,
      labelLimit: 5,
      scrapeProtocols: ['PrometheusText0.0.4'],
    });
    expect(scrapeConfigs[1]).toMatchObject({ sampleLimit: 20, scrapeIntervalMs: 60_000, labelLimit: 6 });
  });
});

describe('values', () => {
  test('relative paths are resolved against the folder of the file', () => {
    const config = load('rule_files: [rules/*.yml, /abs/x.yml]');
    expect(config.ruleFiles).toEqual(['/etc/prom/rules/*.yml', '/abs/x.yml']);
    const { http, discovery } = job(
      'authorization: {credentials_file: token}\ntls_config: {ca_file: ../ca.pem}\nfile_sd_configs: [{files: [sd/*.json]}]',
    );
    expect(http.credentialsFile).toBe('/etc/prom/token');
    expect(http.tls.caFile).toBe('/etc/ca.pem');
    expect(discovery.fileSdConfigs).toEqual([{ files: ['/etc/prom/sd/*.json'], refreshIntervalMs: 300_000 }]);
  });

  test('external labels take variables of the environment', () => {
    const { externalLabels } = load(
      "global: {external_labels: {a: '${REGION}-$REGION', b: 'x$$y', c: '${MISSING}', d: '$EMPTY', e: '100$'}}",
    ).global;
    expect([...externalLabels.entries()]).toEqual([
      ['a', 'eu-eu'],
      ['b', 'x$y'],
      ['e', '100$'],
    ]);
  });

  test('scalars of any kind are strings where strings are wanted, booleans know YAML 1.1', () => {
    const config = job(
      'static_configs: [{targets: [1.5], labels: {a: true, b: 010, c: 1e3}}]\nhonor_labels: yes\nhonor_timestamps: Off',
    );
    expect(config.discovery.staticConfigs[0]!.targets).toEqual(['1.5']);
    expect(Object.fromEntries(config.discovery.staticConfigs[0]!.labels.entries())).toEqual({
      a: 'true',
      b: '010',
      c: '1e3',
    });
    expect(config.honorLabels).toBe(true);
    expect(config.honorTimestamps).toBe(false);
  });

  test('anchors, aliases and merge keys', () => {
    const { scrapeConfigs } = load(
      'scrape_configs:\n  - &base\n    job_name: a\n    scrape_interval: 7s\n    params: &p {x: [y]}\n' +
        '  - <<: *base\n    job_name: b\n    metrics_path: /x\n  - {job_name: c, params: *p}\n',
    );
    expect(scrapeConfigs.map((each) => [each.jobName, each.scrapeIntervalMs, each.metricsPath])).toEqual([
      ['a', 7000, '/metrics'],
      ['b', 7000, '/x'],
      ['c', 60_000, '/metrics'],
    ]);
    expect(scrapeConfigs[2]!.params.get('x')).toEqual(['y']);
  });

  test('an alias is the last node before it with its anchor', () => {
    const { scrapeConfigs } = load(
      'scrape_configs: [{job_name: &n /a}, {job_name: &n /b}, {job_name: c, metrics_path: *n}, {job_name: &n /d}]\n',
    );
    expect(scrapeConfigs[2]!.metricsPath).toBe('/b');
  });

  test('relabelling steps with their defaults', () => {
    const { relabelConfigs } = job(
      'relabel_configs: [{source_labels: [a, b], target_label: c}, {action: Drop, regex: x}]',
    );
    expect(relabelConfigs).toEqual([
      {
        action: 'replace',
        sourceLabels: ['a', 'b'],
        separator: ';',
        regex: '(.*)',
        modulus: 0,
        targetLabel: 'c',
        replacement: '$1',
      },
      {
        action: 'drop',
        sourceLabels: [],
        separator: ';',
        regex: 'x',
        modulus: 0,
        targetLabel: '',
        replacement: '$1',
      },
    ]);
  });

  test('alertmanagers', () => {
    const { alerting } = load(
      'alerting:\n  alert_relabel_configs: [{action: labeldrop, regex: replica}]\n  alertmanagers:\n' +
        '    - {scheme: https, path_prefix: /am, timeout: 3s, api_version: v2, static_configs: [{targets: ["am:9093"]}]}\n',
    );
    expect(alerting.alertRelabelConfigs).toHaveLength(1);
    expect(alerting.alertmanagers[0]).toMatchObject({ scheme: 'https', pathPrefix: '/am', timeoutMs: 3000 });
    expect(alerting.alertmanagers[0]!.discovery.staticConfigs[0]!.targets).toEqual(['am:9093']);
  });
});

describe('refusals', () => {
  test.each<[string, string, string]>([
    [
      'global:\n  scrape_intervall: 5s\n',
      '2:3',
      'global.scrape_intervall: unknown key "scrape_intervall"; did you mean scrape_interval?',
    ],
    ['scrap_configs: []\n', '1:1', 'did you mean scrape_configs?'],
    ['global:\n  scrape_interval: 5\n', '2:20', 'global.scrape_interval: not a valid duration string: "5"'],
    [
      'global: {scrape_interval: 5s, scrape_timeout: 6s}',
      '1:47',
      '6s is longer than the scrape interval of 5s',
    ],
    ['global: {external_labels: {"": x}}', '1:32', 'is not a valid label name'],
    [
      'scrape_configs:\n  - job_name: a\n    honor_labels: maybe\n',
      '3:19',
      'scrape_configs[0].honor_labels: "maybe" is not a boolean',
    ],
    ['scrape_configs:\n  - job_name: a\n    sample_limit: -1\n', '3:19', '-1 is too small'],
    ['scrape_configs:\n  - job_name: a\n    sample_limit: many\n', '3:19', '"many" is not a number'],
    ['scrape_configs:\n  - job_name: a\n    body_size_limit: 10\n', '3:22', '"10" is not a size'],
    [
      'scrape_configs:\n  - job_name: a\n    scheme: ftp\n',
      '3:13',
      '"ftp" is not known; use one of http, https',
    ],
    ['scrape_configs:\n  job_name: a\n', '2:3', 'a map stands where a list is expected'],
    ['scrape_configs: [x]\n', '1:18', '"x" stands where a map is expected'],
    [
      'scrape_configs:\n  - job_name: a\n    relabel_configs: [{action: delete}]\n',
      '3:32',
      'scrape_configs[0].relabel_configs[0].action: "delete" is not known',
    ],
    ['rule_files: x\n', '1:13', '"x" stands where a list is expected'],
    ['a: [\n', '2:1', 'malformed YAML'],
    ['a: 1\na: 2\n', '2:1', 'key "a" occurs twice (first on line 1)'],
    ['--- {}\n--- {}\n', '2:1', 'a second YAML document'],
    ['just text', '1:1', 'the file must be a map'],
    ['tidemark: {x: 1}\n', '1:12', 'tidemark.x: unknown key "x"'],
    ['global: {external_labels: *x}\n', '1:27', 'alias'],
  ])('%j at %s', (yaml, place, problem) => {
    const error = errorOf(yaml);
    expect(error.code).toBe('bad_data');
    expect(error.message).toContain(problem);
    expect(`${error.line}:${error.column}`).toBe(place);
    expect(error.message.startsWith(`${place}: `)).toBe(true);
  });

  test('the file’s name stands in front when it is known', () => {
    expect(() => loadConfig('x: 1', '/', { file: 'prometheus.yml' })).toThrow(
      'prometheus.yml:1:1: x: unknown key',
    );
  });

  test('alias bombs, deep nesting and huge files end in an error, at once', () => {
    const bomb = [`a0: &a0 [x,x,x,x,x,x,x,x,x,x]`];
    for (let i = 1; i < 20; i++)
      bomb.push(`a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(',')}]`);
    expect(errorOf(bomb.join('\n')).message).toContain('more than 1000000 values once aliases are resolved');
    expect(errorOf(`a: ${'['.repeat(200)}${']'.repeat(200)}`).message).toContain(
      'nested more than 64 levels',
    );
    expect(errorOf(`a: ${'['.repeat(100_000)}`).message).toMatch(/malformed YAML|nested/);
    expect(errorOf('#'.repeat(17 * 1024 * 1024)).message).toContain('over the limit');
    expect(errorOf('a: &a [*a]').message).toContain('inside its own anchor');
  });
});

describe('secrets', () => {
  const yaml =
    '# password: commented\nscrape_configs:\n  - job_name: a # hunter0\n    basic_auth: {username: u, password: "hunter2"}\n' +
    '    http_headers: {X-Key: {secrets: [hunter3], values: [open]}}\n' +
    'remote_write:\n  - url: http://me:hunter4@example.org/write\n    authorization:\n      credentials: |\n        hunter5\n        hunter6\n';

  test('are not shown, neither in the text nor when printed', () => {
    const config = load(yaml);
    expect(config.redactedYaml).not.toMatch(/hunter|commented/);
    expect(config.redactedYaml).toContain('password: <secret>');
    expect(config.redactedYaml).toContain('http://me:<secret>@example.org/write');
    expect(config.redactedYaml).toContain('open');
    expect(JSON.stringify(config)).not.toMatch(/hunter[2356]/);
    expect(config.scrapeConfigs[0]!.http.basicAuth!.password.reveal()).toBe('hunter2');
    expect(config.scrapeConfigs[0]!.http.headers.get('X-Key')!.map((each) => each.reveal())).toEqual([
      'open',
      'hunter3',
    ]);
  });

  test('the redacted text is a configuration again', () => {
    expect(load(load(yaml).redactedYaml).redactedYaml).toBe(load(yaml).redactedYaml);
  });
});

test('what is checked and not run is listed', () => {
  const { notices } = load(
    'runtime: {gogc: 50}\nscrape_configs:\n  - job_name: a\n  - job_name: b\n    nomad_sd_configs: [{server: "http://x"}]\n' +
      'remote_write: [{url: "http://x"}]\nremote_read: [{url: "http://x"}]\ntracing: {endpoint: "x:1"}\n',
  );
  expect(notices).toContain(
    'scrape_configs[1]: nomad_sd_configs is checked but not run by this version; its targets are not found',
  );
  for (const start of ['runtime.gogc', 'remote_write', 'remote_read', 'tracing']) {
    expect(notices.some((notice) => notice.startsWith(`${start}: `))).toBe(true);
  }
});

describe('scrape_config_files', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-config-'));
  writeFileSync(
    path.join(folder, 'one.yml'),
    'scrape_configs: [{job_name: b, tls_config: {ca_file: ca.pem}}]\n',
  );
  writeFileSync(path.join(folder, 'two.yaml'), 'scrape_configs:\n  - job_name: c\n    typo: 1\n');

  test('are read, and resolve paths against their own folder', () => {
    const { scrapeConfigs } = loadConfig(
      'scrape_configs: [{job_name: a}]\nscrape_config_files: ["*.yml"]',
      folder,
    );
    expect(scrapeConfigs.map((each) => each.jobName)).toEqual(['a', 'b']);
    expect(scrapeConfigs[1]!.http.tls.caFile).toBe(path.join(folder, 'ca.pem'));
  });

  test('errors name the file', () => {
    expect(() => loadConfig('scrape_config_files: ["two.yaml"]', folder)).toThrow(
      `${folder}/two.yaml:3:5: scrape_configs[0].typo: unknown key`,
    );
    expect(() =>
      loadConfig('scrape_configs: [{job_name: b}]\nscrape_config_files: ["one.yml"]', folder),
    ).toThrow('"b" is taken by scrape_configs[0]');
  });
});
