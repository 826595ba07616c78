import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { ByteWriter } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import { CHUNK_XOR } from '../model/chunk-sink.ts';
import { encodeLabels, Labels } from '../model/labels.ts';
import { DEFAULT_FEATURES } from '../promql/features.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import { encodeXorChunk } from '../tsdb/chunk/xor-encoder.ts';
import { decodePartialResult } from '../wire/frames/partial-result.ts';
import { SeriesFrameWriter } from '../wire/frames/series-frame.ts';
import { PartEvaluator, type PartEvaluatorOptions } from './part-evaluator.ts';

const ORDER = {
  ...{ query: 'sum by (job) (rate(x[1m])) / 2', part: 0, startMs: 600_000, endMs: 660_000, stepMs: 30_000 },
  ...{ lookbackMs: 300_000, subqueryIntervalMs: 60_000, features: DEFAULT_FEATURES, samplesMax: 1e6 },
  ...{ memoryBytesMax: 1e8, replicaLabels: ['__replica__'] },
};

/** Counters that grow by `rates` a second, a sample every 15 s, in chunks of 7. */
function frames(
  rates: Readonly<Record<string, number>>,
  labels: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const writer = new SeriesFrameWriter();
  for (const [job, rate] of Object.entries(rates)) {
    const bytes = new ByteWriter();
    encodeLabels(Labels.from(Object.entries({ __name__: 'x', job, ...labels })), bytes);
    writer.beginSeries(bytes.bytes, 0, bytes.length);
    for (let from = 0; from < 63; from += 7) {
      const times = Float64Array.from({ length: 7 }, (_, i) => (from + i) * 15_000);
      const values = times.map((timeMs) => (timeMs / 1000) * rate);
      const chunk = new ByteWriter();
      encodeXorChunk(times, values, 0, 7, chunk);
      writer.chunk(CHUNK_XOR, times[0]!, times[6]!, chunk.bytes, 0, chunk.length);
    }
  }
  return writer.finish();
}

async function* given(all: readonly Uint8Array[], onEnd: () => void = () => undefined) {
  try {
    yield* all;
  } finally {
    onEnd();
  }
}

async function evaluatorOf(options: Partial<PartEvaluatorOptions> = {}): Promise<PartEvaluator> {
  const all = { threads: 1, concurrencyMax: 2, memoryBytesMax: 1e9, ...options };
  const evaluator = new PartEvaluator(all, createSilentLogger());
  onTestFinished(() => evaluator.stop());
  await evaluator.start();
  return evaluator;
}

/** Its thread takes a while to start. */
const shared = new PartEvaluator(
  { threads: 1, concurrencyMax: 2, memoryBytesMax: 1e9 },
  createSilentLogger(),
);
beforeAll(() => shared.start());
afterAll(() => shared.stop());

const signal = new AbortController().signal;

test('a part is evaluated in a thread', async () => {
  const answer = await shared.evaluate(ORDER, [given(frames({ a: 3, b: 5 }))], signal);
  if (answer.kind !== 'partial') throw new Error(answer.reason);
  const { rows, declined } = decodePartialResult(answer.frames);
  expect(declined).toBe('');
  expect(
    rows.map(({ labels, values }) => [
      labels.toString(),
      [...values].map((value) => Number(value.toPrecision(9))),
    ]),
  ).toEqual([
    ['{job="a"}', [3, 3, 3]],
    ['{job="b"}', [5, 5, 5]],
  ]);
});

test('no series are an answer too', async () => {
  const answer = await shared.evaluate(ORDER, [given([])], signal);
  expect(answer.kind === 'partial' && decodePartialResult(answer.frames).rows).toEqual([]);
});

test('series of replicas are refused: the pair may be elsewhere', async () => {
  const all = frames({ a: 3 }, { __replica__: 'r' });
  const refused = await shared.evaluate(ORDER, [given(all)], signal);
  expect(refused).toEqual({ kind: 'refused', reason: 'series have replica labels (__replica__)' });
  expect(await shared.evaluate({ ...ORDER, replicaLabels: [] }, [given(all)], signal)).toMatchObject({
    kind: 'partial',
  });
});

test('what is too much is refused, and the rest of it not asked for', async () => {
  let isEnded = false;
  const all = frames({ a: 3, b: 5 });
  const refused = await (await evaluatorOf({ memoryBytesMax: 100 })).evaluate(
    ORDER,
    [
      given([...all, ...all], () => {
        isEnded = true;
      }),
    ],
    signal,
  );
  expect([refused.kind, isEnded]).toEqual(['refused', true]);
  const evaluator = await evaluatorOf({ concurrencyMax: 1 });
  const [first, second] = await Promise.all([
    evaluator.evaluate(ORDER, [given(all)], signal),
    evaluator.evaluate(ORDER, [given(all)], signal),
  ]);
  expect([first.kind, second]).toEqual([
    'partial',
    { kind: 'refused', reason: '1 parts are being evaluated here' },
  ]);
  expect(evaluator.running).toBe(0);
});

test('the limits of the query are its errors', async () => {
  const evaluator = shared;
  const all = () => [given(frames({ a: 3, b: 5 }))];
  await expect(evaluator.evaluate({ ...ORDER, samplesMax: 3 }, all(), signal)).rejects.toMatchObject({
    code: 'execution',
    message: expect.stringContaining('too many samples'),
  });
  await expect(evaluator.evaluate({ ...ORDER, memoryBytesMax: 5_000 }, all(), signal)).rejects.toMatchObject({
    code: 'execution',
    message: expect.stringContaining('--query.max-memory'),
  });
});

test('nobody waits for it any more', async () => {
  const controller = new AbortController();
  const evaluator = shared;
  const answer = evaluator.evaluate(ORDER, [given(frames({ a: 3 }))], controller.signal);
  controller.abort(new AppError('canceled', 'the client left'));
  await expect(answer).rejects.toMatchObject({ code: 'canceled' });
  expect(evaluator.running).toBe(0);
});

test('a part that is not in the plan here is refused', async () => {
  const refused = await shared.evaluate({ ...ORDER, part: 7 }, [given([])], signal);
  expect(refused).toEqual({ kind: 'refused', reason: 'the query has no part 7 here' });
});

test('until a thread is there parts are refused', async () => {
  const evaluator = new PartEvaluator(
    { threads: 1, concurrencyMax: 1, memoryBytesMax: 1e9 },
    createSilentLogger(),
  );
  onTestFinished(() => evaluator.stop());
  const first = await evaluator.evaluate(ORDER, [given(frames({ a: 3 }))], signal);
  expect(first).toEqual({ kind: 'refused', reason: 'the threads for parts are starting' });
  await evaluator.start();
  expect((await evaluator.evaluate(ORDER, [given(frames({ a: 3 }))], signal)).kind).toBe('partial');
});

test('runs of series that some have alike are one, their samples united', async () => {
  const whole = { a: 3, b: 5, c: 2, d: 4 };
  const expected = await shared.evaluate(ORDER, [given(frames(whole))], signal);
  // In label order within each run only; equal samples are in several, and one run is empty.
  const runs = [{ b: 5, c: 2 }, { a: 3, c: 2, d: 4 }, {}, { a: 3, b: 5 }, { d: 4 }];
  const united = await shared.evaluate(
    ORDER,
    runs.map((run) => given(frames(run))),
    signal,
  );
  if (expected.kind !== 'partial' || united.kind !== 'partial') throw new Error('refused');
  expect(united.frames).toEqual(expected.frames);
});
