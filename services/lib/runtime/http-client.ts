// GET requests with what a section of the configuration file says of HTTP: credentials, TLS, headers, redirects. Kept-alive
// connections; files of tokens and passwords are read at each request, certificates again when they change on disk.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { HttpClientConfig } from './config/http-client-config.ts';

/** As Go's client, which Prometheus uses. */
const REDIRECTS_MAX = 10;
/** Certificates and keys are looked at again after this long. */
const TLS_FILES_FRESH_MS = 30_000;
/** A longer body costs more than a new connection. */
const DISCARDED_BYTES_MAX = 4096;

export type HeaderValues = Record<string, string | string[]>;

export class HttpClient {
  readonly #config: HttpClientConfig;
  readonly #agents: Agents;

  constructor(config: HttpClientConfig, deps: { readonly clock: Clock }) {
    this.#config = config;
    this.#agents = new Agents(config, deps.clock);
  }

  /**
   * Sends a GET and follows redirects where the configuration allows; credentials go to the first origin only.
   *
   * @returns the response of any status; its body is the caller's to read or to destroy.
   * @throws AppError `unavailable` for a file that cannot be read or a redirect that cannot be followed; else what the
   *   connection failed with, the signal's abort included.
   */
  async get(url: URL, headers: HeaderValues, signal: AbortSignal): Promise<http.IncomingMessage> {
    const credentials = await readCredentials(this.#config);
    let target = url;
    for (let redirects = 0; ; redirects++) {
      const own = target.origin === url.origin;
      const all = own ? { ...headers, ...credentials } : headers;
      const response = await this.#send(target, all, signal);
      const { location } = response.headers;
      if (!this.#config.followRedirects || location === undefined || !isRedirect(response)) return response;
      discard(response);
      if (redirects === REDIRECTS_MAX)
        throw new AppError('unavailable', `Get "${url.href}": stopped after ${REDIRECTS_MAX} redirects`);
      target = redirectTarget(location, target);
    }
  }

  /** A kept-alive connection that the server closed at the same moment is no error: one more attempt. */
  async #send(url: URL, headers: HeaderValues, signal: AbortSignal): Promise<http.IncomingMessage> {
    const secure = url.protocol === 'https:';
    const agent = secure ? await this.#agents.https() : this.#agents.http();
    for (let attempt = 0; ; attempt++) {
      let reused = false;
      try {
        return await new Promise<http.IncomingMessage>((resolve, reject) => {
          const request = (secure ? https : http).request(url, { agent, headers, signal });
          request.once('response', resolve);
          request.once('error', (error) => {
            reused = request.reusedSocket;
            reject(error);
          });
          request.end();
        });
      } catch (caught) {
        const reset = (caught as NodeJS.ErrnoException).code === 'ECONNRESET';
        if (!reset || !reused || attempt > 0 || signal.aborted) throw caught;
      }
    }
  }

  /** Ends all connections. */
  close(): void {
    this.#agents.close();
  }
}

/**
 * Reads a whole body as text.
 *
 * @throws AppError `resource_exhausted` when it is longer than `bytesMax`; the response is destroyed then.
 */
export async function readText(response: http.IncomingMessage, bytesMax: number): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > bytesMax) {
      response.destroy();
      throw new AppError('resource_exhausted', `the answer is longer than ${bytesMax} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** Reads a short body away, so that the connection can be used again; ends the connection of any other. */
function discard(response: http.IncomingMessage): void {
  const length = Number(response.headers['content-length'] ?? Number.NaN);
  if (length <= DISCARDED_BYTES_MAX) response.resume();
  else response.destroy();
}

function isRedirect({ statusCode = 0 }: http.IncomingMessage): boolean {
  return [301, 302, 303, 307, 308].includes(statusCode);
}

function redirectTarget(location: string, from: URL): URL {
  let url: URL;
  try {
    url = new URL(location, from);
  } catch {
    throw new AppError('unavailable', `redirected to ${JSON.stringify(location)}, which is not a URL`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new AppError(
      'unavailable',
      `redirected to ${JSON.stringify(location)}, which is neither http nor https`,
    );
  }
  url.username = '';
  url.password = '';
  return url;
}

/** What may go to the target's own host only. */
async function readCredentials(config: HttpClientConfig): Promise<HeaderValues> {
  const headers: HeaderValues = {};
  for (const [name, values] of config.headers) headers[name] = values.map((value) => value.reveal());
  for (const [name, files] of config.headerFiles ?? []) {
    const contents = await Promise.all(files.map(readSecretFile));
    headers[name] = [...((headers[name] as string[] | undefined) ?? []), ...contents];
  }
  if (config.basicAuth !== undefined) {
    const username =
      config.usernameFile === undefined
        ? config.basicAuth.username
        : await readSecretFile(config.usernameFile);
    const password =
      config.passwordFile === undefined
        ? config.basicAuth.password.reveal()
        : await readSecretFile(config.passwordFile);
    headers.authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  }
  if (config.authorization !== undefined) {
    const token =
      config.credentialsFile === undefined
        ? config.authorization.credentials.reveal()
        : await readSecretFile(config.credentialsFile);
    headers.authorization = `${config.authorization.type} ${token}`;
  }
  return headers;
}

async function readSecretFile(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (caught) {
    throw new AppError(
      'unavailable',
      `cannot read ${file}: ${caught instanceof Error ? caught.message : String(caught)}`,
    );
  }
}

/** Connections by scheme. */
class Agents {
  readonly #config: HttpClientConfig;
  readonly #clock: Clock;
  #http: http.Agent | undefined;
  #https: https.Agent | undefined;
  #material: TlsMaterial | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(config: HttpClientConfig, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
  }

  http(): http.Agent {
    this.#http ??= new http.Agent({ keepAlive: true, scheduling: 'lifo' });
    return this.#http;
  }

  async https(): Promise<https.Agent> {
    if (this.#https !== undefined && this.#clock.monotonicMs() - this.#readAtMs < TLS_FILES_FRESH_MS)
      return this.#https;
    const material = await readTlsMaterial(this.#config);
    this.#readAtMs = this.#clock.monotonicMs();
    const { tls } = this.#config;
    if (this.#https === undefined || !sameMaterial(material, this.#material)) {
      this.#https?.destroy();
      this.#material = material;
      this.#https = new https.Agent({
        keepAlive: true,
        scheduling: 'lifo',
        rejectUnauthorized: !tls.insecureSkipVerify,
        ...(material.ca === undefined ? {} : { ca: material.ca }),
        ...(material.cert === undefined ? {} : { cert: material.cert }),
        ...(material.key === undefined ? {} : { key: material.key }),
        ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
        ...(tls.minVersion === undefined ? {} : { minVersion: tls.minVersion }),
        ...(tls.maxVersion === undefined ? {} : { maxVersion: tls.maxVersion }),
      });
    }
    return this.#https;
  }

  close(): void {
    this.#http?.destroy();
    this.#https?.destroy();
    this.#http = undefined;
    this.#https = undefined;
  }
}

interface TlsMaterial {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

async function readTlsMaterial({ tls }: HttpClientConfig): Promise<TlsMaterial> {
  const [ca, cert, key] = await Promise.all([
    tls.caFile === undefined ? tls.ca : readSecretFile(tls.caFile),
    tls.certFile === undefined ? tls.cert : readSecretFile(tls.certFile),
    tls.keyFile === undefined ? tls.key?.reveal() : readSecretFile(tls.keyFile),
  ]);
  return { ca, cert, key };
}

function sameMaterial(a: TlsMaterial, b: TlsMaterial | undefined): boolean {
  return b !== undefined && a.ca === b.ca && a.cert === b.cert && a.key === b.key;
}
