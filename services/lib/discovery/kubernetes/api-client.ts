// Lists and watches over plain HTTP: pages of a list, and a watch as a stream of events. Everything that the server sends is bounded
// before it is kept; time-outs end what hangs.
import type http from 'node:http';
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import type { KubernetesAccess } from '../../runtime/config/discovery-config.ts';
import { HttpClient, readText } from '../../runtime/http-client.ts';
import { isJsonObject, type JsonObject, parseJsonObject, textOf } from '../json.ts';
import { findApiServer, type PodEnvironment } from './api-access.ts';
import { type ApiStatusError, apiStatusError } from './api-error.ts';
import { pathOf, type WatchScope } from './resources.ts';

/** Objects of one page: 500 pods are about 5 MB of JSON, which are parsed in some 40 ms. */
const PAGE_OBJECTS = 500;
/** Largest page: 500 objects of the most that etcd stores (1.5 MB) would be more, but nobody has those. */
const PAGE_BYTES_MAX = 256 * 1024 * 1024;
/** Largest event: etcd stores no object over 1.5 MB, and JSON escapes at most double it. */
const EVENT_BYTES_MAX = 4 * 1024 * 1024;
const ERROR_BYTES_MAX = 64 * 1024;
const LIST_TIMEOUT_MS = 60_000;
/** For the head of the answer; a watch then lives as long as it asked for, and a moment. */
const WATCH_START_TIMEOUT_MS = 30_000;
const WATCH_GRACE_MS = 15_000;
const NEWLINE = 0x0a;

export interface ListPage {
  readonly items: readonly JsonObject[];
  readonly resourceVersion: string;
  /** Asks for the next page; empty with the last. */
  readonly continueToken: string;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: JsonObject;
}

export class ApiClient {
  readonly #access: KubernetesAccess;
  readonly #deps: { readonly clock: Clock; readonly pod: PodEnvironment };
  #server: Promise<{ readonly base: string; readonly client: HttpClient }> | undefined;

  /** Looks for the API server at the first request. */
  constructor(access: KubernetesAccess, deps: { readonly clock: Clock; readonly pod: PodEnvironment }) {
    this.#access = access;
    this.#deps = deps;
  }

