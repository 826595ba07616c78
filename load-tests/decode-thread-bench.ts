// Whether all-in-one should decode remote write in a thread of its own: what decoding costs where it is, and what it costs the main
// thread to have it done elsewhere. Each body goes to the thread without a copy, and its columns come back in shared memory, the
// cheapest way there is; bodies are four at a time under way, as a sender has them.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { RemoteWriteColumns } from '../services/lib/wire/remote-write/remote-write-columns.ts';
import { RemoteWriteDecoder } from '../services/lib/wire/remote-write/remote-write-decoder.ts';
import { positive, readFlags } from './command-line.ts';
import { makeReplay } from './replay-file.ts';

const UNDER_WAY = 4;

/** A body, and where its columns belong: shared, and large enough. */
interface Order {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly shared: SharedArrayBuffer;
}

/** Samples that stand in the shared columns now. */
interface Answer {
  readonly count: number;
}

const SAMPLES_MAX = 4096;
const BYTES_PER_SAMPLE = 20;

/** Decodes into columns that are used again; series get the next number, as a distributor would give it. */
function decoderOf(): (body: Uint8Array) => RemoteWriteColumns {
  let known = 0;
  const decoder = new RemoteWriteDecoder(
    { cachedSeriesMax: 1 << 20, cachedMetricsMax: 1 << 16, hashSeed: 1, metadataResendMs: 1e9 },
    { resolver: { resolveBytes: () => known++ } },
  );
  const columns = new RemoteWriteColumns();
  return (body) => {
    decoder.decodeSnappy(1, body, columns, performance.now());
    return columns;
  };
}

function serve(): void {
  const decode = decoderOf();
  parentPort!.on('message', ({ body, shared }: Order) => {
    const { count, references, timestampsMs, values } = decode(body);
    new Float64Array(shared, 0, count).set(timestampsMs.subarray(0, count));
    new Float64Array(shared, SAMPLES_MAX * 8, count).set(values.subarray(0, count));
    new Uint32Array(shared, SAMPLES_MAX * 16, count).set(references.subarray(0, count));
    parentPort!.postMessage({ count } satisfies Answer);
  });
}

interface Used {
  readonly threadUs: number;
  readonly processUs: number;
  readonly wallMs: number;
  readonly samples: number;
}

/** CPU of this thread and of all while `work` goes on. */
async function measure(work: () => Promise<number>): Promise<Used> {
  const thread = process.threadCpuUsage();
  const all = process.cpuUsage();
  const startMs = performance.now();
  const samples = await work();
  const wallMs = performance.now() - startMs;
  const ofThread = process.threadCpuUsage(thread);
  const ofAll = process.cpuUsage(all);
  return {
    threadUs: ofThread.user + ofThread.system,
    processUs: ofAll.user + ofAll.system,
    wallMs,
    samples,
  };
}

/** The bodies of a replay file: each behind its length, 32 bits. */
function bodiesOf(file: string): Uint8Array<ArrayBuffer>[] {
  const data = readFileSync(file);
  const bodies: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < data.length; ) {
    const length = data.readUInt32LE(at);
    bodies.push(new Uint8Array(data.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return bodies;
}

async function here(bodies: readonly Uint8Array<ArrayBuffer>[], decode = decoderOf()): Promise<number> {
  let samples = 0;
  for (const body of bodies) samples += decode(body).count;
  return samples;
}

function elsewhere(worker: Worker, bodies: readonly Uint8Array<ArrayBuffer>[]): Promise<number> {
  const shared = Array.from(
    { length: UNDER_WAY },
    () => new SharedArrayBuffer(SAMPLES_MAX * BYTES_PER_SAMPLE),
  );
  return new Promise((resolve, reject) => {
    let sent = 0;
    let answered = 0;
    let samples = 0;
    const send = () => {
      const body = bodies[sent]!;
      const order: Order = { body, shared: shared[sent++ % UNDER_WAY]! };
      worker.postMessage(order, [body.buffer]);
    };
    worker.removeAllListeners('message');
    worker.once('error', reject);
    worker.on('message', ({ count }: Answer) => {
      samples += count;
      if (++answered === bodies.length) resolve(samples);
      else if (sent < bodies.length) send();
    });
    while (sent < Math.min(UNDER_WAY, bodies.length)) send();
  });
}

function print(name: string, { threadUs, processUs, wallMs, samples }: Used, requests: number): void {
  const each = (us: number) => `${(us / requests).toFixed(1)} µs per request`;
  console.log(
    `${name.padEnd(14)} main thread ${each(threadUs)}, all threads ${each(processUs)} ` +
      `(${((processUs * 1000) / samples).toFixed(0)} ns per sample), ${wallMs.toFixed(0)} ms in all`,
  );
}

const USAGE = `What decoding of remote write costs in the main thread, and what having it done in another one does.

usage: node load-tests/decode-thread-bench.ts [flags]

  --targets N  targets of 550 series                100
  --scrapes N  samples of each series, 15 s apart   60
`;

async function main(): Promise<void> {
  const options = readFlags(USAGE, {
    targets: { type: 'string', default: '100' },
    scrapes: { type: 'string', default: '60' },
  });
  const targets = positive('targets', options.targets);
  const scrapes = positive('scrapes', options.scrapes);
  const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-bench-'));
  const worker = new Worker(new URL(import.meta.url));
  try {
    const replay = makeReplay(folder, targets, scrapes);
    const decode = decoderOf();
    // Once for what is compiled and for the series, then what counts.
    await here(bodiesOf(replay.file), decode);
    await elsewhere(worker, bodiesOf(replay.file));
    for (let round = 0; round < 3; round++) {
      const bodies = bodiesOf(replay.file);
      print('main thread', await measure(() => here(bodies, decode)), bodies.length);
      print('another thread', await measure(() => elsewhere(worker, bodies)), bodies.length);
    }
  } finally {
    await worker.terminate();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (isMainThread) await main();
else serve();
