// Watches the custom resources that say what to scrape and turns them into scrape configurations: all of them by default, or those
// that selectors choose. Each monitor stands for itself: one that is wrong is told, and the others go on; so do its own jobs of before.
import { createHash } from 'node:crypto';
import { parse } from 'yaml';
import { AppError } from '../../core/errors.ts';
import type { MonitorsConfig } from '../../runtime/config/discovery-config.ts';
import { loadConfig } from '../../runtime/config/load-config.ts';
import type { PrometheusConfig, ScrapeConfig } from '../../runtime/config/prometheus-config.ts';
import type { GroupSourceDeps } from '../group-source.ts';
import { isJsonObject, type JsonObject, textOf } from '../json.ts';
import type { ObjectWatch, WatchListener } from '../kubernetes/object-watch.ts';
import { type ObjectMeta, readMeta } from '../kubernetes/objects.ts';
import { objectKey, RESOURCES, type Resource, type WatchScope } from '../kubernetes/resources.ts';
import type { WatchHub } from '../kubernetes/watch-hub.ts';
import { jobsOf } from './monitor-jobs.ts';
import { type MonitorKind, type MonitorObject, PendingReference, type References } from './monitor-object.ts';

/** Changes are collected for so long before jobs change. */
const SETTLE_MS = 1_000;
/** Longest that a start waits for the first lists. */
const START_WAIT_MS = 10_000;
/** Jobs made without giving way to others: about 10 ms. */
const JOBS_PER_TURN = 10;
/** Most jobs of all monitors: each is a scrape pool with its own discovery. */
const JOBS_MAX = 10_000;
/** Most secrets and config maps that monitors may refer to: each is a watch. */
const REFERENCES_MAX = 1_000;

interface MonitorResource extends Resource {
  readonly kind: MonitorKind;
  readonly selector: (config: MonitorsConfig) => string | undefined;
}

interface KeptMonitor extends ObjectMeta {
  readonly spec: JsonObject;
}

/** Values as the API has them, base64 for secrets. Never shown. */
interface KeptData extends ObjectMeta {
  readonly data: readonly (readonly [string, string])[];
}

const readMonitor = (object: JsonObject): KeptMonitor => ({
  ...readMeta(object),
  spec: isJsonObject(object.spec) ? object.spec : {},
});

const GROUP = { group: 'monitoring.coreos.com', read: readMonitor } as const;

const MONITORS: readonly MonitorResource[] = [
  {
    ...GROUP,
    version: 'v1',
    name: 'servicemonitors',
    kind: 'ServiceMonitor',
    selector: (config) => config.serviceMonitors,
  },
  {
    ...GROUP,
    version: 'v1',
    name: 'podmonitors',
    kind: 'PodMonitor',
    selector: (config) => config.podMonitors,
  },
  { ...GROUP, version: 'v1', name: 'probes', kind: 'Probe', selector: (config) => config.probes },
  {
    ...GROUP,
    version: 'v1alpha1',
    name: 'scrapeconfigs',
    kind: 'ScrapeConfig',
    selector: (config) => config.scrapeConfigs,
  },
];

const DATA: Readonly<Record<'Secret' | 'ConfigMap', Resource>> = {
  Secret: { group: '', version: 'v1', name: 'secrets', read: (object) => readData(object, true) },
  ConfigMap: { group: '', version: 'v1', name: 'configmaps', read: (object) => readData(object, false) },
};

function readData(object: JsonObject, isEncoded: boolean): KeptData {
  const data = isJsonObject(object.data) ? object.data : {};
  const values = Object.entries(data).map(([key, value]) => {
    const text = textOf(value);
    return [key, isEncoded ? Buffer.from(text, 'base64').toString('utf8') : text] as const;
  });
  return { ...readMeta(object), data: values };
}

/** What became of a planned job. */
interface MadeJob {
  /** Of the job's text, secrets included. */
  readonly print: string;
  readonly config: ScrapeConfig | undefined;
  readonly problem: string | undefined;
}

/** The scrape configurations that monitors ask for. */
export class MonitorWatch {
  readonly #config: MonitorsConfig;
  readonly #hub: WatchHub;
  readonly #deps: GroupSourceDeps;
  /** The `global` section that jobs inherit from, as JSON. */
  readonly #global: unknown;
  readonly #listener: WatchListener;
  readonly #stopping = new AbortController();
  readonly #monitors: { readonly resource: MonitorResource; readonly watch: ObjectWatch }[] = [];
  #namespaces: ObjectWatch | undefined;
  /** By kind, namespace and name. */
  readonly #references = new Map<string, ObjectWatch>();
  #jobs = new Map<string, MadeJob>();
  #problems: readonly string[] = [];
  #making: Promise<void> | undefined;
  #isDirty = false;
  #isMade = false;
  /** Whether `start` has answered: what comes later is a change. */
  #isStarted = false;
  #wake: () => void = () => {};

