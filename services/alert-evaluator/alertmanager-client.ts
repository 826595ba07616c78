// Posts alerts to one Alertmanager: its v2 API, with the credentials and TLS of the configuration. Files that hold
// credentials are read at each request, so that a rotation needs no reload.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { AppError } from '../lib/core/errors.ts';
import type { HttpClientConfig, TlsConfig } from '../lib/runtime/config/http-client-config.ts';

/** Most of an error reply that is read for its message, bytes. */
const REPLY_BYTES_MAX = 4096;
const REDIRECTS_MAX = 5;

/** Connections of one Alertmanager's section, kept open between rounds. */
export class AlertmanagerClient {
  readonly #config: HttpClientConfig;
  readonly #http = new http.Agent({ keepAlive: true, maxSockets: 4 });
  readonly #https = new https.Agent({ keepAlive: true, maxSockets: 4 });

  constructor(config: HttpClientConfig) {
    this.#config = config;
  }

  /**
   * Posts a JSON body.
   *
   * @throws AppError `unavailable` when the request fails or is answered with anything but 2xx; the signal's reason.
   */
  async post(url: URL, body: Uint8Array, signal: AbortSignal): Promise<void> {
    let target = url;
    for (let redirects = 0; ; redirects++) {
      const headers = await this.#headers(target.host === url.host);
      const tls = target.protocol === 'https:' ? await tlsOptions(this.#config.tls) : {};
      const reply = await this.#request(target, body, headers, tls, signal);
      if (reply.status >= 200 && reply.status < 300) return;
      const next = redirectOf(reply, target);
      if (next === undefined || !this.#config.followRedirects || redirects >= REDIRECTS_MAX) {
        throw new AppError('unavailable', `bad response status ${reply.status}: ${reply.text}`.trimEnd());
      }
      target = next;
    }
  }

  /** Closes idle connections. */
  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  /** @param withCredentials  False behind a redirect to another host. */
  async #headers(withCredentials: boolean): Promise<http.OutgoingHttpHeaders> {
    const headers: Record<string, string | string[]> = {
      'Content-Type': 'application/json',
      'User-Agent': 'Tidemark',
    };
    if (!withCredentials) return headers;
    const { basicAuth, authorization, credentialsFile, passwordFile, usernameFile } = this.#config;
    if (basicAuth !== undefined || passwordFile !== undefined || usernameFile !== undefined) {
      const user = usernameFile === undefined ? (basicAuth?.username ?? '') : await readSecret(usernameFile);
      const password =
        passwordFile === undefined ? (basicAuth?.password.reveal() ?? '') : await readSecret(passwordFile);
      headers.Authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    } else if (authorization !== undefined || credentialsFile !== undefined) {
      const credentials =
        credentialsFile === undefined
          ? (authorization?.credentials.reveal() ?? '')
          : await readSecret(credentialsFile);
      headers.Authorization = `${authorization?.type ?? 'Bearer'} ${credentials}`;
    }
    for (const [name, values] of this.#config.headers) headers[name] = values.map((value) => value.reveal());
    for (const [name, files] of this.#config.headerFiles ?? []) {
      const values = await Promise.all(files.map(readSecret));
      headers[name] = [...[headers[name] ?? []].flat(), ...values];
    }
    return headers;
  }

  #request(
    url: URL,
    body: Uint8Array,
    headers: http.OutgoingHttpHeaders,
    tls: https.RequestOptions,
    signal: AbortSignal,
  ): Promise<Reply> {
    const secure = url.protocol === 'https:';
    const options: https.RequestOptions = {
      method: 'POST',
      headers: { ...headers, 'Content-Length': body.length },
      agent: secure ? this.#https : this.#http,
      signal,
      ...tls,
    };
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => reject(signal.aborted ? signal.reason : requestError(error));
      const request = secure ? https.request(url, options) : http.request(url, options);
      request.on('error', fail);
      request.on('response', (response) => {
        readReply(response).then(resolve, fail);
      });
      request.end(body);
    });
  }
}

interface Reply {
  readonly status: number;
  readonly location: string | undefined;
  readonly text: string;
}

async function readReply(response: http.IncomingMessage): Promise<Reply> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    if (size < REPLY_BYTES_MAX) pieces.push(piece);
    size += piece.length;
  }
  const text = Buffer.concat(pieces).subarray(0, REPLY_BYTES_MAX).toString('utf8');
  return { status: response.statusCode ?? 0, location: response.headers.location, text };
}

function requestError(error: Error): AppError {
  return new AppError('unavailable', error.message || String((error as NodeJS.ErrnoException).code), {
    cause: error,
  });
}

/** Where a reply sends the same request; only the codes that keep method and body count. */
function redirectOf(reply: Reply, from: URL): URL | undefined {
  if ((reply.status !== 307 && reply.status !== 308) || reply.location === undefined) return undefined;
  if (!URL.canParse(reply.location, from.href)) return undefined;
  const target = new URL(reply.location, from);
  return target.protocol === 'http:' || target.protocol === 'https:' ? target : undefined;
}

async function readSecret(file: string): Promise<string> {
  return (await readFile(file, 'utf8')).trim();
}

async function tlsOptions(tls: TlsConfig): Promise<https.RequestOptions> {
  const pem = async (file: string | undefined, text: string | undefined) =>
    file === undefined ? text : await readFile(file, 'utf8');
  const ca = await pem(tls.caFile, tls.ca);
  const cert = await pem(tls.certFile, tls.cert);
  const key = await pem(tls.keyFile, tls.key?.reveal());
  return {
    rejectUnauthorized: !tls.insecureSkipVerify,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    ...(tls.minVersion === undefined ? {} : { minVersion: tls.minVersion }),
    ...(tls.maxVersion === undefined ? {} : { maxVersion: tls.maxVersion }),
  };
}
