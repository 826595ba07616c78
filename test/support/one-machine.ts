// An ingester and the store that takes its blocks in this process, on one data folder and one disk: the storage of all-in-one
// without its doors, for tests of what a machine keeps.
import { Registry } from 'prom-client';
import type { IngesterOptions } from '../../services/ingester/options.ts';
import { createIngester, type Ingester } from '../../services/ingester/service.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import type { Disk } from '../../services/lib/core/disk.ts';
import type { AppError } from '../../services/lib/core/errors.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Client } from '../../services/lib/transport/rpc.ts';
import { IngesterDefinition, StoreDefinition } from '../../services/lib/wire/contracts.ts';
import { createStore, type Store } from '../../services/store/service.ts';
import { collectLedger, type LedgerContent } from './ledger.ts';

export interface OneMachine {
  readonly ingester: Ingester;
  readonly client: Client<typeof IngesterDefinition>;
  readonly store: Client<typeof StoreDefinition>;
  readonly registry: Registry;
  /** What the log's `onFatal` was told: a process would have ended there. */
  readonly fatal: readonly AppError[];
  readonly content: () => Promise<LedgerContent>;
  /** Safe on a dead disk. */
  readonly stop: () => Promise<void>;
}

/** @param exits  A failing log ends this process, as it does the real one. */
export async function startOneMachine(
  dataDir: string,
  disk: Disk,
  options: Partial<IngesterOptions> = {},
  exits = false,
): Promise<OneMachine> {
  const registry = new Registry();
  const deps = { clock: systemClock, logger: createSilentLogger(), registry, disk };
  const fatal: AppError[] = [];
  const store: Store = createStore(
    { dataDir, retentionMs: 0, retentionBytes: 0, compactionRangesMs: [] },
    deps,
  );
  const storeClient = createInProcessClient(StoreDefinition, store.handlers);
  const cluster: Cluster = {
    placement: () => undefined,
    replicationFactor: 1,
    ingesters: () => [],
    stores: () => [{ instance: 'store', client: storeClient }],
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
  const ingester = createIngester(
    {
      dataDir,
      segmentBytesMax: 4096,
      groupCommitMs: 0,
      diskFreeBytesMin: 0,
      sealCheckIntervalMs: 1e9,
      ...options,
    },
    { ...deps, cluster, ...(exits ? {} : { onFatal: (error: AppError) => fatal.push(error) }) },
  );
  const stop = async (): Promise<void> => {
    await Promise.allSettled([ingester.stop(), store.stop()]);
  };
  const client = createInProcessClient(IngesterDefinition, ingester.handlers);
  try {
    await store.start();
    await ingester.start();
  } catch (caught) {
    await stop();
    throw caught;
  }
  const content = async (): Promise<LedgerContent> => {
    const found: LedgerContent = new Map();
    await collectLedger(client, found);
    await collectLedger(storeClient, found);
    return found;
  };
  return { ingester, client, store: storeClient, registry, fatal, content, stop };
}
