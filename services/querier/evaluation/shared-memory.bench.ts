// Resident memory while large queries are evaluated in several threads, one after the other.
// node services/querier/evaluation/shared-memory.bench.ts [queries]
import { Registry } from 'prom-client';
import { createFakeCluster, regularSamples } from '../../../test/support/fake-cluster.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { Labels } from '../../lib/model/labels.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import { QuerierDefinition } from '../../lib/wire/contracts.ts';
import { createQuerier } from '../service.ts';

const queries = Number(process.argv[2] ?? 24);
const series = Array.from({ length: 4000 }, (_, i) => ({
  labels: Labels.from([
    ['__name__', 'm'],
    ['instance', `host-${i}`],
  ]),
  samples: regularSamples(0, 15_000, 960, (s) => Math.sin(s * i)),
}));
const querier = createQuerier(
  { threads: 2, chunksPerThread: 1000 },
  {
    cluster: createFakeCluster({ ingesters: [{ instance: 'i', series }] }),
    clock: systemClock,
    logger: createSilentLogger(),
    registry: new Registry(),
  },
);
await querier.start();
const client = createInProcessClient(QuerierDefinition, querier.handlers);
const request = {
  tenant: 'anonymous',
  query: 'sum(rate(m[5m]))',
  startMs: 0,
  endMs: 14_400_000,
  stepMs: 60_000,
  timeoutMs: 0,
  lookbackMs: 0,
  limit: 0,
  allowPartial: false,
};
for (let i = 0; i < queries; i++) {
  for await (const _ of client.query(request, { signal: new AbortController().signal }));
  if (i % 4 === 3) console.log(`${i + 1} queries: ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`);
}
await querier.stop();
