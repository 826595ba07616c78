// What a large query costs the main thread, which also ingests: the longest time that it holds the event loop. Measured as CPU
// time of the thread between two turns, which other programs on the machine do not change.
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFakeCluster } from '../../../test/support/fake-cluster.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { CHUNK_XOR } from '../../lib/model/chunk-sink.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import { encodeXorChunk } from '../../lib/tsdb/chunk/xor-encoder.ts';
import { QuerierDefinition, type SelectResponse } from '../../lib/wire/contracts.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { DEFAULT_QUERIER_OPTIONS } from '../options.ts';
import { createQuerier, createQueryThreads } from '../service.ts';

const SERIES = 55_000;
const SAMPLES = 60;
/** Milliseconds of CPU. */
const HOLD_MAX_MS = 20;

const threads = createQueryThreads({ ...DEFAULT_QUERIER_OPTIONS, threads: 2 }, createSilentLogger());
let frames: Uint8Array[];
beforeAll(async () => {
  frames = makeFrames();
  await threads.start();
});
afterAll(() => threads.stop());

function makeFrames(): Uint8Array[] {
  const times = Float64Array.from({ length: SAMPLES }, (_, i) => i * 60_000);
  const chunk = new ByteWriter();
  encodeXorChunk(
    times,
    times.map((time, i) => time / 1000 + i),
    0,
    SAMPLES,
    chunk,
  );
  const writer = new SeriesFrameWriter();
  const labels = new ByteWriter();
  for (let s = 0; s < SERIES; s++) {
    labels.reset();
    const pairs: [string, string][] = [
      ['__name__', `metric_${s % 500}`],
      ['instance', `host-${Math.floor(s / 500)}.example.com:9100`],
    ];
    encodeLabels(Labels.from(pairs), labels);
    writer.beginSeries(labels.bytes, 0, labels.length);
    writer.chunk(CHUNK_XOR, times[0]!, times.at(-1)!, chunk.bytes, 0, chunk.length);
  }
  return writer.finish();
}

/** One ingester that has the frames ready. */
function clusterOfFrames(): Cluster {
  const fake = createFakeCluster({ ingesters: [{ instance: 'i', series: [] }] });
  const [peer] = fake.ingesters();
  async function* select(): AsyncGenerator<SelectResponse> {
    // Whoever gets a frame owns it.
    for (const frame of frames) yield { frame: frame.slice(), coverage: undefined };
  }
  const client = { ...peer!.client, select };
  return { ...fake, ingesters: () => [{ instance: 'i', client }] };
}

/** Runs `work` and answers with the longest stretch of CPU between two turns of the event loop, milliseconds. */
async function longestHold(work: () => Promise<void>): Promise<number> {
  let last = process.threadCpuUsage();
  let longestMicros = 0;
  const look = () => {
    const now = process.threadCpuUsage();
    longestMicros = Math.max(longestMicros, now.user + now.system - last.user - last.system);
    last = now;
  };
  const timer = setInterval(look, 1);
  try {
    await work();
    look();
  } finally {
    clearInterval(timer);
  }
  return longestMicros / 1000;
}

test.each([
  ['count({__name__=~".+"})', 60_000],
  ['{__name__=~".+"}', 600_000],
  ['topk by (instance) (2, {__name__=~".+"})', 60_000],
])('%s over 55,000 series', async (query, stepMs) => {
  const querier = createQuerier(
    {},
    {
      cluster: clusterOfFrames(),
      clock: systemClock,
      logger: createSilentLogger(),
      registry: new Registry(),
      threads,
    },
  );
  const client = createInProcessClient(QuerierDefinition, querier.handlers);
  const request = { tenant: 't', query, startMs: 0, endMs: 3_540_000, stepMs };
  const rest = { timeoutMs: 0, lookbackMs: 0, limit: 0, allowPartial: false };
  let bytes = 0;
  const run = async () => {
    const { signal } = new AbortController();
    for await (const { part } of client.query({ ...request, ...rest }, { signal })) {
      if (part?.$case === 'frame') bytes += part.value.length;
    }
  };
  await run();
  // The best of three: a full collection of the test's own heap counts, too.
  const holds: number[] = [];
  for (let i = 0; i < 3; i++) holds.push(await longestHold(run));
  expect(bytes).toBeGreaterThan(0);
  expect(Math.min(...holds)).toBeLessThan(HOLD_MAX_MS);
});
