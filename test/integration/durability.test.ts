// Acknowledged means durable: the process is killed with SIGKILL at random moments under load, and every sample of every
// request that was answered with 204 is there afterwards, with its value (RELIABILITY R1 for one process).
// TIDEMARK_KILLS sets the number of kills (default 50); the seed is printed and can be set by TIDEMARK_SEED.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { freePort } from '../support/programs.ts';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { freshFolder, startTidemark, type Tidemark } from '../support/tidemark.ts';

const KILLS = Number(process.env.TIDEMARK_KILLS ?? 50);
const SEED = Number(process.env.TIDEMARK_SEED ?? Date.now() % 1_000_000);
const SERIES = 25;
const SENDERS = 4;
const LOAD_MS_MAX = 500;

/** Small deterministic generator (mulberry32): the moments of the kills repeat with the seed. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 4294967296;
  };
}

/** What was sent: per acknowledged request, its time and the value of each series. */
interface Ledger {
  readonly acknowledged: { timeMs: number; sequence: number }[];
  sent: number;
}

const valueAt = (sequence: number, series: number): number => sequence * 1000 + series + 0.25;

function bodyOf(timeMs: number, sequence: number): Buffer {
  const series = Array.from({ length: SERIES }, (_, i) => ({
    labels: { __name__: 'ledger', series: String(i) },
    samples: [[timeMs, valueAt(sequence, i)]] as [number, number][],
  }));
  return snappyLiterals(encodeWriteRequest(series));
}

/** Sends until the server is gone, each request with a time of its own. */
async function load(server: Tidemark, ledger: Ledger, nextTime: () => number): Promise<void> {
  for (;;) {
    const sequence = ledger.sent++;
    const timeMs = nextTime();
    try {
      const { status } = await postWrite(server.url, bodyOf(timeMs, sequence));
      if (status === 204) ledger.acknowledged.push({ timeMs, sequence });
      else expect(status).toBe(503);
    } catch {
      return;
    }
  }
}

/** All samples of the ledger's series in the server: per series, time → value. */
async function readBack(server: Tidemark): Promise<Map<string, Map<number, number>>> {
  const response = await fetch(`${server.url}/api/v1/query?query=${encodeURIComponent('ledger[2h]')}`);
  const body = (await response.json()) as {
    data: { result: { metric: { series: string }; values: [number, string][] }[] };
  };
  return new Map(
    body.data.result.map(({ metric, values }) => [
      metric.series,
      new Map(values.map(([seconds, value]) => [Math.round(seconds * 1000), Number(value)])),
    ]),
  );
}

function missingFrom(found: Map<string, Map<number, number>>, ledger: Ledger): string[] {
  const missing: string[] = [];
  for (const { timeMs, sequence } of ledger.acknowledged) {
    for (let i = 0; i < SERIES; i++) {
      const value = found.get(String(i))?.get(timeMs);
      if (value !== valueAt(sequence, i))
        missing.push(`series ${i} at ${timeMs}: ${value}, wanted ${valueAt(sequence, i)}`);
    }
  }
  return missing;
}

test(`${KILLS} kills under load, seed ${SEED}: no acknowledged sample is lost`, {
  timeout: 600_000,
}, async () => {
  console.log(`durability: ${KILLS} kills, seed ${SEED}`);
  const random = createRandom(SEED);
  const dataDir = freshFolder();
  const port = await freePort();
  const ledger: Ledger = { acknowledged: [], sent: 0 };
  let timeMs = Date.now() - 3_600_000;
  const nextTime = (): number => (timeMs += 7);
  for (let round = 0; round < KILLS; round++) {
    const server = await startTidemark({ dataDir, port });
    const senders = Array.from({ length: SENDERS }, () => load(server, ledger, nextTime));
    await sleep(20 + random() * LOAD_MS_MAX);
    await server.end('SIGKILL');
    await Promise.all(senders);
  }
  const server = await startTidemark({ dataDir, port });
  const found = await readBack(server);
  await server.end();
  expect(ledger.acknowledged.length).toBeGreaterThan(KILLS);
  expect(missingFrom(found, ledger).slice(0, 10)).toEqual([]);
  console.log(
    `durability: ${KILLS} kills, ${ledger.sent} requests, ${ledger.acknowledged.length * SERIES} samples acknowledged, 0 lost`,
  );
});
