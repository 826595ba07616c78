// The configuration file as services see it: checked, defaults filled in, frozen. load-config.ts makes it.
import type { Labels } from '../../model/labels.ts';
import type { RelabelConfig } from '../../relabel/relabel-config.ts';
import type { Secret } from './secret.ts';

export interface PrometheusConfig {
  readonly global: GlobalConfig;
  readonly scrapeConfigs: readonly ScrapeConfig[];
  /** Glob patterns, relative ones resolved against the file's folder. */
  readonly ruleFiles: readonly string[];
  readonly alerting: AlertingConfig;
  /** The file as given, secrets replaced by `<secret>`: what /api/v1/status/config shows. */
  readonly redactedYaml: string;
}

export interface GlobalConfig {
  /** Default 1m. */
  readonly scrapeIntervalMs: number;
  /** Default 10s. */
  readonly scrapeTimeoutMs: number;
  /** Default 1m. */
  readonly evaluationIntervalMs: number;
  readonly externalLabels: Labels;
}

/** Credentials and transport of an HTTP client, as every section of the file spells them. */
export interface HttpClientConfig {
  readonly basicAuth: { readonly username: string; readonly password: Secret } | undefined;
  /** Type and credentials of the Authorization header; type `Bearer` by default. */
  readonly authorization: { readonly type: string; readonly credentials: Secret } | undefined;
  /** File read at each request instead of `credentials` / `password`. */
  readonly credentialsFile: string | undefined;
  readonly passwordFile: string | undefined;
  readonly tls: TlsConfig;
  /** Default true. Credentials never follow a redirect to another host. */
  readonly followRedirects: boolean;
  readonly headers: ReadonlyMap<string, readonly Secret[]>;
}

export interface TlsConfig {
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly serverName: string | undefined;
  readonly insecureSkipVerify: boolean;
}

export interface TargetGroup {
  /** Addresses: host:port. */
  readonly targets: readonly string[];
  readonly labels: Labels;
  /** Where the group came from: `0`, or a file's path. */
  readonly source: string;
}

/** Service discovery that this version runs; others in the file are refused by name. */
export interface DiscoveryConfigs {
  readonly staticConfigs: readonly TargetGroup[];
  readonly fileSdConfigs: readonly {
    readonly files: readonly string[];
    readonly refreshIntervalMs: number;
  }[];
}

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
