import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createFakeCluster,
  type FakeClusterOptions,
  type FakeSeries,
  regularSamples,
} from '../../../test/support/fake-cluster.ts';
import { AppError } from '../../lib/core/errors.ts';
import { Labels } from '../../lib/model/labels.ts';
import type { SeriesSet } from '../../lib/model/queryable.ts';
import { SampleColumns, wordsOf } from '../../lib/model/sample-columns.ts';
import { MemoryBudget, MemoryPool } from '../evaluation/memory-budget.ts';
import { ClusterSelect } from './cluster-select.ts';
import { UnitingQueryable } from './uniting-queryable.ts';

const ALL = { matchers: [{ name: '__name__', operator: '=~', value: '.+' }] } as const;

function metric(name: string, samples: FakeSeries['samples'], ...pairs: [string, string][]): FakeSeries {
  return { labels: Labels.from([['__name__', name], ...pairs]), samples };
}

interface Setup extends FakeClusterOptions {
  readonly isPartialAllowed?: boolean;
  readonly seriesMax?: number;
  readonly bytesMax?: number;
  readonly signal?: AbortSignal;
}

async function select(setup: Setup, minTimeMs = 0, maxTimeMs = 1e9) {
  const pool = new MemoryPool(1e9);
  const budget = new MemoryBudget(pool, setup.bytesMax ?? 1e9);
  const failures: string[] = [];
  const seriesMax = setup.seriesMax ?? 1000;
  const cluster = new ClusterSelect({
    cluster: createFakeCluster(setup),
    tenant: 'anonymous',
    isPartialAllowed: setup.isPartialAllowed ?? false,
    seriesMax,
    onFailure: ({ instance }) => failures.push(instance),
  });
  const queryable = new UnitingQueryable({ seriesMax, hashSeed: 7 }, async (request, sink, signal) => {
    return (await cluster.fetch(sink, request, { signal, isLabelsOnly: false })).gaps;
  });
  const context = {
    signal: setup.signal ?? new AbortController().signal,
    chargeBytes: (bytes: number) => budget.charge(bytes),
  };
  const promise = queryable.select({ ...ALL, minTimeMs, maxTimeMs }, context);
  return { promise, budget, failures };
}

/** Everything in the set, as plain data; values as bits. */
function dump(set: SeriesSet, minTimeMs = 0, maxTimeMs = 1e9) {
  const columns = new SampleColumns(4);
  return Array.from({ length: set.size }, (_, i) => {
    set.read(i, minTimeMs, maxTimeMs, columns);
    const words = wordsOf(columns.values);
    const samples = Array.from({ length: columns.count }, (_, s) => [
      columns.timestampsMs[s]!,
      `${words[2 * s + 1]!.toString(16)}:${words[2 * s]!.toString(16)}`,
    ]);
    return { labels: set.labels(i).toString(), samples };
  });
}

async function dumpOf(setup: Setup, minTimeMs = 0, maxTimeMs = 1e9) {
  const { promise } = await select(setup, minTimeMs, maxTimeMs);
  return dump(await promise, minTimeMs, maxTimeMs);
}

/** The frame in which a node sends a series. */
async function captureFrame(series: FakeSeries): Promise<Uint8Array> {
  const [peer] = createFakeCluster({ ingesters: [{ instance: 'i', series: [series] }] }).ingesters();
  const request = {
    tenant: 'anonymous',
    matchers: [],
    minTimeMs: 0,
    maxTimeMs: 1e9,
    labelsOnly: false,
    partitions: [],
    seriesMax: 0,
  };
  for await (const { frame } of peer!.client.select(request, { signal: new AbortController().signal })) {
    return frame;
  }
  throw new Error('the node sent no frame');
}

