// /api/v1/status/tsdb/blocks: the blocks of all stores, each once, as Prometheus describes its own. /api/v1/status/walreplay: how
// far this process has replayed its log; it answers before the process is ready, since that is what it is asked for.
import type { Registry } from 'prom-client';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { BlockSummary } from '../../lib/wire/contracts.ts';
import { type ApiResult, type Exchange, sendResult } from '../http/exchange.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { listing } from './calls.ts';

/** An ingester in this process counts here which log segments it replays: first, last, the one under way. */
const REPLAY_GAUGE = 'tidemark_ingester_replay_segment';

const HOUR_MS = 3_600_000;
/** Widths that compaction brings blocks to; behind the last one they grow no more. */
const LEVEL_WIDTHS_MS = [2 * HOUR_MS, 12 * HOUR_MS];

export interface TsdbStatusDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly registry: Registry;
}

export function tsdbStatusRoutes(deps: TsdbStatusDeps): Route[] {
  return [
    apiRoute(['GET'], '/api/v1/status/tsdb/blocks', (exchange) => listBlocks(exchange, deps)),
    {
      template: '/api/v1/status/walreplay',
      methods: ['GET'],
      kind: 'plain',
      handle: async (exchange) => sendResult(exchange, { data: await describeReplay(deps.registry) }),
    },
  ];
}

async function listBlocks(exchange: Exchange, { cluster, clock }: TsdbStatusDeps): Promise<ApiResult> {
  const stores = cluster.stores();
  if (stores.length === 0) {
    throw new AppError('unavailable', 'no store is reachable: wait until one has joined the cluster');
  }
  const lists = await listing(clock, exchange.signal, (context) =>
    Promise.all(stores.map(({ client }) => client.listBlocks({ tenant: DEFAULT_TENANT }, context))),
  );
  const byId = new Map<string, BlockSummary>();
  for (const { blocks } of lists) for (const block of blocks) byId.set(block.blockId, block);
  const blocks = [...byId.values()].sort(
    (a, b) => a.minTimeMs - b.minTimeMs || (a.blockId < b.blockId ? -1 : 1),
  );
  return { data: { blocks: blocks.map(describeBlock) } };
}

function describeBlock(block: BlockSummary) {
  return {
    // Ours are derived from the content, and no ULIDs.
    ulid: block.blockId,
    minTime: block.minTimeMs,
    // Prometheus' is the first millisecond behind the block.
    maxTime: block.maxTimeMs + 1,
    stats: { numSamples: block.samples, numSeries: block.series, numChunks: block.chunks },
    compaction: { level: levelOf(block), sources: [block.blockId] },
    version: 1,
  };
}

/** By the narrowest aligned window that the samples fit: what compaction has done does not show in a summary. */
function levelOf({ minTimeMs, maxTimeMs }: BlockSummary): number {
  const level = LEVEL_WIDTHS_MS.findIndex(
    (width) => Math.floor(minTimeMs / width) === Math.floor(maxTimeMs / width),
  );
  return (level < 0 ? LEVEL_WIDTHS_MS.length : level) + 1;
}

/** All zero where this process has no log, or had nothing to replay. */
async function describeReplay(registry: Registry) {
  const replay = { min: 0, max: 0, current: 0 };
  const metric = registry.getSingleMetric(REPLAY_GAUGE);
  if (metric === undefined) return replay;
  const { values } = await metric.get();
  for (const { labels, value } of values) {
    if (labels.which === 'first') replay.min = value;
    else if (labels.which === 'last') replay.max = value;
    else if (labels.which === 'current') replay.current = value;
  }
  return replay;
}
