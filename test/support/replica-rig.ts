// Several ingesters in this process with a distributor before them: real logs on real folders, in-process calls, a placement that the
// test sets and a view of who is reachable that it cuts. For tests of what replicas do for each other.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import type { IngesterOptions } from '../../services/ingester/options.ts';
import type { Membership } from '../../services/ingester/replication/replication-options.ts';
import { createIngester, type Ingester } from '../../services/ingester/service.ts';
import { ByteWriter, encodeUtf8 } from '../../services/lib/core/bytes.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import type { Disk } from '../../services/lib/core/disk.ts';
import { hash128 } from '../../services/lib/core/hash128.ts';
import { createDistributor } from '../../services/lib/distributor/distributor.ts';
import { encodeLabels, Labels } from '../../services/lib/model/labels.ts';
import { DEFAULT_TENANT } from '../../services/lib/model/tenant.ts';
import {
  computePlacement,
  PLACEMENT_SEED,
  type Placement,
  partitionOf,
} from '../../services/lib/placement/placement.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Client } from '../../services/lib/transport/rpc.ts';
import { draftAppendBatch, putDefinition } from '../../services/lib/wire/append/append-batch.ts';
import {
  type AppendOutcome,
  type AppendRequest,
  type Coverage,
  type DoneDelete,
  IngesterDefinition,
  IngesterReplicationDefinition,
  MatchType,
  type MetricMetadata,
  type StoreReplicationDefinition,
} from '../../services/lib/wire/contracts.ts';
import { collectLedger, LEDGER_METRIC, type LedgerContent } from './ledger.ts';

export const PARTITIONS = 8;

const WRITER = 'w';

function labelsOf(name: string): Labels {
  return Labels.from([
    ['__name__', LEDGER_METRIC],
    ['series', name],
    ['writer', WRITER],
  ]);
}

/** Where the distributor puts a series. */
export function partitionOfSeries(name: string): number {
  const words = new Uint32Array(4);
  const labels = new ByteWriter();
  encodeLabels(labelsOf(name), labels);
  hash128(labels.bytes, 0, labels.length, PLACEMENT_SEED, words);
  const labelWord = words[0]!;
  const tenant = encodeUtf8(DEFAULT_TENANT);
  hash128(tenant, 0, tenant.length, PLACEMENT_SEED, words);
  return partitionOf(labelWord, words[0]!, PARTITIONS);
}

export interface ReplicaRigOptions {
  readonly instances: readonly string[];
  readonly replicationFactor?: number;
  readonly ingester?: Partial<IngesterOptions>;
  /** An ingester's disk. Default: the machine's own. */
  readonly diskOf?: (instance: string) => Disk;
  /** Stores that take blocks. Default: none. */
  readonly stores?: Cluster['stores'];
  /** Who gives ingesters up, and what stores say of deletes that were done meanwhile. Default: nobody does. */
  readonly absences?: Membership & { readonly told: () => readonly DoneDelete[] };
}

interface Running {
  readonly ingester: Ingester;
  readonly client: Client<typeof IngesterDefinition>;
  readonly replication: Client<typeof IngesterReplicationDefinition>;
  readonly registry: Registry;
}

