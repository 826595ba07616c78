// All objects of one scope, kept up to date: a list in pages, then a watch from its resource version, then the next watch. A version
// that is too old (410) is listed again; any other failure is tried again, ever later, while the last known objects stay.
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../core/clock.ts';
import { AppError, toAppError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/logger.ts';
import { isJsonObject, textOf } from '../json.ts';
import type { ApiClient, WatchEvent } from './api-client.ts';
import { ApiStatusError } from './api-error.ts';
import type { ObjectMeta } from './objects.ts';
import { objectKey, pathOf, type WatchScope } from './resources.ts';

/** Most objects of one scope: the largest clusters that Kubernetes is tested with have 150,000 pods. */
const OBJECTS_MAX = 500_000;
/** A watch lives between this and twice this: shorter than what load balancers allow, and not all end together. */
const WATCH_LIFETIME_MS = 150_000;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** A watch that ends earlier than this was no success. */
const WATCH_SOUND_MS = 1_000;
/** Longest that a server's wish to be left alone is heeded. */
const RETRY_AFTER_MAX_MS = 120_000;

export interface WatchListener {
  /** An object came, changed or went. */
  onObject(scope: WatchScope, key: string): void;
  /** The first list is complete, or a problem came or went. */
  onState(): void;
}

export interface WatchMetrics {
  event(resource: string, type: 'add' | 'update' | 'delete'): void;
  failure(resource: string): void;
}

export interface ObjectWatchDeps {
  readonly api: ApiClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: WatchMetrics;
  /** In [0, 1). */
  readonly random: () => number;
}

export class ObjectWatch {
  readonly scope: WatchScope;
  readonly #deps: ObjectWatchDeps;
  readonly #listeners = new Set<WatchListener>();
  readonly #stopping = new AbortController();
  #objects = new Map<string, ObjectMeta>();
  #isSynced = false;
  #problem: string | undefined;
  #problemStatus: number | undefined;
  #version = '';
  #failures = 0;
  #running: Promise<void> | undefined;

  constructor(scope: WatchScope, deps: ObjectWatchDeps) {
    this.scope = scope;
    this.#deps = deps;
  }

  /** True once a list was complete. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** What went wrong last; undefined while all is well. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Of the last failure, where the API server answered with one. */
  get problemStatus(): number | undefined {
    return this.#problem === undefined ? undefined : this.#problemStatus;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): ObjectMeta | undefined {
    return this.#objects.get(key);
  }

  keys(): Iterable<string> {
    return this.#objects.keys();
  }

  listen(listener: WatchListener): void {
    this.#listeners.add(listener);
  }

  unlisten(listener: WatchListener): void {
    this.#listeners.delete(listener);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        if (this.#version === '') await this.#list();
        await this.#watch();
      } catch (caught) {
        if (signal.aborted) return;
        await this.#fail(caught);
      }
    }
  }

  async #list(): Promise<void> {
    const { signal } = this.#stopping;
    const objects = new Map<string, ObjectMeta>();
    let page = await this.#deps.api.list(this.scope, '', signal);
    for (;;) {
      for (const item of page.items) this.#keep(objects, this.scope.resource.read(item));
      if (page.continueToken === '') break;
      page = await this.#deps.api.list(this.scope, page.continueToken, signal);
    }
    if (page.resourceVersion === '')
      throw new AppError('unavailable', `Kubernetes: the list of ${this.scope.resource.name} has no version`);
    this.#replace(objects);
    this.#version = page.resourceVersion;
    this.#isSynced = true;
    this.#succeed();
    for (const listener of this.#listeners) listener.onState();
  }

  /** @returns whether this is another object than the one that was known. */
  #keep(objects: Map<string, ObjectMeta>, object: ObjectMeta): boolean {
    if (object.name === '') return false;
    if (objects.size >= OBJECTS_MAX) {
      throw new AppError(
        'resource_exhausted',
        `Kubernetes: more than ${OBJECTS_MAX} ${this.scope.resource.name}; narrow them with selectors or namespaces`,
      );
    }
    const key = objectKey(object);
    const old = this.#objects.get(key);
    const isSame = old !== undefined && isDeepStrictEqual(old, object);
    objects.set(key, isSame ? old : object);
    return !isSame;
  }

  #replace(objects: Map<string, ObjectMeta>): void {
    const before = this.#objects;
    this.#objects = objects;
    for (const key of before.keys()) if (!objects.has(key)) this.#tell(key, 'delete');
    for (const [key, object] of objects) {
      const old = before.get(key);
      if (old !== object) this.#tell(key, old === undefined ? 'add' : 'update');
    }
  }

  async #watch(): Promise<void> {
    const { api, clock, random } = this.#deps;
    const startedMs = clock.monotonicMs();
    const lifetimeMs = Math.ceil(WATCH_LIFETIME_MS * (1 + random()));
    let isFirst = true;
    for await (const event of api.watch(this.scope, this.#version, lifetimeMs, this.#stopping.signal)) {
      if (isFirst) this.#succeed();
      isFirst = false;
      this.#apply(event);
    }
    if (this.#stopping.signal.aborted) return;
    if (clock.monotonicMs() - startedMs >= WATCH_SOUND_MS) this.#succeed();
    else await this.#pause(0);
  }

  #apply({ type, object }: WatchEvent): void {
    const meta = isJsonObject(object.metadata) ? object.metadata : {};
    const version = textOf(meta.resourceVersion);
    if (type === 'ADDED' || type === 'MODIFIED') {
      const known = this.#objects.size;
      const kept = this.scope.resource.read(object);
      // Most changes of a pod or node are of fields that make no labels.
      if (this.#keep(this.#objects, kept))
        this.#tell(objectKey(kept), this.#objects.size > known ? 'add' : 'update');
    } else if (type === 'DELETED') {
      const key = objectKey(this.scope.resource.read(object));
      if (this.#objects.delete(key)) this.#tell(key, 'delete');
    }
    if (version !== '') this.#version = version;
  }

  #tell(key: string, type: 'add' | 'update' | 'delete'): void {
    this.#deps.metrics.event(this.scope.resource.name, type);
    for (const listener of this.#listeners) listener.onObject(this.scope, key);
  }

  #succeed(): void {
    this.#failures = 0;
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#deps.logger.info({ path: pathOf(this.scope) }, 'Kubernetes answers again');
    for (const listener of this.#listeners) listener.onState();
  }

  async #fail(caught: unknown): Promise<void> {
    const { logger, metrics, api } = this.#deps;
    const error = toAppError(caught);
    metrics.failure(this.scope.resource.name);
    this.#problemStatus = error instanceof ApiStatusError ? error.status : undefined;
    if (error instanceof ApiStatusError && error.isGone) {
      const wasListing = this.#version === '';
      this.#version = '';
      if (!wasListing) return;
    }
    if (error instanceof ApiStatusError && error.status === 401) api.forgetServer();
    if (this.#problem !== error.message) {
      this.#problem = error.message;
      logger.warn(
        { path: pathOf(this.scope), reason: error.message },
        'Kubernetes discovery failed, its last result stays',
      );
      for (const listener of this.#listeners) listener.onState();
    }
    await this.#pause(error instanceof ApiStatusError ? error.retryAfterMs : 0);
  }

  /** Waits twice as long with each failure in a row, between half of it and all: many clients must not come together. */
  async #pause(leastMs: number): Promise<void> {
    const { clock, random } = this.#deps;
    const fullMs = Math.min(BACKOFF_MIN_MS * 2 ** this.#failures, BACKOFF_MAX_MS);
    this.#failures = Math.min(this.#failures + 1, 20);
    const ms = Math.max(fullMs * (0.5 + random() / 2), Math.min(leastMs, RETRY_AFTER_MAX_MS));
    await clock.sleep(ms, this.#stopping.signal).catch(() => undefined);
  }
}
