// Credentials, TLS, proxies and headers of an HTTP client, as every section that speaks HTTP spells them.
import { JWT_BEARER } from '../jwt-assertion.ts';
import type { Place } from './config-error.ts';
import type { ConfigNode } from './config-node.ts';
import type {
  HttpClientConfig,
  JwtAlgorithm,
  JwtAssertionConfig,
  Oauth2Config,
  ProxyConfig,
  TlsConfig,
  TlsVersion,
} from './http-client-config.ts';
import { Secret } from './secret.ts';
import { REDACTED, type Section } from './section.ts';

const TLS_VERSIONS: Readonly<Record<string, TlsVersion>> = {
  TLS10: 'TLSv1',
  TLS11: 'TLSv1.1',
  TLS12: 'TLSv1.2',
  TLS13: 'TLSv1.3',
};

/** Headers that the client sets itself; lower case. */
const RESERVED_HEADERS = new Set([
  'authorization',
  'host',
  'content-encoding',
  'content-length',
  'content-type',
  'user-agent',
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'www-authenticate',
  'accept-encoding',
  'x-prometheus-remote-write-version',
  'x-prometheus-remote-read-version',
  'x-prometheus-scrape-timeout-seconds',
  'x-amz-date',
  'x-amz-security-token',
  'x-amz-content-sha256',
]);

/** Which kinds of credentials a section carries, for rules that span sections. */
export interface HttpClientSection {
  readonly config: HttpClientConfig;
  readonly hasBasicAuth: boolean;
  readonly hasAuthorization: boolean;
  readonly hasBearerToken: boolean;
  readonly hasOauth2: boolean;
  /** True when any key that differs from the defaults is set. */
  readonly isCustom: boolean;
}

/** A client without any settings. */
export const PLAIN_HTTP: HttpClientConfig = {
  basicAuth: undefined,
  authorization: undefined,
  credentialsFile: undefined,
  passwordFile: undefined,
  tls: {
    caFile: undefined,
    certFile: undefined,
    keyFile: undefined,
    serverName: undefined,
    insecureSkipVerify: false,
  },
  followRedirects: true,
  headers: new Map(),
};

/** Reads the HTTP client keys that stand directly in `section`. */
export function readHttpClient(
  section: Section,
  options: { readonly httpHeaders?: boolean } = {},
): HttpClientSection {
  const basic = readBasicAuth(section);
  const authorization = readAuthorization(section);
  const bearerToken = section.secret('bearer_token');
  const bearerTokenFile = section.file('bearer_token_file');
  const oauth2 = section.section('oauth2');
  const hasBearerToken = bearerToken !== undefined || bearerTokenFile !== undefined;
  if (bearerToken !== undefined && bearerTokenFile !== undefined) {
    throw section.error('bearer_token_file', 'stands beside bearer_token; keep one of the two');
  }
  if (hasBearerToken && authorization !== undefined) {
    throw section.error('authorization', 'stands beside bearer_token; keep one of the two');
  }
  const kinds = [
    basic !== undefined && 'basic_auth',
    authorization !== undefined && 'authorization',
    hasBearerToken && (bearerToken === undefined ? 'bearer_token_file' : 'bearer_token'),
    oauth2 !== undefined && 'oauth2',
  ].filter((kind) => kind !== false);
  if (kinds.length > 1) throw section.error(kinds[1]!, `stands beside ${kinds[0]!}; keep one of the two`);
  const tlsSection = section.section('tls_config');
  const tls = readTls(tlsSection);
  const proxy = readProxy(section);
  const followRedirects = section.flag('follow_redirects') ?? true;
  section.flag('enable_http2');
  const headers = options.httpHeaders === false ? NO_HEADERS : readHttpHeaders(section);
  const credentials = authorization?.credentials ?? bearerToken;
  return {
    config: {
      basicAuth: basic?.basicAuth,
      authorization:
        authorization === undefined && !hasBearerToken
          ? undefined
          : { type: authorization?.type ?? 'Bearer', credentials: credentials ?? new Secret('') },
      credentialsFile: authorization?.credentialsFile ?? bearerTokenFile,
      passwordFile: basic?.passwordFile,
      usernameFile: basic?.usernameFile,
      tls,
      followRedirects,
      headers: headers.values,
      headerFiles: headers.files,
      oauth2: oauth2 === undefined ? undefined : readOauth2(oauth2),
      proxy,
    },
    hasBasicAuth: basic !== undefined,
    hasAuthorization: authorization !== undefined,
    hasBearerToken,
    hasOauth2: oauth2 !== undefined,
    isCustom: kinds.length > 0 || tlsSection !== undefined || proxy !== undefined || !followRedirects,
  };
}

interface BasicAuth {
  readonly basicAuth: { readonly username: string; readonly password: Secret };
  readonly usernameFile: string | undefined;
  readonly passwordFile: string | undefined;
}

