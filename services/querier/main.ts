// `node services/querier/main.ts`: a querier as a process of a cluster.
import { featuresOf } from '../lib/promql/feature-names.ts';
import { memoryShare } from '../lib/runtime/memory-limit.ts';
import { runServiceProcess } from '../lib/transport/service-process.ts';
import { QuerierDefinition } from '../lib/wire/contracts.ts';
import { QUERIER_FLAGS } from './flags.ts';
import { DEFAULT_QUERIER_OPTIONS, labelNamesOf } from './options.ts';
import { rehearse } from './rehearsal/rehearsal.ts';
import { rehearsedThreads } from './rehearsal/rehearsed-queries.ts';
import { createQuerier, createQueryThreads } from './service.ts';

runServiceProcess({
  service: 'querier',
  usage: 'Tidemark querier: evaluates PromQL over all ingesters and stores.',
  flags: QUERIER_FLAGS,
  build: ({ flags, cluster, clock, logger, registry }) => {
    const options = {
      ...DEFAULT_QUERIER_OPTIONS,
      timeoutMs: flags['query.timeout'],
      samplesMax: flags['query.max-samples'],
      seriesMax: flags['query.max-series'],
      memoryBytesMax: memoryShare(1 / 4, flags['query.max-memory']),
      memoryTotalBytesMax: memoryShare(1 / 2, flags['query.max-memory-total']),
      threads: flags['query.threads'] || DEFAULT_QUERIER_OPTIONS.threads,
      concurrencyMax: flags['query.max-concurrency'],
      lookbackMs: flags['query.lookback-delta'],
      noStepSubqueryIntervalMs: flags['query.default-subquery-step'],
      resultCacheBytes: memoryShare(1 / 16, flags['query.result-cache-size']),
      pushesDown: flags['query.push-down'],
      replicaLabels: labelNamesOf(flags['query.replica-labels']),
      features: featuresOf(flags['enable-feature'], logger),
    };
    const threads = createQueryThreads(options, logger);
    const querier = createQuerier(options, { cluster, clock, logger, registry, threads });
    const querying = rehearsedThreads(
      threads,
      flags['query.rehearsal']
        ? (signal) => rehearse(options, { threads, clock, logger, signal })
        : undefined,
    );
    return {
      services: [querying, querier],
      serve: (server) => server.add(QuerierDefinition, querier.handlers),
      needsPlacement: true,
    };
  },
});
