// One `kubernetes_sd_configs` item at work: a target group per object of its role. While a group is built it is noted which other
// objects were looked at, so that a change of any of them builds exactly the groups that depend on it.
import type { KubernetesSdConfig, TargetGroup } from '../../runtime/config/discovery-config.ts';
import type { GroupSource, GroupSourceDeps } from '../group-source.ts';
import { ownNamespace } from './api-access.ts';
import { buildEndpointSliceGroup, buildEndpointsGroup } from './endpoint-targets.ts';
import { buildIngressGroup } from './ingress-targets.ts';
import type { BuildContext } from './meta-labels.ts';
import { buildNodeGroup } from './node-targets.ts';
import type { ObjectWatch, WatchListener } from './object-watch.ts';
import type { EndpointSlice, Endpoints, Ingress, Node, ObjectMeta, Pod, Service } from './objects.ts';
import { buildPodGroup } from './pod-targets.ts';
import { RESOURCES, type ResourceName, type WatchScope } from './resources.ts';
import { buildServiceGroup } from './service-targets.ts';
import type { WatchHub } from './watch-hub.ts';

/** Changes are collected for so long before targets change. */
const SETTLE_MS = 500;
/** Longest that a start waits for the first lists. */
const START_WAIT_MS = 10_000;
/** Groups built without giving way to others: about 10 ms. */
const GROUPS_PER_TURN = 200;

interface Role {
  readonly resource: ResourceName;
  /** Watched in the same namespaces. */
  readonly companions: readonly ResourceName[];
  readonly build: (object: ObjectMeta, context: BuildContext) => TargetGroup;
}

const ROLES: Readonly<Record<KubernetesSdConfig['role'], Role>> = {
  node: { resource: 'nodes', companions: [], build: (node) => buildNodeGroup(node as Node) },
  pod: {
    resource: 'pods',
    companions: [],
    build: (pod, context) => buildPodGroup(pod as Pod, context),
  },
  service: {
    resource: 'services',
    companions: [],
    build: (service, context) => buildServiceGroup(service as Service, context),
  },
  endpoints: {
    resource: 'endpoints',
    companions: ['services', 'pods'],
    build: (endpoints, context) => buildEndpointsGroup(endpoints as Endpoints, context),
  },
  endpointslice: {
    resource: 'endpointslices',
    companions: ['services', 'pods'],
    build: (slice, context) => buildEndpointSliceGroup(slice as EndpointSlice, context),
  },
  ingress: {
    resource: 'ingresses',
    companions: [],
    build: (ingress, context) => buildIngressGroup(ingress as Ingress, context),
  },
};

/** Resource that a selector's role restricts. */
const SELECTED: Readonly<Record<KubernetesSdConfig['role'], ResourceName>> = {
  node: 'nodes',
  pod: 'pods',
  service: 'services',
  endpoints: 'endpoints',
  endpointslice: 'endpointslices',
  ingress: 'ingresses',
};

export class KubernetesDiscovery implements GroupSource {
  readonly #config: KubernetesSdConfig;
  readonly #hub: WatchHub;
  readonly #deps: GroupSourceDeps;
  readonly #role: Role;
  readonly #listener: WatchListener;
  readonly #stopping = new AbortController();
  /** By resource, then by namespace; the empty one holds all. */
  readonly #watches = new Map<ResourceName, Map<string, ObjectWatch>>();
  readonly #groups = new Map<string, TargetGroup>();
  /** `resource key` of an object → keys of the groups that looked at it. */
  readonly #dependents = new Map<string, Set<string>>();
  /** Key of a group → what it looked at. */
  readonly #dependencies = new Map<string, readonly string[]>();
  readonly #dirty = new Set<string>();
  #list: readonly TargetGroup[] | undefined;
  #setupProblem: string | undefined;
  #flushing: Promise<void> | undefined;
  #isComplete = false;
  #wake: () => void = () => {};

