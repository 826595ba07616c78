// Credentials, TLS and proxies of monitors as keys of prometheus.yml. Values of secrets stand in the job itself, certificates
// as text.
import { AppError } from '../../core/errors.ts';
import type { JsonObject } from '../json.ts';
import {
  copy,
  inField,
  type JobContext,
  MonitorProblem,
  objectAt,
  objectsAt,
  PendingReference,
  type ScrapeJob,
  textAt,
} from './monitor-object.ts';

/** All that a monitor may say of HTTP, where it says it. */
export function addHttpSettings(job: ScrapeJob, of: JsonObject, context: JobContext): void {
  copy(job, of, 'followRedirects:follow_redirects enableHttp2:enable_http2 enableHTTP2:enable_http2');
  addProxy(job, of, context);
  addTls(job, of, context);
  addBearerToken(job, of, context);
  addBasicAuth(job, of, context);
  addAuthorization(job, of, context);
  addOauth2(job, of, context);
}

function addBearerToken(job: ScrapeJob, of: JsonObject, context: JobContext): void {
  const file = textAt(of, 'bearerTokenFile');
  if (file !== '') job.bearer_token_file = allowedFile('bearerTokenFile', file, context);
  const reference = objectAt(of, 'bearerTokenSecret');
  if (textAt(reference, 'name') !== '') job.bearer_token = secretOf('bearerTokenSecret', reference, context);
}

function addBasicAuth(job: ScrapeJob, of: JsonObject, context: JobContext): void {
  if (!has(of, 'basicAuth')) return;
  const auth = objectAt(of, 'basicAuth');
  job.basic_auth = inField('basicAuth', () => ({
    username: secretOf('username', objectAt(auth, 'username'), context),
    password: secretOf('password', objectAt(auth, 'password'), context),
  }));
}

function addAuthorization(job: ScrapeJob, of: JsonObject, context: JobContext): void {
  const own = objectAt(of, 'authorization');
  if (Object.keys(own).length === 0) return;
  const authorization: Record<string, unknown> = { type: textAt(own, 'type').trim() || 'Bearer' };
  if (has(own, 'credentials'))
    authorization.credentials = inField('authorization', () =>
      secretOf('credentials', objectAt(own, 'credentials'), context),
    );
  job.authorization = authorization;
}

function addOauth2(job: ScrapeJob, of: JsonObject, context: JobContext): void {
  if (!has(of, 'oauth2')) return;
  const own = objectAt(of, 'oauth2');
  job.oauth2 = inField('oauth2', () => {
    const oauth2: ScrapeJob = {
      client_id: secretOrConfigMapOf('clientId', objectAt(own, 'clientId'), context),
      client_secret: secretOf('clientSecret', objectAt(own, 'clientSecret'), context),
    };
    copy(oauth2, own, 'tokenUrl:token_url scopes endpointParams:endpoint_params');
    addProxy(oauth2, own, context);
    addTls(oauth2, own, context);
    return oauth2;
  });
}

export function addTls(job: ScrapeJob, of: JsonObject, context: JobContext): void {
  const own = objectAt(of, 'tlsConfig');
  if (Object.keys(own).length === 0) return;
  job.tls_config = inField('tlsConfig', () => {
    const tls: ScrapeJob = {};
    copy(
      tls,
      own,
      'insecureSkipVerify:insecure_skip_verify serverName:server_name minVersion:min_version maxVersion:max_version',
    );
    for (const key of ['ca', 'cert']) {
      if (Object.keys(objectAt(own, key)).length > 0)
        tls[key] = secretOrConfigMapOf(key, objectAt(own, key), context);
    }
    if (has(own, 'keySecret')) tls.key = secretOf('keySecret', objectAt(own, 'keySecret'), context);
    for (const [from, to] of [
      ['caFile', 'ca_file'],
      ['certFile', 'cert_file'],
      ['keyFile', 'key_file'],
    ] as const) {
      const file = textAt(own, from);
      if (file !== '') tls[to] = allowedFile(from, file, context);
    }
    return tls;
  });
}

export function addProxy(job: ScrapeJob, of: JsonObject, context: JobContext): void {
  copy(job, of, 'proxyUrl:proxy_url noProxy:no_proxy proxyFromEnvironment:proxy_from_environment');
  const headers = objectAt(of, 'proxyConnectHeader');
  if (Object.keys(headers).length === 0) return;
  job.proxy_connect_header = Object.fromEntries(
    Object.keys(headers).map((name) => [
      name,
      objectsAt(headers, name).map((reference) => secretOf('proxyConnectHeader', reference, context)),
    ]),
  );
}

/** The value of a `{name, key}` of a secret in the monitor's own namespace. */
export function secretOf(field: string, reference: JsonObject, context: JobContext): string {
  return referredTo(field, 'Secret', reference, context);
}

function secretOrConfigMapOf(field: string, choice: JsonObject, context: JobContext): string {
  if (has(choice, 'configMap')) return referredTo(field, 'ConfigMap', objectAt(choice, 'configMap'), context);
  return referredTo(field, 'Secret', objectAt(choice, 'secret'), context);
}

function referredTo(
  field: string,
  kind: 'Secret' | 'ConfigMap',
  reference: JsonObject,
  context: JobContext,
): string {
  const name = textAt(reference, 'name');
  const key = textAt(reference, 'key');
  if (name === '' || key === '') throw new MonitorProblem(field, `needs name and key of a ${kind}`);
  try {
    return context.references.read(kind, context.namespace, name, key);
  } catch (caught) {
    if (caught instanceof PendingReference || !(caught instanceof AppError)) throw caught;
    throw new MonitorProblem(field, caught.message);
  }
}

function allowedFile(field: string, file: string, { allowsFiles }: JobContext): string {
  if (allowsFiles) return file;
  throw new MonitorProblem(
    field,
    'names a file, which tidemark.kubernetes_monitors.deny_file_access forbids; use a secret',
  );
}

function has(of: JsonObject, key: string): boolean {
  return of[key] !== undefined && of[key] !== null;
}
