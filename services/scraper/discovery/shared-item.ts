// One item of service discovery that the scrapers of a cluster share: discovered here while this process holds the lease, followed from
// whoever holds it otherwise. What was found last stays through every change of the holder. Where nobody answers (no control plane, another
// configuration elsewhere) it is discovered here as well, for a while.
import { setMaxListeners } from 'node:events';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { GroupSource, GroupSourceDeps } from '../../lib/discovery/group-source.ts';
import type { TargetGroup } from '../../lib/runtime/config/discovery-config.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { DiscoverUpdate } from '../../lib/wire/contracts.ts';
import { fromWireGroup, updatesOf } from './shared-groups.ts';

/** How often a holder looks whether it still is, and says so to followers that hear nothing else. */
const HEARTBEAT_MS = 5_000;
const LEASE_LOOK_MS = 500;
/** A holder that says nothing for so long is left. */
const SILENCE_MAX_MS = 20_000;
const RETRY_MS = 1_000;
/** From the end of one stream to the next question. */
const BETWEEN_MS = 100;
/** After discovering alone for so long the others are asked again. */
const ALONE_MS = 30_000;

/** What an item needs of its process. */
export interface ItemWorld {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Whether this process discovers for the cluster. */
  readonly isHolder: () => boolean;
  /** Fencing token of the lease that this process has or had; 0 for none. */
  readonly token: () => number;
  /** The other scrapers' answers to `discover` of this item, one call each. */
  readonly askOthers: (signal: AbortSignal) => readonly (() => AsyncIterable<DiscoverUpdate>)[];
  /** Where the item's targets come from, for the metric. */
  readonly onSource: (source: 'here' | 'there' | 'none') => void;
  /** Nobody answers for so long: this process discovers by itself. */
  readonly aloneAfterMs: number;
}

export class SharedItem {
  readonly #world: ItemWorld;
  readonly #createLocal: (deps: GroupSourceDeps) => GroupSource;
  readonly #users = new Set<GroupSourceDeps>();
  readonly #stopping = new AbortController();
  readonly #wakers = new Set<() => void>();
  #groups = new Map<string, TargetGroup>();
  #list: readonly TargetGroup[] = [];
  #problems: readonly string[] = [];
  #hasResult = false;
  #unansweredSinceMs: number;
  /** The newest holder that was heard, and when. */
  #newest = { token: 0, heardAtMs: Number.NEGATIVE_INFINITY };
  #running: Promise<void> | undefined;

