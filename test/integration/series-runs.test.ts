// Queries in the process of their ingester: threads read labels and closed chunks where the head has them. The same answers as by
// frames, and nothing is held afterwards.
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { decodeLabels } from '../../services/lib/model/labels.ts';
import type { SeriesRun } from '../../services/lib/model/series-run.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { CallContext, Client } from '../../services/lib/transport/rpc.ts';
import { type IngesterDefinition, QuerierDefinition } from '../../services/lib/wire/contracts.ts';
import { readResultFrame } from '../../services/lib/wire/frames/result-frame.ts';
import type { QuerierOptions } from '../../services/querier/options.ts';
import { createQuerier } from '../../services/querier/service.ts';
import { createFakeCluster } from '../support/fake-cluster.ts';
import { START_MS, signal, TestWriter, useIngesterRig } from '../support/ingester-rig.ts';

const rig = useIngesterRig();
const SERIES = 2000;
const SCRAPES = 150;
const STEP_MS = 15_000;

/** What passed by. */
interface Traffic {
  readonly runs: SeriesRun[];
  held: number;
}

/** Runs are counted, or asked for by nobody. */
function watched(client: Client<typeof IngesterDefinition>, traffic: Traffic | undefined) {
  const contextOf = ({ signal: its, takeRun }: CallContext): CallContext => {
    if (traffic === undefined || takeRun === undefined) return { signal: its };
    let isHeld = false;
    return {
      signal: its,
      takeRun: (run, hold) => {
        traffic.runs.push(run);
        if (!isHeld) traffic.held++;
        isHeld = true;
        const release = (): void => {
          if (isHeld) traffic.held--;
          isHeld = false;
          hold.release();
        };
        takeRun(run, { release });
      },
    };
  };
  return {
    ...client,
    select: (request: Parameters<typeof client.select>[0], context: CallContext) =>
      client.select(request, contextOf(context)),
  };
}

function querierOf(
  client: Client<typeof IngesterDefinition>,
  options: Partial<QuerierOptions>,
  registry = new Registry(),
) {
  return createQuerier(
    { threads: 2, ...options },
    {
      cluster: { ...createFakeCluster({ ingesters: [] }), ingesters: () => [{ instance: 'i', client }] },
      clock: systemClock,
      logger: createSilentLogger(),
      registry,
    },
  );
}

/** Series with the words of their values, as text. */
async function answer(client: Client<typeof QuerierDefinition>, query: string): Promise<string> {
  const lines: string[] = [];
  const range = { startMs: START_MS, endMs: START_MS + SCRAPES * STEP_MS, stepMs: 60_000 };
  const request = { tenant: 'anonymous', query, ...range, timeoutMs: 0, lookbackMs: 0, limit: 0 };
  for await (const { part } of client.query({ ...request, allowPartial: false }, { signal })) {
    if (part?.$case !== 'frame') continue;
    readResultFrame(part.value, (bytes, start, end, timestampsMs, values, count) => {
      const words = new Uint32Array(values.buffer).subarray(0, 2 * count);
      const times = timestampsMs.subarray(0, count).join();
      lines.push(`${decodeLabels(bytes, start, end).toString()} ${times} ${words.join()}`);
    });
  }
  expect(lines.length).toBeGreaterThan(0);
  return lines.join('\n');
}

const QUERIES = [
  'count by (job) ({__name__=~"m_.+"})',
  'sum by (job) (last_over_time({__name__=~"m_.+"}[5m]))',
  '{__name__=~"m_[1-9].+"}',
  'count({__name__=~"m_.+"} > 100)',
  'quantile(0.9, {__name__=~"m_.+"}) + count({__name__="late"})',
  '{__name__=~"m_.*|late"}',
];

test('answers are those that frames give, of one thread, of several, and of the main thread', async () => {
  const { client } = await rig.start();
  const writer = new TestWriter(client);
  for (let s = 0; s < SCRAPES; s++) {
    const timeMs = START_MS + s * STEP_MS;
    await writer.send(
      Array.from({ length: SERIES }, (_, i) => [`m_${i}`, timeMs, i % 3 === 0 ? 7 : Math.sin(i * s) * i]),
    );
  }
  for (let s = 20; s > 0; s--) await writer.send([['late', START_MS + s * STEP_MS, s]]);
  const plain = querierOf(watched(client, undefined), { mainThreadMsMax: 0, chunksPerThread: 1e9 });
  await plain.start();
  const plainClient = createInProcessClient(QuerierDefinition, plain.handlers);
  const expected = new Map<string, string>();
  for (const query of QUERIES) expected.set(query, await answer(plainClient, query));
  await plain.stop();
  for (const options of [
    { mainThreadMsMax: 0, chunksPerThread: 1e9 },
    { mainThreadMsMax: 0, chunksPerThread: 1000 },
    { mainThreadMsMax: 1e9 },
  ]) {
    const traffic: Traffic = { runs: [], held: 0 };
    const registry = new Registry();
    const sharing = querierOf(watched(client, traffic), options, registry);
    await sharing.start();
    const sharingClient = createInProcessClient(QuerierDefinition, sharing.handlers);
    for (const query of QUERIES) {
      const before = traffic.runs.length;
      const isSame = (await answer(sharingClient, query)) === expected.get(query);
      expect([query, isSame]).toEqual([query, true]);
      expect(traffic.runs.length).toBeGreaterThan(before);
      expect(traffic.held).toBe(0);
    }
    expect(traffic.runs.reduce((sum, run) => sum + run.seriesCount, 0)).toBeGreaterThan(SERIES * 5);
    const here = await registry.getSingleMetric('tidemark_querier_main_thread_queries_total')!.get();
    expect(here.values[0]!.value).toBe(options.mainThreadMsMax > 0 ? QUERIES.length : 0);
    await sharing.stop();
  }
}, 60_000);
