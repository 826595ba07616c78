import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import {
  decompressSnappy,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../services/lib/wire/compression/snappy.ts';
import { NODE_FAMILIES } from './node-families.ts';
import { usageOf } from './process-usage.ts';
import { RequestLog } from './request-log.ts';
import { runWriteLoad } from './write-load.ts';
import { templatesOf, WriteSource } from './write-source.ts';

const NOW_MS = 1_800_000_000_000;

interface Received {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  readonly timeMs: number;
}

/** Reads a WriteRequest by the protobuf encoding, one sample a series: shares nothing with the writer. */
function parse(body: Uint8Array): Received[] {
  const raw = Buffer.alloc(snappyDecodedBytes(body) + SNAPPY_SLACK_BYTES);
  const whole = raw.subarray(0, decompressSnappy(body, raw));
  return fieldsOf(whole).map((series) => {
    const labels: Record<string, string> = {};
    let value = Number.NaN;
    let timeMs = 0;
    for (const part of fieldsOf(series.bytes)) {
      const inner = fieldsOf(part.bytes);
      if (part.field === 1) labels[inner[0]!.bytes.toString()] = inner[1]!.bytes.toString();
      else {
        value = inner[0]!.bytes.readDoubleLE();
        timeMs = inner[1]!.number;
      }
    }
    return { labels, value, timeMs };
  });
}

function fieldsOf(bytes: Buffer): { field: number; bytes: Buffer; number: number }[] {
  const fields: { field: number; bytes: Buffer; number: number }[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key % 8;
    const number = wire === 1 ? 8 : varint();
    const length = wire === 0 ? 0 : number;
    fields.push({ field: Math.floor(key / 8), bytes: bytes.subarray(at, at + length), number });
    at += length;
  }
  return fields;
}

async function listen(answer: (request: number) => number): Promise<{ url: string; bodies: Buffer[] }> {
  const bodies: Buffer[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      bodies.push(Buffer.concat(pieces));
      response.writeHead(answer(bodies.length)).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1/write`, bodies };
}

const OPTIONS = {
  series: 1000,
  intervalSeconds: 0.5,
  churnPerHour: 0,
  concurrency: 2,
  batch: 250,
  seed: 7,
  pids: [],
};

test('every series arrives once per interval, its labels sorted and its counters never falling', async () => {
  const { url, bodies } = await listen(() => 204);
  const lines: string[] = [];
  const summary = await runWriteLoad({ ...OPTIONS, url, durationSeconds: 1.4 }, (line) => lines.push(line));
  // 4 requests per 0.5 s: those of 0, 0.125 … 1.375 s.
  expect(summary).toMatchObject({ requests: 12, samples: 3000, failures: {} });
  const seen = new Map<string, Received[]>();
  for (const one of bodies.flatMap(parse)) {
    expect(Object.keys(one.labels)).toEqual(Object.keys(one.labels).toSorted());
    const key = JSON.stringify(one.labels);
    seen.set(key, [...(seen.get(key) ?? []), one]);
  }
  expect(seen.size).toBe(1000);
  const counters = new Set(
    NODE_FAMILIES.filter((each) => each.movement === 'counter').map((each) => each.name),
  );
  let grown = 0;
  for (const samples of seen.values()) {
    expect(samples).toHaveLength(3);
    const sorted = samples.toSorted((a, b) => a.timeMs - b.timeMs);
    expect(sorted[2]!.timeMs - sorted[0]!.timeMs).toBeGreaterThanOrEqual(999);
    if (!counters.has(sorted[0]!.labels.__name__!)) continue;
    expect(sorted[1]!.value).toBeGreaterThanOrEqual(sorted[0]!.value);
    if (sorted[2]!.value > sorted[0]!.value) grown++;
  }
  expect(grown).toBeGreaterThan(200);
  expect(lines[1]).toMatch(/^1 s {2}\d+ samples\/s {2}p50 .* behind \d.*failed none$/);
});

test('failures are counted by what was answered, and give no samples', async () => {
  const { url } = await listen((request) => (request % 3 === 0 ? 503 : 204));
  const summary = await runWriteLoad({ ...OPTIONS, url, durationSeconds: 0.7 }, () => {});
  expect(summary).toMatchObject({ requests: 6, samples: 1000, failures: { 503: 2 } });
});

test('a server that is not there is a failure by its code', async () => {
  const summary = await runWriteLoad(
    { ...OPTIONS, url: 'http://127.0.0.1:1/api/v1/write', durationSeconds: 0.2 },
    () => {},
  );
  expect(summary).toMatchObject({ samples: 0, failures: { ECONNREFUSED: summary.requests } });
});

test('a slow server does not slow the load down: latency counts from when a request was due', async () => {
  const server = createServer((request, response) => {
    request.resume();
    setTimeout(() => response.writeHead(204).end(), 400);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  // One sender, a request every 125 ms, each answered after 400: the third is sent at 0.8 s and was due at 0.25;
  // the fourth would come after twice the duration.
  const summary = await runWriteLoad({ ...OPTIONS, url, concurrency: 1, durationSeconds: 0.6 }, () => {});
  expect(summary.maxMs).toBeGreaterThan(900);
  expect(summary.behindSeconds).toBeGreaterThan(0.5);
});

test('churn replaces targets, all series of a target at once', () => {
  const perTarget = templatesOf(NODE_FAMILIES).length;
  const series = perTarget * 10;
  const source = new WriteSource({ series, batch: series, churnPerHour: 0.5, intervalSeconds: 15, seed: 1 });
  const before = new Set(parse(source.next(0, NOW_MS).body).map((one) => JSON.stringify(one.labels)));
  expect(before.size).toBe(series);
  source.churn(3600 * 0.4);
  const after = new Set(parse(source.next(0, NOW_MS + 1).body).map((one) => JSON.stringify(one.labels)));
  expect(after.size).toBe(series);
  expect(after.difference(before).size).toBe(perTarget * 2);
  expect(source.seriesEver).toBe(perTarget * 12);
});

test('values have as few digits as the exporter gives', () => {
  const source = new WriteSource({
    series: 2000,
    batch: 2000,
    churnPerHour: 0,
    intervalSeconds: 15,
    seed: 3,
  });
  for (let round = 0; round < 5; round++) source.next(0, NOW_MS + round);
  for (const { labels, value } of parse(source.next(0, NOW_MS + 99).body)) {
    if (labels.__name__ === 'node_cpu_seconds_total') expect(String(value)).toMatch(/^\d+(\.\d{1,2})?$/);
    if (/_bytes(_total)?$/.test(labels.__name__!)) expect(Number.isInteger(value)).toBe(true);
  }
});

test('percentiles are right to 2 %', () => {
  const log = new RequestLog();
  for (let i = 1; i <= 1000; i++) log.ok(i, 1);
  expect(log.percentile(0.5)).toBeGreaterThan(490);
  expect(log.percentile(0.5)).toBeLessThan(511);
  expect(log.percentile(0.99)).toBeGreaterThan(970);
  expect(log.percentile(1)).toBe(1000);
});

test("a process' CPU and memory are those of the operating system", () => {
  const before = usageOf([process.pid]);
  const start = process.cpuUsage();
  let used = process.cpuUsage(start);
  while (used.user + used.system < 300_000) used = process.cpuUsage(start);
  const after = usageOf([process.pid]);
  expect(after.cpuSeconds - before.cpuSeconds).toBeGreaterThan(0.27);
  expect(after.cpuSeconds - before.cpuSeconds).toBeLessThan(0.4);
  expect(after.residentBytes / process.memoryUsage.rss()).toBeCloseTo(1, 0);
});
