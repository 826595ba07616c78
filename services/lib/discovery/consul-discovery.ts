// Targets from Consul: its catalogue says which services there are, and one blocking query per service follows its instances.
import { setMaxListeners } from 'node:events';
import { AppError, toAppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import type { ConsulSdConfig, TargetGroup } from '../runtime/config/discovery-config.ts';
import { type HeaderValues, HttpClient, readText } from '../runtime/http-client.ts';
import type { GroupSource, GroupSourceDeps } from './group-source.ts';
import { isJsonObject, type JsonObject, textOf } from './json.ts';
import { joinHostPort, sanitizeLabelName } from './target-labels.ts';

const META = '__meta_consul_';
/** How long a blocking query may wait for a change; the answer comes at most 1/16 later. */
const WAIT_MS = 120_000;
const WAIT_GRACE_MS = 15_000;
const RETRY_MS = 15_000;
const START_WAIT_MS = 10_000;
/** Ten thousand instances of a service are about 30 MB. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;
const ERROR_TEXT_MAX = 200;

interface Answer {
  readonly body: unknown;
  /** Changes with the answer; 0 when Consul says none. */
  readonly index: number;
}

interface FollowedService {
  readonly cancel: AbortController;
  readonly loop: Promise<void>;
}

export class ConsulDiscovery implements GroupSource {
  readonly #config: ConsulSdConfig;
  readonly #deps: GroupSourceDeps;
  readonly #client: HttpClient;
  readonly #stopping = new AbortController();
  readonly #services = new Map<string, FollowedService>();
  readonly #groups = new Map<string, TargetGroup>();
  /** By what was asked. */
  readonly #problems = new Map<string, string>();
  #datacenter = '';
  #running: Promise<void> | undefined;
  #isStarted = false;
  #wake: () => void = () => {};
  /** Services whose first answer the start waits for; undefined before the catalogue is known. */
  #awaited: Set<string> | undefined;

