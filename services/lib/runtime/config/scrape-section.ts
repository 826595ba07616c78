// The `global` section and `scrape_configs`: defaults, inheritance and the rules that span keys.
import { readDiscovery } from './discovery-section.ts';
import { readHttpClient } from './http-client-section.ts';
import type {
  GlobalConfig,
  NameEscaping,
  NameValidation,
  ScrapeConfig,
  ScrapedHistogramsConfig,
  ScrapeProtocol,
} from './prometheus-config.ts';
import { readRelabelConfigs } from './relabel-section.ts';
import type { Section } from './section.ts';

const PROTOCOLS: readonly ScrapeProtocol[] = [
  'PrometheusProto',
  'OpenMetricsText0.0.1',
  'OpenMetricsText1.0.0',
  'PrometheusText0.0.4',
  'PrometheusText1.0.0',
];
/** Negotiated where the file says nothing; with native histograms, which only protobuf has, protobuf comes first. */
const PROTOCOLS_DEFAULT: readonly ScrapeProtocol[] = [
  'OpenMetricsText1.0.0',
  'OpenMetricsText0.0.1',
  'PrometheusText1.0.0',
  'PrometheusText0.0.4',
];

const SCRAPE_INTERVAL_DEFAULT_MS = 60_000;
const SCRAPE_TIMEOUT_DEFAULT_MS = 10_000;
const EVALUATION_INTERVAL_DEFAULT_MS = 60_000;

/** What a scrape configuration says for itself or takes over from `global`. */
interface Inherited {
  readonly bodySizeLimitBytes: number;
  readonly sampleLimit: number;
  readonly targetLimit: number;
  readonly labelLimit: number;
  readonly labelNameLengthLimit: number;
  readonly labelValueLengthLimit: number;
  readonly keepDroppedTargets: number;
  readonly scrapeProtocols: readonly ScrapeProtocol[] | undefined;
  readonly nameValidation: NameValidation | undefined;
  readonly nameEscaping: NameEscaping | undefined;
  readonly extraScrapeMetrics: boolean | undefined;
  readonly nativeHistograms: boolean | undefined;
  readonly classicHistogramsToo: boolean | undefined;
  readonly customBuckets: boolean | undefined;
  readonly failureLogFile: string | undefined;
}

export interface GlobalSection {
  readonly config: GlobalConfig;
  readonly inherited: Inherited;
}

/** Reads `global`; an absent section gives the defaults. */
export function readGlobal(section: Section): GlobalSection {
  const inherited = readInherited(section);
  section.context.nameValidation = inherited.nameValidation ?? 'utf8';
  checkNaming(section, inherited, undefined);
  const scrapeIntervalMs = section.durationMs('scrape_interval') || SCRAPE_INTERVAL_DEFAULT_MS;
  const timeoutMs = section.durationMs('scrape_timeout') || undefined;
  if (timeoutMs !== undefined && timeoutMs > scrapeIntervalMs) {
    throw section.error(
      'scrape_timeout',
      `${section.text('scrape_timeout')} is longer than the scrape interval of ${section.text('scrape_interval') ?? '1m'}; make it at most that`,
    );
  }
  const config: GlobalConfig = {
    scrapeIntervalMs,
    scrapeTimeoutMs: timeoutMs ?? Math.min(SCRAPE_TIMEOUT_DEFAULT_MS, scrapeIntervalMs),
    evaluationIntervalMs: section.durationMs('evaluation_interval') || EVALUATION_INTERVAL_DEFAULT_MS,
    ruleQueryOffsetMs: section.durationMs('rule_query_offset') ?? 0,
    externalLabels: section.labels('external_labels', (value) =>
      expandVariables(value, section.context.environment),
    ),
  };
  if (section.text('query_log_file')) section.notice('query_log_file', 'is not written by this version');
  section.finish();
  return { config, inherited };
}

