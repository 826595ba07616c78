// Native histograms through a whole process: written, queried, killed, replayed, sealed, merged with what came late, and always
// the same answer. Expectations are worked out by hand from the definition of the buckets.
import { expect, onTestFinished, test } from 'vitest';
import { sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import {
  type ExemplarFields,
  exemplarV1,
  field,
  type HistogramFields,
  histogram,
  labelV1,
} from '../support/remote-write-encoder.ts';
import { callApi, queryInstant, startTidemark } from '../support/tidemark.ts';

/** A whole minute, a little while ago. */
const endMs = Math.floor(Date.now() / 60_000) * 60_000 - 60_000;
const endSeconds = endMs / 1000;
const STEP_MS = 15_000;
const STEPS = 8;

/** The latency histogram at step i of 1 … 8: i, 2i and i observations in (0.5, 1], (1, 2] and (2, 4]. */
function latencyAt(i: number): HistogramFields {
  return {
    timestampMs: endMs - (STEPS - i) * STEP_MS,
    count: 4 * i,
    sum: 6 * i,
    zeroThreshold: 2 ** -128,
    positive: { spans: [[0, 3]], deltas: [i, i, -i] },
  };
}

/** The same with custom bounds 1 and 2: i, 2i and i observations. */
function customAt(i: number): HistogramFields {
  const { timestampMs, count, sum, positive } = latencyAt(i);
  return { timestampMs, count, sum, schema: -53, customValues: [1, 2], positive: positive! };
}

/** Counts that are no integers, of a gauge. */
function floatAt(i: number): HistogramFields {
  const { timestampMs } = latencyAt(i);
  const positive = { spans: [[0, 2]] as const, counts: [0.5 * i, 1.25 * i] };
  return { timestampMs, count: 1.75 * i, sum: -2.5, float: true, resetHint: 3, positive };
}

const steps = Array.from({ length: STEPS }, (_, i) => i + 1);

function series(
  name: string,
  histograms: readonly HistogramFields[],
  exemplars: readonly ExemplarFields[] = [],
): Buffer {
  const parts = [
    ...exemplars.map((each) => field(3, exemplarV1(each))),
    ...histograms.map((each) => field(4, histogram(each))),
  ];
  return field(1, Buffer.concat([labelV1(['__name__', name]), ...parts]));
}

/** Everything but step 3 of the latency, which comes late. */
const early = [
  series('latency', steps.filter((i) => i !== 3).map(latencyAt)),
  series(
    'custom',
    steps.map(customAt),
    steps.map((i) => ({ labels: [['trace_id', `t${i}`]], value: i / 4, timestampMs: endMs - i })),
  ),
  series('float', steps.map(floatAt)),
  series('ended', [
    ...steps.slice(0, -1).map(latencyAt),
    { ...latencyAt(STEPS), sum: { high: 0x7ff00000, low: 2 } },
  ]),
];

/** Query and the value of its one result; undefined for none. */
const QUESTIONS: readonly (readonly [string, number | undefined])[] = [
  ['histogram_count(latency)', 32],
  ['histogram_sum(latency)', 48],
  // Rank 28.8 of 8 + 16 + 8: 0.6 of the way from 2 to 4, exponentially.
  ['histogram_quantile(0.9, latency)', 2 ** 1.6],
  // Four samples in the minute, 20 to 32 observations in 45 s, as far as the range reaches.
  ['histogram_count(rate(latency[1m]))', 12 / 45],
  ['histogram_count(increase(latency[1m]))', 16],
  ['histogram_count(custom)', 32],
  // Rank 16 of 8 + 16 + 8: half of the way from 1 to 2, linearly.
  ['histogram_quantile(0.5, custom)', 1.5],
  ['histogram_count(float)', 14],
  ['histogram_sum(float)', -2.5],
  ['histogram_fraction(-Inf, 1, float)', 4 / 14],
  ['ended', undefined],
  // The marker ends the series; the sample before it is 15 s old then.
  [`histogram_count(ended @ ${endSeconds - 15})`, 28],
];

/** Newest last: those of the last five milliseconds. */
async function expectExemplars(url: string): Promise<void> {
  const start = String((endMs - 5) / 1000);
  const { body } = await callApi(url, 'query_exemplars', { query: 'custom', start, end: String(endSeconds) });
  const exemplars = [5, 4, 3, 2, 1].map((i) => ({
    labels: { trace_id: `t${i}` },
    value: String(i / 4),
    timestamp: (endMs - i) / 1000,
  }));
  expect(body.data).toEqual([{ seriesLabels: { __name__: 'custom' }, exemplars }]);
}

async function expectAnswers(url: string): Promise<void> {
  await expectExemplars(url);
  for (const [query, expected] of QUESTIONS) {
    const result = await queryInstant(url, query, endSeconds);
    if (expected === undefined) expect(result, query).toEqual([]);
    else expect(Number(result[0]?.value[1]), query).toBeCloseTo(expected, 12);
  }
}

const countSamples = async (url: string, name: string): Promise<number> =>
  Number((await queryInstant(url, `count_over_time(${name}[10m])`, endSeconds))[0]?.value[1]);

test('the same answers from the head, after a kill, from a block, and beside what came late', async () => {
  const first = await startTidemark({ flags: ['--web.enable-admin-api'] });
  onTestFinished(() => first.end('SIGKILL'));
  expect(await sendWrite(first.url, snappyLiterals(Buffer.concat(early)))).toBe(204);
  // A resend is harmless.
  expect(await sendWrite(first.url, snappyLiterals(Buffer.concat(early)))).toBe(204);
  await expectAnswers(first.url);
  expect(await countSamples(first.url, 'latency')).toBe(STEPS - 1);
  await first.end('SIGKILL');

  const second = await startTidemark({ dataDir: first.dataDir, flags: ['--web.enable-admin-api'] });
  onTestFinished(() => second.end('SIGKILL'));
  await expectAnswers(second.url);
  const sealed = await fetch(`${second.url}/api/v1/admin/tsdb/seal`, { method: 'POST' });
  expect(sealed.status).toBe(200);
  await expectAnswers(second.url);

  // Late, into a range that is in a block.
  expect(await sendWrite(second.url, snappyLiterals(series('latency', [latencyAt(3), latencyAt(4)])))).toBe(
    204,
  );
  await expectAnswers(second.url);
  expect(await countSamples(second.url, 'latency')).toBe(STEPS);
  await second.end('SIGKILL');

  const third = await startTidemark({ dataDir: first.dataDir, flags: ['--web.enable-admin-api'] });
  onTestFinished(() => third.end('SIGKILL'));
  await expectAnswers(third.url);
  expect(await countSamples(third.url, 'latency')).toBe(STEPS);
}, 120_000);