  constructor(config: KubernetesSdConfig, hub: WatchHub, deps: GroupSourceDeps) {
    this.#config = config;
    this.#hub = hub;
    this.#deps = deps;
    this.#role = ROLES[config.role];
    this.#listener = {
      onObject: ({ resource }, key) => this.#touch(resource.name as ResourceName, key),
      onState: () => this.#onState(),
    };
  }

  async start(): Promise<void> {
    const namespaces = await this.#findNamespaces();
    if (namespaces === undefined) return;
    for (const [resource, isClusterWide] of this.#neededResources())
      for (const namespace of isClusterWide ? [''] : namespaces) this.#open(resource, namespace);
    await this.#firstResult();
  }

  groups(): readonly TargetGroup[] {
    this.#list ??= [...this.#groups.values()].filter(({ targets }) => targets.length > 0);
    return this.#list;
  }

  problems(): readonly string[] {
    const problems = new Set(this.#setupProblem === undefined ? [] : [this.#setupProblem]);
    for (const watch of this.#allWatches()) if (watch.problem !== undefined) problems.add(watch.problem);
    return [...problems];
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    for (const watch of this.#allWatches()) this.#hub.release(this.#config, watch, this.#listener);
    await this.#flushing;
  }

  async #findNamespaces(): Promise<readonly string[] | undefined> {
    const names = new Set(this.#config.namespaces);
    if (this.#config.ownNamespace) {
      try {
        names.add(await ownNamespace(this.#hub.pod));
      } catch (caught) {
        this.#setupProblem = caught instanceof Error ? caught.message : String(caught);
        this.#deps.onError();
        this.#deps.logger.error({ reason: this.#setupProblem }, 'Kubernetes discovery finds nothing');
        return undefined;
      }
    }
    return names.size === 0 ? [''] : [...names];
  }

  /** What is watched, and whether it has no namespaces. */
  #neededResources(): readonly (readonly [ResourceName, boolean])[] {
    const { attach, role } = this.#config;
    const hasPods = role === 'pod' || role === 'endpoints' || role === 'endpointslice';
    const needed: (readonly [ResourceName, boolean])[] = [[this.#role.resource, role === 'node']];
    for (const companion of this.#role.companions) needed.push([companion, false]);
    if (attach.node && hasPods) needed.push(['nodes', true]);
    if (attach.namespace && role !== 'node') needed.push(['namespaces', true]);
    if (attach.deployment && hasPods) needed.push(['replicasets', false]);
    if (attach.cronjob && hasPods) needed.push(['jobs', false]);
    return needed;
  }

  #open(resource: ResourceName, namespace: string): void {
    const selector = this.#config.selectors.find(({ role }) => SELECTED[role] === resource);
    const scope: WatchScope = {
      resource: RESOURCES[resource],
      namespace,
      labelSelector: selector?.label ?? '',
      fieldSelector: selector?.field ?? '',
    };
    const watches = this.#watches.get(resource) ?? new Map<string, ObjectWatch>();
    this.#watches.set(resource, watches);
    watches.set(namespace, this.#hub.acquire(this.#config, scope, this.#listener));
  }

  async #firstResult(): Promise<void> {
    const known = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#onState();
    const over = new AbortController();
    await Promise.race([known, this.#deps.clock.sleep(START_WAIT_MS, over.signal).catch(() => undefined)]);
    over.abort();
  }

  #onState(): void {
    const watches = [...this.#allWatches()];
    if (watches.some(({ problem }) => problem !== undefined)) {
      this.#deps.onError();
      this.#wake();
    }
    // A group that was built before all else is known would lack labels that relabelling may want.
    if (this.#isComplete || !watches.every(({ isSynced }) => isSynced)) return;
    this.#isComplete = true;
    for (const watch of this.#watches.get(this.#role.resource)!.values())
      for (const key of watch.keys()) this.#dirty.add(key);
    this.#flushing = this.#flush(0).finally(() => this.#wake());
  }

  #touch(resource: ResourceName, key: string): void {
    if (!this.#isComplete) return;
    if (resource === this.#role.resource) this.#dirty.add(key);
    for (const group of this.#dependents.get(`${resource} ${key}`) ?? []) this.#dirty.add(group);
    if (this.#dirty.size > 0) this.#flushing ??= this.#flush(SETTLE_MS);
  }

  async #flush(settleMs: number): Promise<void> {
    const { signal } = this.#stopping;
    let isChanged = false;
    try {
      await this.#deps.clock.sleep(settleMs, signal);
      let built = 0;
      for (const key of this.#dirty) {
        this.#dirty.delete(key);
        isChanged = this.#rebuild(key) || isChanged;
        if (++built % GROUPS_PER_TURN !== 0) continue;
        await new Promise((resolve) => setImmediate(resolve));
        if (signal.aborted) return;
      }
    } catch {
      return;
    } finally {
      this.#flushing = undefined;
    }
    if (!isChanged || signal.aborted) return;
    this.#list = undefined;
    this.#deps.onChange();
  }

  #rebuild(key: string): boolean {
    for (const dependency of this.#dependencies.get(key) ?? []) {
      const dependents = this.#dependents.get(dependency);
      dependents?.delete(key);
      if (dependents?.size === 0) this.#dependents.delete(dependency);
    }
    this.#dependencies.delete(key);
    const object = this.#find(this.#role.resource, key);
    if (object === undefined) return this.#groups.delete(key);
    const seen = new Set<string>();
    const group = this.#role.build(object, {
      attach: this.#config.attach,
      lookup: (resource, other) => {
        seen.add(`${resource} ${other}`);
        return this.#find(resource, other);
      },
    });
    this.#groups.set(key, group);
    this.#noteDependencies(key, [...seen]);
    return true;
  }

  #noteDependencies(key: string, seen: readonly string[]): void {
    if (seen.length === 0) return;
    this.#dependencies.set(key, seen);
    for (const dependency of seen) {
      const dependents = this.#dependents.get(dependency) ?? new Set<string>();
      this.#dependents.set(dependency, dependents.add(key));
    }
  }

  #find(resource: ResourceName, key: string): ObjectMeta | undefined {
    const watches = this.#watches.get(resource);
    const slash = key.indexOf('/');
    const own = slash < 0 ? undefined : watches?.get(key.slice(0, slash));
    return (own ?? watches?.get(''))?.get(key);
  }

  *#allWatches(): Generator<ObjectWatch> {
    for (const byNamespace of this.#watches.values()) yield* byNamespace.values();
  }
}
