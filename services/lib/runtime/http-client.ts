// Requests with what a section of the configuration file says of HTTP: credentials, tokens, headers, redirects; connections are
// http-agents.ts. Files of tokens and passwords are read at each request.
import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { HttpClientConfig } from './config/http-client-config.ts';
import { HttpAgents, readSecretFile } from './http-agents.ts';
import { Oauth2Tokens } from './oauth2-tokens.ts';

/** As Go's client, which Prometheus uses. */
const REDIRECTS_MAX = 10;
/** A longer body costs more than a new connection. */
const DISCARDED_BYTES_MAX = 4096;

export type HeaderValues = Record<string, string | string[]>;

export class HttpClient {
  readonly #config: HttpClientConfig;
  readonly #agents: HttpAgents;
  readonly #tokens: Oauth2Tokens | undefined;
  /** For the server of the tokens. */
  readonly #tokenAgents: HttpAgents | undefined;

  constructor(config: HttpClientConfig, deps: { readonly clock: Clock }) {
    this.#config = config;
    this.#agents = new HttpAgents(config, deps.clock);
    const { oauth2 } = config;
    if (oauth2 === undefined) return;
    const agents = new HttpAgents(oauth2, deps.clock);
    this.#tokenAgents = agents;
    this.#tokens = new Oauth2Tokens(oauth2, {
      clock: deps.clock,
      readText,
      readSecretFile,
      post: (url, headers, body, signal) => send(agents, url, { method: 'POST', headers, body, signal }),
    });
  }

  /**
   * Sends a GET and follows redirects where the configuration allows; credentials go to the first origin only.
   *
   * @returns the response of any status; its body is the caller's to read or to destroy.
   * @throws AppError `unavailable` for a file that cannot be read, a token that is not given or a redirect that cannot be
   *   followed; else what the connection failed with, the signal's abort included.
   */
  get(url: URL, headers: HeaderValues, signal: AbortSignal): Promise<http.IncomingMessage> {
    return this.#request(url, { method: 'GET', headers, signal }, isRedirect);
  }

  /** Sends a PUT without a body. Redirects are not followed. */
  put(url: URL, headers: HeaderValues, signal: AbortSignal): Promise<http.IncomingMessage> {
    return this.#request(url, { method: 'PUT', headers, body: new Uint8Array(), signal }, () => false);
  }

  /**
   * Sends a POST. Redirects are followed that keep method and body; all else is as with `get`.
   *
   * @param mayWrite  Asked each time when the connection is there, right before the first byte is written: whether it may be, still. Fails with
   *                  `failed_precondition` when not.
   */
  post(
    url: URL,
    headers: HeaderValues,
    body: Uint8Array,
    signal: AbortSignal,
    mayWrite?: () => boolean,
  ): Promise<http.IncomingMessage> {
    return this.#request(url, { method: 'POST', headers, body, signal, mayWrite }, keepsMethod);
  }

  async #request(
    url: URL,
    outgoing: Outgoing,
    follows: (response: http.IncomingMessage) => boolean,
  ): Promise<http.IncomingMessage> {
    const { signal, headers } = outgoing;
    const credentials = await readCredentials(this.#config);
    if (this.#tokens !== undefined) credentials.authorization = await this.#tokens.authorization(signal);
    let target = url;
    for (let redirects = 0; ; redirects++) {
      const own = target.origin === url.origin;
      const all = own ? { ...headers, ...credentials } : headers;
      const response = await send(this.#agents, target, { ...outgoing, headers: all });
      if (response.statusCode === 401) this.#tokens?.forget();
      const { location } = response.headers;
      if (!this.#config.followRedirects || location === undefined || !follows(response)) return response;
      discard(response);
      if (redirects === REDIRECTS_MAX) {
        throw new AppError(
          'unavailable',
          `${outgoing.method} "${url.href}": stopped after ${REDIRECTS_MAX} redirects`,
        );
      }
      target = redirectTarget(location, target);
    }
  }

  /** Ends all connections. */
  close(): void {
    this.#agents.close();
    this.#tokenAgents?.close();
  }
}

interface Outgoing {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly headers: HeaderValues;
  readonly body?: Uint8Array;
  readonly signal: AbortSignal;
  readonly mayWrite?: (() => boolean) | undefined;
}

/** A kept-alive connection that the server closed at the same moment is no error: one more attempt. */
async function send(agents: HttpAgents, url: URL, outgoing: Outgoing): Promise<http.IncomingMessage> {
  const { method, body, signal } = outgoing;
  const secure = url.protocol === 'https:';
  const agent = secure ? await agents.https() : agents.http();
  const headers =
    body === undefined ? outgoing.headers : { ...outgoing.headers, 'content-length': String(body.length) };
  for (let attempt = 0; ; attempt++) {
    let reused = false;
    try {
      return await new Promise<http.IncomingMessage>((resolve, reject) => {
        const request = (secure ? https : http).request(url, { method, agent, headers, signal });
        request.once('response', resolve);
        request.once('error', (error) => {
          reused = request.reusedSocket;
          reject(error);
        });
        if (outgoing.mayWrite === undefined) request.end(body);
        else endIf(outgoing.mayWrite, request, body, secure);
      });
    } catch (caught) {
      const reset = (caught as NodeJS.ErrnoException).code === 'ECONNRESET';
      if (!reset || !reused || attempt > 0 || signal.aborted) throw caught;
    }
  }
}

/** Sends the request once it is connected, if it may be sent then: connecting can take long, and the process be stopped meanwhile. */
function endIf(
  mayWrite: () => boolean,
  request: http.ClientRequest,
  body: Uint8Array | undefined,
  isSecure: boolean,
): void {
  const end = (): void => {
    if (mayWrite()) request.end(body);
    else request.destroy(new AppError('failed_precondition', 'it may not be sent any more'));
  };
  request.once('socket', (socket) => {
    if (!socket.connecting) end();
    else socket.once(isSecure ? 'secureConnect' : 'connect', end);
  });
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

function keepsMethod({ statusCode }: http.IncomingMessage): boolean {
  return statusCode === 307 || statusCode === 308;
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
  const { authorization, credentialsFile } = config;
  if (authorization !== undefined || credentialsFile !== undefined) {
    const token =
      credentialsFile === undefined
        ? authorization!.credentials.reveal()
        : await readSecretFile(credentialsFile);
    headers.authorization = `${authorization?.type ?? 'Bearer'} ${token}`;
  }
  return headers;
}
