// Service discovery as the file asks for it: static and file discovery, and all kinds that ask a server, each checked against the
// table below. Kinds that have no `build` there are reported as not run.
import path from 'node:path';
import { buildConsul, buildDns, buildDocker, buildEc2, buildHttp } from './asked-discovery-section.ts';
import type { AskedDiscoveryConfig, DiscoveryConfigs, TargetGroup } from './discovery-config.ts';
import type { HttpClientConfig } from './http-client-config.ts';
import {
  atMostOne,
  type HttpClientSection,
  PLAIN_HTTP,
  readHttpClient,
  readTls,
} from './http-client-section.ts';
import { buildKubernetes, checkKubernetes, KUBERNETES_ROLES } from './kubernetes-section.ts';
import type { Section } from './section.ts';

const FILE_REFRESH_DEFAULT_MS = 5 * 60_000;

/** Shape of one kind of discovery: its keys by type, what must be given, and what else must hold. */
interface DiscoverySpec {
  /** `key:type` pairs: string, secret, duration, int, bool, list, map, filters, url, tls, file, server (URL with scheme and host). */
  readonly keys: string;
  /** Takes the keys of an HTTP client. */
  readonly http?: boolean;
  readonly required?: readonly string[];
  /** Key → values it may take. */
  readonly choices?: Readonly<Record<string, readonly string[]>>;
  readonly check?: (section: Section, http: HttpClientSection | undefined) => void;
  /** Makes what runs it; a kind without, or of which it makes nothing, is checked only. */
  readonly build?: (section: Section, http: HttpClientConfig) => AskedDiscoveryConfig | undefined;
}

const AWS =
  'endpoint:string region:string access_key:string secret_key:secret profile:string role_arn:string external_id:string';
const REFRESH = 'refresh_interval:duration';
const PORT = 'port:int';
const ZOOKEEPER: DiscoverySpec = {
  keys: 'servers:list paths:list timeout:duration',
  required: ['servers', 'paths'],
  check: (section) => {
    for (const path of section.texts('paths')) {
      if (!path.startsWith('/')) throw section.error('paths', `${JSON.stringify(path)} must start with /`);
    }
  },
};

