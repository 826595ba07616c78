// The ingester's own flags, beside those of every service process.
import { DATA_FLAGS, INGEST_FLAGS, QUERY_FLAGS } from '../lib/runtime/flag-groups.ts';
import type { FlagTable } from '../lib/runtime/flags.ts';
import { PLACEMENT_FLAGS } from '../lib/transport/process-flags.ts';

export const INGESTER_FLAGS = {
  ...DATA_FLAGS,
  ...PLACEMENT_FLAGS,
  'ingest.max-series': INGEST_FLAGS['ingest.max-series'],
  'query.timeout': {
    type: 'duration',
    default: 120_000,
    desc: 'The longest query.timeout of all queriers: what is sealed stays readable here a little longer.',
  },
  'query.threads': QUERY_FLAGS['query.threads'],
  'query.max-memory-total': {
    type: 'bytes',
    default: 2 ** 30,
    desc: 'Most memory that parts of queries which are evaluated here may hold together; no more than a quarter of what the process may use.',
  },
  'cluster.weight': {
    type: 'number',
    default: 1,
    min: 0.01,
    max: 100,
    desc: 'Share of the partitions compared with other ingesters: twice the memory and cores, twice the weight.',
  },
  'cluster.seal-wait': {
    type: 'duration',
    default: 600_000,
    desc: 'Of the owners of a partition one makes the block of a range; the others wait so long for its word that the stores have it, then make it themselves. 0: each makes its own.',
  },
  'cluster.leave': {
    type: 'boolean',
    default: false,
    desc: 'SIGTERM hands all partitions over to other ingesters before the process ends, as a scale-in needs it. Off: a restart moves nothing.',
  },
  'cluster.leave-timeout': {
    type: 'duration',
    default: 600_000,
    desc: 'With cluster.leave: end after so long all the same. Give the pod a longer terminationGracePeriodSeconds.',
  },
} as const satisfies FlagTable;
