// Memory per active series of the real all-in-one process: fed by remote write with the series and values of real node-exporter scrapes
// (replay-file.ts), copied to as many targets as it takes, as fast as the server takes them. Resident memory from /proc, minus that of
// the idle process. Bodies are made once and only times and values are patched, as snappy literals, so that the sender costs little.
// Run: node load-tests/memory-bench.ts [series] [samples of each] [port] [-- flags of all-in-one]
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ByteWriter } from '../services/lib/core/bytes.ts';
import { decodeLabels } from '../services/lib/model/labels.ts';
import {
  decompressSnappy,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../services/lib/wire/compression/snappy.ts';
import { RemoteWriteColumns } from '../services/lib/wire/remote-write/remote-write-columns.ts';
import { RemoteWriteDecoder } from '../services/lib/wire/remote-write/remote-write-decoder.ts';
import { call } from './http-call.ts';
import { usageOf } from './process-usage.ts';
import { makeReplay } from './replay-file.ts';

const seriesCount = Number(process.argv[2] ?? 100_000);
const samplesOfEach = Number(process.argv[3] ?? 240);
const port = Number(process.argv[4] ?? 9190);
const flags = process.argv.slice(process.argv.indexOf('--') + 1 || process.argv.length);
/** Captured ones; further ones are copies of them. */
const TARGETS = 40;
const BATCH = 2000;
const SENDERS = 4;
const RANGE_MS = 7_200_000;
/** Samples may lie this far in the future. */
const AHEAD_MS = 9 * 60_000;
/** A process that did something else for so long has given back what it needed for a moment. */
const SETTLE_MS = 15_000;
/** Time and value behind a series' labels: a double with its tag, a varint of six bytes with its own. */
const SAMPLE_BYTES = 9 + 7;
/** One literal with a length of four bytes. */
const LITERAL_TAG = 63 << 2;

interface Request {
  readonly body: Buffer;
  readonly view: DataView;
  /** By series: where its sample stands in the body, and its template. */
  readonly sampleAt: Uint32Array;
  readonly template: Uint16Array;
}

/** A series of the captured targets, with its value at each scrape. */
interface Template {
  readonly labels: Readonly<Record<string, string>>;
  readonly values: Float64Array;
}

function recordOf(pairs: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let i = 0; i < pairs.length; i += 2) record[pairs[i]!] = pairs[i + 1]!;
  return record;
}

function readTemplates(folder: string): readonly Template[] {
  const { file } = makeReplay(folder, TARGETS, samplesOfEach);
  const templates: (Template & { count: number })[] = [];
  const resolveBytes = (bytes: Uint8Array, start: number, end: number): number => {
    const labels = recordOf(decodeLabels(bytes, start, end).pairs);
    return templates.push({ labels, values: new Float64Array(samplesOfEach), count: 0 }) - 1;
  };
  const decoder = new RemoteWriteDecoder(
    { cachedSeriesMax: 1 << 20, cachedMetricsMax: 1000, hashSeed: 1, metadataResendMs: 1e9 },
    { resolver: { resolveBytes } },
  );
  const columns = new RemoteWriteColumns();
  const bytes = readFileSync(file);
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const body = bytes.subarray(at + 4, at + 4 + length);
    const decoded = new Uint8Array(snappyDecodedBytes(body) + SNAPPY_SLACK_BYTES);
    columns.count = 0;
    decoder.decode(1, decoded, decompressSnappy(body, decoded), columns, 0);
    for (let i = 0; i < columns.count; i++) {
      const template = templates[columns.references[i]!]!;
      template.values[template.count++] = columns.values[i]!;
    }
    at += 4 + length;
  }
  return templates;
}

function putLabel(out: ByteWriter, name: string, value: string): void {
  const nameBytes = Buffer.from(name);
  const valueBytes = Buffer.from(value);
  out.u8(10);
  out.varint(nameBytes.length + valueBytes.length + 4);
  out.u8(10);
  out.varint(nameBytes.length);
  out.raw(nameBytes);
  out.u8(18);
  out.varint(valueBytes.length);
  out.raw(valueBytes);
}

function requestOf(first: number): Request {
  const count = Math.min(BATCH, seriesCount - first);
  const raw = new ByteWriter(count * 200);
  const sampleAt = new Uint32Array(count);
  const template = new Uint16Array(count);
  const series = new ByteWriter(512);
  for (let i = 0; i < count; i++) {
    const copy = Math.floor((first + i) / templates.length);
    template[i] = (first + i) % templates.length;
    const { labels } = templates[template[i]!]!;
    const all: Record<string, string> = { ...labels, instance: `${copy}-${labels.instance}` };
    series.reset();
    for (const name of Object.keys(all).sort()) putLabel(series, name, all[name]!);
    raw.u8(10);
    raw.varint(series.length + 2 + SAMPLE_BYTES);
    raw.raw(series.bytes, 0, series.length);
    raw.u8(18);
    raw.u8(SAMPLE_BYTES);
    sampleAt[i] = raw.length;
    raw.raw(new Uint8Array(SAMPLE_BYTES));
  }
  const head = new ByteWriter(16);
  head.varint(raw.length);
  head.u8(LITERAL_TAG);
  head.u32(raw.length - 1);
  const body = Buffer.concat([head.bytes.subarray(0, head.length), raw.bytes.subarray(0, raw.length)]);
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  for (let i = 0; i < count; i++) sampleAt[i]! += head.length;
  return { body, view, sampleAt, template };
}