  /**
   * One page of a list.
   *
   * @param continueToken  Of the page before; empty for the first.
   * @throws ApiStatusError for an answer other than 200; AppError for all else.
   */
  async list(scope: WatchScope, continueToken: string, signal: AbortSignal): Promise<ListPage> {
    const query = selectorsOf(scope);
    query.set('limit', String(PAGE_OBJECTS));
    if (continueToken !== '') query.set('continue', continueToken);
    const ends = AbortSignal.any([signal, AbortSignal.timeout(LIST_TIMEOUT_MS)]);
    return this.#told('list', scope, signal, async () => {
      const response = await this.#get(pathOf(scope), query, ends);
      if (response.statusCode !== 200) throw await refusal('list', scope, response);
      return readPage(await readText(response, PAGE_BYTES_MAX));
    });
  }

  /**
   * One object by its path, or undefined when there is none.
   *
   * @throws as `list`.
   */
  async read(
    scope: Pick<WatchScope, 'resource' | 'namespace'>,
    name: string,
    signal: AbortSignal,
  ): Promise<JsonObject | undefined> {
    const ends = AbortSignal.any([signal, AbortSignal.timeout(LIST_TIMEOUT_MS)]);
    return this.#told('get', scope, signal, async () => {
      const path = `${pathOf(scope)}/${encodeURIComponent(name)}`;
      const response = await this.#get(path, new URLSearchParams(), ends);
      if (response.statusCode === 404) {
        response.destroy();
        return undefined;
      }
      if (response.statusCode !== 200) throw await refusal('get', scope, response);
      const object = parseJsonObject(await readText(response, EVENT_BYTES_MAX));
      if (object === undefined) throw new AppError('unavailable', 'the answer is not an object in JSON');
      return object;
    });
  }

  /**
   * Changes after `resourceVersion`, until the server ends the stream (it does so after `lifetimeMs`, or earlier).
   *
   * @throws as `list`; an ERROR event is an ApiStatusError.
   */
  async *watch(
    scope: WatchScope,
    resourceVersion: string,
    lifetimeMs: number,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent, void, undefined> {
    const query = selectorsOf(scope);
    query.set('watch', '1');
    query.set('allowWatchBookmarks', 'true');
    query.set('resourceVersion', resourceVersion);
    query.set('timeoutSeconds', String(Math.ceil(lifetimeMs / 1000)));
    const started = new AbortController();
    const startTimer = setTimeout(() => started.abort(), WATCH_START_TIMEOUT_MS);
    const over = AbortSignal.timeout(lifetimeMs + WATCH_GRACE_MS);
    const ends = AbortSignal.any([signal, started.signal, over]);
    try {
      const response = await this.#told('watch', scope, signal, () => this.#get(pathOf(scope), query, ends));
      clearTimeout(startTimer);
      if (response.statusCode !== 200) throw await refusal('watch', scope, response);
      yield* events(scope, response, over);
    } finally {
      clearTimeout(startTimer);
      started.abort();
    }
  }

  close(): void {
    this.#server?.then(({ client }) => client.close()).catch(() => undefined);
    this.#server = undefined;
  }

  /** Finds the server anew with the next request: the kubeconfig may have changed. */
  forgetServer(): void {
    if (this.#access.kubeconfigFile !== undefined) this.close();
  }

  async #get(path: string, query: URLSearchParams, signal: AbortSignal): Promise<http.IncomingMessage> {
    this.#server ??= this.#findServer();
    const { base, client } = await this.#server;
    const text = query.toString();
    const url = new URL(`${base}${path}${text === '' ? '' : `?${text}`}`);
    return client.get(url, { accept: 'application/json', 'user-agent': 'Tidemark' }, signal);
  }

  async #findServer(): Promise<{ readonly base: string; readonly client: HttpClient }> {
    try {
      const { url, http: settings } = await findApiServer(this.#access, this.#deps.pod);
      return { base: url.href.replace(/\/+$/, ''), client: new HttpClient(settings, this.#deps) };
    } catch (caught) {
      this.#server = undefined;
      throw caught;
    }
  }

  /** Says of what failed what it was for. */
  async #told<T>(
    verb: string,
    scope: Pick<WatchScope, 'resource' | 'namespace'>,
    signal: AbortSignal,
    attempt: () => Promise<T>,
  ): Promise<T> {
    try {
      return await attempt();
    } catch (caught) {
      if (signal.aborted || caught instanceof AppError) throw caught;
      const error = caught as Error;
      const reason =
        error.name === 'AbortError' || error.name === 'TimeoutError'
          ? 'no answer in time'
          : error.message || String((error as NodeJS.ErrnoException).code);
      throw new AppError('unavailable', `Kubernetes: ${verb} of ${scope.resource.name}: ${reason}`, {
        cause: caught,
      });
    }
  }
}

function selectorsOf(scope: WatchScope): URLSearchParams {
  const query = new URLSearchParams();
  if (scope.labelSelector !== '') query.set('labelSelector', scope.labelSelector);
  if (scope.fieldSelector !== '') query.set('fieldSelector', scope.fieldSelector);
  return query;
}

function readPage(text: string): ListPage {
  const list = parseJsonObject(text);
  if (list === undefined) throw new AppError('unavailable', 'Kubernetes: a list is not an object in JSON');
  const meta = isJsonObject(list.metadata) ? list.metadata : {};
  return {
    items: Array.isArray(list.items) ? list.items.filter(isJsonObject) : [],
    resourceVersion: textOf(meta.resourceVersion),
    continueToken: textOf(meta.continue),
  };
}

async function refusal(
  verb: 'list' | 'watch' | 'get',
  scope: Pick<WatchScope, 'resource' | 'namespace'>,
  response: http.IncomingMessage,
): Promise<ApiStatusError> {
  const seconds = Number(response.headers['retry-after']);
  const body = await readText(response, ERROR_BYTES_MAX).catch(() => '');
  const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
  return apiStatusError(verb, scope, response.statusCode ?? 0, retryAfterMs, body);
}

/** The lines of a watch as events. A stream that breaks off ends like one that is over: the next goes on where it stopped. */
async function* events(
  scope: WatchScope,
  response: http.IncomingMessage,
  over: AbortSignal,
): AsyncGenerator<WatchEvent, void, undefined> {
  // What hangs between us and the server is found by the kernel.
  response.socket.setKeepAlive(true, 30_000);
  try {
    for await (const line of lines(response)) {
      const event = parseJsonObject(line);
      const object = event?.object;
      if (event === undefined || !isJsonObject(object)) {
        throw new AppError(
          'unavailable',
          `Kubernetes: watch of ${scope.resource.name}: a line is not an event: ${JSON.stringify(line.slice(0, 100))}`,
        );
      }
      if (event.type === 'ERROR') {
        const status = typeof object.code === 'number' ? object.code : 500;
        throw apiStatusError('watch', scope, status, 0, JSON.stringify(object));
      }
      yield { type: textOf(event.type), object };
    }
  } catch (caught) {
    const code = (caught as NodeJS.ErrnoException).code;
    if (over.aborted || code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE') return;
    throw caught;
  } finally {
    response.destroy();
  }
}

/** Lines of a body; an unfinished last one is dropped. */
async function* lines(response: http.IncomingMessage): AsyncGenerator<string, void, undefined> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, start)) {
      rest.push(piece.subarray(start, end));
      const line = rest.length === 1 ? rest[0]! : Buffer.concat(rest);
      rest = [];
      restBytes = 0;
      start = end + 1;
      if (line.length > 0) yield line.toString('utf8');
    }
    if (start === piece.length) continue;
    rest.push(piece.subarray(start));
    restBytes += piece.length - start;
    if (restBytes > EVENT_BYTES_MAX)
      throw new AppError(
        'resource_exhausted',
        `Kubernetes: an event is longer than ${EVENT_BYTES_MAX} bytes`,
      );
  }
}
