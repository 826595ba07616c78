import { describe, expect, test } from 'vitest';
import { createFakeCluster, type FakeSeries, regularSamples } from '../../../test/support/fake-cluster.ts';
import { Labels } from '../../lib/model/labels.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import { REPLICA_REACH_MS } from '../../lib/tsdb/chunk/merge-replicas.ts';
import { MemoryBudget, MemoryPool } from '../evaluation/memory-budget.ts';
import { ClusterSelect } from './cluster-select.ts';
import { SeriesUnion, type UnionLimits } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';
import { type FrameRequest, UnitingQueryable } from './uniting-queryable.ts';

const STEP_MS = 15_000;
/** The second server scrapes so much later. */
const OFFSET_MS = 7_000;
const REQUEST = {
  matchers: [{ name: '__name__', operator: '=~', value: '.+' }],
  minTimeMs: 1_000_000,
  maxTimeMs: 1_600_000,
} as const;
const REPLICAS = ['prometheus_replica', '__replica__'];

function metric(name: string, pairs: Record<string, string>, samples: FakeSeries['samples']): FakeSeries {
  return { labels: Labels.from([['__name__', name], ...Object.entries(pairs)]), samples };
}

const scraped = (offsetMs: number, fromMs: number, toMs: number): FakeSeries['samples'] =>
  regularSamples(0, STEP_MS, 200, (i) => i * 15 + offsetMs / 1000)
    .map(([timeMs, value]): [number, number] => [timeMs + offsetMs, value])
    .filter(([timeMs]) => timeMs >= fromMs && timeMs < toMs);

/** Two servers that scrape one target; the first is away for a while. */
const PAIR: readonly FakeSeries[] = [
  metric('up', { job: 'z', prometheus_replica: 'p-1' }, scraped(OFFSET_MS, 0, 3_000_000)),
  metric('up', { job: 'z', prometheus_replica: 'p-0' }, [
    ...scraped(0, 0, 1_200_000),
    ...scraped(0, 1_400_000, 3_000_000),
  ]),
  metric('up', { job: 'a', __replica__: 'x' }, scraped(0, 0, 3_000_000)),
  metric('up', { job: 'm' }, scraped(0, 0, 3_000_000)),
];

interface Setup {
  readonly limits?: Partial<UnionLimits>;
  /** Which series which ingester has; all of them are replicas of each other. */
  readonly nodes?: readonly (readonly FakeSeries[])[];
}

function setUp({ limits = {}, nodes = [PAIR] }: Setup) {
  const budget = new MemoryBudget(new MemoryPool(1e9), 1e9);
  const ingesters = nodes.map((series, i) => ({ instance: `i${i}`, series, chunkSamples: 13 }));
  const select = new ClusterSelect({
    ...{ cluster: createFakeCluster({ ingesters }), tenant: 'anonymous', isPartialAllowed: false },
    ...{ seriesMax: 100, onFailure: () => undefined },
  });
  const asked: FrameRequest[] = [];
  const all = { seriesMax: 100, hashSeed: 3, replicaLabels: REPLICAS, ...limits };
  const queryable = new UnitingQueryable(all, async (request, sink, signal) => {
    asked.push(request);
    return (await select.fetch(sink, request, { signal, isLabelsOnly: false })).gaps;
  });
  const context = {
    signal: new AbortController().signal,
    chargeBytes: (bytes: number) => budget.charge(bytes),
  };
  return { asked, budget, unite: () => queryable.unite(REQUEST, context) };
}

function dump(
  set: UnitedSeriesSet,
  minTimeMs: number = REQUEST.minTimeMs,
  maxTimeMs: number = REQUEST.maxTimeMs,
) {
  const columns = new SampleColumns(4);
  return Array.from({ length: set.size }, (_, i) => {
    set.read(i, minTimeMs, maxTimeMs, columns);
    return [set.labels(i).toString(), [...columns.timestampsMs.subarray(0, columns.count)]] as const;
  });
}