describe('uniting', () => {
  const counter = metric(
    'c',
    regularSamples(0, 1000, 300, (i) => i * 7),
    ['job', 'x'],
  );
  const gauge = metric(
    'g',
    regularSamples(500, 1000, 300, (i) => Math.sin(i)),
  );

  test('series come in label order, whatever order nodes answer in', async () => {
    const names = ['b', 'a', 'ab', 'B', '\ue000', '\u{1F600}', 'c'];
    const series = names.map((name) => metric(name, [[1, 1]]));
    const set = await dumpOf({
      ingesters: [{ instance: 'i', series }],
      stores: [{ instance: 's', series: series.toReversed() }],
    });
    expect(set.map(({ labels }) => labels)).toEqual([
      'B',
      'a',
      'ab',
      'b',
      'c',
      '{"\ue000"}',
      '{"\u{1F600}"}',
    ]);
  });

  test('replicas give what one gives', async () => {
    const one = await dumpOf({ ingesters: [{ instance: 'i', series: [counter, gauge] }] });
    const halves = (series: FakeSeries, from: number, to: number) => ({
      ...series,
      samples: series.samples.slice(from, to),
    });
    const many = await dumpOf({
      ingesters: [
        { instance: 'i1', series: [halves(counter, 100, 300), gauge], chunkSamples: 17 },
        { instance: 'i2', series: [gauge, halves(counter, 90, 280)], chunkSamples: 120 },
      ],
      stores: [
        { instance: 's1', series: [halves(counter, 0, 150)], chunkSamples: 50 },
        { instance: 's2', series: [halves(counter, 0, 150)], chunkSamples: 50 },
      ],
    });
    expect(many).toEqual(one);
    expect(one[0]!.samples).toHaveLength(300);
  });

  test('any split of samples over nodes and chunks is the same series', async () => {
    const samples = regularSamples(0, 10, 60, (i) => (i % 7 === 0 ? Number.NaN : i));
    const expected = await dumpOf(
      { ingesters: [{ instance: 'i', series: [metric('m', samples)] }] },
      105,
      444,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(59), fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 30 })), {
          maxLength: 4,
        }),
        async (parts) => {
          const stores = parts.map(([from, length, chunkSamples], i) => ({
            instance: `s${i}`,
            series: [metric('m', samples.slice(from, from + length))],
            chunkSamples,
          }));
          const whole = { instance: 'i', series: [metric('m', samples)], chunkSamples: 13 };
          expect(await dumpOf({ ingesters: [whole], stores }, 105, 444)).toEqual(expected);
        },
      ),
      { numRuns: 60 },
    );
    expect(expected[0]!.samples[0]![0]).toBe(110);
    expect(expected[0]!.samples.at(-1)![0]).toBe(440);
  });

  test('staleness markers keep their bits', async () => {
    const samples: FakeSeries['samples'] = [
      [5, 1],
      [6, 'stale'],
      [7, Number.NaN],
    ];
    const whole = { instance: 'i', series: [metric('m', samples)] };
    const tail = { instance: 's', series: [metric('m', samples.slice(1))] };
    const set = await dumpOf({ ingesters: [whole], stores: [tail] });
    expect(set[0]!.samples).toEqual([
      [5, '3ff00000:0'],
      [6, '7ff00000:2'],
      [7, '7ff80000:0'],
    ]);
  });

  test('many series grow the tables', async () => {
    const series = Array.from({ length: 700 }, (_, i) => metric(`m${String(i).padStart(4, '0')}`, [[i, i]]));
    const set = await dumpOf({
      ingesters: [{ instance: 'i', series }],
      stores: [{ instance: 's', series: series.toReversed() }],
    });
    expect(set.map(({ labels }) => labels)).toEqual(series.map(({ labels }) => labels.toString()));
    expect(set.every(({ samples }, i) => samples.length === 1 && samples[0]![0] === i)).toBe(true);
  });
});

