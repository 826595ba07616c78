// An API server of Kubernetes for tests: real HTTP or HTTPS, lists in pages, watches with bookmarks and time-outs, versions that grow
// too old, and a script of misfortunes: refusals, slowness, broken streams, tokens that are replaced.
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** An object of the API: what a manifest holds. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly [key: string]: unknown;
  };
  readonly [key: string]: unknown;
}

interface Kind {
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespaced: boolean;
}

const KINDS: Readonly<Record<string, Kind>> = {
  nodes: { kind: 'Node', apiVersion: 'v1', namespaced: false },
  namespaces: { kind: 'Namespace', apiVersion: 'v1', namespaced: false },
  pods: { kind: 'Pod', apiVersion: 'v1', namespaced: true },
  services: { kind: 'Service', apiVersion: 'v1', namespaced: true },
  endpoints: { kind: 'Endpoints', apiVersion: 'v1', namespaced: true },
  secrets: { kind: 'Secret', apiVersion: 'v1', namespaced: true },
  configmaps: { kind: 'ConfigMap', apiVersion: 'v1', namespaced: true },
  endpointslices: { kind: 'EndpointSlice', apiVersion: 'discovery.k8s.io/v1', namespaced: true },
  ingresses: { kind: 'Ingress', apiVersion: 'networking.k8s.io/v1', namespaced: true },
  replicasets: { kind: 'ReplicaSet', apiVersion: 'apps/v1', namespaced: true },
  jobs: { kind: 'Job', apiVersion: 'batch/v1', namespaced: true },
  servicemonitors: { kind: 'ServiceMonitor', apiVersion: 'monitoring.coreos.com/v1', namespaced: true },
  podmonitors: { kind: 'PodMonitor', apiVersion: 'monitoring.coreos.com/v1', namespaced: true },
  probes: { kind: 'Probe', apiVersion: 'monitoring.coreos.com/v1', namespaced: true },
  prometheusrules: { kind: 'PrometheusRule', apiVersion: 'monitoring.coreos.com/v1', namespaced: true },
  scrapeconfigs: {
    kind: 'ScrapeConfig',
    apiVersion: 'monitoring.coreos.com/v1alpha1',
    namespaced: true,
  },
};

interface Change {
  readonly version: number;
  readonly resource: string;
  readonly before: ApiObject | undefined;
  readonly after: ApiObject | undefined;
}

export interface ApiRequest {
  readonly resource: string;
  readonly namespace: string;
  readonly verb: 'list' | 'watch' | 'get';
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
}

export interface KubernetesApiOptions {
  /** Key and certificate; absent: plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca?: string };
  /** Tokens that are accepted; absent: everybody is. */
  readonly tokens?: readonly string[];
  readonly bookmarkMs?: number;
}

/** A refusal instead of an answer. */
export interface Refusal {
  readonly status: number;
  readonly message?: string;
  readonly retryAfterSeconds?: number;
}

export class KubernetesApi {
  readonly #server: http.Server;
  readonly #objects = new Map<string, Map<string, ApiObject>>();
  readonly #watchers = new Set<Watcher>();
  readonly #bookmarks: NodeJS.Timeout;
  #changes: Change[] = [];
  #version = 1000;
  /** Versions below this are too old. */
  #oldest = 0;
  /** All requests so far. */
  readonly requests: ApiRequest[] = [];
  /** What is asked of objects' other paths, by path: the proxy of a kubelet. */
  readonly pages = new Map<string, string>();
  tokens: readonly string[] | undefined;
  /** Refuses a request; undefined lets it pass. */
  refuse: (request: ApiRequest) => Refusal | undefined = () => undefined;
  /** How long an answer takes, milliseconds. */
  delayMs = 0;
  url = '';

