// RELIABILITY R31, short: one sender makes new series with every request, against the real process. The limit holds, before and after
// a restart; known series go on, at the pace that they had; memory does not follow the attack.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi, queryInstant, startTidemark, type Tidemark } from '../support/tidemark.ts';

const LIMIT = 5000;
const KNOWN = 1000;
const ATTACK_REQUESTS = 150;
const ATTACK_SERIES = 2000;
const SENDERS = 4;
/** What 300,000 series would take is 300 MiB and more; that many names pass through, and some are remembered for a minute. */
const GROWTH_MIB_MAX = 160;

const residentMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

let nowMs = Date.now();

function bodyOf(name: string, first: number, count: number): Buffer {
  nowMs += 1;
  const series = Array.from({ length: count }, (_, i) => ({
    labels: {
      __name__: name,
      job: 'attack',
      i: `${first + i}`,
      path: `/some/path/of/a/request/${first + i}`,
    },
    samples: [[nowMs, first + i]] as const,
  }));
  return snappyLiterals(encodeWriteRequest(series));
}

async function writeKnown(server: Tidemark): Promise<number> {
  const body = bodyOf('known', 0, KNOWN);
  const startedMs = performance.now();
  const response = await postWrite(server.url, body);
  expect(response.status, response.text).toBe(204);
  return performance.now() - startedMs;
}

async function headOf(server: Tidemark): Promise<{ numSeries: number; seriesLimit: number }> {
  const { body } = await callApi(server.url, 'status/tsdb', {});
  return (body.data as { headStats: { numSeries: number; seriesLimit: number } }).headStats;
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

test('R31: the limit holds, and whoever was there before goes on', { timeout: 180_000 }, async () => {
  const flags = [`--ingest.max-series=${LIMIT}`];
  const server = await startTidemark({ flags });
  const before: number[] = [];
  for (let i = 0; i < 20; i++) before.push(await writeKnown(server));
  // The first that have room fill it.
  const first = await postWrite(server.url, bodyOf('fills', 0, LIMIT));
  expect(first.status).toBe(429);
  expect(first.headers.get('retry-after')).toBe('10');
  expect(first.text).toMatch(
    new RegExp(
      `^${KNOWN} of ${LIMIT} samples were refused; ${LIMIT - KNOWN} samples were written; first refusal: series fills\\{.*: ` +
        `tenant \\S+ has ${LIMIT} series in memory of ingester \\S+, whose share of the limit is ${LIMIT}; .*raise --ingest\\.max-series`,
    ),
  );
  const mib = residentMib(server.pid);
  let sent = 0;
  const during: number[] = [];
  const attack = Array.from({ length: SENDERS }, async () => {
    while (sent < ATTACK_REQUESTS) {
      const response = await postWrite(server.url, bodyOf('x', sent++ * ATTACK_SERIES, ATTACK_SERIES));
      expect(response.status).toBe(429);
    }
  });
  const isOver = Promise.all(attack).then(() => true);
  while (!(await Promise.race([isOver, Promise.resolve(false)]))) during.push(await writeKnown(server));
  await isOver;
  const growth = residentMib(server.pid) - mib;
  console.log(
    `R31: ${ATTACK_REQUESTS * ATTACK_SERIES} series refused, memory +${growth.toFixed(0)} MiB; known series: ` +
      `${medianOf(before).toFixed(0)} ms before, ${medianOf(during).toFixed(0)} ms during ${SENDERS} attackers`,
  );
  expect(growth).toBeLessThan(GROWTH_MIB_MAX);
  expect(during.length).toBeGreaterThan(5);
  expect(await headOf(server)).toMatchObject({ numSeries: LIMIT, seriesLimit: LIMIT });
  expect(await queryInstant(server.url, 'count(known)')).toMatchObject([
    { value: [expect.anything(), `${KNOWN}`] },
  ]);
  expect(await queryInstant(server.url, 'count(x)')).toEqual([]);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  expect(metrics).toMatch(/tidemark_ingester_series_refused_total [1-9]/);
  expect(metrics).toMatch(/tidemark_distributor_samples_rejected_total\{reason="series_limit"\} [1-9]/);
  await server.end('SIGKILL');
  const again = await startTidemark({ flags, dataDir: server.dataDir });
  await writeKnown(again);
  const refused = await postWrite(again.url, bodyOf('y', 0, 10));
  expect(refused.status).toBe(429);
  expect(await headOf(again)).toMatchObject({ numSeries: LIMIT, seriesLimit: LIMIT });
  await again.end();
  expect(again.exited()).toBe(0);
});
