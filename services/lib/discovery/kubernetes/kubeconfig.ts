// A kubeconfig file: the cluster, and the credentials, of its current context.
import path from 'node:path';
import { parse } from 'yaml';
import { AppError } from '../../core/errors.ts';
import type { HttpClientConfig } from '../../runtime/config/http-client-config.ts';
import { Secret } from '../../runtime/config/secret.ts';
import { isJsonObject, type JsonObject, textOf } from '../json.ts';

/** An API server and how to talk to it. */
export interface ApiEndpoint {
  readonly url: URL;
  readonly http: HttpClientConfig;
}

/**
 * Reads the text of a kubeconfig. Relative paths in it are of its own folder.
 *
 * @throws AppError `bad_data` naming file, key and remedy. Credentials that a program would have to fetch (`exec`,
 *   `auth-provider`) are refused: this process runs no programs.
 */
export function readKubeconfig(text: string, file: string): ApiEndpoint {
  const root = parseRoot(text, file);
  const contextName = textOf(root['current-context']);
  if (contextName === '') throw problem(file, 'current-context', 'is empty; name the context to be used');
  const context = named(root, 'contexts', contextName, 'context', file);
  const cluster = named(root, 'clusters', textOf(context.cluster), 'cluster', file);
  const userName = textOf(context.user);
  const user = userName === '' ? {} : named(root, 'users', userName, 'user', file);
  const server = textOf(cluster.server);
  if (!URL.canParse(server)) throw problem(file, 'server', `${JSON.stringify(server)} is not a URL`);
  for (const key of ['exec', 'auth-provider']) {
    if (isJsonObject(user[key])) {
      throw problem(
        file,
        key,
        'needs a program to be run, which is not done; use a token, tokenFile or client certificate',
      );
    }
  }
  if (textOf(cluster['proxy-url']) !== '') throw problem(file, 'proxy-url', 'is not supported; remove it');
  return { url: new URL(server), http: httpOf(cluster, user, path.dirname(file)) };
}

function parseRoot(text: string, file: string): JsonObject {
  let root: unknown;
  try {
    root = parse(text, { maxAliasCount: 0 });
  } catch (caught) {
    throw problem(file, '', `malformed YAML: ${caught instanceof Error ? caught.message : String(caught)}`);
  }
  if (!isJsonObject(root)) throw problem(file, '', 'is not a kubeconfig: a map is expected');
  return root;
}

/** The body of the item of that name in a list of `{name, <body>}`. */
function named(root: JsonObject, list: string, name: string, body: string, file: string): JsonObject {
  const items: unknown = root[list];
  const found = Array.isArray(items)
    ? items.filter(isJsonObject).find((item) => item.name === name)
    : undefined;
  const value = found?.[body];
  if (!isJsonObject(value)) throw problem(file, list, `has no item named ${JSON.stringify(name)}`);
  return value;
}

function httpOf(cluster: JsonObject, user: JsonObject, folder: string): HttpClientConfig {
  const file = (of: JsonObject, key: string): string | undefined => {
    const name = textOf(of[key]);
    return name === '' ? undefined : path.resolve(folder, name);
  };
  // The text of a `…-data` key wins over the file, as in kubectl.
  const pem = (of: JsonObject, key: string): string | undefined => {
    const encoded = textOf(of[`${key}-data`]);
    return encoded === '' ? undefined : Buffer.from(encoded, 'base64').toString('utf8');
  };
  const material = (of: JsonObject, key: string) => {
    const own = pem(of, key);
    return { text: own, file: own === undefined ? file(of, key) : undefined };
  };
  const ca = material(cluster, 'certificate-authority');
  const cert = material(user, 'client-certificate');
  const key = material(user, 'client-key');
  const tokenFile = file(user, 'tokenFile');
  const token = textOf(user.token);
  const username = textOf(user.username);
  return {
    basicAuth: username === '' ? undefined : { username, password: new Secret(textOf(user.password)) },
    authorization:
      token === '' && tokenFile === undefined
        ? undefined
        : { type: 'Bearer', credentials: new Secret(token) },
    credentialsFile: tokenFile,
    passwordFile: undefined,
    tls: {
      ca: ca.text,
      caFile: ca.file,
      cert: cert.text,
      certFile: cert.file,
      key: key.text === undefined ? undefined : new Secret(key.text),
      keyFile: key.file,
      serverName: textOf(cluster['tls-server-name']) || undefined,
      insecureSkipVerify: cluster['insecure-skip-tls-verify'] === true,
    },
    followRedirects: true,
    headers: new Map(),
  };
}

function problem(file: string, key: string, what: string): AppError {
  return new AppError('bad_data', `${file}: ${key === '' ? '' : `${key}: `}${what}`);
}
