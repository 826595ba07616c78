import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type LoadQuery, readQueries, runQueryLoad } from './query-load.ts';

async function listen(status: (url: URL) => number): Promise<{ url: string; asked: URL[] }> {
  const asked: URL[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://server');
    asked.push(url);
    setTimeout(() => response.writeHead(status(url)).end('{"status":"success"}'), 10);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

const QUERIES: readonly LoadQuery[] = [
  { name: 'instant', expression: 'up', stepSeconds: 0 },
  { name: 'range', expression: 'rate(x{a="b"}[5m])', stepSeconds: 15 },
];

test('asks all queries in turn, as instant and as range', async () => {
  const { url, asked } = await listen(() => 200);
  const lines: string[] = [];
  const summary = await runQueryLoad(
    { url, queries: QUERIES, concurrency: 2, durationSeconds: 1.2, spanSeconds: 600, pids: [process.pid] },
    (line) => lines.push(line),
  );
  expect(summary.queries).toBe(asked.length);
  expect(summary.queries).toBeGreaterThan(20);
  expect(summary.failures).toEqual({});
  expect(summary.answeredBytes).toBe(asked.length * 20);
  expect(summary.p50Ms).toBeGreaterThanOrEqual(9);
  expect(summary.serverCpuSeconds).toBeGreaterThan(0);
  expect(summary.byQuery.map(({ name }) => name)).toEqual(['instant', 'range']);
  expect(summary.byQuery[0]!.count + summary.byQuery[1]!.count).toBe(asked.length);
  const instant = asked.find((one) => one.pathname === '/api/v1/query')!;
  expect(instant.searchParams.get('query')).toBe('up');
  const range = asked.find((one) => one.pathname === '/api/v1/query_range')!;
  expect(range.searchParams.get('query')).toBe('rate(x{a="b"}[5m])');
  expect(range.searchParams.get('step')).toBe('15');
  expect(Number(range.searchParams.get('end')) - Number(range.searchParams.get('start'))).toBe(600);
  expect(lines[1]).toMatch(/^1 s {2}[\d.]+ queries\/s {2}[\d.]+ cores {2}\d+ MiB {2}p50 .*failed none$/);
});

test('failures are counted by status and by query', async () => {
  const { url } = await listen((asked) => (asked.pathname === '/api/v1/query' ? 422 : 200));
  const summary = await runQueryLoad(
    { url, queries: QUERIES, concurrency: 1, durationSeconds: 0.3, spanSeconds: 60, pids: [] },
    () => {},
  );
  expect(summary.byQuery[0]!.failures).toBe(summary.byQuery[0]!.count);
  expect(summary.byQuery[1]!.failures).toBe(0);
  expect(summary.failures).toEqual({ 422: summary.byQuery[0]!.count });
});

test('a file of another shape is refused with the item', () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'query-load-')), 'queries.json');
  writeFileSync(file, '[["a","up",0],["b","up"]]');
  expect(() => readQueries(file)).toThrow(/item 1 is not/);
});