  constructor(config: ConsulSdConfig, deps: GroupSourceDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#client = new HttpClient(config.http, deps);
    // One listener per service that is followed.
    setMaxListeners(0, this.#stopping.signal);
  }

  async start(): Promise<void> {
    const known = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#running = this.#run();
    const over = new AbortController();
    await Promise.race([known, this.#deps.clock.sleep(START_WAIT_MS, over.signal).catch(() => undefined)]);
    over.abort();
    this.#isStarted = true;
  }

  groups(): readonly TargetGroup[] {
    return [...this.#groups.values()];
  }

  problems(): readonly string[] {
    return [...new Set(this.#problems.values())];
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    await this.#running;
    await Promise.all([...this.#services.values()].map(({ loop }) => loop));
    this.#client.close();
  }

  async #run(): Promise<void> {
    const { datacenter, services, tags, filter, refreshIntervalMs } = this.#config;
    this.#datacenter = datacenter;
    const { signal } = this.#stopping;
    while (this.#datacenter === '' && !signal.aborted) {
      if (!(await this.#attempt('agent', signal, () => this.#findDatacenter()))) await this.#sleep(RETRY_MS);
    }
    if (services.length > 0 && tags.length === 0 && filter === '') {
      this.#follow(services);
      return;
    }
    let index = 0;
    while (!signal.aborted) {
      const asked = this.#deps.clock.monotonicMs();
      const isDone = await this.#attempt('catalog', signal, async () => {
        index = await this.#readCatalog(index);
      });
      const spentMs = this.#deps.clock.monotonicMs() - asked;
      await this.#sleep(isDone ? Math.max(refreshIntervalMs - spentMs, 0) : RETRY_MS);
    }
  }

  async #findDatacenter(): Promise<void> {
    const { body } = await this.#ask('/v1/agent/self', [], 0, this.#stopping.signal);
    const config = isJsonObject(body) && isJsonObject(body.Config) ? body.Config : {};
    this.#datacenter = textOf(config.Datacenter);
    if (this.#datacenter === '') throw new AppError('unavailable', '/v1/agent/self names no datacenter');
  }

  async #readCatalog(index: number): Promise<number> {
    const { filter, services, tags } = this.#config;
    const query: [string, string][] = filter === '' ? [] : [['filter', filter]];
    const answer = await this.#ask('/v1/catalog/services', query, index, this.#stopping.signal);
    if (answer.index !== 0 && answer.index === index) return index;
    const known = isJsonObject(answer.body)
      ? new Map(Object.entries(answer.body))
      : new Map<string, unknown>();
    const wanted = [...known].flatMap(([name, own]) => {
      const has = Array.isArray(own) ? own : [];
      const isNamed = services.length === 0 || services.includes(name);
      return isNamed && tags.every((tag) => has.includes(tag)) ? [name] : [];
    });
    for (const [name, { cancel }] of this.#services) {
      if (known.has(name)) continue;
      cancel.abort();
      this.#services.delete(name);
      this.#problems.delete(name);
      if (this.#groups.delete(name)) this.#changed();
    }
    this.#follow(wanted);
    return answer.index;
  }

  #follow(names: readonly string[]): void {
    this.#awaited ??= new Set(names);
    for (const name of names) {
      if (this.#services.has(name)) continue;
      const cancel = new AbortController();
      this.#services.set(name, { cancel, loop: this.#followOne(name, cancel.signal) });
    }
    if (this.#awaited.size === 0) this.#wake();
  }

  async #followOne(name: string, cancelled: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const signal = AbortSignal.any([cancelled, this.#stopping.signal]);
    let index = 0;
    while (!signal.aborted) {
      const asked = clock.monotonicMs();
      const isDone = await this.#attempt(name, signal, async () => {
        index = await this.#readService(name, index, signal);
      });
      this.#awaited?.delete(name);
      if (this.#awaited?.size === 0) this.#wake();
      const spentMs = clock.monotonicMs() - asked;
      const waitMs = isDone ? Math.max(this.#config.refreshIntervalMs - spentMs, 0) : RETRY_MS;
      await clock.sleep(waitMs, signal).catch(() => undefined);
    }
  }

  async #readService(name: string, index: number, signal: AbortSignal): Promise<number> {
    const { tags, healthFilter } = this.#config;
    const query: [string, string][] = tags.map((tag) => ['tag', tag]);
    if (healthFilter !== '') query.push(['filter', healthFilter]);
    const answer = await this.#ask(`/v1/health/service/${encodeURIComponent(name)}`, query, index, signal);
    if (answer.index !== 0 && answer.index === index) return index;
    const entries = Array.isArray(answer.body) ? answer.body.filter(isJsonObject) : [];
    const targets = entries.map((entry) => instanceLabels(entry, this.#config.tagSeparator));
    this.#groups.set(name, {
      source: name,
      labels: Labels.from([
        [`${META}service`, name],
        [`${META}dc`, this.#datacenter],
      ]),
      targets: targets.map(({ address }) => address),
      targetLabels: targets.map(({ labels }) => labels),
    });
    this.#changed();
    // An index that goes back means that Consul lost its own: begin anew.
    return answer.index < index ? 0 : answer.index;
  }

  #changed(): void {
    if (this.#isStarted) this.#deps.onChange();
  }

  /** @returns whether it worked; what did not is told. */
  async #attempt(what: string, signal: AbortSignal, attempt: () => Promise<void>): Promise<boolean> {
    try {
      await attempt();
      this.#problems.delete(what);
      return true;
    } catch (caught) {
      if (signal.aborted) return false;
      const { message } = toAppError(caught);
      const reason = `consul_sd ${this.#config.server}: ${message}`;
      this.#deps.onError();
      if (this.#problems.get(what) !== reason)
        this.#deps.logger.warn({ reason }, 'service discovery failed, its last result stays');
      this.#problems.set(what, reason);
      this.#wake();
      return false;
    }
  }

  async #ask(
    path: string,
    query: readonly (readonly [string, string])[],
    index: number,
    signal: AbortSignal,
  ): Promise<Answer> {
    const { server, scheme, pathPrefix, token, datacenter, namespace, partition, allowStale, nodeMeta } =
      this.#config;
    const base = server.includes('://') ? server : `${scheme}://${server}`;
    const prefix = pathPrefix.replace(/^\/?/, '/').replace(/\/$/, '');
    const url = new URL(`${base.replace(/\/$/, '')}${prefix}${path}`);
    if (datacenter !== '') url.searchParams.set('dc', datacenter);
    if (namespace !== '') url.searchParams.set('ns', namespace);
    if (partition !== '') url.searchParams.set('partition', partition);
    if (path !== '/v1/agent/self') {
      if (allowStale) url.searchParams.set('stale', '');
      if (index > 0) url.searchParams.set('index', String(index));
      url.searchParams.set('wait', `${WAIT_MS}ms`);
      for (const [key, value] of nodeMeta) url.searchParams.append('node-meta', `${key}:${value}`);
    }
    for (const [key, value] of query) url.searchParams.append(key, value);
    const headers: HeaderValues = { accept: 'application/json', 'user-agent': 'Tidemark' };
    if (token !== undefined && token.reveal() !== '') headers['x-consul-token'] = token.reveal();
    const ends = AbortSignal.any([signal, AbortSignal.timeout(WAIT_MS + WAIT_GRACE_MS)]);
    const response = await this.#client.get(url, headers, ends);
    const text = await readText(response, BODY_BYTES_MAX);
    if (response.statusCode !== 200) {
      const said = text.slice(0, ERROR_TEXT_MAX).trim();
      throw new AppError(
        'unavailable',
        `${path}: HTTP status ${response.statusCode}${said === '' ? '' : ` (${said})`}${response.statusCode === 403 ? '; the token needs read permission for agent, node and service' : ''}`,
      );
    }
    try {
      return { body: JSON.parse(text), index: Number(response.headers['x-consul-index']) || 0 };
    } catch {
      throw new AppError('unavailable', `${path}: the answer is not JSON`);
    }
  }

  async #sleep(ms: number): Promise<void> {
    await this.#deps.clock.sleep(ms, this.#stopping.signal).catch(() => undefined);
  }
}

/** Address and labels of one instance of a service. */
function instanceLabels(
  entry: JsonObject,
  separator: string,
): { readonly address: string; readonly labels: Labels } {
  const node = isJsonObject(entry.Node) ? entry.Node : {};
  const service = isJsonObject(entry.Service) ? entry.Service : {};
  const port = typeof service.Port === 'number' ? service.Port : 0;
  const address = joinHostPort(textOf(service.Address) || textOf(node.Address), port);
  const tags = Array.isArray(service.Tags) ? service.Tags.map(textOf) : [];
  const labels = new Map<string, string>([
    [`${META}address`, textOf(node.Address)],
    [`${META}node`, textOf(node.Node)],
    [`${META}namespace`, textOf(service.Namespace)],
    [`${META}partition`, textOf(service.Partition)],
    // Separators around all of them: a regular expression need not care which tag comes first.
    [`${META}tags`, `${separator}${tags.join(separator)}${separator}`],
    [`${META}service_address`, textOf(service.Address)],
    [`${META}service_port`, String(port)],
    [`${META}service_id`, textOf(service.ID)],
    [`${META}health`, worstOf(entry.Checks)],
  ]);
  addAll(labels, `${META}metadata_`, node.Meta);
  addAll(labels, `${META}service_metadata_`, service.Meta);
  addAll(labels, `${META}tagged_address_`, node.TaggedAddresses);
  return { address, labels: Labels.from(labels) };
}

function addAll(labels: Map<string, string>, prefix: string, values: unknown): void {
  if (!isJsonObject(values)) return;
  for (const [name, value] of Object.entries(values))
    labels.set(`${prefix}${sanitizeLabelName(name)}`, textOf(value));
}

/** The worst status of all checks; none means passing. */
function worstOf(checks: unknown): string {
  let worst = 0;
  for (const check of Array.isArray(checks) ? checks.filter(isJsonObject) : []) {
    const id = textOf(check.CheckID);
    const isMaintenance = id === '_node_maintenance' || id.startsWith('_service_maintenance:');
    worst = Math.max(
      worst,
      isMaintenance ? 3 : ['passing', 'warning', 'critical'].indexOf(textOf(check.Status)),
    );
  }
  return ['passing', 'warning', 'critical', 'maintenance'][worst]!;
}
