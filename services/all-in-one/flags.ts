// The flags of the all-in-one process: Prometheus' own where they mean the same, and ours.
import { OBJSTORE_FLAGS } from '../lib/objstore/objstore-flags.ts';
import {
  API_FLAGS,
  CLUSTER_NAME_FLAGS,
  CONFIG_FLAGS,
  DATA_FLAGS,
  FEATURE_FLAGS,
  INGEST_FLAGS,
  LOG_FLAGS,
  PARTITION_FLAGS,
  QUERY_FLAGS,
  REHEARSAL_FLAGS,
  RETENTION_FLAGS,
  RETENTION_SIZE_FLAGS,
  RULE_FLAGS,
  SCRAPE_FLAGS,
} from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';
import { COMPACTION_FLAGS, SCRUB_FLAGS } from '../store/flags.ts';

export const ALL_IN_ONE_FLAGS = {
  ...CONFIG_FLAGS,
  ...DATA_FLAGS,
  ...RETENTION_FLAGS,
  ...RETENTION_SIZE_FLAGS,
  ...COMPACTION_FLAGS,
  ...SCRUB_FLAGS,
  ...OBJSTORE_FLAGS,
  ...API_FLAGS,
  ...QUERY_FLAGS,
  ...REHEARSAL_FLAGS,
  ...RULE_FLAGS,
  ...FEATURE_FLAGS,
  ...LOG_FLAGS,
  ...CLUSTER_NAME_FLAGS,
  'cluster.instance': { type: 'string', default: 'all-in-one', desc: 'Name of this process in the cluster.' },
  ...PARTITION_FLAGS,
  ...INGEST_FLAGS,
  ...SCRAPE_FLAGS,
  ...ignored([
    'web.enable-remote-write-receiver',
    'web.enable-otlp-receiver',
    'storage.tsdb.wal-compression',
    'storage.tsdb.no-lockfile',
    'storage.tsdb.allow-overlapping-blocks',
    'auto-gomemlimit',
    'auto-gomaxprocs',
    'scrape.adjust-timestamps',
  ]),
  ...ignoredStrings([
    'web.page-title',
    'web.console.templates',
    'web.console.libraries',
    'web.max-connections',
    'web.read-timeout',
    'storage.tsdb.min-block-duration',
    'storage.tsdb.max-block-duration',
    'storage.tsdb.wal-segment-size',
    'storage.tsdb.head-chunks-write-queue-size',
    'storage.remote.flush-deadline',
    'storage.remote.read-sample-limit',
    'storage.remote.read-concurrent-limit',
    'storage.remote.read-max-bytes-in-frame',
  ]),
} as const satisfies FlagTable;

function ignored<const N extends string>(names: readonly N[]) {
  const spec = { type: 'boolean', default: false, ignored: true, desc: 'Has no effect here.' } as const;
  return Object.fromEntries(names.map((name) => [name, spec])) as Record<N, typeof spec>;
}

function ignoredStrings<const N extends string>(names: readonly N[]) {
  const spec = { type: 'string', default: '', ignored: true, desc: 'Has no effect here.' } as const;
  return Object.fromEntries(names.map((name) => [name, spec])) as Record<N, typeof spec>;
}