function readBasicAuth(parent: Section): BasicAuth | undefined {
  const section = parent.section('basic_auth');
  if (section === undefined) return undefined;
  const username = section.text('username');
  const usernameFile = section.file('username_file');
  const password = section.secret('password');
  const passwordFile = section.file('password_file');
  atMostOne(section, ['username', 'username_file']);
  atMostOne(section, ['password', 'password_file']);
  section.finish();
  return {
    basicAuth: { username: username ?? '', password: password ?? new Secret('') },
    usernameFile,
    passwordFile,
  };
}

interface Authorization {
  readonly type: string;
  readonly credentials: Secret | undefined;
  readonly credentialsFile: string | undefined;
}

function readAuthorization(parent: Section): Authorization | undefined {
  const section = parent.section('authorization');
  if (section === undefined) return undefined;
  const type = (section.text('type') ?? '').trim() || 'Bearer';
  if (type.toLowerCase() === 'basic') {
    throw section.error('type', `${JSON.stringify(type)} cannot be used here; use basic_auth`);
  }
  const credentials = section.secret('credentials');
  const credentialsFile = section.file('credentials_file');
  atMostOne(section, ['credentials', 'credentials_file']);
  section.finish();
  return { type, credentials, credentialsFile };
}

function readOauth2(section: Section): Oauth2Config {
  const clientId = section.requiredText('client_id');
  const clientSecret = section.secret('client_secret');
  const clientSecretFile = section.file('client_secret_file');
  const grantType = section.text('grant_type') ?? '';
  const isAssertion = grantType === JWT_BEARER;
  const assertion = readAssertion(section, isAssertion);
  if (!isAssertion) atMostOne(section, ['client_secret', 'client_secret_file']);
  if (!['', 'client_credentials', JWT_BEARER].includes(grantType)) {
    section.notice(
      'grant_type',
      `${grantType} is not known, to Prometheus neither; client_credentials is used`,
    );
  }
  const scopes = section.texts('scopes');
  const tokenUrl = section.requiredText('token_url');
  section.url('token_url');
  const endpointParams = section.textMap('endpoint_params');
  const tls = readTls(section.section('tls_config'));
  const proxy = readProxy(section);
  section.finish();
  return {
    clientId,
    clientSecret: clientSecret ?? new Secret(''),
    clientSecretFile,
    scopes,
    tokenUrl,
    endpointParams,
    assertion: isAssertion ? assertion : undefined,
    tls,
    proxy,
  };
}

/** The keys of the assertion are read in any case, and checked where they are used, as Prometheus does. */
function readAssertion(section: Section, isUsed: boolean): JwtAssertionConfig {
  const key = section.secret('client_certificate_key');
  const keyFile = section.file('client_certificate_key_file');
  const algorithm = section.text('signature_algorithm') || 'RS256';
  if (isUsed) {
    atMostOne(section, ['client_certificate_key', 'client_certificate_key_file']);
    if (!isAlgorithm(algorithm))
      throw section.error(
        'signature_algorithm',
        `${JSON.stringify(algorithm)} is none of RS256, RS384 and RS512`,
      );
  }
  return {
    key: key ?? new Secret(''),
    keyFile,
    keyId: section.text('client_certificate_key_id') ?? '',
    algorithm: isAlgorithm(algorithm) ? algorithm : 'RS256',
    issuer: section.text('iss') ?? '',
    audience: section.text('audience') ?? '',
    claims: Object.fromEntries(section.mapEntries('claims').map(([name, node]) => [name, yamlValueOf(node)])),
  };
}

function isAlgorithm(text: string): text is JwtAlgorithm {
  return text === 'RS256' || text === 'RS384' || text === 'RS512';
}

/** A value of any kind, as YAML has it. */
function yamlValueOf(node: ConfigNode): unknown {
  switch (node.kind) {
    case 'null':
      return null;
    case 'list':
      return node.items.map(yamlValueOf);
    case 'map':
      return Object.fromEntries([...node.entries].map(([name, { value }]) => [name, yamlValueOf(value)]));
    case 'scalar':
      return node.plain ? plainYamlValue(node.text) : node.text;
  }
}

function plainYamlValue(text: string): unknown {
  if (/^(?:true|True|TRUE|yes|Yes|YES|on|On|ON)$/.test(text)) return true;
  if (/^(?:false|False|FALSE|no|No|NO|off|Off|OFF)$/.test(text)) return false;
  return /^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$/.test(text) ? Number(text) : text;
}

