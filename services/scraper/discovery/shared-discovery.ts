// One discovery per cluster: the scraper that holds the lease `discovery` asks API servers, Consul and the rest; the others follow what it
// finds. Target files and monitors stay with each process: files are its own, and monitors refer to secrets.
import { createHash } from 'node:crypto';
import { Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { DiscoverySources } from '../../lib/discovery/discovery.ts';
import type { GroupSource, GroupSourceDeps } from '../../lib/discovery/group-source.ts';
import { configPrint } from '../../lib/runtime/config/config-print.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Lease } from '../../lib/transport/control-plane.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import type { DiscoverRequest, DiscoverUpdate } from '../../lib/wire/contracts.ts';
import { SharedItem } from './shared-item.ts';

const LEASE = 'discovery';
const DEFAULT_ACQUIRE_MS = 2_000;
/** A lease that was lost is taken by another long before. */
const DEFAULT_ALONE_AFTER_MS = 15_000;
/** Longest that a job's start waits for the first result. */
const START_WAIT_MS = 10_000;

/** What sharing needs of the cluster. */
export interface SharingDeps {
  readonly tryAcquire: (name: string) => Promise<Lease | undefined>;
  /** Asks each other scraper; they answer only if they hold the lease. */
  readonly others: () => readonly ((
    request: DiscoverRequest,
    context: CallContext,
  ) => AsyncIterable<DiscoverUpdate>)[];
}

export interface SharedDiscoveryDeps extends SharingDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** How long nobody may answer before a scraper discovers by itself. */
  readonly aloneAfterMs?: number;
  /** How often a scraper without the lease asks for it. */
  readonly acquireMs?: number;
}

interface UsedItem {
  readonly item: SharedItem;
  source: string;
}

export class SharedDiscovery {
  readonly #deps: SharedDiscoveryDeps;
  readonly #items = new Map<string, UsedItem>();
  readonly #stopping = new AbortController();
  #lease: Lease | undefined;
  #keeping: Promise<void> | undefined;

  constructor(deps: SharedDiscoveryDeps) {
    this.#deps = deps;
    this.#register(deps.registry);
  }

  /** Begins to compete for the lease. */
  start(): void {
    this.#keeping ??= this.#keepLease();
  }

  /** Gives the lease back, so that another takes over at once. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#keeping;
    const lease = this.#lease;
    this.#lease = undefined;
    await lease?.release().catch(() => undefined);
    await Promise.all([...this.#items.values()].map(({ item }) => item.stop()));
  }

  /** Goes into DiscoverySources. */
  readonly share: NonNullable<DiscoverySources['share']> = (config, deps, createLocal) => {
    const key = createHash('sha256').update(configPrint(config)).digest('hex');
    return this.#source(key, deps, createLocal);
  };

  /** The handler of the call. */
  async *discover(
    { item: key }: DiscoverRequest,
    context: CallContext,
  ): AsyncGenerator<DiscoverUpdate, void, undefined> {
    if (!this.#isHolder())
      throw new AppError('failed_precondition', 'another scraper discovers for the cluster');
    const used = this.#items.get(key);
    if (used === undefined)
      throw new AppError(
        'not_found',
        'this scraper has no such item; do all scrapers have the same configuration?',
      );
    yield* used.item.serve(context.signal);
  }

  #isHolder(): boolean {
    return this.#lease?.isHeld() === true;
  }

  async #keepLease(): Promise<void> {
    const { clock, logger, tryAcquire, acquireMs = DEFAULT_ACQUIRE_MS } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (!this.#isHolder()) {
        this.#lease = undefined;
        try {
          this.#lease = await tryAcquire(LEASE);
          if (this.#isHolder()) logger.info('this scraper discovers for the cluster now');
        } catch (caught) {
          logger.debug({ err: toAppError(caught) }, 'the discovery lease cannot be asked for');
        }
      }
      await clock.sleep(acquireMs, signal).catch(() => undefined);
    }
  }

  #source(
    key: string,
    user: GroupSourceDeps,
    createLocal: (deps: GroupSourceDeps) => GroupSource,
  ): GroupSource {
    let used: UsedItem | undefined;
    return {
      start: async () => {
        used = this.#items.get(key) ?? this.#open(key, createLocal);
        used.item.addUser(user);
        used.item.start();
        const untilMs = this.#deps.clock.monotonicMs() + START_WAIT_MS;
        const { signal } = this.#stopping;
        while (!used.item.hasResult && !signal.aborted && this.#deps.clock.monotonicMs() < untilMs)
          await used.item.nextChange(untilMs - this.#deps.clock.monotonicMs(), signal);
      },
      groups: () => used?.item.groups ?? [],
      problems: () => used?.item.problems ?? [],
      stop: async () => {
        if (used === undefined || used.item.removeUser(user) > 0) return;
        this.#items.delete(key);
        await used.item.stop();
      },
    };
  }

  #open(key: string, createLocal: (deps: GroupSourceDeps) => GroupSource): UsedItem {
    const { clock, logger, others } = this.#deps;
    const item = new SharedItem(
      {
        clock,
        logger,
        isHolder: () => this.#isHolder(),
        token: () => this.#lease?.token ?? 0,
        aloneAfterMs: this.#deps.aloneAfterMs ?? DEFAULT_ALONE_AFTER_MS,
        askOthers: (signal) => others().map((ask) => () => ask({ item: key }, { signal })),
        onSource: (source) => {
          used.source = source;
        },
      },
      createLocal,
    );
    const used: UsedItem = { item, source: 'none' };
    this.#items.set(key, used);
    return used;
  }

  #register(registry: Registry): void {
    const items = this.#items;
    const isHolder = (): boolean => this.#isHolder();
    new Gauge({
      name: 'tidemark_scraper_discovery_items',
      help: 'Items of service discovery, by who discovers them: this scraper (here), the holder of the lease (there), nobody at the moment.',
      labelNames: ['source'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { source } of items.values()) this.inc({ source });
      },
    });
    new Gauge({
      name: 'tidemark_scraper_discovery_lease',
      help: 'Whether this scraper discovers for the cluster.',
      registers: [registry],
      collect() {
        this.set(isHolder() ? 1 : 0);
      },
    });
  }
}