  constructor(world: ItemWorld, createLocal: (deps: GroupSourceDeps) => GroupSource) {
    this.#world = world;
    this.#createLocal = createLocal;
    this.#unansweredSinceMs = world.clock.monotonicMs();
    setMaxListeners(0, this.#stopping.signal);
  }

  get groups(): readonly TargetGroup[] {
    return this.#list;
  }

  get problems(): readonly string[] {
    return this.#problems;
  }

  /** Whether something was found, or found missing, at least once. */
  get hasResult(): boolean {
    return this.#hasResult;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    await this.#running;
    this.#world.onSource('none');
  }

  addUser(user: GroupSourceDeps): void {
    this.#users.add(user);
  }

  /** @returns how many are left. */
  removeUser(user: GroupSourceDeps): number {
    this.#users.delete(user);
    return this.#users.size;
  }

  /** Resolves with the next change, after `ms`, or when `signal` aborts. */
  async nextChange(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const changed = new Promise<void>((resolve) => {
      this.#wakers.add(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true, signal: over.signal });
      const slept = this.#world.clock.sleep(ms, over.signal);
      slept.then(resolve, () => resolve());
      over.signal.addEventListener('abort', () => this.#wakers.delete(resolve), { once: true });
    });
    await changed;
    over.abort();
  }

  /** Answers a follower: all that there is, then every change, while this process holds the lease. */
  async *serve(signal: AbortSignal): AsyncGenerator<DiscoverUpdate, void, undefined> {
    let sent: ReadonlyMap<string, TargetGroup> = new Map();
    while (this.#world.isHolder() && !signal.aborted && !this.#stopping.signal.aborted) {
      if (this.#hasResult) {
        const now = this.#groups;
        const token = this.#world.token();
        for (const update of updatesOf(sent, now, this.#problems)) {
          // Looked at with each part: the reader may be slow, and this process be stopped meanwhile.
          if (!this.#world.isHolder()) break;
          yield { ...update, token };
        }
        sent = now;
        if (this.#groups !== now) continue;
      }
      await this.nextChange(HEARTBEAT_MS, signal);
    }
    if (!signal.aborted)
      throw new AppError('failed_precondition', 'another scraper discovers for the cluster now');
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { clock, isHolder } = this.#world;
    while (!signal.aborted) {
      if (isHolder()) await this.#discoverHere(() => isHolder());
      else if (await this.#follow()) {
        this.#unansweredSinceMs = clock.monotonicMs();
        await clock.sleep(BETWEEN_MS, signal).catch(() => undefined);
      } else if (clock.monotonicMs() - this.#unansweredSinceMs > this.#world.aloneAfterMs) {
        const untilMs = clock.monotonicMs() + ALONE_MS;
        await this.#discoverHere(() => clock.monotonicMs() < untilMs || isHolder());
      } else await clock.sleep(RETRY_MS, signal).catch(() => undefined);
    }
  }

  async #discoverHere(goesOn: () => boolean): Promise<void> {
    const { clock, logger, onSource } = this.#world;
    const { signal } = this.#stopping;
    const local = this.#createLocal({
      clock,
      logger,
      onChange: () => this.#takeLocal(local),
      onError: () => {
        for (const user of this.#users) user.onError();
      },
    });
    onSource('here');
    await local.start();
    while (!signal.aborted && goesOn()) {
      this.#takeLocal(local);
      await clock.sleep(LEASE_LOOK_MS, signal).catch(() => undefined);
    }
    await local.stop();
    onSource('none');
  }

  /** What is here replaces what was there once it is something: a source that fails from its start has found nothing yet. */
  #takeLocal(local: GroupSource): void {
    const list = local.groups();
    const problems = local.problems();
    if (list.length === 0 && problems.length > 0 && this.#hasResult) {
      this.#take(this.#groups, problems);
      return;
    }
    const isSame =
      list.length === this.#groups.size && list.every((group) => this.#groups.get(group.source) === group);
    this.#take(isSame ? this.#groups : new Map(list.map((group) => [group.source, group])), problems);
  }

  /** @returns whether somebody answered. */
  async #follow(): Promise<boolean> {
    let hasAnswered = false;
    const ends = new AbortController();
    const stop = AbortSignal.any([this.#stopping.signal, ends.signal]);
    void this.#endAsHolder(ends, stop);
    for (const ask of this.#world.askOthers(stop)) {
      if (stop.aborted) break;
      try {
        hasAnswered = (await this.#followOne(ask, ends)) || hasAnswered;
      } catch (caught) {
        const { code } = toAppError(caught);
        if (code === 'internal')
          this.#world.logger.warn(
            { err: toAppError(caught) },
            'following the discovery of another scraper failed',
          );
      }
      if (hasAnswered) break;
    }
    ends.abort();
    this.#world.onSource('none');
    return hasAnswered;
  }

  /** Who gets the lease follows nobody: the one before may be gone without a word. */
  async #endAsHolder(ends: AbortController, stop: AbortSignal): Promise<void> {
    const { clock, isHolder } = this.#world;
    while (!stop.aborted) {
      await clock.sleep(LEASE_LOOK_MS, stop).catch(() => undefined);
      if (isHolder()) ends.abort();
    }
  }

  async #followOne(ask: () => AsyncIterable<DiscoverUpdate>, ends: AbortController): Promise<boolean> {
    let hasAnswered = false;
    let next: Map<string, TargetGroup> | undefined;
    let silence = this.#endAfterSilence(ends);
    try {
      for await (const update of ask()) {
        this.#mustBeNewest(update.token);
        silence.abort();
        silence = this.#endAfterSilence(ends);
        // The first change of a stream is everything.
        if (update.groups.length + update.gone.length > 0 || !hasAnswered)
          next ??= hasAnswered ? new Map(this.#groups) : new Map();
        for (const source of update.gone) next!.delete(source);
        for (const group of update.groups) next!.set(group.source, fromWireGroup(group));
        if (!update.isLast) continue;
        if (!hasAnswered) this.#world.onSource('there');
        hasAnswered = true;
        this.#take(next ?? this.#groups, update.problems);
        next = undefined;
      }
    } catch (caught) {
      if (!hasAnswered) throw caught;
    } finally {
      silence.abort();
    }
    return hasAnswered;
  }

  /**
   * A holder that was stopped and replaced goes on where it was when it wakes up. Tokens of long ago do not count: they begin anew after NATS
   * was emptied.
   *
   * @throws AppError `failed_precondition` when its successor was heard lately.
   */
  #mustBeNewest(token = 0): void {
    const nowMs = this.#world.clock.monotonicMs();
    const { token: newest, heardAtMs } = this.#newest;
    if (token !== 0 && token < newest && nowMs - heardAtMs < this.#world.aloneAfterMs)
      throw new AppError(
        'failed_precondition',
        `discovery is another scraper's: this one has token ${token}, ${newest} was heard`,
      );
    if (token !== 0) this.#newest = { token, heardAtMs: nowMs };
  }

  #endAfterSilence(ends: AbortController): AbortController {
    const silence = new AbortController();
    this.#world.clock.sleep(SILENCE_MAX_MS, silence.signal).then(
      () => ends.abort(),
      () => undefined,
    );
    return silence;
  }

  #take(groups: Map<string, TargetGroup>, problems: readonly string[]): void {
    const isChanged = groups !== this.#groups;
    const isTold = problems.join('\n') !== this.#problems.join('\n');
    this.#problems = problems;
    const isFirst = !this.#hasResult;
    this.#hasResult = true;
    if (!isChanged && !isTold && !isFirst) return;
    this.#groups = groups;
    if (isChanged) this.#list = [...groups.values()];
    this.#wake();
    if (isChanged) for (const user of this.#users) user.onChange();
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }
}