export class ReplicaRig {
  readonly replicationFactor: number;
  /** Whom the distributor reaches. */
  readonly writable = new Set<string>();
  /** Whom other ingesters reach. */
  readonly reachable = new Set<string>();
  placement: Placement;
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'tidemark-replicas-'));
  readonly #options: Partial<IngesterOptions>;
  readonly #diskOf: ((instance: string) => Disk) | undefined;
  readonly #stores: Cluster['stores'];
  readonly #absences: ReplicaRigOptions['absences'];
  readonly #running = new Map<string, Running>();
  readonly #distributor: ReturnType<typeof createDistributor>;
  #epoch = 0;
  #appends = 0;
  /** A new cluster has no placement before there are ingesters. */
  isPlaced = false;
  /** Series name → time → value, of every acknowledged sample. */
  readonly acknowledged: Map<string, Map<number, number>> = new Map();

  constructor(options: ReplicaRigOptions) {
    const { instances, replicationFactor = 3, ingester = {}, diskOf, stores, absences } = options;
    this.replicationFactor = replicationFactor;
    this.#options = ingester;
    this.#diskOf = diskOf;
    this.#stores = stores ?? (() => []);
    this.#absences = absences;
    this.placement = this.place(instances);
    this.#distributor = createDistributor(
      { outOfOrderWindowMs: 2 ** 50, writeTimeoutMs: 2_000, backoffMinMs: 5, backoffMaxMs: 20 },
      {
        cluster: this.#clusterOf(
          () => this.writable,
          () => this.placement,
        ),
        clock: systemClock,
        logger: createSilentLogger(),
        registry: new Registry(),
      },
    );
  }

  /** The placement of these owners, with what came before it. */
  place(instances: readonly string[]): Placement {
    const members = instances.map((instance) => ({ instance, zone: '' }));
    const before = this.#epoch === 0 ? undefined : this.placement;
    const epoch = ++this.#epoch;
    this.placement = {
      ...computePlacement(members, {
        epoch,
        partitionCount: PARTITIONS,
        replicationFactor: this.replicationFactor,
      }),
      former: before === undefined ? [] : [before.replicas, ...(before.former ?? [])],
      formerEpochs: before === undefined ? [] : [before.epoch, ...(before.formerEpochs ?? [])],
    };
    return this.placement;
  }

  /** As the keeper does when everybody said that everything was handed over. */
  forgetFormer(): void {
    const { former: _, formerEpochs = [], ...rest } = this.placement;
    this.placement = { ...rest, epoch: ++this.#epoch, fence: Math.max(0, ...formerEpochs) + 1 };
  }

  of(instance: string): Running {
    const running = this.#running.get(instance);
    if (running === undefined) throw new Error(`${instance} does not run`);
    return running;
  }

  dataDirOf(instance: string): string {
    return path.join(this.#folder, instance);
  }

  async start(instance: string): Promise<void> {
    const registry = new Registry();
    const ingester = createIngester(
      {
        dataDir: this.dataDirOf(instance),
        partitionCount: PARTITIONS,
        segmentBytesMax: 16_384,
        groupCommitMs: 0,
        diskFreeBytesMin: 0,
        sealCheckIntervalMs: 1e9,
        catchUpIntervalMs: 100,
        ...this.#options,
      },
      {
        cluster: this.#clusterOf(
          () => this.reachable,
          () => (this.isPlaced ? this.placement : undefined),
        ),
        clock: systemClock,
        logger: createSilentLogger(),
        registry,
        ...(this.#diskOf === undefined ? {} : { disk: this.#diskOf(instance) }),
        replication: {
          instance,
          peers: () =>
            Array.from(this.#running, ([name, { replication }]) => ({
              instance: name,
              client: replication,
            })).filter((peer) => this.reachable.has(peer.instance) && this.reachable.has(instance)),
          isInformed: () => true,
          ...(this.#absences === undefined ? {} : { membership: this.#absences }),
        },
      },
    );
    this.reachable.add(instance);
    await ingester.start();
    this.#running.set(instance, {
      ingester,
      client: createInProcessClient(IngesterDefinition, ingester.handlers),
      replication: createInProcessClient(IngesterReplicationDefinition, ingester.replicationHandlers!),
      registry,
    });
    this.writable.add(instance);
  }

  /** Ends it without a word: whoever was connected finds out. */
  async stop(instance: string): Promise<void> {
    this.writable.delete(instance);
    this.reachable.delete(instance);
    const running = this.#running.get(instance);
    this.#running.delete(instance);
    await running?.ingester.stop();
  }

  wipe(instance: string): void {
    rmSync(this.dataDirOf(instance), { recursive: true, force: true });
  }

  async close(): Promise<void> {
    await this.#distributor.stop();
    for (const instance of [...this.#running.keys()]) await this.stop(instance);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Writes one sample of each series, and metadata with them; remembers the samples once they are acknowledged. */
  async write(
    names: readonly string[],
    timeMs: number,
    value: number,
    metadata: readonly MetricMetadata[] = [],
  ): Promise<void> {
    const appender = this.#distributor.appender(DEFAULT_TENANT);
    const references = names.map((name) => appender.resolve(labelsOf(name)));
    await appender.write(
      {
        count: names.length,
        references: Uint32Array.from(references),
        timestampsMs: new Float64Array(names.length).fill(timeMs),
        values: new Float64Array(names.length).fill(value),
      },
      metadata,
      new AbortController().signal,
    );
    for (const name of names) {
      const key = `${WRITER}/${name}`;
      const samples = this.acknowledged.get(key) ?? new Map<number, number>();
      samples.set(timeMs, value);
      this.acknowledged.set(key, samples);
    }
  }

  /** Acknowledged samples that an ingester does not have, of these partitions: `series time`. */
  async missingAt(instance: string, partitions: ReadonlySet<number>): Promise<string[]> {
    const content = await this.contentOf(instance);
    const missing: string[] = [];
    for (const [key, samples] of this.acknowledged) {
      if (!partitions.has(partitionOfSeries(key.slice(WRITER.length + 1)))) continue;
      for (const [timeMs, value] of samples) {
        if (content.get(key)?.get(timeMs) !== value) missing.push(`${key} ${timeMs}`);
      }
    }
    return missing;
  }

  ownedBy(instance: string): Set<number> {
    return new Set(
      this.placement.replicas.flatMap((owners, partition) => (owners.includes(instance) ? [partition] : [])),
    );
  }

  /**
   * Sends one sample of a series to one ingester, as a writer does that knows the placement of `epoch`, under a lease or none. The first
   * write of an origin; default: of a new one.
   */
  async append(
    instance: string,
    epoch: number,
    name: string,
    change?: Pick<AppendRequest, 'fence' | 'fenceToken' | 'origin'>,
  ): Promise<AppendOutcome> {
    const definitions = new ByteWriter();
    const labels = new ByteWriter();
    encodeLabels(labelsOf(name), labels);
    const partition = partitionOfSeries(name);
    putDefinition(definitions, 0, partition, labels.bytes, 0, labels.length);
    const sections = [{ partition, samples: 1 }];
    const draft = draftAppendBatch(sections, 1, 1, definitions.bytes, definitions.length);
    draft.references[0] = 0;
    draft.timestampsMs[0] = 1;
    draft.values[0] = 1;
    const request: AppendRequest = {
      ...{ tenant: DEFAULT_TENANT, writerId: 'test', sequence: 1, epoch, batch: draft.bytes, metadata: [] },
      ...{ origin: (++this.#appends).toString(16).padStart(16, 'f'), write: 1, steps: new Uint8Array([1]) },
      ...change,
    };
    const requests = (async function* () {
      yield request;
    })();
    for await (const { outcome } of this.of(instance).client.append(requests, {
      signal: new AbortController().signal,
    })) {
      return outcome;
    }
    throw new Error('no answer');
  }

  /** All that an ingester holds. */
  async contentOf(instance: string): Promise<LedgerContent> {
    const found: LedgerContent = new Map();
    await collectLedger(this.of(instance).client, found);
    return found;
  }

  /** Metrics that an ingester has metadata of, sorted. */
  async metricsAt(instance: string): Promise<string[]> {
    const request = { tenant: DEFAULT_TENANT, metric: '', limit: 0 };
    const { metadata } = await this.of(instance).client.metadata(request, {
      signal: new AbortController().signal,
    });
    return metadata.map(({ metric }) => metric).sort();
  }

  /** What an ingester says of its answer when it is asked for a proof. */
  async coverageOf(instance: string, proveComplete = true): Promise<Coverage | undefined> {
    let coverage: Coverage | undefined;
    const request = {
      tenant: DEFAULT_TENANT,
      matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: '__name__', value: LEDGER_METRIC }],
      minTimeMs: 0,
      maxTimeMs: 2 ** 50,
      labelsOnly: true,
      partitions: [],
      seriesMax: 0,
      proveComplete,
    };
    for await (const message of this.of(instance).client.select(request, {
      signal: new AbortController().signal,
    })) {
      coverage = message.coverage ?? coverage;
    }
    return coverage;
  }

  /** Partitions for which it says that its answer needs no other's. */
  async completeAt(instance: string): Promise<number[]> {
    const coverage = await this.coverageOf(instance);
    return (coverage?.partitions ?? []).filter(({ complete }) => complete).map(({ partition }) => partition);
  }

  async metric(instance: string, name: string): Promise<number> {
    const metric = await this.of(instance).registry.getSingleMetric(name)?.get();
    return metric?.values.reduce((sum, { value }) => sum + value, 0) ?? 0;
  }

  #clusterOf(reachable: () => ReadonlySet<string>, placement: () => Placement | undefined): Cluster {
    const running = this.#running;
    const absences = this.#absences;
    const teller = {
      doneDeletes: async function* () {
        yield* absences?.told() ?? [];
      },
    } as unknown as Client<typeof StoreReplicationDefinition>;
    return {
      ...(absences === undefined ? {} : { storeReplication: () => [{ instance: 'store', client: teller }] }),
      placement,
      replicationFactor: this.replicationFactor,
      ingesters: () =>
        Array.from(running, ([instance, { client }]) => ({ instance, client })).filter(({ instance }) =>
          reachable().has(instance),
        ),
      stores: this.#stores,
      queriers: () => [],
      scrapers: () => [],
      alertEvaluators: () => [],
    };
  }
}