/** `$NAME` and `${NAME}` from the environment, `$$` is a dollar sign, what is not set is empty: as Go's os.Expand. */
function expandVariables(text: string, environment: Readonly<Record<string, string | undefined>>): string {
  return text.replaceAll(
    /\$(?:\$|\{([^{}]*)\}|(\w+))/g,
    (whole, braced: string | undefined, bare: string | undefined) =>
      whole === '$$' ? '$' : (environment[braced ?? bare ?? ''] ?? ''),
  );
}

/** Reads one item of `scrape_configs`. */
export function readScrapeConfig(section: Section, global: GlobalSection): ScrapeConfig {
  const own = readInherited(section);
  const jobName = section.text('job_name') ?? '';
  const nameValidation = own.nameValidation ?? global.inherited.nameValidation ?? 'utf8';
  const inherited = global.inherited;
  const histograms: ScrapedHistogramsConfig = {
    native: own.nativeHistograms ?? inherited.nativeHistograms ?? false,
    classicToo: own.classicHistogramsToo ?? inherited.classicHistogramsToo ?? false,
    customBuckets: own.customBuckets ?? inherited.customBuckets ?? false,
    bucketLimit: section.integer('native_histogram_bucket_limit') ?? 0,
    minBucketFactor: section.number('native_histogram_min_bucket_factor') ?? 0,
  };
  const metricsPath = section.text('metrics_path') ?? '/metrics';
  const relabelConfigs = readRelabelConfigs(section, 'relabel_configs', nameValidation);
  const config: ScrapeConfig = {
    jobName,
    ...readTimes(section, global.config, jobName),
    metricsPath: metricsPath === '' ? '/metrics' : metricsPath,
    scheme: section.choice('scheme', ['http', 'https']) ?? 'http',
    params: readParams(section),
    honorLabels: section.flag('honor_labels') ?? false,
    honorTimestamps: section.flag('honor_timestamps') ?? true,
    trackTimestampsStaleness: section.flag('track_timestamps_staleness') ?? false,
    enableCompression: section.flag('enable_compression') ?? true,
    scrapeProtocols:
      own.scrapeProtocols ??
      inherited.scrapeProtocols ??
      (histograms.native ? ['PrometheusProto', ...PROTOCOLS_DEFAULT] : PROTOCOLS_DEFAULT),
    fallbackScrapeProtocol: section.choice('fallback_scrape_protocol', PROTOCOLS),
    http: readHttpClient(section).config,
    discovery: readDiscovery(section, relabelConfigs.length === 0),
    relabelConfigs,
    metricRelabelConfigs: readRelabelConfigs(section, 'metric_relabel_configs', nameValidation),
    bodySizeLimitBytes: own.bodySizeLimitBytes || inherited.bodySizeLimitBytes,
    sampleLimit: own.sampleLimit || inherited.sampleLimit,
    targetLimit: own.targetLimit || inherited.targetLimit,
    labelLimit: own.labelLimit || inherited.labelLimit,
    labelNameLengthLimit: own.labelNameLengthLimit || inherited.labelNameLengthLimit,
    labelValueLengthLimit: own.labelValueLengthLimit || inherited.labelValueLengthLimit,
    keepDroppedTargets: own.keepDroppedTargets || inherited.keepDroppedTargets,
    nameValidation,
    nameEscaping: checkNaming(section, own, inherited),
    extraScrapeMetrics: own.extraScrapeMetrics ?? inherited.extraScrapeMetrics ?? false,
    histograms,
    failureLogFile: own.failureLogFile ?? inherited.failureLogFile,
  };
  section.requiredText('job_name');
  section.finish();
  return config;
}

