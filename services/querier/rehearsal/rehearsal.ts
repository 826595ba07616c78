// What a querier of a cluster does once before it says that it is ready: it answers queries over made-up series that three ingesters of its
// own process hold, by its own threads and code. Of the others it asks nothing.
import { Registry } from 'prom-client';
import type { Clock } from '../../lib/core/clock.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import { computePlacement } from '../../lib/placement/placement.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import type { Handlers } from '../../lib/transport/rpc.ts';
import type { Head } from '../../lib/tsdb/head/head.ts';
import { selectHead } from '../../lib/tsdb/head/head-select.ts';
import { IngesterDefinition, QuerierDefinition } from '../../lib/wire/contracts.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { QuerierOptions } from '../options.ts';
import { createQuerier } from '../service.ts';
import { fillRehearsedHead, makeRehearsedHead } from './rehearsed-head.ts';
import { type RehearsalDeps, rehearseOn, type Stage } from './rehearsed-queries.ts';

/** As in most clusters: answers of replicas are chosen from, or united. */
const REPLICAS = 3;
const PARTITIONS = 4;

/** Rehearses; see `rehearseOn`. */
export function rehearse(options: QuerierOptions, deps: RehearsalDeps, turns?: number): Promise<void> {
  const head = makeRehearsedHead();
  fillRehearsedHead(head);
  return rehearseOn((own) => createStage(own, head, deps), options, deps, turns);
}

function createStage(
  options: QuerierOptions,
  head: Head,
  { threads, clock, signal = new AbortController().signal }: RehearsalDeps,
): Stage {
  // Whoever rehearses says what went wrong.
  const [logger, registry] = [createSilentLogger(), new Registry()];
  const cluster = createRehearsedCluster(ingesterOf(head, clock));
  const querier = createQuerier(options, { cluster, clock, logger, registry, threads });
  const client = createInProcessClient(QuerierDefinition, querier.handlers);
  return {
    ask: async (query) => {
      const request = {
        ...{ tenant: DEFAULT_TENANT, ...query, lookbackMs: 0, timeoutMs: 0 },
        ...{ limit: 0, allowPartial: false },
      };
      for await (const _ of client.query(request, { signal }));
    },
    close: () => querier.stop(),
  };
}

/** Ingesters that hold the same, and no store. */
function createRehearsedCluster(handlers: Handlers<typeof IngesterDefinition>): Cluster {
  const members = Array.from({ length: REPLICAS }, (_, i) => ({ instance: `rehearsal-${i}`, zone: '' }));
  const placement = computePlacement(members, {
    ...{ epoch: 1, partitionCount: PARTITIONS, replicationFactor: REPLICAS },
  });
  const client = createInProcessClient(IngesterDefinition, handlers);
  const ingesters = members.map(({ instance }) => ({ instance, client }));
  return {
    placement: () => placement,
    replicationFactor: REPLICAS,
    ingesters: () => ingesters,
    stores: () => [],
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
}

/** Answers selects as an ingester that has all there is; nobody asks it for anything else. */
function ingesterOf(head: Head, clock: Clock): Handlers<typeof IngesterDefinition> {
  const select: Handlers<typeof IngesterDefinition>['select'] = async function* (request) {
    const { minTimeMs, maxTimeMs, labelsOnly } = request;
    const selection = {
      ...{ minTimeMs, maxTimeMs, labelsOnly, partitions: undefined, seriesMax: head.seriesCount },
      matchers: fromWireMatchers(request.matchers),
    };
    const writer = new SeriesFrameWriter();
    const steps = selectHead(head, selection, clock, writer);
    for (let isOver = false; !isOver; ) {
      isOver = steps.next().done === true;
      for (const frame of isOver ? writer.finish() : writer.takeFrames())
        yield { frame: Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength), coverage: undefined };
    }
    const partitions = Array.from({ length: PARTITIONS }, (_, partition) => ({
      ...{ partition, minTimeMs, maxTimeMs, complete: true },
    }));
    yield { frame: Buffer.alloc(0), coverage: { partitions } };
  };
  return { select } as Handlers<typeof IngesterDefinition>;
}
