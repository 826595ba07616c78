// `http_sd_configs`, `dns_sd_configs` and `consul_sd_configs` items that were checked, with Prometheus' defaults.
import type { ConsulSdConfig, DnsRecordType, DnsSdConfig, HttpSdConfig } from './discovery-config.ts';
import type { HttpClientConfig } from './http-client-config.ts';
import { Secret } from './secret.ts';
import type { Section } from './section.ts';

const HTTP_REFRESH_DEFAULT_MS = 60_000;
const DNS_REFRESH_DEFAULT_MS = 30_000;
const CONSUL_REFRESH_DEFAULT_MS = 30_000;

export function buildHttp(section: Section, http: HttpClientConfig): HttpSdConfig {
  return {
    kind: 'http',
    url: section.requiredText('url'),
    refreshIntervalMs: section.durationMs('refresh_interval') || HTTP_REFRESH_DEFAULT_MS,
    http,
  };
}

export function buildDns(section: Section): DnsSdConfig {
  return {
    kind: 'dns',
    names: section.texts('names'),
    type: (section.text('type') ?? 'SRV').toUpperCase() as DnsRecordType,
    port: section.integer('port') ?? 0,
    refreshIntervalMs: section.durationMs('refresh_interval') || DNS_REFRESH_DEFAULT_MS,
  };
}

export function buildConsul(section: Section, http: HttpClientConfig): ConsulSdConfig {
  const username = section.text('username') ?? '';
  const password = section.secret('password');
  const hasUser = username !== '' || (password !== undefined && password.reveal() !== '');
  return {
    kind: 'consul',
    server: section.text('server') ?? 'localhost:8500',
    scheme: section.text('scheme') || 'http',
    pathPrefix: section.text('path_prefix') ?? '',
    token: section.secret('token'),
    datacenter: section.text('datacenter') ?? '',
    namespace: section.text('namespace') ?? '',
    partition: section.text('partition') ?? '',
    tagSeparator: section.text('tag_separator') ?? ',',
    allowStale: section.flag('allow_stale') ?? true,
    refreshIntervalMs: section.durationMs('refresh_interval') || CONSUL_REFRESH_DEFAULT_MS,
    services: section.texts('services'),
    tags: section.texts('tags'),
    nodeMeta: section.textMap('node_meta'),
    filter: section.text('filter') ?? '',
    healthFilter: section.text('health_filter') ?? '',
    http: hasUser ? { ...http, basicAuth: { username, password: password ?? new Secret('') } } : http,
  };
}