function readTimes(
  section: Section,
  global: GlobalConfig,
  jobName: string,
): { readonly scrapeIntervalMs: number; readonly scrapeTimeoutMs: number } {
  const scrapeIntervalMs = section.durationMs('scrape_interval') || global.scrapeIntervalMs;
  const timeoutMs = section.durationMs('scrape_timeout') || undefined;
  if (timeoutMs !== undefined && timeoutMs > scrapeIntervalMs) {
    throw section.error(
      'scrape_timeout',
      `${section.text('scrape_timeout')} is longer than the scrape interval of job ${JSON.stringify(jobName)}; make it at most the interval`,
    );
  }
  return {
    scrapeIntervalMs,
    scrapeTimeoutMs: timeoutMs ?? Math.min(global.scrapeTimeoutMs, scrapeIntervalMs),
  };
}

function readInherited(section: Section): Inherited {
  const customBuckets = section.flag('convert_classic_histograms_to_nhcb');
  return {
    bodySizeLimitBytes: section.bytes('body_size_limit') ?? 0,
    sampleLimit: section.integer('sample_limit') ?? 0,
    targetLimit: section.integer('target_limit') ?? 0,
    labelLimit: section.integer('label_limit') ?? 0,
    labelNameLengthLimit: section.integer('label_name_length_limit') ?? 0,
    labelValueLengthLimit: section.integer('label_value_length_limit') ?? 0,
    keepDroppedTargets: section.integer('keep_dropped_targets') ?? 0,
    scrapeProtocols: readProtocols(section),
    nameValidation: readNameValidation(section),
    nameEscaping:
      section.choice('metric_name_escaping_scheme', ['', 'allow-utf-8', 'underscores', 'dots', 'values']) ||
      undefined,
    extraScrapeMetrics: section.flag('extra_scrape_metrics'),
    nativeHistograms: section.flag('scrape_native_histograms'),
    classicHistogramsToo: section.flag('always_scrape_classic_histograms'),
    customBuckets,
    failureLogFile: section.file('scrape_failure_log_file'),
  };
}

function readNameValidation(section: Section): NameValidation | undefined {
  return section.choice('metric_name_validation_scheme', ['', 'utf8', 'legacy']) || undefined;
}

/** The escaping in force; unescaped names need the naming rule that allows them. */
function checkNaming(section: Section, own: Inherited, outer: Inherited | undefined): NameEscaping {
  const validation = own.nameValidation ?? outer?.nameValidation ?? 'utf8';
  const escaping =
    own.nameEscaping ?? outer?.nameEscaping ?? (validation === 'legacy' ? 'underscores' : 'allow-utf-8');
  if (validation === 'legacy' && escaping === 'allow-utf-8') {
    throw section.error(
      'metric_name_escaping_scheme',
      'allow-utf-8 contradicts metric_name_validation_scheme legacy; use underscores, dots or values',
    );
  }
  return escaping;
}

function readProtocols(section: Section): readonly ScrapeProtocol[] | undefined {
  if (!section.has('scrape_protocols')) return undefined;
  const protocols: ScrapeProtocol[] = [];
  for (const name of section.texts('scrape_protocols')) {
    const protocol = PROTOCOLS.find((known) => known === name);
    if (protocol === undefined) {
      throw section.error(
        'scrape_protocols',
        `${JSON.stringify(name)} is not known; use some of ${PROTOCOLS.join(', ')}`,
      );
    }
    if (protocols.includes(protocol))
      throw section.error('scrape_protocols', `${JSON.stringify(name)} occurs twice; remove one`);
    protocols.push(protocol);
  }
  return protocols.length === 0 ? undefined : protocols;
}

function readParams(section: Section): ReadonlyMap<string, readonly string[]> {
  const params = new Map<string, readonly string[]>();
  for (const [name, node, keyPath] of section.mapEntries('params')) {
    if (node.kind === 'null') continue;
    if (node.kind !== 'list') throw section.errorAt(node, keyPath, 'takes a list of values; write ["value"]');
    params.set(
      name,
      node.items.map((item, i) => section.scalar(item, `${keyPath}[${i}]`, 'a string').text),
    );
  }
  return params;
}
