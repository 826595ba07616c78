// Flags that several processes share, by what they are about. A service's own table spreads the groups that concern it, so
// that a flag has one description and one default wherever it exists.
import type { FlagTable } from './flags.ts';

const DAY_MS = 86_400_000;

export const CONFIG_FLAGS = {
  'config.file': {
    type: 'string',
    default: 'prometheus.yml',
    desc: 'Configuration file, in the format of prometheus.yml.',
  },
} as const satisfies FlagTable;

export const DATA_FLAGS = {
  'storage.tsdb.path': {
    type: 'string',
    default: './data',
    aliases: ['data.dir'],
    desc: 'Directory of what has to survive a restart.',
  },
} as const satisfies FlagTable;

export const SCRAPE_FLAGS = {
  'scrape.spool-size': {
    type: 'bytes',
    default: 2 ** 30,
    desc: 'Most bytes of scraped samples that wait on disk while no ingesters take them; 0 keeps them in memory.',
  },
} as const satisfies FlagTable;

export const RETENTION_FLAGS = {
  'storage.tsdb.retention.time': {
    type: 'duration',
    default: 15 * DAY_MS,
    aliases: ['storage.tsdb.retention'],
    desc: 'How long samples are kept.',
  },
} as const satisfies FlagTable;

export const RETENTION_SIZE_FLAGS = {
  'storage.tsdb.retention.size': {
    type: 'bytes',
    default: 0,
    desc: 'Most bytes of blocks, oldest deleted first; 0 means no limit.',
  },
} as const satisfies FlagTable;

export const EXTERNAL_URL_FLAGS = {
  'web.external-url': {
    type: 'string',
    default: '',
    desc: 'URL under which users reach this process; stands in alerts.',
  },
} as const satisfies FlagTable;

export const API_FLAGS = {
  'web.listen-address': {
    type: 'string',
    default: '0.0.0.0:9090',
    desc: 'Address of the page, the API and remote write.',
  },
  ...EXTERNAL_URL_FLAGS,
  'web.enable-lifecycle': { type: 'boolean', default: false, desc: 'Allows POST /-/reload and /-/quit.' },
  'web.enable-admin-api': { type: 'boolean', default: false, desc: 'Allows /api/v1/admin.' },
  'web.cors.origin': {
    type: 'string',
    default: '.*',
    desc: 'Regular expression of the origins that may use the API from a browser.',
  },
} as const satisfies FlagTable;

export const QUERY_TIMEOUT_FLAGS = {
  'query.timeout': { type: 'duration', default: 120_000, desc: 'Longest time that a query may take.' },
} as const satisfies FlagTable;

/** Of processes that evaluate queries. */
export const REHEARSAL_FLAGS = {
  'query.rehearsal': {
    type: 'boolean',
    default: true,
    desc: 'Answer queries over made-up series before the start is over, for at most 1.5 s: the first real ones are as fast as the rest then.',
  },
} as const satisfies FlagTable;

export const QUERY_FLAGS = {
  ...QUERY_TIMEOUT_FLAGS,
  'query.max-samples': {
    type: 'number',
    default: 50_000_000,
    min: 1,
    desc: 'Most samples that a query may hold in memory.',
  },
  'query.max-series': {
    type: 'number',
    default: 1_000_000,
    min: 1,
    desc: 'Most series that one selector may find.',
  },
  'query.max-memory': {
    type: 'bytes',
    default: 2 ** 30,
    desc: 'Most memory that one query may hold; in a querier no more than a quarter, in all-in-one an eighth of the memory that the process may use.',
  },
  'query.max-memory-total': {
    type: 'bytes',
    default: 2 ** 31,
    desc: 'Most memory that all queries may hold together; in a querier no more than half, in all-in-one an eighth of the memory that the process may use.',
  },
  'query.result-cache-size': {
    type: 'bytes',
    default: 128 << 20,
    desc: 'Most memory for earlier answers of range queries, which are used again as long as no sample of theirs changed; in a querier no more than a 16th, in all-in-one a 32nd of the memory that the process may use. 0 turns it off.',
  },
  'query.max-concurrency': { type: 'number', default: 20, min: 1, desc: 'Most queries at one time.' },
  'query.threads': {
    type: 'number',
    default: 0,
    min: 0,
    max: 1024,
    desc: 'Worker threads that evaluate queries; 0 means one per core.',
  },
  'query.lookback-delta': {
    type: 'duration',
    default: 300_000,
    desc: 'How far back an instant looks for a sample.',
  },
  'query.replica-labels': {
    type: 'string',
    default: 'prometheus_replica,__replica__',
    desc: 'Labels, by commas, that tell the servers of a highly available pair apart: series that differ in nothing else are merged by queries. Empty: they are not.',
  },
} as const satisfies FlagTable;

export const RULE_FLAGS = {
  'rules.alert.for-outage-tolerance': {
    type: 'duration',
    default: 3_600_000,
    desc: 'Longest outage after which the "for" state of an alert is restored.',
  },
  'rules.alert.for-grace-period': {
    type: 'duration',
    default: 600_000,
    desc: 'Least time between a restored alert and its firing.',
  },
  'rules.alert.resend-delay': {
    type: 'duration',
    default: 60_000,
    desc: 'Least time before an alert is sent to Alertmanager again.',
  },
  'alertmanager.notification-queue-capacity': {
    type: 'number',
    default: 10_000,
    min: 1,
    desc: 'Most alerts that wait to be sent.',
  },
} as const satisfies FlagTable;

export const FEATURE_FLAGS = {
  'enable-feature': {
    type: 'list',
    default: [],
    desc: 'Experimental features, comma-separated: promql-experimental-functions, promql-extended-range-selectors, promql-binop-fill-modifiers, promql-delayed-name-removal.',
  },
} as const satisfies FlagTable;

export const LOG_FLAGS = {
  'log.level': {
    type: 'string',
    default: 'info',
    choices: ['debug', 'info', 'warn', 'error'],
    desc: 'Least severe messages to log.',
  },
  'log.format': {
    type: 'string',
    default: 'logfmt',
    choices: ['logfmt', 'json'],
    desc: 'Format of log lines.',
  },
} as const satisfies FlagTable;

export const CLUSTER_NAME_FLAGS = {
  'cluster.name': { type: 'string', default: 'tidemark', desc: 'Name of the cluster.' },
} as const satisfies FlagTable;

export const PARTITION_FLAGS = {
  'cluster.partitions': {
    type: 'number',
    default: 64,
    min: 1,
    max: 4096,
    desc: 'Hash slices of all series; fixed when the data directory is made.',
  },
} as const satisfies FlagTable;

export const INGEST_FLAGS = {
  'ingest.out-of-order-window': {
    type: 'duration',
    default: 0,
    desc: 'Oldest sample accepted, counted back from now; 0 means the retention.',
  },
  'ingest.max-series': {
    type: 'number',
    default: 10_000_000,
    min: 1,
    desc: 'Most series of a tenant in memory, in the whole cluster: ingesters refuse new ones beyond it. The same in all processes.',
  },
} as const satisfies FlagTable;