function patch({ body, view, sampleAt, template }: Request, timeMs: number, scrape: number): void {
  const time = new ByteWriter(8);
  time.varint(timeMs);
  for (let i = 0; i < sampleAt.length; i++) {
    const at = sampleAt[i]!;
    body[at] = 9;
    view.setFloat64(at + 1, templates[template[i]!]!.values[scrape]!, true);
    body[at + 9] = 16;
    for (let b = 0; b < 6; b++) body[at + 10 + b] = time.bytes[b]!;
  }
}

const dataDir = mkdtempSync(path.join(tmpdir(), 'tidemark-memory-'));
const templates = readTemplates(dataDir);
const configFile = path.join(dataDir, 'prometheus.yml');
writeFileSync(configFile, 'global: {}\n');
const main = fileURLToPath(new URL('../services/all-in-one/main.ts', import.meta.url));
const server = spawn(
  process.execPath,
  [
    main,
    `--web.listen-address=127.0.0.1:${port}`,
    `--data.dir=${dataDir}`,
    `--config.file=${configFile}`,
    ...flags,
  ],
  { stdio: ['ignore', 'ignore', 'inherit'] },
);
process.once('SIGINT', () => {
  server.kill('SIGKILL');
  process.exit(130);
});
const base = `http://127.0.0.1:${port}`;
const agent = new Agent({ keepAlive: true, maxSockets: SENDERS });

async function metrics(): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${base}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' ') + 1)),
    ]),
  );
}

async function report(samples: number, idleBytes: number): Promise<void> {
  await sleep(SETTLE_MS);
  const { residentBytes, cpuSeconds } = usageOf([server.pid!]);
  const of = await metrics();
  const perSeries = (bytes: number) => Math.round(bytes / seriesCount);
  console.log(
    JSON.stringify({
      series: seriesCount,
      samples,
      idleMiB: Math.round(idleBytes / 2 ** 20),
      residentMiB: Math.round(residentBytes / 2 ** 20),
      aboveIdlePerSeries: perSeries(residentBytes - idleBytes),
      headPerSeries: perSeries(of.get('tidemark_ingester_head_bytes') ?? 0),
      distributorPerSeries: perSeries(of.get('tidemark_distributor_series_memory_bytes') ?? 0),
      heapMiB: Math.round((of.get('nodejs_heap_size_used_bytes') ?? 0) / 2 ** 20),
      externalMiB: Math.round((of.get('nodejs_external_memory_bytes') ?? 0) / 2 ** 20),
      cpuSeconds: Math.round(cpuSeconds),
    }),
  );
}

async function send(request: Request): Promise<void> {
  for (;;) {
    const { outcome, text } = await call(new URL(`${base}/api/v1/write`), {
      agent,
      method: 'POST',
      headers: { 'content-type': 'application/x-protobuf', 'content-encoding': 'snappy' },
      body: request.body,
      timeoutMs: 60_000,
    });
    if (outcome === '204') return;
    if (outcome !== '503') throw new Error(`${outcome}: ${text}`);
    await sleep(200);
  }
}

try {
  server.once('exit', (code) => {
    console.error(`all-in-one ended with ${code}`);
    process.exit(1);
  });
  while (
    !(await fetch(`${base}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    ))
  )
    await sleep(100);
  await sleep(SETTLE_MS);
  const idleBytes = usageOf([server.pid!]).residentBytes;
  const requests = Array.from({ length: Math.ceil(seriesCount / BATCH) }, (_, i) => requestOf(i * BATCH));
  const nowMs = Date.now();
  const startMs = Math.floor(nowMs / RANGE_MS) * RANGE_MS;
  const stepMs = Math.min(15_000, Math.floor((nowMs + AHEAD_MS - startMs) / samplesOfEach / 1000) * 1000);
  for (let scrape = 0; scrape < samplesOfEach; scrape++) {
    let next = 0;
    const senders = Array.from({ length: SENDERS }, async () => {
      while (next < requests.length) {
        const request = requests[next++]!;
        patch(request, startMs + scrape * stepMs, scrape);
        await send(request);
      }
    });
    await Promise.all(senders);
    if (scrape + 1 === Math.round(samplesOfEach / 10)) await report(scrape + 1, idleBytes);
  }
  await report(samplesOfEach, idleBytes);
} finally {
  server.removeAllListeners('exit');
  server.kill('SIGKILL');
  rmSync(dataDir, { recursive: true, force: true });
}
