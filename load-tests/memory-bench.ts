// Memory per active series of the real all-in-one process: fed by remote write with node-exporter's series as fast as it takes them,
// resident memory from /proc, minus that of the idle process. Bodies are made once and only times and values are patched, as snappy
// literals, so that the sender costs little beside the server.
// Run: node load-tests/memory-bench.ts [series] [samples of each] [port] [-- flags of all-in-one]
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ByteWriter } from '../services/lib/core/bytes.ts';
import { call } from './http-call.ts';
import { type Family, NODE_FAMILIES } from './node-families.ts';
import { usageOf } from './process-usage.ts';
import { templatesOf } from './write-source.ts';

const seriesCount = Number(process.argv[2] ?? 100_000);
const samplesOfEach = Number(process.argv[3] ?? 240);
const port = Number(process.argv[4] ?? 9190);
const flags = process.argv.slice(process.argv.indexOf('--') + 1 || process.argv.length);
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

const TEMPLATES = templatesOf(NODE_FAMILIES);

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
    const target = Math.floor((first + i) / TEMPLATES.length);
    template[i] = (first + i) % TEMPLATES.length;
    const { family, labels } = TEMPLATES[template[i]!]!;
    const instance = `10.${target >> 8}.${target & 255}.1:9100`;
    const all: Record<string, string> = {
      ...labels,
      __name__: family.name,
      cluster: 'load',
      instance,
      job: 'node',
    };
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

/** A value of each template, scrape by scrape. */
function* valuesOf(families: readonly { readonly family: Family }[]): Generator<Float64Array> {
  const values = Float64Array.from(families, ({ family }) => family.start);
  for (let random = 1; ; ) {
    yield values;
    for (const [i, { family }] of families.entries()) {
      random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
      const uniform = random / 2 ** 32;
      if (family.movement === 'counter') values[i]! += family.pace * 15 * (0.5 + uniform);
      if (family.movement === 'gauge') values[i]! *= 1 + family.pace * (2 * uniform - 1);
      values[i] = Number((Math.round(values[i]! / family.quantum) * family.quantum).toPrecision(12));
    }
  }
}

function patch({ body, view, sampleAt, template }: Request, timeMs: number, values: Float64Array): void {
  const time = new ByteWriter(8);
  time.varint(timeMs);
  for (let i = 0; i < sampleAt.length; i++) {
    const at = sampleAt[i]!;
    body[at] = 9;
    view.setFloat64(at + 1, values[template[i]!]!, true);
    body[at + 9] = 16;
    for (let b = 0; b < 6; b++) body[at + 10 + b] = time.bytes[b]!;
  }
}

const dataDir = mkdtempSync(path.join(tmpdir(), 'tidemark-memory-'));
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
  let scrape = 0;
  for (const values of valuesOf(TEMPLATES)) {
    let next = 0;
    const senders = Array.from({ length: SENDERS }, async () => {
      while (next < requests.length) {
        const request = requests[next++]!;
        patch(request, startMs + scrape * stepMs, values);
        await send(request);
      }
    });
    await Promise.all(senders);
    if (++scrape === Math.round(samplesOfEach / 10)) await report(scrape, idleBytes);
    if (scrape === samplesOfEach) break;
  }
  await report(scrape, idleBytes);
} finally {
  server.removeAllListeners('exit');
  server.kill('SIGKILL');
  rmSync(dataDir, { recursive: true, force: true });
}