/** Every kind of Prometheus 3.14 but static and file, by its name in `<name>_sd_configs`. */
const SPECS: Readonly<Record<string, DiscoverySpec>> = {
  aws: {
    keys: `role:string ${AWS} ${REFRESH} ${PORT} filters:filters clusters:list`,
    http: true,
    choices: { role: ['ec2', 'ecs', 'elasticache', 'lightsail', 'msk', 'rds'] },
    required: ['role'],
    build: (section, http) => (section.text('role') === 'ec2' ? buildEc2(section, http) : undefined),
  },
  azure: {
    keys: `environment:string authentication_method:string subscription_id:string tenant_id:string client_id:string client_secret:secret resource_group:string ${REFRESH} ${PORT}`,
    http: true,
    required: ['subscription_id'],
    choices: { authentication_method: ['OAuth', 'ManagedIdentity', 'SDK', 'WorkloadIdentity'] },
    check: (section) => {
      if ((section.text('authentication_method') ?? 'OAuth') !== 'OAuth') return;
      for (const key of ['tenant_id', 'client_id', 'client_secret']) section.requiredText(key);
    },
  },
  consul: {
    keys: `server:string path_prefix:string token:secret datacenter:string namespace:string partition:string tag_separator:string scheme:string username:string password:secret allow_stale:bool ${REFRESH} services:list tags:list node_meta:map filter:string health_filter:string`,
    http: true,
    check: (section, http) => {
      if (section.text('server') === '') section.requiredText('server');
      const own = section.text('username') ?? section.text('password') ?? section.text('token');
      if (
        own !== undefined &&
        own !== '' &&
        (http?.hasBasicAuth || http?.hasAuthorization || http?.hasOauth2)
      ) {
        throw section.error(
          'server',
          'token or username stands beside basic_auth, authorization or oauth2; keep one',
        );
      }
    },
    build: buildConsul,
  },
  digitalocean: { keys: `role:string ${PORT} ${REFRESH}`, http: true },
  dns: {
    keys: `names:list type:string ${PORT} ${REFRESH}`,
    required: ['names'],
    check: (section) => {
      const type = (section.text('type') ?? 'SRV').toUpperCase();
      if (!['SRV', 'A', 'AAAA', 'MX', 'NS'].includes(type)) {
        throw section.error('type', `${JSON.stringify(type)} is not known; use one of SRV, A, AAAA, MX, NS`);
      }
      if (type !== 'SRV' && !section.integer('port'))
        throw section.error('port', `is required for records of type ${type}`);
    },
    build: buildDns,
  },
  docker: {
    keys: `host:url ${PORT} host_networking_host:string match_first_network:bool filters:filters ${REFRESH}`,
    http: true,
    required: ['host'],
    build: buildDocker,
  },
  dockerswarm: {
    keys: `host:url role:string ${PORT} filters:filters ${REFRESH}`,
    http: true,
    required: ['host', 'role'],
    choices: { role: ['services', 'tasks', 'nodes'] },
  },
  ec2: { keys: `${AWS} ${REFRESH} ${PORT} filters:filters`, http: true, build: buildEc2 },
  eureka: { keys: `server:server ${REFRESH}`, http: true, required: ['server'] },
  gce: {
    keys: `project:string zone:string filter:string ${REFRESH} ${PORT} tag_separator:string`,
    required: ['project', 'zone'],
  },
  hetzner: {
    keys: `role:string ${PORT} ${REFRESH} label_selector:string`,
    http: true,
    required: ['role'],
    choices: { role: ['robot', 'hcloud'] },
  },
  http: { keys: `url:server ${REFRESH}`, http: true, required: ['url'], build: buildHttp },
  ionos: { keys: `datacenter_id:string ${PORT} ${REFRESH}`, http: true, required: ['datacenter_id'] },
  kubernetes: {
    keys: 'api_server:url role:string kubeconfig_file:file',
    http: true,
    required: ['role'],
    choices: { role: KUBERNETES_ROLES },
    check: checkKubernetes,
    build: buildKubernetes,
  },
  kuma: {
    keys: `server:server client_id:string ${REFRESH} fetch_timeout:duration`,
    http: true,
    required: ['server'],
  },
  lightsail: { keys: `${AWS} ${REFRESH} ${PORT}`, http: true },
  linode: { keys: `region:string ${PORT} tag_separator:string ${REFRESH}`, http: true },
  marathon: {
    keys: `servers:list ${REFRESH} auth_token:secret auth_token_file:file`,
    http: true,
    required: ['servers'],
    check: (section, http) => {
      atMostOne(section, ['auth_token', 'auth_token_file']);
      const own = section.has('auth_token')
        ? 'auth_token'
        : section.has('auth_token_file')
          ? 'auth_token_file'
          : '';
      if (own !== '' && (http?.hasBasicAuth || http?.hasBearerToken || http?.hasAuthorization)) {
        throw section.error(own, 'stands beside other credentials of the same client; keep one');
      }
    },
  },
  nerve: ZOOKEEPER,
  nomad: {
    keys: `allow_stale:bool namespace:string ${REFRESH} region:string server:string tag_separator:string`,
    http: true,
    required: ['server'],
  },
  oci: {
    keys: `auth:string tenancy:string user:string fingerprint:string key_file:file key_passphrase:secret key_passphrase_file:file region:string compartments:list ${PORT} ${REFRESH}`,
    http: true,
    required: ['region'],
    check: (section) => atMostOne(section, ['key_passphrase', 'key_passphrase_file']),
  },
  openstack: {
    keys: `role:string region:string identity_endpoint:string username:string userid:string password:secret domain_name:string domain_id:string project_name:string project_id:string application_credential_name:string application_credential_id:string application_credential_secret:secret all_tenants:bool ${REFRESH} ${PORT} availability:string tls_config:tls`,
    required: ['role', 'region'],
    choices: {
      role: ['hypervisor', 'instance', 'loadbalancer'],
      availability: ['public', 'internal', 'admin'],
    },
  },
  outscale: {
    keys: `region:string access_key:string secret_key:secret secret_key_file:file endpoint:string ${PORT} ${REFRESH}`,
    http: true,
    required: ['access_key'],
    check: (section) => {
      if (section.text('region') === '') section.requiredText('region');
      exactlyOne(section, ['secret_key', 'secret_key_file']);
    },
  },
  ovhcloud: {
    keys: `application_key:string application_secret:secret consumer_key:secret service:string endpoint:string ${REFRESH}`,
    required: ['application_key', 'application_secret', 'consumer_key', 'service'],
    choices: { service: ['vps', 'dedicated_server'] },
  },
  puppetdb: {
    keys: `url:server query:string include_parameters:bool ${REFRESH} ${PORT}`,
    http: true,
    required: ['url', 'query'],
  },
  scaleway: {
    keys: `access_key:string secret_key:secret secret_key_file:file project_id:string role:string ${PORT} api_url:url zone:string name_filter:string tags_filter:list ${REFRESH}`,
    http: true,
    required: ['role', 'project_id', 'access_key'],
    choices: { role: ['instance', 'baremetal'] },
    check: (section) => exactlyOne(section, ['secret_key', 'secret_key_file']),
  },
  serverset: ZOOKEEPER,
  stackit: {
    keys: `project:string region:string endpoint:url ${PORT} private_key:secret private_key_path:file service_account_key:secret service_account_key_path:file credentials_file_path:file ${REFRESH}`,
    http: true,
    required: ['project'],
  },
  triton: {
    keys: `account:string role:string dns_suffix:string endpoint:string groups:list ${PORT} ${REFRESH} version:int tls_config:tls`,
    required: ['account', 'dns_suffix', 'endpoint'],
    choices: { role: ['container', 'cn'] },
  },
  uyuni: {
    keys: `server:url username:string password:secret entitlement:string separator:string ${REFRESH}`,
    http: true,
    required: ['server', 'username', 'password'],
  },
  vultr: { keys: `${PORT} ${REFRESH} region:string label:string`, http: true },
};

