// The result cache over a real ingester, store and querier, by seed: whatever happens between two questions (writes in order, late ones, backfills, deletes and
// their undoing, blocks made, merged, cleaned and expired, an ingester that starts anew), the answer with the cache is the answer without.
// TIDEMARK_RESULT_CACHE_RUNS sets how many runs, TIDEMARK_RESULT_CACHE_SEED where their seeds begin.
import { rmSync } from 'node:fs';
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { createIngester } from '../../services/ingester/service.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { createDistributor } from '../../services/lib/distributor/distributor.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { computePlacement } from '../../services/lib/placement/placement.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Handlers } from '../../services/lib/transport/rpc.ts';
import {
  IngesterDefinition,
  QuerierDefinition,
  RangeVersionsDefinition,
  StoreDefinition,
} from '../../services/lib/wire/contracts.ts';
import { toWireMatchers } from '../../services/lib/wire/matchers.ts';
import { DEFAULT_QUERIER_OPTIONS } from '../../services/querier/options.ts';
import { createQuerier, createQueryThreads } from '../../services/querier/service.ts';
import { createStore } from '../../services/store/service.ts';
import { pick, type Random, randomOf } from '../support/random.ts';
import { freshFolder } from '../support/tidemark.ts';

const RUNS = Number(process.env.TIDEMARK_RESULT_CACHE_RUNS ?? 2);
const SEED = Number(process.env.TIDEMARK_RESULT_CACHE_SEED ?? 1);
const ACTIONS = 30;

const TENANT = 'anonymous';
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Six pieces of two hours. */
const SPAN_MS = 12 * HOUR_MS;
/** Blocks that are older go. */
const RETENTION_MS = 10 * HOUR_MS;
const SERIES = 5;
const signal = new AbortController().signal;

const QUERIES = [
  'm',
  'sum(m)',
  'sum by (i) (rate(m[10m]))',
  'count(m) or vector(0) * on () sum(m)',
  'max_over_time(sum(m)[30m:5m])',
  'm offset 2h',
  'absent(m{i="1"})',
];

type Shown = readonly string[];

