// The configuration file as services see it: checked, defaults filled in, frozen. load-config.ts makes it.
import type { Labels } from '../../model/labels.ts';
import type { RelabelConfig } from '../../relabel/relabel-config.ts';
import type { DiscoveryConfigs, MonitorsConfig } from './discovery-config.ts';
import type { HttpClientConfig } from './http-client-config.ts';
import type { StoragePolicy } from './storage-policy.ts';

export interface PrometheusConfig {
  readonly global: GlobalConfig;
  readonly scrapeConfigs: readonly ScrapeConfig[];
  /** Glob patterns, relative ones resolved against the file's folder. */
  readonly ruleFiles: readonly string[];
  readonly alerting: AlertingConfig;
  /** What `tidemark:` says to stores. */
  readonly storage: StoragePolicy;
  /** Custom resources that say what to scrape; absent: none are read. */
  readonly monitors?: MonitorsConfig | undefined;
  /** The file as given, secrets replaced by `<secret>`: what /api/v1/status/config shows. */
  readonly redactedYaml: string;
  /** What the file asks for and this version does not run, a sentence each with the key path; for the log. */
  readonly notices: readonly string[];
}

export interface GlobalConfig {
  /** Default 1m. */
  readonly scrapeIntervalMs: number;
  /** Default 10s. */
  readonly scrapeTimeoutMs: number;
  /** Default 1m. */
  readonly evaluationIntervalMs: number;
  readonly externalLabels: Labels;
  /** Rules are evaluated this long in the past. Default 0. */
  readonly ruleQueryOffsetMs: number;
}

/** `legacy`: letters, digits, underscores (and colons in metric names) only. */
export type NameValidation = 'utf8' | 'legacy';

/** How names outside the legacy set are to be escaped by the target; part of the Accept header. */
export type NameEscaping = 'allow-utf-8' | 'underscores' | 'dots' | 'values';

export type ScrapeProtocol =
  | 'PrometheusProto'
  | 'OpenMetricsText0.0.1'
  | 'OpenMetricsText1.0.0'
  | 'PrometheusText0.0.4'
  | 'PrometheusText1.0.0';

export interface ScrapeConfig {
  readonly jobName: string;
  readonly scrapeIntervalMs: number;
  readonly scrapeTimeoutMs: number;
  readonly metricsPath: string;
  readonly scheme: 'http' | 'https';
  readonly params: ReadonlyMap<string, readonly string[]>;
  readonly honorLabels: boolean;
  readonly honorTimestamps: boolean;
  readonly trackTimestampsStaleness: boolean;
  readonly enableCompression: boolean;
  readonly scrapeProtocols: readonly ScrapeProtocol[];
  readonly fallbackScrapeProtocol: ScrapeProtocol | undefined;
  readonly http: HttpClientConfig;
  readonly discovery: DiscoveryConfigs;
  readonly relabelConfigs: readonly RelabelConfig[];
  readonly metricRelabelConfigs: readonly RelabelConfig[];
  /** Limits; 0 means none, as in Prometheus. */
  readonly bodySizeLimitBytes: number;
  readonly sampleLimit: number;
  readonly targetLimit: number;
  readonly labelLimit: number;
  readonly labelNameLengthLimit: number;
  readonly labelValueLengthLimit: number;
  readonly keepDroppedTargets: number;
  readonly nameValidation: NameValidation;
  readonly nameEscaping: NameEscaping;
  /** Adds scrape_timeout_seconds, scrape_sample_limit and scrape_body_size_bytes. */
  readonly extraScrapeMetrics: boolean;
  readonly histograms: ScrapedHistogramsConfig;
  /** Absolute path of the file that takes a line for each failed scrape. */
  readonly failureLogFile?: string | undefined;
}

/** Which parts of a scraped histogram become samples, and how fine native ones may be. */
export interface ScrapedHistogramsConfig {
  /** `scrape_native_histograms`. */
  readonly native: boolean;
  /** `always_scrape_classic_histograms`. */
  readonly classicToo: boolean;
  /** `convert_classic_histograms_to_nhcb`. */
  readonly customBuckets: boolean;
  /** `native_histogram_bucket_limit`; 0 means none. */
  readonly bucketLimit: number;
  /** `native_histogram_min_bucket_factor`; 0 means none. */
  readonly minBucketFactor: number;
}

export interface AlertingConfig {
  readonly alertRelabelConfigs: readonly RelabelConfig[];
  readonly alertmanagers: readonly AlertmanagerConfig[];
}

export interface AlertmanagerConfig {
  readonly scheme: 'http' | 'https';
  readonly pathPrefix: string;
  readonly timeoutMs: number;
  readonly http: HttpClientConfig;
  readonly discovery: DiscoveryConfigs;
  readonly relabelConfigs: readonly RelabelConfig[];
  readonly alertRelabelConfigs: readonly RelabelConfig[];
}
