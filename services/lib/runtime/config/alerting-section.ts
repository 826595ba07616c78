// The `alerting` section: where alerts go.
import { readDiscovery } from './discovery-section.ts';
import { readHttpClient } from './http-client-section.ts';
import type { AlertingConfig, AlertmanagerConfig } from './prometheus-config.ts';
import { readRelabelConfigs } from './relabel-section.ts';
import type { Section } from './section.ts';

const TIMEOUT_DEFAULT_MS = 10_000;

/** Reads `alerting`; an absent section gives an empty configuration. */
export function readAlerting(section: Section | undefined): AlertingConfig {
  if (section === undefined) return { alertRelabelConfigs: [], alertmanagers: [] };
  const config: AlertingConfig = {
    alertRelabelConfigs: readRelabelConfigs(section, 'alert_relabel_configs', section.context.nameValidation),
    alertmanagers: section.sections('alertmanagers').map(readAlertmanager),
  };
  section.finish();
  return config;
}

function readAlertmanager(section: Section): AlertmanagerConfig {
  const version = section.text('api_version') ?? 'v2';
  if (version !== 'v2') {
    throw section.error(
      'api_version',
      `${JSON.stringify(version)} is not supported, as in Prometheus 3; use v2`,
    );
  }
  const names = section.context.nameValidation;
  const relabelConfigs = readRelabelConfigs(section, 'relabel_configs', names);
  const http = readHttpClient(section);
  readSigV4(
    section,
    [http.hasBasicAuth, http.hasAuthorization, http.hasBearerToken, http.hasOauth2].some(Boolean),
  );
  const config: AlertmanagerConfig = {
    scheme: section.choice('scheme', ['http', 'https']) ?? 'http',
    pathPrefix: section.text('path_prefix') ?? '',
    timeoutMs: section.durationMs('timeout') || TIMEOUT_DEFAULT_MS,
    http: http.config,
    discovery: readDiscovery(section, relabelConfigs.length === 0),
    relabelConfigs,
    alertRelabelConfigs: readRelabelConfigs(section, 'alert_relabel_configs', names),
  };
  section.finish();
  return config;
}

/** Reads a `sigv4` section, which this version does not sign with. */
export function readSigV4(parent: Section, hasOtherCredentials: boolean): boolean {
  const section = parent.section('sigv4');
  if (section === undefined) return false;
  if (hasOtherCredentials) throw parent.error('sigv4', 'stands beside other credentials; keep one');
  for (const key of ['region', 'access_key', 'profile', 'role_arn', 'external_id']) section.text(key);
  section.secret('secret_key');
  section.flag('use_fips_sts_endpoint');
  if (section.has('access_key') !== section.has('secret_key')) {
    throw section.error('access_key', 'and secret_key must be given together or not at all');
  }
  section.finish();
  parent.notice('sigv4', 'is checked but not run by this version; requests are not signed');
  return true;
}