/**
 * Reads all `*_sd_configs` and `static_configs` of a section.
 *
 * @param checkAddresses  Static targets must be addresses already: no relabelling follows that could make them so.
 */
export function readDiscovery(section: Section, checkAddresses: boolean): DiscoveryConfigs {
  const askedConfigs: AskedDiscoveryConfig[] = [];
  for (const [kind, spec] of Object.entries(SPECS)) {
    const key = `${kind}_sd_configs`;
    const configs = section.sections(key);
    const built = configs.map((config) => readSpec(config, spec));
    for (const each of built) if (each !== undefined) askedConfigs.push(each);
    if (built.includes(undefined)) {
      section.notice('', `${key} is checked but not run by this version; its targets are not found`);
    }
  }
  return {
    staticConfigs: section
      .sections('static_configs')
      .map((group, i) => readStaticGroup(group, i, checkAddresses)),
    fileSdConfigs: section.sections('file_sd_configs').map(readFileDiscovery),
    askedConfigs,
  };
}

function readStaticGroup(section: Section, index: number, checkAddresses: boolean): TargetGroup {
  const targets = section.texts('targets');
  const labels = section.labels('labels');
  section.finish();
  for (const target of checkAddresses ? targets : []) {
    if (target.includes('/')) {
      throw section.error(
        'targets',
        `${JSON.stringify(target)} is not host:port; use scheme and metrics_path for the rest`,
      );
    }
  }
  return { targets, labels, source: String(index) };
}

function readFileDiscovery(section: Section): DiscoveryConfigs['fileSdConfigs'][number] {
  const patterns = section.texts('files');
  const refreshIntervalMs = section.durationMs('refresh_interval') ?? FILE_REFRESH_DEFAULT_MS;
  section.finish();
  if (patterns.length === 0) throw section.error('files', 'must name at least one file');
  for (const pattern of patterns) {
    if (!isFilePattern(pattern)) {
      throw section.error(
        'files',
        `${JSON.stringify(pattern)} is not a path that ends in .json, .yml or .yaml with a * in the last part only`,
      );
    }
  }
  const files = patterns.map((pattern) => path.resolve(section.context.baseDir, pattern));
  return { files, refreshIntervalMs };
}

/** A `*` only in the last part of the path, and an ending that says how to read the file. */
export function isFilePattern(pattern: string): boolean {
  return /^[^*]*(?:\*[^/]*)?\.(?:json|yml|yaml|JSON|YML|YAML)$/.test(pattern);
}

function readSpec(section: Section, spec: DiscoverySpec): AskedDiscoveryConfig | undefined {
  for (const entry of spec.keys.split(' ')) {
    const colon = entry.indexOf(':');
    readKey(section, entry.slice(0, colon), entry.slice(colon + 1));
  }
  for (const [key, values] of Object.entries(spec.choices ?? {})) section.choice(key, values);
  for (const key of spec.required ?? []) requireKey(section, key);
  const http = spec.http ? readHttpClient(section) : undefined;
  spec.check?.(section, http);
  section.finish();
  return spec.build?.(section, http?.config ?? PLAIN_HTTP);
}

function requireKey(section: Section, key: string): void {
  const node = section.node(key);
  if (node?.kind === 'list' ? node.items.length > 0 : node?.kind === 'scalar' && node.text !== '') return;
  throw section.error(key, 'is required and must not be empty');
}

function readKey(section: Section, key: string, type: string): void {
  switch (type) {
    case 'secret':
      section.secret(key);
      return;
    case 'duration':
      section.durationMs(key);
      return;
    case 'int':
      section.integer(key);
      return;
    case 'bool':
      section.flag(key);
      return;
    case 'list':
      section.texts(key);
      return;
    case 'map':
      section.textMap(key);
      return;
    case 'url':
      section.url(key);
      return;
    case 'server':
      section.url(key, { schemes: ['http', 'https'] });
      return;
    case 'file':
      section.file(key);
      return;
    case 'tls':
      readTls(section.section(key));
      return;
    case 'filters':
      readFilters(section, key);
      return;
    default:
      section.text(key);
  }
}

function readFilters(section: Section, key: string): void {
  for (const filter of section.sections(key)) {
    filter.requiredText('name');
    const values = filter.texts('values');
    filter.finish();
    if (values.length === 0) throw filter.error('values', 'must not be empty');
  }
}

function exactlyOne(section: Section, keys: readonly string[]): void {
  atMostOne(section, keys);
  if (!keys.some((key) => section.has(key)))
    throw section.error(keys[0]!, `is required, or ${keys.slice(1).join(', ')}`);
}
