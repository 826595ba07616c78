// The watches of a process: one for each scope of an API server, whoever needs it. A watch that nobody needs any more lives on for a
// moment, so that a reload of the configuration does not list everything again.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../core/clock.ts';
import { configPrint } from '../../runtime/config/config-print.ts';
import type { KubernetesAccess } from '../../runtime/config/discovery-config.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { PodEnvironment } from './api-access.ts';
import { ApiClient } from './api-client.ts';
import { ObjectWatch, type WatchListener, type WatchMetrics } from './object-watch.ts';
import { scopeKey, type WatchScope } from './resources.ts';

const LINGER_MS = 30_000;

export interface WatchHubDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly pod: PodEnvironment;
  /** In [0, 1); Math.random by default. */
  readonly random?: () => number;
}

interface SharedWatch {
  readonly watch: ObjectWatch;
  readonly server: SharedServer;
  users: number;
  lingering: AbortController | undefined;
}

interface SharedServer {
  readonly key: string;
  readonly api: ApiClient;
  watches: number;
}

export class WatchHub {
  readonly #deps: WatchHubDeps;
  readonly #metrics: WatchMetrics;
  readonly #watches = new Map<string, SharedWatch>();
  readonly #servers = new Map<string, SharedServer>();

  constructor(deps: WatchHubDeps) {
    this.#deps = deps;
    this.#metrics = createWatchMetrics(deps.registry, () => this.#watches.values());
  }

  get pod(): PodEnvironment {
    return this.#deps.pod;
  }

  /** Watches that run now. */
  get size(): number {
    return this.#watches.size;
  }

  /** The watch of a scope, started when it is the first time; give it back with `release`. */
  acquire(access: KubernetesAccess, scope: WatchScope, listener: WatchListener): ObjectWatch {
    const serverKey = accessKey(access);
    const key = `${serverKey} ${scopeKey(scope)}`;
    let shared = this.#watches.get(key);
    if (shared === undefined) {
      shared = this.#open(serverKey, key, access, scope);
      this.#watches.set(key, shared);
    }
    shared.users++;
    shared.lingering?.abort();
    shared.lingering = undefined;
    shared.watch.listen(listener);
    shared.watch.start();
    return shared.watch;
  }

  release(access: KubernetesAccess, watch: ObjectWatch, listener: WatchListener): void {
    watch.unlisten(listener);
    const key = `${accessKey(access)} ${scopeKey(watch.scope)}`;
    const shared = this.#watches.get(key);
    if (shared === undefined || --shared.users > 0) return;
    const lingering = new AbortController();
    shared.lingering = lingering;
    this.#deps.clock
      .sleep(LINGER_MS, lingering.signal)
      .then(() => this.#close(key, shared))
      .catch(() => undefined);
  }

  /** Ends all watches. */
  async stop(): Promise<void> {
    await Promise.all([...this.#watches].map(([key, shared]) => this.#close(key, shared)));
  }

  #open(serverKey: string, key: string, access: KubernetesAccess, scope: WatchScope): SharedWatch {
    const { clock, logger, pod, random = Math.random } = this.#deps;
    const known = this.#servers.get(serverKey);
    const server = known ?? { key: serverKey, api: new ApiClient(access, { clock, pod }), watches: 0 };
    this.#servers.set(serverKey, server);
    server.watches++;
    const watch = new ObjectWatch(scope, {
      api: server.api,
      clock,
      logger: logger.child({ watch: key.slice(key.lastIndexOf(' ') + 1) }),
      metrics: this.#metrics,
      random,
    });
    return { watch, server, users: 0, lingering: undefined };
  }

  async #close(key: string, shared: SharedWatch): Promise<void> {
    shared.lingering?.abort();
    this.#watches.delete(key);
    await shared.watch.stop();
    if (--shared.server.watches > 0) return;
    this.#servers.delete(shared.server.key);
    shared.server.api.close();
  }
}

function accessKey({ apiServer, kubeconfigFile, http }: KubernetesAccess): string {
  return configPrint([apiServer ?? '', kubeconfigFile ?? '', http]);
}

function createWatchMetrics(registry: Registry, watches: () => Iterable<SharedWatch>): WatchMetrics {
  const registers = [registry];
  new Gauge({
    name: 'tidemark_discovery_kubernetes_objects',
    help: 'Objects that are known of the API server, by resource; each scope has a limit of 500,000.',
    labelNames: ['resource'],
    registers,
    collect() {
      this.reset();
      for (const { watch } of watches()) this.inc({ resource: watch.scope.resource.name }, watch.size);
    },
  });
  new Gauge({
    name: 'tidemark_discovery_kubernetes_watches',
    help: 'Watches of the API server, by resource and whether they work.',
    labelNames: ['resource', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { watch } of watches()) {
        const state = watch.problem === undefined ? 'working' : 'failing';
        this.inc({ resource: watch.scope.resource.name, state });
      }
    },
  });
  const events = new Counter({
    name: 'tidemark_discovery_kubernetes_events_total',
    help: 'Objects that came, changed in what discovery reads, or went.',
    labelNames: ['resource', 'event'],
    registers,
  });
  const failures = new Counter({
    name: 'tidemark_discovery_kubernetes_failures_total',
    help: 'Lists and watches that failed, by resource.',
    labelNames: ['resource'],
    registers,
  });
  return {
    event: (resource, event) => events.inc({ resource, event }),
    failure: (resource) => failures.inc({ resource }),
  };
}