/** A process of the cluster of one, in this process. */
class Rig {
  readonly #isBlind: boolean;
  readonly #dataDir = freshFolder();
  readonly #logger = createSilentLogger();
  readonly #placement = computePlacement([{ instance: 'i', zone: '' }], {
    ...{ epoch: 1, partitionCount: 4, replicationFactor: 1 },
  });
  readonly #threads = createQueryThreads({ ...DEFAULT_QUERIER_OPTIONS, threads: 1 }, this.#logger);
  #ingester = this.#createIngester();
  readonly #store = createStore(
    {
      ...{ dataDir: this.#dataDir, retentionMs: RETENTION_MS, retentionBytes: 0, retentionCheckMs: 50 },
      ...{ compactionRangesMs: [HOUR_MS, 4 * HOUR_MS], compactionCheckMs: 50, compactionSettleMs: 0 },
      ...{ compactionShare: 1 },
    },
    this.#deps(),
  );
  readonly cluster: Cluster = {
    placement: () => this.#placement,
    replicationFactor: 1,
    ingesters: () => [
      { instance: 'i', client: createInProcessClient(IngesterDefinition, this.#ingester.handlers) },
    ],
    stores: () => [{ instance: 's', client: this.store }],
    rangeVersions: () => [
      { kind: 'ingester', instance: 'i', client: this.#versions(this.#ingester.versionHandlers) },
      { kind: 'store', instance: 's', client: this.#versions(this.#store.versionHandlers) },
    ],
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
  readonly registry = new Registry();
  readonly #querier = createQuerier(
    { threads: 1, pushesDown: false, resultCacheBytes: 1 << 20 },
    { ...this.#deps(), cluster: this.cluster, registry: this.registry, threads: this.#threads },
  );
  readonly #client = createInProcessClient(QuerierDefinition, this.#querier.handlers);
  #distributor = this.#createDistributor();

  constructor(isBlind: boolean) {
    this.#isBlind = isBlind;
  }

  #versions(handlers: Handlers<typeof RangeVersionsDefinition>) {
    const blind: Handlers<typeof RangeVersionsDefinition> = {
      versions: async ({ minTimesMs }) => ({ origin: '', versions: minTimesMs.map(() => 1), epoch: 1 }),
    };
    return createInProcessClient(RangeVersionsDefinition, this.#isBlind ? blind : handlers);
  }

  #deps() {
    return { clock: systemClock, logger: this.#logger, registry: new Registry() };
  }

  #createIngester() {
    const later: Cluster = {
      ...{ replicationFactor: 1, placement: () => this.#placement, ingesters: () => [] },
      stores: () => this.cluster.stores(),
      ...{ queriers: () => [], scrapers: () => [], alertEvaluators: () => [] },
    };
    return createIngester(
      {
        ...{ dataDir: this.#dataDir, instance: 'i', partitionCount: 4, blockRangeMs: HOUR_MS },
        ...{ sealCheckIntervalMs: 50, lateSealDelayMs: 200, sealGraceMs: 300, diskFreeBytesMin: 0 },
      },
      { ...this.#deps(), cluster: later },
    );
  }

  #createDistributor() {
    return createDistributor(
      { outOfOrderWindowMs: 24 * HOUR_MS },
      { ...this.#deps(), cluster: this.cluster },
    );
  }

  get store() {
    return createInProcessClient(StoreDefinition, this.#store.handlers);
  }

  get ingester() {
    return createInProcessClient(IngesterDefinition, this.#ingester.handlers);
  }

  async start(): Promise<void> {
    await this.#threads.start();
    await this.#store.start();
    await this.#ingester.start();
    await this.#querier.start();
  }

  async stop(): Promise<void> {
    await this.#querier.stop();
    await this.#ingester.stop();
    await this.#store.stop();
    await this.#threads.stop();
    rmSync(this.#dataDir, { recursive: true, force: true });
  }

  /** The ingester begins anew, on what it had on disk. */
  async restart(): Promise<void> {
    await this.#ingester.stop();
    this.#ingester = this.#createIngester();
    await this.#ingester.start();
    this.#distributor = this.#createDistributor();
  }

  /** Resolves when all is acknowledged. */
  async write(series: readonly number[], timesMs: readonly number[], value: number): Promise<void> {
    const appender = this.#distributor.appender(TENANT);
    const count = series.length * timesMs.length;
    const references = new Uint32Array(count);
    const timestampsMs = new Float64Array(count);
    const values = new Float64Array(count).fill(value);
    for (const [i, own] of series.entries()) {
      const reference = appender.resolve(
        Labels.from([
          ['__name__', 'm'],
          ['i', `${own}`],
        ]),
      );
      for (const [j, timeMs] of timesMs.entries()) {
        references[i * timesMs.length + j] = reference;
        timestampsMs[i * timesMs.length + j] = timeMs;
      }
    }
    await appender.write({ count, references, timestampsMs, values }, [], signal);
  }

  /** Everything that an answer says, bit for bit. */
  async ask(query: string, startMs: number, endMs: number, noCache: boolean): Promise<Shown> {
    const shown: string[] = [];
    const request = {
      ...{ tenant: TENANT, query, startMs, endMs, stepMs: MINUTE_MS, timeoutMs: 0, lookbackMs: 0, limit: 0 },
      ...{ allowPartial: false, noCache },
    };
    for await (const { part } of this.#client.query(request, { signal })) {
      if (part?.$case === 'header') shown.push(`${part.value.resultType} ${part.value.coverage?.complete}`);
      else if (part?.$case === 'frame') shown.push(Buffer.from(part.value).toString('latin1'));
      else if (part?.$case === 'trailer') shown.push(JSON.stringify([part.value.warnings, part.value.infos]));
    }
    return shown;
  }

  async counted(name: string, ...labels: string[]): Promise<number> {
    const metric = this.registry.getSingleMetric(`tidemark_querier_result_cache_${name}`)!;
    const { values } = (await metric.get()) as {
      values: { value: number; labels: Record<string, string> }[];
    };
    return values
      .filter((each) => labels.every((label) => Object.values(each.labels).includes(label)))
      .reduce((sum, { value }) => sum + value, 0);
  }
}

/** What can happen; each resolves when it was acknowledged. */
class World {
  readonly #rig: Rig;
  readonly #random: Random;
  readonly #nowMs: number;
  readonly #deletes: string[] = [];
  #value = 0;

  constructor(rig: Rig, random: Random, nowMs: number) {
    this.#rig = rig;
    this.#random = random;
    this.#nowMs = nowMs;
  }

  async fill(): Promise<void> {
    const timesMs = Array.from(
      { length: SPAN_MS / MINUTE_MS },
      (_, i) => this.#nowMs - SPAN_MS + i * MINUTE_MS,
    );
    for (let i = 0; i < SERIES; i++) await this.#rig.write([i], timesMs, i + 0.1);
  }

  async act(): Promise<string> {
    const action = pick(this.#random, [
      ...['newest', 'late', 'late', 'backfill', 'delete', 'undo', 'clean', 'seal', 'seal', 'wait', 'restart'],
    ]);
    switch (action) {
      case 'newest':
        await this.#write([this.#nowMs - this.#int(3 * MINUTE_MS)]);
        break;
      case 'late':
        await this.#write([this.#nowMs - this.#int(SPAN_MS)]);
        break;
      case 'backfill': {
        const fromMs = this.#nowMs - this.#int(SPAN_MS);
        await this.#write(Array.from({ length: 30 }, (_, i) => fromMs + i * 17_000));
        break;
      }
      case 'delete':
        await this.#delete();
        break;
      case 'undo':
        await this.#undo();
        break;
      case 'clean':
        await this.#rig.store.cleanTombstones({ tenant: TENANT, actor: 'test' }, { signal });
        break;
      case 'seal':
        await this.#rig.ingester.seal({ tenant: '' }, { signal });
        break;
      case 'restart':
        await this.#rig.restart();
        break;
      // Blocks are merged, expire, and heads let go of them.
      default:
        await systemClock.sleep(this.#int(400));
    }
    return action;
  }

  #int(below: number): number {
    return Math.floor(this.#random() * below);
  }

  async #write(timesMs: readonly number[]): Promise<void> {
    await this.#rig.write([this.#int(SERIES + 1)], timesMs, ++this.#value / 8);
  }

  async #delete(): Promise<void> {
    const deleteId = Array.from({ length: 32 }, () => this.#int(16).toString(16)).join('');
    const fromMs = this.#nowMs - this.#int(SPAN_MS);
    const request = {
      ...{ tenant: TENANT, deleteId, createdAtMs: this.#nowMs, actor: 'test' },
      matchers: toWireMatchers([{ name: 'i', operator: '=', value: `${this.#int(SERIES)}` }]),
      ...{ minTimeMs: fromMs, maxTimeMs: fromMs + this.#int(3 * HOUR_MS) },
    };
    await this.#rig.ingester.deleteSeries({ ...request }, { signal });
    await this.#rig.store.deleteSeries({ ...request }, { signal });
    this.#deletes.push(deleteId);
  }

  async #undo(): Promise<void> {
    const deleteId = this.#deletes.splice(this.#int(this.#deletes.length), 1)[0];
    if (deleteId === undefined) return;
    await this.#rig.ingester.undoDelete({ tenant: TENANT, deleteId, actor: 'test' }, { signal });
    await this.#rig.store.undoDelete({ tenant: TENANT, deleteId, actor: 'test' }, { signal });
  }
}

interface Outcome {
  /** The first answer that was not what evaluation answers; undefined when there was none. */
  readonly outdated: string | undefined;
  readonly compared: number;
  readonly hits: number;
  readonly invalidated: number;
}

/** @param isBlind  Nodes say that nothing ever changes. */
async function run(seed: number, isBlind: boolean): Promise<Outcome> {
  const random = randomOf(seed);
  const rig = new Rig(isBlind);
  onTestFinished(() => rig.stop());
  await rig.start();
  const nowMs = Math.floor(systemClock.nowMs() / MINUTE_MS) * MINUTE_MS;
  const world = new World(rig, random, nowMs);
  await world.fill();
  const actions: string[] = [];
  let compared = 0;
  let outdated: string | undefined;
  for (let step = 0; step < ACTIONS && outdated === undefined; step++) {
    actions.push(await world.act());
    for (const query of [QUERIES[step % QUERIES.length]!, pick(random, QUERIES)]) {
      const endMs = nowMs - Math.floor(random() * 3) * MINUTE_MS;
      const startMs = endMs - SPAN_MS + 30 * MINUTE_MS;
      const before = await rig.ask(query, startMs, endMs, true);
      const cached = [
        await rig.ask(query, startMs, endMs, false),
        await rig.ask(query, startMs, endMs, false),
      ];
      const after = await rig.ask(query, startMs, endMs, true);
      // Retention took something in between.
      if (before.join() !== after.join()) continue;
      compared++;
      if (cached.some((each) => each.join() !== after.join()))
        outdated = `seed ${seed}: ${query} is outdated after ${actions.join(', ')}`;
    }
  }
  const hits = await rig.counted('queries_total', 'hit');
  return { outdated, compared, hits, invalidated: await rig.counted('invalidated_total') };
}

test.each(Array.from({ length: RUNS }, (_, i) => SEED + i))(
  'seed %i: the cache answers what evaluation answers, whatever happened',
  async (seed) => {
    const { outdated, compared, hits, invalidated } = await run(seed, false);
    expect(outdated).toBeUndefined();
    expect(compared).toBeGreaterThan(ACTIONS / 2);
    expect(hits).toBeGreaterThan(10);
    expect(invalidated).toBeGreaterThan(10);
  },
  120_000,
);

test('were nodes to say that nothing changes, it would show', async () => {
  const { outdated } = await run(SEED, true);
  expect(outdated).toBeDefined();
}, 120_000);