const regular = (
  offsetMs: number,
  fromMs: number = REQUEST.minTimeMs,
  toMs: number = REQUEST.maxTimeMs + 1,
): number[] => scraped(offsetMs, fromMs, toMs).map(([timeMs]) => timeMs);

const MERGED = [
  ['up{job="a"}', regular(0)],
  ['up{job="m"}', regular(0)],
  [
    'up{job="z"}',
    [
      ...regular(0, 1_000_000, 1_200_000),
      ...regular(OFFSET_MS, 1_200_000, 1_403_000),
      ...regular(0, 1_400_000),
    ],
  ],
] as const;

describe('series of a highly available pair', () => {
  test.each<[string, readonly (readonly FakeSeries[])[]]>([
    ['on one node', [PAIR]],
    ['on nodes of their own', PAIR.map((series) => [series])],
    ['on two nodes each', [PAIR, [...PAIR].reverse()]],
  ])('are one, %s', async (_, nodes) => {
    const { union, warnings } = await setUp({ nodes }).unite();
    expect(warnings).toEqual([]);
    expect(dump(new UnitedSeriesSet(union, []))).toEqual(MERGED);
  });

  test('are the same when read in pieces', async () => {
    const { union } = await setUp({}).unite();
    const set = new UnitedSeriesSet(union, []);
    const pieces = [1_000_000, 1_190_000, 1_230_000, 1_396_000, REQUEST.maxTimeMs + 1];
    const read = pieces.slice(1).map((end, i) => dump(set, pieces[i]!, end - 1));
    const joined = MERGED.map(([labels], i) => [labels, read.flatMap((piece) => piece[i]![1])]);
    expect(joined).toEqual(MERGED);
  });

  test('are the same in another thread', async () => {
    const { union } = await setUp({}).unite();
    const shared = union.share((bytes) => new SharedArrayBuffer(bytes));
    const ofThread = structuredClone(shared);
    expect(dump(new UnitedSeriesSet(SeriesUnion.ofShared(ofThread, 1, 3), []))).toEqual(MERGED.slice(1));
    expect(dump(new UnitedSeriesSet(union, []))).toEqual(MERGED);
  });

  test('stay apart where that is wanted', async () => {
    const { union } = await setUp({ limits: { replicaLabels: [] } }).unite();
    expect(dump(new UnitedSeriesSet(union, [])).map(([labels]) => labels)).toEqual([
      'up{__replica__="x", job="a"}',
      'up{job="m"}',
      'up{job="z", prometheus_replica="p-0"}',
      'up{job="z", prometheus_replica="p-1"}',
    ]);
  });

  test('are asked for again with what decides beside them, once; then from the start', async () => {
    const first = setUp({});
    await first.unite();
    const wide = {
      minTimeMs: REQUEST.minTimeMs - REPLICA_REACH_MS,
      maxTimeMs: REQUEST.maxTimeMs + REPLICA_REACH_MS,
      hasReplicas: true,
    };
    expect(first.asked).toEqual([REQUEST, { ...REQUEST, ...wide }]);
    const later = setUp({ limits: { expectsReplicas: true } });
    await later.unite();
    expect(later.asked).toEqual([{ ...REQUEST, ...wide }]);
    const without = setUp({ nodes: [PAIR.slice(3)] });
    await without.unite();
    expect(without.asked).toEqual([REQUEST]);
  });

  test('give their memory back', async () => {
    const { union } = await setUp({}).unite();
    const { budget, unite } = setUp({});
    const united = await unite();
    expect(budget.usedBytes).toBeGreaterThan(0);
    united.union.release();
    expect(budget.usedBytes).toBe(0);
    union.release();
  });

  test('of more replicas than servers is an error that names the flag', async () => {
    const many = Array.from({ length: 5_000 }, (_, i) =>
      metric('up', { __replica__: `${i}` }, [[1_000_000, 1]]),
    );
    await expect(setUp({ nodes: [many] }).unite()).rejects.toMatchObject({
      code: 'execution',
      message: expect.stringContaining('--query.replica-labels'),
    });
  });
});
