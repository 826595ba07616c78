// What a query costs beside reading: small ones, one after the other, through the thread that evaluates them.
// node services/querier/evaluation/query-runner.bench.ts [queries]
import { Registry } from 'prom-client';
import { createFakeCluster } from '../../../test/support/fake-cluster.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { CHUNK_XOR } from '../../lib/model/chunk-sink.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import { encodeXorChunk } from '../../lib/tsdb/chunk/xor-encoder.ts';
import { QuerierDefinition } from '../../lib/wire/contracts.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { createQuerier } from '../service.ts';

const ROUNDS = 7;
const queries = Number(process.argv[2] ?? 1000);
const labels = new ByteWriter();
encodeLabels(Labels.from([['__name__', 'single']]), labels);
const chunk = new ByteWriter();
const times = Float64Array.from({ length: 120 }, (_, i) => i * 15_000);
encodeXorChunk(times, times, 0, 120, chunk);
const writer = new SeriesFrameWriter();
writer.beginSeries(labels.bytes, 0, labels.length);
writer.chunk(CHUNK_XOR, times[0]!, times[119]!, chunk.bytes, 0, chunk.length);
const [rawFrame] = writer.finish();
// Nodes answer with bytes that are there already: what a fake one does beside that is not measured.
const node = { series: [], rawFrame: rawFrame! };
const querier = createQuerier(
  { threads: 1 },
  {
    cluster: createFakeCluster({
      ingesters: [{ ...node, instance: 'i' }],
      stores: [{ ...node, instance: 's' }],
    }),
    clock: systemClock,
    logger: createSilentLogger(),
    registry: new Registry(),
  },
);
await querier.start();
const client = createInProcessClient(QuerierDefinition, querier.handlers);

async function run(query: string): Promise<void> {
  const request = {
    tenant: 'anonymous',
    query,
    startMs: 1_785_000,
    endMs: 1_785_000,
    stepMs: 0,
    timeoutMs: 0,
    lookbackMs: 0,
    limit: 0,
    allowPartial: false,
  };
  for await (const _ of client.query(request, { signal: new AbortController().signal }));
}

/** Microseconds per query: as they pass, and of the processor, all threads. */
async function measure(query: string): Promise<{ wall: number; cpu: number }> {
  const before = process.cpuUsage();
  const startedMs = performance.now();
  for (let i = 0; i < queries; i++) await run(query);
  const { user, system } = process.cpuUsage(before);
  return { wall: ((performance.now() - startedMs) * 1000) / queries, cpu: (user + system) / queries };
}

const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
for (const query of ['vector(1)', 'single', 'sum(rate(single[5m]))', 'single + single offset 5m']) {
  await measure(query);
  const rounds: { wall: number; cpu: number }[] = [];
  for (let i = 0; i < ROUNDS; i++) rounds.push(await measure(query));
  const wall = median(rounds.map((round) => round.wall));
  const cpu = median(rounds.map((round) => round.cpu));
  console.log(
    `${query.padEnd(24)} ${wall.toFixed(0).padStart(6)} µs, ${cpu.toFixed(0).padStart(6)} µs of CPU`,
  );
}
await querier.stop();