  private constructor(options: KubernetesApiOptions) {
    this.tokens = options.tokens;
    const answer = (request: http.IncomingMessage, response: http.ServerResponse): void => {
      setTimeout(() => this.#answer(request, response), this.delayMs);
    };
    this.#server =
      options.tls === undefined
        ? http.createServer(answer)
        : https.createServer({ ...options.tls, requestCert: false }, answer);
    this.#bookmarks = setInterval(() => this.bookmark(), options.bookmarkMs ?? 1_000);
  }

  /** Ends with the test that started it, if it was a test; else when `close` is called. */
  static async start(options: KubernetesApiOptions = {}): Promise<KubernetesApi> {
    const api = new KubernetesApi(options);
    await new Promise<void>((resolve) => api.#server.listen(0, '127.0.0.1', resolve));
    const { port } = api.#server.address() as AddressInfo;
    api.url = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
    try {
      onTestFinished(() => api.close());
    } catch {
      // A load test.
    }
    return api;
  }

  async close(): Promise<void> {
    clearInterval(this.#bookmarks);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Creates or replaces objects. */
  put(resource: string, ...objects: readonly ApiObject[]): void {
    const { kind, apiVersion } = kindOf(resource);
    for (const object of objects) {
      const version = ++this.#version;
      const stored: ApiObject = {
        kind,
        apiVersion,
        ...object,
        metadata: { ...object.metadata, resourceVersion: String(version) },
      };
      const all = this.#all(resource);
      this.#change({ version, resource, before: all.get(keyOf(object)), after: stored });
      all.set(keyOf(object), stored);
    }
  }

  objects(resource: string): readonly ApiObject[] {
    return [...this.#all(resource).values()];
  }

  remove(resource: string, name: string, namespace?: string): void {
    const key = namespace === undefined ? name : `${namespace}/${name}`;
    const before = this.#all(resource).get(key);
    if (before === undefined) throw new Error(`no ${resource} ${key}`);
    this.#all(resource).delete(key);
    this.#change({ version: ++this.#version, resource, before, after: undefined });
  }

  /** Forgets old versions: watches that go on from one, and next pages, get 410. */
  compact(): void {
    this.#changes = [];
    this.#version += 1;
    this.#oldest = this.#version;
  }

  /** Breaks all watches off in the middle of a line. */
  breakWatches(): void {
    for (const { response } of this.#watchers) {
      response.write('{"type":"MODIF');
      response.socket?.destroy();
    }
  }

  /** Sends anything to all watches. */
  writeToWatches(text: string): void {
    for (const { response } of this.#watchers) response.write(text);
  }

  /** Ends all watches in an orderly way. */
  endWatches(): void {
    for (const { response } of this.#watchers) response.end();
  }

  /** Sends an ERROR event to all watches and ends them. */
  failWatches(status: number): void {
    for (const { response } of this.#watchers)
      response.end(`${JSON.stringify({ type: 'ERROR', object: statusObject(status, 'scripted') })}\n`);
  }

  bookmark(): void {
    for (const watcher of this.#watchers) watcher.bookmark(this.#version, false);
  }

  get watchCount(): number {
    return this.#watchers.size;
  }

  #all(resource: string): Map<string, ApiObject> {
    const all = this.#objects.get(resource) ?? new Map<string, ApiObject>();
    this.#objects.set(resource, all);
    return all;
  }

  #change(change: Change): void {
    this.#changes.push(change);
    for (const watcher of this.#watchers) watcher.tell(change);
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? '/', this.url);
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    if (this.tokens !== undefined && !this.tokens.includes(token)) {
      refuse(response, { status: 401, message: 'Unauthorized' });
      return;
    }
    const page = this.pages.get(url.pathname);
    if (page !== undefined) {
      response.setHeader('content-type', 'text/plain; version=0.0.4');
      response.end(page);
      return;
    }
    const match = /^\/(?:api\/v1|apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+))?\/([a-z]+)(?:\/([^/]+))?$/.exec(
      url.pathname,
    );
    const resource = match?.[2] ?? '';
    const known = KINDS[resource];
    const root = known?.apiVersion === 'v1' ? '/api/v1/' : `/apis/${known?.apiVersion}/`;
    if (match === null || known === undefined || !url.pathname.startsWith(root)) {
      refuse(response, { status: 404, message: 'the server could not find the requested resource' });
      return;
    }
    const namespace = decodeURIComponent(match[1] ?? '');
    const query = url.searchParams;
    const name = match[3];
    const isWatch = ['1', 'true'].includes(query.get('watch') ?? '');
    const verb = name !== undefined ? 'get' : isWatch ? 'watch' : 'list';
    const asked: ApiRequest = { resource, namespace, verb, query, headers: request.headers };
    this.requests.push(asked);
    const refusal = this.refuse(asked);
    if (refusal !== undefined) refuse(response, refusal);
    else if (verb === 'watch') this.#watch(asked, response);
    else if (verb === 'list') this.#list(asked, response);
    else {
      const key = namespace === '' ? name! : `${namespace}/${name!}`;
      const object = this.#all(resource).get(key);
      if (object === undefined) refuse(response, { status: 404, message: `${resource} "${name}" not found` });
      else sendJson(response, 200, object);
    }
  }

  #matching({ resource, namespace, query }: ApiRequest): ApiObject[] {
    const matches = selectorOf(namespace, query);
    return [...this.#all(resource).values()].filter(matches);
  }

  #list(request: ApiRequest, response: http.ServerResponse): void {
    const { kind, apiVersion } = kindOf(request.resource);
    const limit = Number(request.query.get('limit') ?? 0);
    const token = request.query.get('continue');
    let version = this.#version;
    let from = 0;
    let items = this.#matching(request);
    if (token !== null) {
      const page = JSON.parse(Buffer.from(token, 'base64url').toString()) as Page;
      if (page.version < this.#oldest) {
        refuse(response, { status: 410, message: 'The provided continue parameter is too old' });
        return;
      }
      ({ version, from } = page);
      items = this.#pages.get(page.version) ?? items;
    } else if (limit > 0 && items.length > limit) this.#pages.set(version, items);
    const hasMore = limit > 0 && items.length > from + limit;
    const next: Page = { version, from: from + limit };
    const shown = limit > 0 ? items.slice(from, from + limit) : items;
    sendJson(response, 200, {
      kind: `${kind}List`,
      apiVersion,
      metadata: {
        resourceVersion: String(version),
        ...(hasMore ? { continue: Buffer.from(JSON.stringify(next)).toString('base64url') } : {}),
      },
      items: shown,
    });
  }

  /** Lists that are being read in pages, as they were at their version. */
  readonly #pages = new Map<number, ApiObject[]>();

  #watch(request: ApiRequest, response: http.ServerResponse): void {
    const wanted = Number(request.query.get('resourceVersion') ?? 0);
    const sendsInitial = request.query.get('sendInitialEvents') === 'true';
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (wanted > 0 && wanted < this.#oldest) {
      const gone = statusObject(410, `too old resource version: ${wanted} (${this.#oldest})`);
      response.end(`${JSON.stringify({ type: 'ERROR', object: gone })}\n`);
      return;
    }
    const watcher = new Watcher(request, response);
    if (sendsInitial || wanted === 0) {
      for (const object of this.#matching(request)) watcher.send('ADDED', object);
      if (sendsInitial) watcher.bookmark(this.#version, true);
    } else {
      for (const change of this.#changes) if (change.version > wanted) watcher.tell(change);
    }
    this.#watchers.add(watcher);
    const seconds = Number(request.query.get('timeoutSeconds') ?? 300);
    const over = setTimeout(() => response.end(), seconds * 1000);
    response.once('close', () => {
      clearTimeout(over);
      this.#watchers.delete(watcher);
    });
  }
}

interface Page {
  readonly version: number;
  readonly from: number;
}

/** One open watch. */
class Watcher {
  readonly response: http.ServerResponse;
  readonly #request: ApiRequest;
  readonly #matches: (object: ApiObject) => boolean;

  constructor(request: ApiRequest, response: http.ServerResponse) {
    this.#request = request;
    this.response = response;
    this.#matches = selectorOf(request.namespace, request.query);
  }

  /** A change as it looks through the selectors: an object that no longer matches is gone. */
  tell({ resource, before, after, version }: Change): void {
    if (resource !== this.#request.resource) return;
    const had = before !== undefined && this.#matches(before);
    const has = after !== undefined && this.#matches(after);
    if (has) this.send(had ? 'MODIFIED' : 'ADDED', after);
    else if (had) {
      const metadata = { ...before.metadata, resourceVersion: String(version) };
      this.send('DELETED', { ...before, metadata });
    }
  }

  send(type: string, object: unknown): void {
    this.response.write(`${JSON.stringify({ type, object })}\n`);
  }

  bookmark(version: number, endsInitial: boolean): void {
    if (!['1', 'true'].includes(this.#request.query.get('allowWatchBookmarks') ?? '')) return;
    const { kind, apiVersion } = kindOf(this.#request.resource);
    const annotations = endsInitial ? { 'k8s.io/initial-events-end': 'true' } : undefined;
    this.send('BOOKMARK', {
      kind,
      apiVersion,
      metadata: { name: '', creationTimestamp: null, resourceVersion: String(version), annotations },
    });
  }
}

function kindOf(resource: string): Kind {
  const kind = KINDS[resource];
  if (kind === undefined) throw new Error(`no kind for ${resource}`);
  return kind;
}

function keyOf({ metadata }: ApiObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

/** `a=b`, `a!=b` and `a in (b,c)`, joined by commas; fields by their path. */
function selectorOf(namespace: string, query: URLSearchParams): (object: ApiObject) => boolean {
  const labels = termsOf(query.get('labelSelector') ?? '');
  const fields = termsOf(query.get('fieldSelector') ?? '');
  return (object) =>
    (namespace === '' || object.metadata.namespace === namespace) &&
    labels.every((term) => holds(term, object.metadata.labels?.[term.key])) &&
    fields.every((term) => holds(term, fieldOf(object, term.key)));
}

interface Term {
  readonly key: string;
  readonly isNot: boolean;
  /** Undefined: the key must be there. */
  readonly values: readonly string[] | undefined;
}

function termsOf(text: string): readonly Term[] {
  return (text.match(/[^,(]+\([^)]*\)|[^,]+/g) ?? []).map((part) => {
    const set = /^\s*(\S+)\s+(not)?in\s+\((.*)\)\s*$/.exec(part);
    if (set !== null)
      return {
        key: set[1]!,
        isNot: set[2] !== undefined,
        values: set[3]!.split(',').map((each) => each.trim()),
      };
    const pair = /^\s*([^=!\s]+)\s*(!?=)=?\s*(.*?)\s*$/.exec(part);
    if (pair === null) return { key: part.trim(), isNot: false, values: undefined };
    return { key: pair[1]!, isNot: pair[2] === '!=', values: [pair[3]!] };
  });
}

function holds({ values, isNot }: Term, value: string | undefined): boolean {
  if (values === undefined) return value !== undefined;
  return (value !== undefined && values.includes(value)) !== isNot;
}

function fieldOf(object: ApiObject, path: string): string {
  let value: unknown = object;
  for (const key of path.split('.')) value = (value as Record<string, unknown> | undefined)?.[key];
  return typeof value === 'string' ? value : '';
}

function refuse(
  response: http.ServerResponse,
  { status, message = 'scripted', retryAfterSeconds }: Refusal,
): void {
  if (retryAfterSeconds !== undefined) response.setHeader('retry-after', String(retryAfterSeconds));
  sendJson(response, status, statusObject(status, message));
}

function statusObject(code: number, message: string): unknown {
  const reason =
    { 401: 'Unauthorized', 403: 'Forbidden', 404: 'NotFound', 410: 'Expired', 429: 'TooManyRequests' }[
      code
    ] ?? 'InternalError';
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
}

function sendJson(response: http.ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
