// Every prometheus.yml of the corpus: those that their authors call valid must load, those that they call invalid must be
// refused with a place. The exceptions below carry their reasons and may only shrink.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../services/lib/runtime/config/config-error.ts';
import { loadConfig } from '../../services/lib/runtime/config/load-config.ts';
import { hasShared, sharedPath } from '../support/shared.ts';

interface Case {
  readonly file: string;
  readonly kind: string;
  readonly expected?: string;
}

/** File → why the verdict of its author is not ours. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'prometheus+prometheus/cmd/promtool/testdata/authorization_credentials_file.bad.yml':
    'a lint of promtool: the credentials file does not exist; a server starts, and reads the file at each request',
  'prometheus+prometheus/cmd/promtool/testdata/url_in_scrape_targetgroup_with_relabel_config.bad.yml':
    'a lint of promtool: a server starts, and shows the target with its error',
  'prometheus+prometheus/cmd/promtool/testdata/prometheus-config.rules.good.yml':
    'a rule file, not a configuration',
  'prometheus-operator+prometheus-operator/pkg/prometheus/testdata/legacy-versions/RemoteWriteConfig_v2.10.0_1.golden':
    'for Prometheus 2.10: queue_config.max_retries was removed in 2.11',
  'prometheus-operator+prometheus-operator/pkg/prometheus/testdata/native-histograms/NativeHistogramConfigWithMissNativeHistogramMinBucketFactor.golden':
    'for Prometheus 2.x: scrape_classic_histograms was renamed in 3.0',
};

/** Exceptions only ever get fewer: lower this number with them. */
const EXCEPTIONS_MAX = 5;

const present = hasShared('conformance', 'configs', 'index.jsonl');

function readCases(): readonly Case[] {
  if (!present) return [];
  return readFileSync(sharedPath('conformance', 'configs', 'index.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Case);
}

function load(file: string): unknown {
  const absolute = sharedPath('conformance', 'configs', file);
  return loadConfig(readFileSync(absolute, 'utf8'), path.dirname(absolute));
}

describe.skipIf(!present)('prometheus.yml corpus', () => {
  const configs = readCases().filter((each) => each.kind.startsWith('prometheus-config'));
  const judged = configs.filter((each) => /^(?:in)?valid/.test(each.expected ?? ''));
  const valid = judged.filter((each) => each.expected!.startsWith('valid'));
  const invalid = judged.filter((each) => each.expected!.startsWith('invalid'));

  test('the corpus is the one that was read when this was written, or a larger one', () => {
    expect(valid.length).toBeGreaterThanOrEqual(400);
    expect(invalid.length).toBeGreaterThanOrEqual(107);
    expect(Object.keys(EXCEPTIONS).length).toBeLessThanOrEqual(EXCEPTIONS_MAX);
  });

  test.each(valid.filter(({ file }) => !(file in EXCEPTIONS)))('$file loads', ({ file }) => {
    expect(() => load(file)).not.toThrow();
  });

  test.each(invalid.filter(({ file }) => !(file in EXCEPTIONS)))('$file is refused', ({ file }) => {
    expect(() => load(file)).toThrow(ConfigError);
    expect(() => load(file)).toThrow(/(?:^|:)\d+:\d+: /);
  });

  test.each(Object.keys(EXCEPTIONS))('exception %s is still needed', (file) => {
    const { expected } = judged.find((each) => each.file === file)!;
    let refused = false;
    try {
      load(file);
    } catch {
      refused = true;
    }
    expect(refused).toBe(expected!.startsWith('valid'));
  });

  test('what is loaded, shown and loaded again is the same', () => {
    for (const { file } of valid) {
      if (file in EXCEPTIONS) continue;
      const folder = path.dirname(sharedPath('conformance', 'configs', file));
      const first = loadConfig(readFileSync(sharedPath('conformance', 'configs', file), 'utf8'), folder);
      const second = loadConfig(first.redactedYaml, folder);
      expect(JSON.stringify(second), file).toBe(JSON.stringify(first));
    }
  });
});

/** The HTTP client section of Prometheus' common library; it stands in a scrape configuration here. */
describe.skipIf(!present)('HTTP client corpus', () => {
  const cases = readCases().filter(
    ({ kind, expected }) => kind === 'http-client-config' && (expected === 'valid' || expected === 'invalid'),
  );

  test.each(cases)('$file is $expected', ({ file, expected }) => {
    const text = readFileSync(sharedPath('conformance', 'configs', file), 'utf8');
    const body = file.endsWith('.json') ? JSON.stringify(JSON.parse(text)) : text;
    const tls = path.basename(file).startsWith('tls_config');
    const attempt = (): unknown => loadConfig(embed(body, tls), '/');
    if (expected === 'valid') expect(attempt).not.toThrow();
    else expect(attempt).toThrow(ConfigError);
  });
});

function embed(body: string, tls: boolean): string {
  const inJob = tls ? `tls_config:\n${body.replaceAll(/^/gm, '  ')}` : body;
  if (body.startsWith('{') && !tls) return `scrape_configs: [{"job_name": "a", ${body.slice(1)}]`;
  return `scrape_configs:\n  - job_name: a\n${inJob.replaceAll(/^/gm, '    ')}\n`;
}