/** Reads a tls_config; undefined gives the defaults. */
export function readTls(section: Section | undefined): TlsConfig {
  if (section === undefined) return PLAIN_HTTP.tls;
  const tls: TlsConfig = {
    ca: section.text('ca'),
    caFile: section.file('ca_file'),
    cert: section.text('cert'),
    certFile: section.file('cert_file'),
    key: section.secret('key'),
    keyFile: section.file('key_file'),
    serverName: section.text('server_name'),
    insecureSkipVerify: section.flag('insecure_skip_verify') ?? false,
    minVersion: readTlsVersion(section, 'min_version'),
    maxVersion: readTlsVersion(section, 'max_version'),
  };
  for (const name of ['ca', 'cert', 'key']) atMostOne(section, [name, `${name}_file`]);
  const hasCert = tls.cert !== undefined || tls.certFile !== undefined;
  const hasKey = tls.key !== undefined || tls.keyFile !== undefined;
  if (hasCert && !hasKey)
    throw section.error('cert_file', 'a client certificate needs key or key_file as well');
  if (hasKey && !hasCert) throw section.error('key_file', 'a client key needs cert or cert_file as well');
  if (tls.minVersion !== undefined && tls.maxVersion !== undefined && tls.maxVersion < tls.minVersion) {
    throw section.error('max_version', `${tls.maxVersion} is lower than min_version ${tls.minVersion}`);
  }
  section.finish();
  return tls;
}

function readTlsVersion(section: Section, key: string): TlsVersion | undefined {
  const name = section.choice(key, Object.keys(TLS_VERSIONS));
  return name === undefined ? undefined : TLS_VERSIONS[name];
}

/** Reads and checks the proxy keys. */
function readProxy(section: Section): ProxyConfig | undefined {
  const proxyUrl = section.url('proxy_url');
  const fromEnvironment = section.flag('proxy_from_environment') ?? false;
  const noProxy = section.text('no_proxy');
  const headers = section.mapEntries('proxy_connect_header');
  const connectHeaders = new Map<string, readonly Secret[]>();
  for (const [name, value, keyPath] of headers) {
    if (value.kind !== 'list') throw section.errorAt(value, keyPath, 'takes a list of values');
    const values: Secret[] = [];
    for (const item of value.items) {
      if (item.kind !== 'scalar') continue;
      values.push(new Secret(item.text));
      if (item.scalar !== undefined) section.context.redactions.set(item.scalar, REDACTED);
    }
    connectHeaders.set(name, values);
  }
  const hasProxyUrl = proxyUrl !== undefined && proxyUrl !== '';
  if (headers.length > 0 && !hasProxyUrl && !fromEnvironment) {
    throw section.error('proxy_connect_header', 'needs proxy_url or proxy_from_environment as well');
  }
  if (fromEnvironment && hasProxyUrl)
    throw section.error('proxy_url', 'stands beside proxy_from_environment; keep one');
  if (fromEnvironment && noProxy)
    throw section.error('no_proxy', 'stands beside proxy_from_environment; keep one');
  if (noProxy && !hasProxyUrl) throw section.error('no_proxy', 'needs proxy_url as well');
  const own = connectHeaders.size === 0 ? {} : { connectHeaders };
  if (fromEnvironment) return { kind: 'environment', ...own };
  return hasProxyUrl ? { kind: 'url', url: new Secret(proxyUrl), noProxy: noProxy ?? '', ...own } : undefined;
}

const NO_HEADERS: {
  readonly values: ReadonlyMap<string, readonly Secret[]>;
  readonly files: ReadonlyMap<string, readonly string[]>;
} = { values: new Map(), files: new Map() };

function readHttpHeaders(section: Section): typeof NO_HEADERS {
  const values = new Map<string, readonly Secret[]>();
  const files = new Map<string, readonly string[]>();
  for (const [name, node, keyPath] of section.mapEntries('http_headers')) {
    checkHeaderName(section, name, node, keyPath);
    const header = section.sectionOf(node, keyPath);
    const open = header.texts('values').map((value) => new Secret(value));
    const hidden = header.secrets('secrets');
    const paths = header.files('files');
    header.finish();
    if (open.length + hidden.length > 0) values.set(name, [...open, ...hidden]);
    if (paths.length > 0) files.set(name, paths);
  }
  return { values, files };
}

/** Reads a `headers` map of plain values, as remote_write, remote_read and tracing have it. */
export function readPlainHeaders(section: Section): ReadonlyMap<string, string> {
  for (const [name, node, keyPath] of section.mapEntries('headers'))
    checkHeaderName(section, name, node, keyPath);
  return section.textMap('headers');
}

function checkHeaderName(section: Section, name: string, at: Place, keyPath: string): void {
  if (RESERVED_HEADERS.has(name.toLowerCase())) {
    const remedy = name.toLowerCase() === 'authorization' ? 'use basic_auth or authorization' : 'remove it';
    throw section.errorAt(
      at,
      keyPath,
      `header ${JSON.stringify(name)} is set by the client itself; ${remedy}`,
    );
  }
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) {
    throw section.errorAt(at, keyPath, `${JSON.stringify(name)} is not a header name`);
  }
}

/** Refuses a section in which more than one of `keys` is set. */
export function atMostOne(section: Section, keys: readonly string[]): void {
  const set = keys.filter((key) => section.has(key) && section.text(key) !== '');
  if (set.length > 1) throw section.error(set[1]!, `stands beside ${set[0]!}; keep one of the two`);
}