  /** @param base  The configuration file, whose `global` section holds for monitors too. */
  constructor(config: MonitorsConfig, base: PrometheusConfig, hub: WatchHub, deps: GroupSourceDeps) {
    this.#config = config;
    this.#hub = hub;
    this.#deps = deps;
    const file: unknown = parse(base.redactedYaml, { maxAliasCount: 0 });
    this.#global = isJsonObject(file) ? (file.global ?? {}) : {};
    this.#listener = { onObject: () => this.#touch(), onState: () => this.#touch() };
  }

  /** Resolves once the monitors of the first lists are jobs, or it is clear that they are not to be had soon. */
  async start(): Promise<void> {
    const known = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const { namespaceSelector } = this.#config;
    if (namespaceSelector !== '')
      this.#namespaces = this.#acquire({
        ...ALL,
        resource: RESOURCES.namespaces,
        labelSelector: namespaceSelector,
      });
    const namespaces = this.#config.namespaces.length === 0 ? [''] : this.#config.namespaces;
    for (const resource of MONITORS) {
      const labelSelector = resource.selector(this.#config);
      if (labelSelector === undefined) continue;
      for (const namespace of namespaces)
        this.#monitors.push({
          resource,
          watch: this.#acquire({ ...ALL, resource, namespace, labelSelector }),
        });
    }
    this.#touch();
    const over = new AbortController();
    await Promise.race([known, this.#deps.clock.sleep(START_WAIT_MS, over.signal).catch(() => undefined)]);
    over.abort();
    this.#isStarted = true;
  }

  /** In the order of their names. */
  scrapeConfigs(): readonly ScrapeConfig[] {
    return [...this.#jobs.keys()].toSorted().flatMap((name) => this.#jobs.get(name)!.config ?? []);
  }

  /** Monitors that cannot be used, and watches that fail; a sentence each. */
  problems(): readonly string[] {
    const problems = new Set(this.#problems);
    for (const watch of this.#watches()) {
      if (watch.problem === undefined || isNotInstalled(watch)) continue;
      problems.add(watch.problem);
    }
    return [...problems];
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    for (const watch of this.#watches()) this.#hub.release(this.#config, watch, this.#listener);
    await this.#making;
  }

  *#watches(): Generator<ObjectWatch> {
    if (this.#namespaces !== undefined) yield this.#namespaces;
    for (const { watch } of this.#monitors) yield watch;
    yield* this.#references.values();
  }

  #acquire(scope: WatchScope): ObjectWatch {
    return this.#hub.acquire(this.#config, scope, this.#listener);
  }

  #touch(): void {
    if (this.#stopping.signal.aborted) return;
    this.#isDirty = true;
    this.#making ??= this.#makeLater().finally(() => {
      this.#making = undefined;
      if (this.#isDirty) this.#touch();
    });
  }

  async #makeLater(): Promise<void> {
    const { signal } = this.#stopping;
    // The first time there is nothing to wait for but the lists themselves.
    await this.#deps.clock.sleep(this.#isMade ? SETTLE_MS : 0, signal).catch(() => undefined);
    this.#isDirty = false;
    if (signal.aborted) return;
    const lists = this.#namespaces === undefined ? [] : [this.#namespaces];
    for (const { watch } of this.#monitors) lists.push(watch);
    if (lists.some((watch) => watch.problem !== undefined && !isNotInstalled(watch))) this.#wake();
    if (!lists.every((watch) => watch.isSynced || isNotInstalled(watch))) return;
    await this.#make();
  }

  async #make(): Promise<void> {
    const { signal } = this.#stopping;
    const used = new Set<string>();
    const references = this.#createReferences(used);
    const jobs = new Map<string, MadeJob>();
    const problems: string[] = [];
    for (const monitor of this.#chosen()) {
      const who = `${monitor.kind} ${monitor.namespace}/${monitor.name}`;
      const context = {
        ...this.#config,
        namespace: monitor.namespace,
        references,
        allowsFiles: !this.#config.deniesFiles,
      };
      for (const planned of jobsOf(monitor, context)) {
        if (jobs.size >= JOBS_MAX) {
          problems.push(`${who}: monitors ask for more than ${JOBS_MAX} jobs; the rest is left out`);
          break;
        }
        const made = this.#makeJob(planned.jobName, planned.build);
        if (made === 'pending') continue;
        if (made.problem !== undefined)
          problems.push(`${who}: ${planned.field === '' ? '' : `${planned.field}.`}${made.problem}`);
        jobs.set(planned.jobName, made);
        if (jobs.size % JOBS_PER_TURN !== 0) continue;
        await new Promise((resolve) => setImmediate(resolve));
        if (signal.aborted) return;
      }
    }
    this.#releaseReferences(used);
    this.#take(jobs, problems);
  }

  /** A job that waits for a secret stays what it was, where it was there before. */
  #makeJob(jobName: string, build: () => unknown): MadeJob | 'pending' {
    const before = this.#jobs.get(jobName);
    let text: string;
    try {
      text = JSON.stringify(build());
    } catch (caught) {
      if (caught instanceof PendingReference) return before ?? 'pending';
      if (!(caught instanceof AppError)) throw caught;
      return { print: '', config: before?.config, problem: caught.message };
    }
    const print = createHash('sha256').update(text).digest('hex');
    if (before?.print === print) return before;
    try {
      const yaml = `{"global": ${JSON.stringify(this.#global)}, "scrape_configs": [${text}]}`;
      return { print, config: loadConfig(yaml, '/').scrapeConfigs[0]!, problem: undefined };
    } catch (caught) {
      if (!(caught instanceof AppError)) throw caught;
      return { print, config: before?.config, problem: withoutPlace(caught.message) };
    }
  }

  #take(jobs: Map<string, MadeJob>, problems: readonly string[]): void {
    const known = new Set(this.#problems);
    for (const problem of problems) {
      if (known.has(problem)) continue;
      this.#deps.onError();
      this.#deps.logger.warn({ reason: problem }, 'a monitor cannot be used, what it asked for before stays');
    }
    const isChanged =
      jobs.size !== this.#jobs.size ||
      [...jobs].some(([name, { config }]) => this.#jobs.get(name)?.config !== config);
    this.#jobs = jobs;
    this.#problems = problems;
    this.#isMade = true;
    this.#wake();
    if (isChanged && this.#isStarted) this.#deps.onChange();
  }

  *#chosen(): Generator<MonitorObject> {
    for (const { resource, watch } of this.#monitors) {
      for (const key of watch.keys()) {
        const { namespace, name, spec } = watch.get(key) as KeptMonitor;
        if (this.#namespaces !== undefined && this.#namespaces.get(namespace) === undefined) continue;
        yield { kind: resource.kind, namespace, name, spec };
      }
    }
  }

  /** Secrets and config maps are watched from the first time that somebody asks for them. */
  #createReferences(used: Set<string>): References {
    return {
      read: (kind, namespace, name, key) => {
        const id = `${kind} ${namespace}/${name}`;
        const watch = this.#references.get(id) ?? this.#openReference(id, kind, namespace, name);
        used.add(id);
        const found = watch.get(objectKey({ namespace, name })) as KeptData | undefined;
        if (found === undefined) {
          if (!watch.isSynced && watch.problem === undefined) throw new PendingReference(id);
          throw new AppError('bad_data', watch.problem ?? `there is no ${id}`);
        }
        const value = found.data.find(([own]) => own === key)?.[1];
        if (value === undefined) throw new AppError('bad_data', `${id} has no key ${JSON.stringify(key)}`);
        return value;
      },
    };
  }

  #openReference(id: string, kind: 'Secret' | 'ConfigMap', namespace: string, name: string): ObjectWatch {
    if (this.#references.size >= REFERENCES_MAX)
      throw new AppError(
        'resource_exhausted',
        `monitors refer to more than ${REFERENCES_MAX} secrets and config maps`,
      );
    const watch = this.#acquire({
      resource: DATA[kind],
      namespace,
      labelSelector: '',
      fieldSelector: `metadata.name=${name}`,
    });
    this.#references.set(id, watch);
    return watch;
  }

  #releaseReferences(used: ReadonlySet<string>): void {
    for (const [id, watch] of this.#references) {
      if (used.has(id)) continue;
      this.#references.delete(id);
      this.#hub.release(this.#config, watch, this.#listener);
    }
  }
}

const ALL = { namespace: '', labelSelector: '', fieldSelector: '' } as const;

/** The API server does not have the kind: nobody has monitors of it. */
function isNotInstalled(watch: ObjectWatch): boolean {
  return watch.problemStatus === 404;
}

/** Places are those of a text that nobody has seen. */
function withoutPlace(message: string): string {
  return message.replace(/^\d+:\d+: /, '').replace(/^scrape_configs\[0\]\.?/, '');
}
