// The flags of the all-in-one process: Prometheus' own where they mean the same, and ours.
import type { FlagTable } from '../lib/runtime/flags.ts';

const DAY_MS = 86_400_000;

export const ALL_IN_ONE_FLAGS = {
  'config.file': {
    type: 'string',
    default: 'prometheus.yml',
    desc: 'Configuration file, in the format of prometheus.yml.',
  },
  'storage.tsdb.path': {
    type: 'string',
    default: './data',
    aliases: ['data.dir'],
    desc: 'Directory of the log and the blocks.',
  },
  'storage.tsdb.retention.time': {
    type: 'duration',
    default: 15 * DAY_MS,
    aliases: ['storage.tsdb.retention'],
    desc: 'How long samples are kept.',
  },
  'storage.tsdb.retention.size': {
    type: 'bytes',
    default: 0,
    desc: 'Most bytes of blocks, oldest deleted first; 0 means no limit.',
  },
  'web.listen-address': {
    type: 'string',
    default: '0.0.0.0:9090',
    desc: 'Address of the page, the API and remote write.',
  },
  'web.external-url': {
    type: 'string',
    default: '',
    desc: 'URL under which users reach this process; stands in alerts.',
  },
  'web.enable-lifecycle': { type: 'boolean', default: false, desc: 'Allows POST /-/reload and /-/quit.' },
  'web.enable-admin-api': { type: 'boolean', default: false, desc: 'Allows /api/v1/admin.' },
  'web.cors.origin': {
    type: 'string',
    default: '.*',
    desc: 'Regular expression of the origins that may use the API from a browser.',
  },
  'query.timeout': { type: 'duration', default: 120_000, desc: 'Longest time that a query may take.' },
  'query.max-samples': {
    type: 'number',
    default: 50_000_000,
    min: 1,
    desc: 'Most samples that a query may hold in memory.',
  },
  'query.max-concurrency': { type: 'number', default: 20, min: 1, desc: 'Most queries at one time.' },
  'query.lookback-delta': {
    type: 'duration',
    default: 300_000,
    desc: 'How far back an instant looks for a sample.',
  },
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
  'enable-feature': {
    type: 'list',
    default: [],
    desc: 'Experimental features, comma-separated: promql-experimental-functions, promql-extended-range-selectors, promql-binop-fill-modifiers, promql-delayed-name-removal.',
  },
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
  'cluster.name': { type: 'string', default: 'tidemark', desc: 'Name of the cluster.' },
  'cluster.instance': { type: 'string', default: 'all-in-one', desc: 'Name of this process in the cluster.' },
  'cluster.partitions': {
    type: 'number',
    default: 64,
    min: 1,
    max: 4096,
    desc: 'Hash slices of all series; fixed when the data directory is made.',
  },
  'ingest.out-of-order-window': {
    type: 'duration',
    default: 0,
    desc: 'Oldest sample accepted, counted back from now; 0 means the retention.',
  },
  'ingest.max-series': {
    type: 'number',
    default: 10_000_000,
    min: 1,
    desc: 'Most series a tenant may have known at one time.',
  },
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
