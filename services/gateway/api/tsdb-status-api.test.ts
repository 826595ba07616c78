import { Gauge } from 'prom-client';
import { expect, test } from 'vitest';
import { startGateway } from '../../../test/support/gateway-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { BlockSummary } from '../../lib/wire/contracts.ts';

const HOUR_MS = 3_600_000;

function block(letter: string, minTimeMs: number, maxTimeMs: number): BlockSummary {
  return {
    tenant: 'anonymous',
    blockId: letter.repeat(32),
    ...{ minTimeMs, maxTimeMs, series: 3, samples: 100, chunks: 4, sizeBytes: 1000, partitions: [1] },
  };
}

async function get(url: string, path: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${url}/api/v1/status/${path}`);
  return { status: response.status, body: await response.json() };
}

test('blocks by time, with the end behind the last sample, and the level that their width says', async () => {
  const blocks = [
    block('c', 13 * HOUR_MS, 47 * HOUR_MS),
    block('b', 2 * HOUR_MS, 4 * HOUR_MS - 1),
    block('a', 2 * HOUR_MS, 4 * HOUR_MS),
  ];
  const rig = await startGateway({ store: { listBlocks: async () => ({ blocks }) } });
  try {
    const stats = { numSamples: 100, numSeries: 3, numChunks: 4 };
    const described = (letter: string, minTime: number, maxTime: number, level: number) => ({
      ...{ ulid: letter.repeat(32), minTime, maxTime, stats },
      ...{ compaction: { level, sources: [letter.repeat(32)] }, version: 1 },
    });
    expect(await get(rig.url, 'tsdb/blocks')).toEqual({
      status: 200,
      body: {
        status: 'success',
        data: {
          blocks: [
            described('a', 2 * HOUR_MS, 4 * HOUR_MS + 1, 2),
            described('b', 2 * HOUR_MS, 4 * HOUR_MS, 1),
            described('c', 13 * HOUR_MS, 47 * HOUR_MS + 1, 3),
          ],
        },
      },
    });
  } finally {
    await rig.close();
  }
});

test('without a store, or where one fails, the list of blocks is not taken for whole', async () => {
  const none = await startGateway();
  const failing = await startGateway({
    store: { listBlocks: () => Promise.reject(new AppError('unavailable', 'it reads its blocks')) },
  });
  try {
    expect(await get(none.url, 'tsdb/blocks')).toMatchObject({
      status: 503,
      body: { error: 'no store is reachable: wait until one has joined the cluster' },
    });
    expect(await get(failing.url, 'tsdb/blocks')).toMatchObject({ status: 503, body: { status: 'error' } });
  } finally {
    await none.close();
    await failing.close();
  }
});

test('the replay of a log that is under way, before the process is ready; zeros without a log', async () => {
  const rig = await startGateway({}, {}, { isReady: () => false });
  try {
    const zeros = { status: 'success', data: { min: 0, max: 0, current: 0 } };
    expect(await get(rig.url, 'walreplay')).toEqual({ status: 200, body: zeros });
    const gauge = new Gauge({
      name: 'tidemark_ingester_replay_segment',
      help: 'As the ingester has it.',
      labelNames: ['which'],
      registers: [rig.registry],
    });
    gauge.set({ which: 'first' }, 7);
    gauge.set({ which: 'last' }, 12);
    gauge.set({ which: 'current' }, 9);
    const data = { min: 7, max: 12, current: 9 };
    expect(await get(rig.url, 'walreplay')).toEqual({ status: 200, body: { status: 'success', data } });
  } finally {
    await rig.close();
  }
});
