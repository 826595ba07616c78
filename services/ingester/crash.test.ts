// RELIABILITY R1 for one ingester: killed with SIGKILL at random moments, again and again on the same folder, it has lost
// no acknowledged sample.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { systemClock } from '../lib/core/clock.ts';
import { decodeLabels } from '../lib/model/labels.ts';
import { SampleColumns } from '../lib/model/sample-columns.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import { decodeChunk } from '../lib/tsdb/chunk/decode-chunk.ts';
import { IngesterDefinition } from '../lib/wire/contracts.ts';
import { readSeriesFrame } from '../lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../lib/wire/matchers.ts';
import { createIngester } from './service.ts';

const ROUNDS = 8;
const SERIES = 20;
const CHILD = fileURLToPath(new URL('../../test/support/ingester-child.ts', import.meta.url));

/** Runs a writer until it has acknowledged `acks` requests and a little more, kills it, returns the numbers acknowledged. */
function runAndKill(dataDir: string, first: number, acks: number, graceMs: number): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CHILD, dataDir, `${first}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const numbers: number[] = [];
    let rest = '';
    let dying = false;
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) numbers.push(Number(line));
      if (dying || numbers.length < acks) return;
      dying = true;
      setTimeout(() => child.kill('SIGKILL'), graceMs);
    });
    child.on('error', reject);
    child.on('close', (_code, signal) => {
      if (signal === 'SIGKILL') resolve(numbers);
      else reject(new Error(`the child ended by itself after ${numbers.length} acknowledgements`));
    });
  });
}

/** What is held, and how many head images were read to get there. */
async function contentOf(dataDir: string): Promise<{ content: Map<string, Set<number>>; images: number }> {
  const registry = new Registry();
  const ingester = createIngester(
    { dataDir },
    {
      cluster: {
        placement: () => undefined,
        replicationFactor: 1,
        ingesters: () => [],
        stores: () => [],
        queriers: () => [],
        scrapers: () => [],
        alertEvaluators: () => [],
      },
      clock: systemClock,
      logger: createSilentLogger(),
      registry,
    },
  );
  await ingester.start();
  const counted = await registry.getSingleMetric('tidemark_ingester_head_images_total')!.get();
  const images = counted.values.find(({ labels }) => labels.result === 'loaded')?.value ?? 0;
  const content = new Map<string, Set<number>>();
  let current = new Set<number>();
  const request = {
    tenant: DEFAULT_TENANT,
    matchers: toWireMatchers([{ name: '__name__', operator: '=', value: 'm' }]),
    minTimeMs: 0,
    maxTimeMs: 1e15,
    labelsOnly: false,
    partitions: [],
    seriesMax: 0,
  };
  const client = createInProcessClient(IngesterDefinition, ingester.handlers);
  for await (const { frame } of client.select(request, { signal: new AbortController().signal })) {
    if (frame.length === 0) continue;
    readSeriesFrame(frame, {
      beginSeries(bytes, start, end) {
        const name = decodeLabels(bytes, start, end).get('i');
        current = content.get(name) ?? new Set();
        content.set(name, current);
      },
      chunk(encoding, _first, _last, bytes, start, end) {
        const columns = new SampleColumns();
        decodeChunk(encoding, bytes, start, end, columns);
        for (let i = 0; i < columns.count; i++) {
          expect(columns.values[i]).toBe(columns.timestampsMs[i]);
          current.add(columns.timestampsMs[i]!);
        }
      },
    });
  }
  await ingester.stop();
  return { content, images };
}

test('no acknowledged sample is lost by SIGKILL', async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'tidemark-crash-'));
  try {
    const acknowledged = new Map<number, number[]>();
    for (let round = 0; round < ROUNDS; round++) {
      const first = 1 + round * 1_000_000;
      const acks = 1 + Math.floor(Math.random() * 400);
      acknowledged.set(first, await runAndKill(dataDir, first, acks, Math.random() * 30));
    }
    const { content, images } = await contentOf(dataDir);
    expect(images).toBe(1);
    // The log alone has the same.
    await rm(path.join(dataDir, 'head'), { recursive: true });
    const byLog = await contentOf(dataDir);
    expect(byLog.images).toBe(0);
    expect(byLog.content).toEqual(content);
    let checked = 0;
    for (const [first, numbers] of acknowledged) {
      expect(numbers.length).toBeGreaterThan(0);
      for (let i = 0; i < SERIES; i++) {
        const held = content.get(`${first}-${i}`);
        for (const number of numbers) {
          if (held?.has(number) !== true) expect.fail(`sample ${number} of series ${first}-${i} is lost`);
          checked++;
        }
      }
    }
    expect(checked).toBeGreaterThanOrEqual(ROUNDS * SERIES);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}, 120_000);