describe('failures', () => {
  const series = [metric('m', [[1, 1]])];
  const failure = new AppError('unavailable', 'connection refused');

  test.each(['ingester', 'store'] as const)('a %s that fails fails the query', async (kind) => {
    const node = { instance: 'n', series, failure };
    const { promise, budget, failures } = await select({
      ingesters: kind === 'ingester' ? [node] : [{ instance: 'i', series }],
      stores: kind === 'store' ? [node] : [{ instance: 's', series }],
    });
    await expect(promise).rejects.toMatchObject({
      code: 'unavailable',
      message: `the answer would be incomplete from 1970-01-01T00:00:00.000Z to 1970-01-12T13:46:40.000Z: ${kind} n did not answer: connection refused`,
    });
    expect(failures).toEqual(['n']);
    expect(budget.usedBytes).toBe(0);
  });

  test('half an answer is none', async () => {
    const many = Array.from({ length: 5 }, (_, i) => metric(`m${i}`, [[1, 1]]));
    const { promise, budget } = await select({
      ingesters: [{ instance: 'i', series: many, failure, framesBeforeTrouble: 3 }],
    });
    await expect(promise).rejects.toMatchObject({ code: 'unavailable' });
    expect(budget.usedBytes).toBe(0);
  });

  test('a partial answer names what is missing', async () => {
    const { promise } = await select({
      ingesters: [{ instance: 'i', series }],
      stores: [{ instance: 's', series, failure }],
      isPartialAllowed: true,
    });
    const set = await promise;
    expect(set.size).toBe(1);
    expect(set.warnings).toEqual(['store s did not answer: connection refused']);
  });

  test('three replicas lose one without loss', async () => {
    const placement = { epoch: 1, partitionCount: 1, replicas: [['a', 'b', 'c']] };
    const { promise } = await select({
      ingesters: [
        { instance: 'a', series },
        { instance: 'b', series, failure },
        { instance: 'c', series },
      ],
      placement,
      replicationFactor: 3,
    });
    const set = await promise;
    expect([set.size, set.warnings]).toEqual([1, []]);
  });

  test('a limit of the node is an error of the query', async () => {
    const { promise } = await select({
      ingesters: [{ instance: 'i', series, failure: new AppError('execution', 'too many series') }],
      isPartialAllowed: true,
    });
    await expect(promise).rejects.toMatchObject({ code: 'execution', message: 'too many series' });
  });

  test('no ingester at all', async () => {
    const { promise } = await select({ ingesters: [] });
    await expect(promise).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^the answer would be incomplete from \S+ to \S+: no ingester is known$/,
      ),
    });
  });

  test.each([
    ['its end', [1, 0, 0, 0, 9, 0, 0, 0]],
    ['its labels', [1, 0, 0, 0, 1, 0, 0, 0, 2, 5, 97, 0]],
    ['its version', [7, 0, 0, 0, 0, 0, 0, 0]],
  ])('a frame malformed in %s names its sender', async (_, bytes) => {
    const rawFrame = Uint8Array.from(bytes);
    const { promise } = await select({ ingesters: [{ instance: 'i', series, rawFrame }] });
    await expect(promise).rejects.toMatchObject({
      message: expect.stringContaining('malformed answer from ingester i'),
    });
  });

  test('mutated frames are read or refused', async () => {
    const valid = await captureFrame(metric('m', regularSamples(0, 1000, 50, Math.sqrt), ['job', 'x']));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        fc.nat(valid.length),
        async (edits, length) => {
          const rawFrame = valid.slice(0, length % 4 === 0 ? length : valid.length);
          for (const [at, byte] of edits) if (at < rawFrame.length) rawFrame[at] = byte;
          try {
            dump(await (await select({ ingesters: [{ instance: 'i', series: [], rawFrame }] })).promise);
          } catch (caught) {
            expect(caught).toBeInstanceOf(AppError);
            // A failed ingester is what is missing; a corrupt series is found when it is read.
            expect(['unavailable', 'internal', 'execution']).toContain((caught as AppError).code);
          }
        },
      ),
      { numRuns: 1500 },
    );
  });

  test('labels out of order are a fault of ours, not of the query', async () => {
    // {b="x", a="x"}: 8 bytes of labels, no chunks.
    const rawFrame = Uint8Array.from([1, 0, 0, 0, 1, 0, 0, 0, 8, 1, 98, 1, 120, 1, 97, 1, 120, 0]);
    const { promise } = await select({ ingesters: [{ instance: 'i', series, rawFrame }] });
    await expect(promise).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/malformed answer from ingester i: label bytes are not canonical/),
    });
  });
});

describe('limits', () => {
  const series = Array.from({ length: 20 }, (_, i) =>
    metric(
      `m${i}`,
      regularSamples(0, 1000, 240, (s) => Math.sin(s * i)),
    ),
  );

  test('series', async () => {
    const { promise, budget } = await select({ ingesters: [{ instance: 'i', series }], seriesMax: 19 });
    await expect(promise).rejects.toMatchObject({
      code: 'execution',
      message: expect.stringMatching(/more than 19 series.*--query\.max-series/),
    });
    expect(budget.usedBytes).toBe(0);
  });

  test('memory', async () => {
    const { promise, budget } = await select({ ingesters: [{ instance: 'i', series }], bytesMax: 10_000 });
    await expect(promise).rejects.toMatchObject({
      code: 'execution',
      message: expect.stringContaining('--query.max-memory'),
    });
    expect(budget.usedBytes).toBe(0);
  });

  test('release gives the memory back', async () => {
    const { promise, budget } = await select({ ingesters: [{ instance: 'i', series }] });
    const set = await promise;
    expect(budget.usedBytes).toBeGreaterThan(20 * 240);
    set.release();
    set.release();
    expect(budget.usedBytes).toBe(0);
  });

  test('cancelling ends a query whose node hangs', async () => {
    const controller = new AbortController();
    const { promise, budget } = await select({
      ingesters: [
        { instance: 'i', series },
        { instance: 'j', series, framesBeforeTrouble: 2 },
      ],
      stores: [{ instance: 's', series: [], hangs: true }],
      signal: controller.signal,
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(budget.usedBytes).toBeGreaterThan(0);
    controller.abort(new AppError('canceled', 'query was canceled in expression evaluation'));
    await expect(promise).rejects.toMatchObject({ code: 'canceled' });
    expect(budget.usedBytes).toBe(0);
  });
});
