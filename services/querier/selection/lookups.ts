// Series, label names and values, metadata and head statistics: asked of all nodes, united, cut at the limit.
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import { compareUtf8 } from '../../lib/model/labels.ts';
import { quorumOf } from '../../lib/placement/placement.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import type {
  AnswerCoverage,
  HeadStatisticsRequest,
  HeadStatisticsResponse,
  LabelSearchRequest,
  LabelSearchResponse,
  LabelsResponse,
  MetadataRequest,
  MetadataResponse,
  MetricMetadata,
  NamedCount,
  SeriesRequest,
  SeriesResponse,
} from '../../lib/wire/contracts.ts';
import { emptySeriesFrame, SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { fromWireMatchers } from '../../lib/wire/matchers.ts';
import type { MemoryBudget } from '../evaluation/memory-budget.ts';
import { uniteCoverage } from './answer-coverage.ts';
import type { ClusterSelect } from './cluster-select.ts';
import { type FanOutOptions, fanOut } from './fan-out.ts';
import { settleEnough } from './hedge.ts';
import { SeriesUnion, type UnionLimits } from './series-union.ts';

/** What every lookup runs under. */
export interface LookupScope {
  readonly fanOut: Omit<FanOutOptions, 'range'>;
  readonly budget: MemoryBudget;
}

/** Label sets that match any of the selectors, in label order. */
export async function* findSeries(
  request: SeriesRequest,
  cluster: ClusterSelect,
  limits: UnionLimits,
  { fanOut: { signal }, budget }: LookupScope,
): AsyncGenerator<SeriesResponse> {
  if (request.sets.length === 0) throw new AppError('bad_data', 'no selector given: at least one is needed');
  const union = new SeriesUnion(limits, budget);
  try {
    const { minTimeMs, maxTimeMs } = request;
    const selects: AnswerCoverage[] = [];
    for (const { matchers } of request.sets) {
      const select = { matchers: fromWireMatchers(matchers), minTimeMs, maxTimeMs };
      const fetched = await cluster.fetch(union, select, { signal, isLabelsOnly: true });
      selects.push(fetched.coverage());
    }
    yield coverageMessage(selects);
    await union.sort(new WorkPacer(signal));
    const isCut = request.limit > 0 && union.size > request.limit;
    yield* seriesFrames(union, isCut ? request.limit : union.size, isCut);
  } finally {
    union.release();
  }
}

/** The first message of an answer in frames. */
export function coverageMessage(selects: readonly AnswerCoverage[]): SeriesResponse {
  const coverage = uniteCoverage(selects);
  return { frame: emptySeriesFrame(), truncated: false, ...(coverage === undefined ? {} : { coverage }) };
}

function* seriesFrames(union: SeriesUnion, count: number, truncated: boolean): Generator<SeriesResponse> {
  const writer = new SeriesFrameWriter();
  for (let i = 0; i < count; i++) {
    union.labelsOf(i, (bytes, start, end) => writer.beginSeries(bytes, start, end));
    for (const frame of writer.takeFrames()) yield { frame, truncated: false };
  }
  const rest = writer.finish();
  for (const [i, frame] of rest.entries()) yield { frame, truncated: truncated && i === rest.length - 1 };
}

/** Label names or values; of several selectors the union. */
export async function findLabels(
  request: LabelSearchRequest,
  scope: LookupScope,
): Promise<LabelSearchResponse> {
  const { tenant, minTimeMs, maxTimeMs, labelName, limit } = request;
  const found = new Set<string>();
  let truncated = false;
  const add = (response: LabelsResponse) => {
    truncated ||= response.truncated;
    for (const value of response.values) {
      if (found.has(value)) continue;
      // A string of its length, and its place in the set and in the answer.
      scope.budget.charge(value.length * 2 + 64);
      found.add(value);
    }
  };
  const sets = request.sets.length === 0 ? [{ matchers: [] }] : request.sets;
  const selects: AnswerCoverage[] = [];
  const range = { minTimeMs, maxTimeMs };
  for (const { matchers } of sets) {
    fromWireMatchers(matchers);
    const fetched = await fanOut({ ...scope.fanOut, range }, async ({ client }, context) => {
      const answer = await client.labels(
        { tenant, matchers, minTimeMs, maxTimeMs, labelName, limit },
        context,
      );
      throwIfAborted(context.signal);
      add(answer);
      return answer.coverage;
    });
    selects.push(fetched.coverage());
  }
  const values = [...found].sort(compareUtf8);
  if (limit > 0 && values.length > limit) {
    truncated = true;
    values.length = limit;
  }
  const coverage = uniteCoverage(selects)!;
  return { values, truncated, warnings: [...coverage.missing], coverage };
}

/** Metadata as the ingesters hold it, by metric, each entry once. */
export async function findMetadata(
  request: MetadataRequest,
  cluster: Cluster,
  scope: LookupScope,
): Promise<MetadataResponse> {
  const byKey = new Map<string, MetricMetadata>();
  const answers = await askIngesters(cluster, scope, (client, context) =>
    client.metadata({ ...request }, context),
  );
  for (const { metadata } of answers) {
    for (const entry of metadata) {
      const key = JSON.stringify([entry.metric, entry.type, entry.help, entry.unit]);
      if (byKey.has(key)) continue;
      scope.budget.charge(key.length * 4 + 128);
      byKey.set(key, entry);
    }
  }
  const sorted = [...byKey.values()].sort((a, b) => compareUtf8(a.metric, b.metric));
  return { metadata: request.limit > 0 ? firstMetrics(sorted, request.limit) : sorted };
}

function firstMetrics(sorted: readonly MetricMetadata[], limit: number): MetricMetadata[] {
  let metrics = 0;
  let previous: string | undefined;
  return sorted.filter(({ metric }) => {
    if (metric !== previous) metrics++;
    previous = metric;
    return metrics <= limit;
  });
}

/**
 * Statistics of all heads. Series and chunks are counted once per replica and so divided by the number of replicas;
 * distinct label values overlap between ingesters, so the largest count stands for the union.
 */
export async function sumHeadStatistics(
  request: HeadStatisticsRequest,
  cluster: Cluster,
  scope: LookupScope,
): Promise<HeadStatisticsResponse> {
  if (!(request.limit >= 1 && request.limit <= 10_000)) {
    throw new AppError('bad_data', `limit ${request.limit} is not between 1 and 10000`);
  }
  const heads = await askIngesters(cluster, scope, (client, context) =>
    client.headStatistics({ ...request }, context),
  );
  const replicas = Math.max(1, Math.min(cluster.replicationFactor, heads.length));
  const filled = heads.filter(({ series }) => series > 0);
  const share = (counts: readonly number[]) => Math.round(counts.reduce((a, b) => a + b, 0) / replicas);
  const largest = (counts: readonly number[]) => Math.max(...counts);
  const top = (lists: readonly NamedCount[][], unite: (counts: readonly number[]) => number) =>
    uniteCounts(lists, unite, request.limit);
  const limits = heads.flatMap(({ seriesLimit }) => seriesLimit ?? []);
  return {
    ...(limits.length < heads.length ? {} : { seriesLimit: share(limits) }),
    series: share(heads.map(({ series }) => series)),
    labelPairs: share(heads.map(({ labelPairs }) => labelPairs)),
    chunks: share(heads.map(({ chunks }) => chunks)),
    minTimeMs: filled.length === 0 ? 0 : Math.min(...filled.map(({ minTimeMs }) => minTimeMs)),
    maxTimeMs: filled.length === 0 ? 0 : Math.max(...filled.map(({ maxTimeMs }) => maxTimeMs)),
    seriesCountByMetricName: top(
      heads.map((head) => head.seriesCountByMetricName),
      share,
    ),
    labelValueCountByLabelName: top(
      heads.map((head) => head.labelValueCountByLabelName),
      largest,
    ),
    memoryInBytesByLabelName: top(
      heads.map((head) => head.memoryInBytesByLabelName),
      largest,
    ),
    seriesCountByLabelValuePair: top(
      heads.map((head) => head.seriesCountByLabelValuePair),
      share,
    ),
  };
}

function uniteCounts(
  lists: readonly NamedCount[][],
  unite: (counts: readonly number[]) => number,
  limit: number,
): NamedCount[] {
  const byName = new Map<string, number[]>();
  for (const { name, value } of lists.flat()) {
    const counts = byName.get(name);
    if (counts === undefined) byName.set(name, [value]);
    else counts.push(value);
  }
  const united = Array.from(byName, ([name, counts]) => ({ name, value: unite(counts) }));
  return united.sort((a, b) => b.value - a.value || compareUtf8(a.name, b.name)).slice(0, limit);
}

type IngesterPeer = ReturnType<Cluster['ingesters']>[number];
type IngesterClient = IngesterPeer['client'];

/** Answers of all ingesters, except as many as replication makes up for: these may fail or be late. */
async function askIngesters<T>(
  cluster: Cluster,
  { fanOut: { signal, hedge } }: LookupScope,
  ask: (client: IngesterClient, context: { readonly signal: AbortSignal }) => Promise<T>,
): Promise<T[]> {
  const { replicationFactor } = cluster;
  const spare = replicationFactor - quorumOf(replicationFactor);
  const late = new AbortController();
  const context = { signal: AbortSignal.any([signal, late.signal]) };
  let failures = 0;
  const askOne = async ({ instance, client }: IngesterPeer): Promise<{ readonly answer?: T }> => {
    try {
      return { answer: await ask(client, context) };
    } catch (caught) {
      const error = toAppError(caught);
      if (late.signal.aborted && !signal.aborted) return {};
      if (signal.aborted || !(caught instanceof AppError) || caught.code === 'bad_data') throw error;
      if (++failures <= spare) return {};
      throw new AppError('unavailable', `ingester ${instance} did not answer: ${error.message}`, {
        cause: caught,
      });
    }
  };
  const peers = cluster.ingesters();
  const calls = peers.map(askOne);
  const settled = await (hedge === undefined
    ? Promise.all(calls)
    : settleEnough(calls, {
        clock: hedge.clock,
        isEnough: (known) =>
          known.filter((each) => each?.answer !== undefined).length >= peers.length - spare,
        patienceMs: (open) =>
          Math.max(...open.map((i) => hedge.latencies.patienceMs(`ingester ${peers[i]!.instance}`))),
      }));
  late.abort(new AppError('canceled', 'enough ingesters answered'));
  return settled.map((each) => each?.answer).filter((answer) => answer !== undefined);
}
