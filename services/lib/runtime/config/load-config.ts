// Reads a whole prometheus.yml: every key that Prometheus 3.14 knows is checked, unknown ones are refused with line and
// column, what this version does not run is listed in `notices`. The sections live beside this file.
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { unreachable } from '../../core/assert.ts';
import { readAlerting } from './alerting-section.ts';
import { ConfigError } from './config-error.ts';
import {
  type ConfigDocument,
  type ConfigNode,
  type MapNode,
  parseConfigDocument,
  printRedacted,
} from './config-node.ts';
import { readMonitors } from './monitors-section.ts';
import { checkOtlp, checkRuntime, checkStorage, checkTracing } from './other-sections.ts';
import type { PrometheusConfig, ScrapeConfig } from './prometheus-config.ts';
import { checkRemoteRead, checkRemoteWrite } from './remote-section.ts';
import { type GlobalSection, readGlobal, readScrapeConfig } from './scrape-section.ts';
import { type ConfigContext, Section } from './section.ts';
import { readTidemark } from './tidemark-section.ts';

export interface LoadConfigOptions {
  /** Name of the file for error messages; none by default. */
  readonly file?: string;
  /** For `${NAME}` in external_labels; the process's by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Jobs named so far, with the place of each. */
type JobNames = Map<string, string>;

/**
 * Parses and checks a configuration. Relative paths in it are resolved against `baseDir`; `scrape_config_files` are read.
 *
 * @throws ConfigError (`bad_data`) at the first thing that is wrong, with line and column, key path, value and remedy.
 */
export function loadConfig(
  yamlText: string,
  baseDir: string,
  options: LoadConfigOptions = {},
): PrometheusConfig {
  const parsed = parseConfigDocument(yamlText, options.file);
  const context: ConfigContext = {
    file: options.file,
    baseDir,
    environment: options.environment ?? process.env,
    redactions: new Map(),
    notices: [],
    nameValidation: 'utf8',
  };
  const root = rootSection(parsed.root, context);
  const global = readGlobal(root.section('global') ?? emptySection('global', context));
  checkRuntime(root.section('runtime'));
  const ruleFiles = readRuleFiles(root);
  const scrapeConfigs = readScrapeConfigs(root, global);
  const alerting = readAlerting(root.section('alerting'));
  checkRemoteWrite(root);
  checkRemoteRead(root);
  checkStorage(root.section('storage'));
  checkOtlp(root.section('otlp'));
  checkTracing(root.section('tracing'));
  const tidemark = root.section('tidemark');
  const monitors = readMonitors(tidemark?.section('kubernetes_monitors'));
  const storage = readTidemark(tidemark);
  root.finish();
  return Object.freeze({
    global: global.config,
    scrapeConfigs,
    ruleFiles,
    alerting,
    storage,
    monitors,
    redactedYaml: redact(parsed, context),
    notices: context.notices,
  });
}

function redact(parsed: ConfigDocument, context: ConfigContext): string {
  return printRedacted(parsed.document, context.redactions);
}

function rootSection(root: ConfigNode, context: ConfigContext): Section {
  switch (root.kind) {
    case 'map':
      return new Section(root, '', context);
    case 'null':
      return emptySection('', context);
    case 'list':
    case 'scalar':
      throw new ConfigError(
        context.file,
        root,
        '',
        'the file must be a map of sections like global: and scrape_configs:',
      );
    default:
      return unreachable(root);
  }
}

function emptySection(keyPath: string, context: ConfigContext): Section {
  const node: MapNode = { kind: 'map', entries: new Map(), line: 1, column: 1 };
  return new Section(node, keyPath, context);
}

function readRuleFiles(root: Section): readonly string[] {
  if (root.texts('rule_files').includes(''))
    throw root.error('rule_files', 'contains an empty pattern; remove it');
  return root.files('rule_files');
}

function readScrapeConfigs(root: Section, global: GlobalSection): readonly ScrapeConfig[] {
  const jobs: JobNames = new Map();
  const configs = readJobs(root, global, jobs);
  const patterns = root.texts('scrape_config_files');
  for (const pattern of patterns) checkScrapeFilePattern(root, pattern);
  for (const pattern of root.files('scrape_config_files')) {
    for (const file of globSync(pattern).toSorted())
      configs.push(...readScrapeFile(root, file, global, jobs));
  }
  return configs;
}

function checkScrapeFilePattern(root: Section, pattern: string): void {
  if (!/^[^*]*(?:\*[^/]*)?$/.test(pattern)) {
    throw root.error(
      'scrape_config_files',
      `${JSON.stringify(pattern)} has a * before its last part; use one only in the file's name`,
    );
  }
}

function readJobs(root: Section, global: GlobalSection, jobs: JobNames): ScrapeConfig[] {
  return root.sections('scrape_configs').map((section) => {
    const config = readScrapeConfig(section, global);
    const before = jobs.get(config.jobName);
    if (before !== undefined) {
      throw section.error(
        'job_name',
        `${JSON.stringify(config.jobName)} is taken by ${before}; each job needs its own name`,
      );
    }
    jobs.set(
      config.jobName,
      `${section.context.file === undefined ? '' : `${section.context.file}: `}${section.keyPath}`,
    );
    return config;
  });
}

function readScrapeFile(root: Section, file: string, global: GlobalSection, jobs: JobNames): ScrapeConfig[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (caught) {
    throw root.error(
      'scrape_config_files',
      `cannot read ${file}: ${caught instanceof Error ? caught.message : String(caught)}`,
    );
  }
  const context: ConfigContext = { ...root.context, file, baseDir: path.dirname(file) };
  const section = rootSection(parseConfigDocument(text, file).root, context);
  const configs = readJobs(section, global, jobs);
  section.finish();
  return configs;
}
