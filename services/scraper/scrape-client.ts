// Fetches expositions over HTTP: kept-alive connections, credentials, TLS, redirects, gzip, and a bound on the bytes of every
// body, compressed and not. One client per job; certificates are read again when they change on disk.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { gunzip } from 'node:zlib';
import type { Clock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import type {
  HttpClientConfig,
  ScrapeConfig,
  ScrapeProtocol,
} from '../lib/runtime/config/prometheus-config.ts';
import type { BodyBuffers } from './body-buffers.ts';

/** As Go's client, which Prometheus uses. */
const REDIRECTS_MAX = 10;
/** Certificates and keys are looked at again after this long. */
const TLS_FILES_FRESH_MS = 30_000;

const ACCEPT: Readonly<Record<ScrapeProtocol, string>> = {
  PrometheusProto:
    'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited',
  'OpenMetricsText0.0.1': 'application/openmetrics-text;version=0.0.1',
  'OpenMetricsText1.0.0': 'application/openmetrics-text;version=1.0.0',
  'PrometheusText0.0.4': 'text/plain;version=0.0.4',
  'PrometheusText1.0.0': 'text/plain;version=1.0.0',
};

/** An exposition. The owner calls `release` when done with `bytes`. */
export interface ScrapeResponse {
  /** Valid in [0, length) until `release`. */
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly contentType: string;
  release(): void;
}

export interface ScrapeRequest {
  readonly url: URL;
  readonly timeoutMs: number;
  /** Bytes of the body, decompressed. */
  readonly bodyBytesMax: number;
  /** Ends the scrape early: the target is gone, the process stops. */
  readonly signal: AbortSignal;
}

export interface ScrapeClient {
  /** @throws AppError `unavailable` with what went wrong; `resource_exhausted` when the body is over its limit. */
  fetch(request: ScrapeRequest): Promise<ScrapeResponse>;
  close(): void;
}

/** The body was larger than allowed: scrape_body_size_bytes is then -1. */
export class BodyTooLargeError extends AppError {
  constructor(bodyBytesMax: number) {
    super(
      'resource_exhausted',
      `body size limit exceeded: more than ${bodyBytesMax} bytes (body_size_limit)`,
    );
    this.name = 'BodyTooLargeError';
  }
}

export function createScrapeClient(
  config: ScrapeConfig,
  options: { readonly version: string },
  deps: { readonly buffers: BodyBuffers; readonly clock: Clock },
): ScrapeClient {
  const agents = new Agents(config.http, deps.clock);
  const accept = acceptHeader(config);
  return {
    fetch: async (request) => {
      const headers = {
        accept,
        'accept-encoding': config.enableCompression ? 'gzip' : 'identity',
        'user-agent': `Tidemark/${options.version}`,
        'x-prometheus-scrape-timeout-seconds': String(request.timeoutMs / 1000),
      };
      const deadline = AbortSignal.timeout(request.timeoutMs);
      const signal = AbortSignal.any([request.signal, deadline]);
      try {
        const credentials = await readCredentials(config.http);
        return await follow(request, headers, credentials, config, agents, deps.buffers, signal);
      } catch (caught) {
        if (caught instanceof AppError) throw caught;
        if (deadline.aborted && !request.signal.aborted) {
          throw new AppError(
            'unavailable',
            `Get "${request.url.href}": no complete answer within ${request.timeoutMs / 1000}s (scrape_timeout)`,
          );
        }
        const reason = caught instanceof Error ? caught.message : String(caught);
        throw new AppError('unavailable', `Get "${request.url.href}": ${reason}`, { cause: caught });
      }
    },
    close: () => agents.close(),
  };
}

/** The formats that are read, best first, and anything as a last resort. The weights are Prometheus' own. */
export function acceptHeader(config: Pick<ScrapeConfig, 'scrapeProtocols' | 'nameEscaping'>): string {
  let weight = Object.keys(ACCEPT).length + 1;
  const parts: string[] = [];
  for (const protocol of config.scrapeProtocols) {
    const escaping = protocol.endsWith('1.0.0') ? `;escaping=${config.nameEscaping}` : '';
    parts.push(`${ACCEPT[protocol]}${escaping};q=0.${weight--}`);
  }
  parts.push(`*/*;q=0.${weight}`);
  return parts.join(',');
}

type HeaderValues = Record<string, string | string[]>;

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

async function follow(
  request: ScrapeRequest,
  headers: HeaderValues,
  credentials: HeaderValues,
  config: ScrapeConfig,
  agents: Agents,
  buffers: BodyBuffers,
  signal: AbortSignal,
): Promise<ScrapeResponse> {
  let url = request.url;
  for (let redirects = 0; ; redirects++) {
    const own = url.origin === request.url.origin;
    const response = await send(url, own ? { ...headers, ...credentials } : headers, agents, signal);
    const status = response.statusCode ?? 0;
    const location = response.headers.location;
    if (config.http.followRedirects && location !== undefined && [301, 302, 303, 307, 308].includes(status)) {
      response.destroy();
      if (redirects === REDIRECTS_MAX)
        throw new AppError(
          'unavailable',
          `Get "${request.url.href}": stopped after ${REDIRECTS_MAX} redirects`,
        );
      url = redirectTarget(location, url);
      continue;
    }
    if (status !== 200) {
      response.destroy();
      throw new AppError(
        'unavailable',
        `server returned HTTP status ${status} ${response.statusMessage ?? ''}`.trimEnd(),
      );
    }
    return readBody(response, request.bodyBytesMax, buffers);
  }
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

/** Sends a GET. A kept-alive connection that the server closed at the same moment is no error: one more attempt. */
async function send(
  url: URL,
  headers: HeaderValues,
  agents: Agents,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const secure = url.protocol === 'https:';
  const agent = secure ? await agents.https() : agents.http();
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

async function readBody(
  response: http.IncomingMessage,
  bodyBytesMax: number,
  buffers: BodyBuffers,
): Promise<ScrapeResponse> {
  const contentType = response.headers['content-type'] ?? '';
  const encoding = response.headers['content-encoding'] ?? 'identity';
  let buffer = buffers.acquire();
  let length = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      const needed = length + piece.length;
      if (needed > bodyBytesMax) throw new BodyTooLargeError(bodyBytesMax);
      if (needed > buffer.length) buffer = buffers.grow(buffer, length, needed);
      buffer.set(piece, length);
      length = needed;
    }
    if (encoding === 'identity') {
      const own = buffer;
      return { bytes: own, length, contentType, release: () => buffers.release(own) };
    }
    if (encoding !== 'gzip')
      throw new AppError('unavailable', `content encoding ${JSON.stringify(encoding)} was not asked for`);
    const plain = await decompress(buffer.subarray(0, length), bodyBytesMax);
    buffers.release(buffer);
    return { bytes: plain, length: plain.length, contentType, release: () => {} };
  } catch (caught) {
    response.destroy();
    buffers.release(buffer);
    throw caught;
  }
}

/** On the thread pool, so that large bodies do not stall other targets. */
function decompress(bytes: Uint8Array, bodyBytesMax: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    gunzip(bytes, { maxOutputLength: bodyBytesMax }, (error, plain) => {
      if (error === null) resolve(plain);
      else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
        reject(new BodyTooLargeError(bodyBytesMax));
      else reject(new AppError('unavailable', `the gzip body is damaged: ${error.message}`));
    });
  });
}

/** The connections of a job. */
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
