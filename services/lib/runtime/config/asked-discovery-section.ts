// `http_sd_configs`, `dns_sd_configs`, `consul_sd_configs`, `docker_sd_configs` and `ec2_sd_configs` items that were checked, with
// Prometheus' defaults.
import type {
  ConsulSdConfig,
  DiscoveryFilter,
  DnsRecordType,
  DnsSdConfig,
  DockerSdConfig,
  Ec2SdConfig,
  HttpSdConfig,
} from './discovery-config.ts';
import type { HttpClientConfig } from './http-client-config.ts';
import { Secret } from './secret.ts';
import type { Section } from './section.ts';

const HTTP_REFRESH_DEFAULT_MS = 60_000;
const DNS_REFRESH_DEFAULT_MS = 30_000;
const CONSUL_REFRESH_DEFAULT_MS = 30_000;
const DOCKER_REFRESH_DEFAULT_MS = 60_000;
const EC2_REFRESH_DEFAULT_MS = 60_000;
const PORT_DEFAULT = 80;

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

export function buildDocker(section: Section, http: HttpClientConfig): DockerSdConfig {
  return {
    kind: 'docker',
    host: section.requiredText('host'),
    port: section.integer('port') ?? PORT_DEFAULT,
    hostNetworkingHost: section.text('host_networking_host') ?? 'localhost',
    matchFirstNetwork: section.flag('match_first_network') ?? true,
    filters: buildFilters(section),
    refreshIntervalMs: section.durationMs('refresh_interval') || DOCKER_REFRESH_DEFAULT_MS,
    http,
  };
}

export function buildEc2(section: Section, http: HttpClientConfig): Ec2SdConfig {
  return {
    kind: 'ec2',
    endpoint: section.text('endpoint') ?? '',
    region: section.text('region') ?? '',
    accessKey: section.text('access_key') ?? '',
    secretKey: section.secret('secret_key'),
    profile: section.text('profile') ?? '',
    roleArn: section.text('role_arn') ?? '',
    externalId: section.text('external_id') ?? '',
    port: section.integer('port') ?? PORT_DEFAULT,
    filters: buildFilters(section),
    refreshIntervalMs: section.durationMs('refresh_interval') || EC2_REFRESH_DEFAULT_MS,
    http,
  };
}

function buildFilters(section: Section): readonly DiscoveryFilter[] {
  return section.sections('filters').map((filter) => ({
    name: filter.requiredText('name'),
    values: filter.texts('values'),
  }));
}
