// Simulated exporters: many targets on loopback that serve a real node-exporter capture whose values change from scrape to scrape.
// Answers are made once, so that serving costs next to nothing; what counts is who asked, and when.
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { sharedBench } from './replay-file.ts';

/** Bodies that a target serves in turn. */
const VERSIONS = 8;
/** Ports per loopback address. */
const PORTS_MAX = 500;

export interface ExporterOptions {
  readonly targets: number;
  /** Samples in an exposition. */
  readonly series: number;
  readonly compressed: boolean;
  /** The first of up to 500 ports on 127.0.0.1, 127.0.0.2 … */
  readonly basePort: number;
}

/** How far scrapes were from the regular grid of their target, milliseconds. */
export interface Punctuality {
  readonly scrapes: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  /** Share of scrapes within 5 ms, 0 … 1. */
  readonly within5: number;
}

/** How far the exporters' own timer was from its time: what of a scrape's distance may be this process' and not the scraper's. */
export interface OwnLateness {
  readonly p999: number;
  /** Share of ticks within 5 ms, 0 … 1. */
  readonly within5: number;
}

export interface Exporters {
  readonly addresses: readonly string[];
  readonly bodyBytes: number;
  /** Forgets all scrapes so far. */
  reset(): void;
  /** Who asked is told by the parameter `system` of the request. */
  scrapes(system: string): number;
  punctuality(system: string, intervalMs: number): Punctuality;
  ownLateness(): OwnLateness;
  close(): Promise<void>;
}

/** Listens on all targets. */
export async function startExporters(options: ExporterOptions): Promise<Exporters> {
  const bodies = makeExpositions(options.series);
  const answers = bodies.map((body) => makeAnswer(body, options.compressed));
  /** By system, then by target. */
  const arrivals = new Map<string, number[][]>();
  const arrivalsOf = (system: string): number[][] => {
    let all = arrivals.get(system);
    if (all === undefined) {
      all = Array.from({ length: options.targets }, () => []);
      arrivals.set(system, all);
    }
    return all;
  };
  const ticks = startTicks();
  const servers: net.Server[] = [];
  const sockets = new Set<net.Socket>();
  const addresses: string[] = [];
  for (let i = 0, place = 0; i < options.targets; i++) {
    const target = i;
    let version = i;
    const server = net.createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      let tail = '';
      socket.on('data', (piece) => {
        // A request of these clients has no body: it ends with an empty line.
        const text = tail + piece.toString('latin1');
        tail = text.endsWith('\r\n\r\n') ? '' : text;
        if (tail !== '') return;
        const system = /^GET [^ ]*[?&]system=([\w-]+)/.exec(text)?.[1] ?? '';
        arrivalsOf(system)[target]!.push(performance.timeOrigin + performance.now());
        socket.write(answers[version++ % VERSIONS]!);
      });
    });
    // A port that somebody has is passed over.
    let address: string | undefined;
    while (address === undefined) address = await listen(server, place++, options.basePort);
    servers.push(server);
    addresses.push(address);
  }
  return {
    addresses,
    bodyBytes: bodies[0]!.length,
    reset: () => {
      arrivals.clear();
      ticks.reset();
    },
    scrapes: (system) => arrivalsOf(system).reduce((sum, own) => sum + own.length, 0),
    punctuality: (system, intervalMs) => punctualityOf(arrivalsOf(system), intervalMs),
    ownLateness: () => ticks.lateness(),
    close: async () => {
      ticks.stop();
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}

/** Every so often a timer notes how late it fires. */
const TICK_MS = 7;

interface Ticks {
  reset(): void;
  lateness(): OwnLateness;
  stop(): void;
}

function startTicks(): Ticks {
  const late: number[] = [];
  let before = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(Math.max(0, now - before - TICK_MS));
    before = now;
  }, TICK_MS);
  return {
    reset: () => {
      late.length = 0;
    },
    lateness: () => {
      const sorted = late.toSorted((a, b) => a - b);
      const within = sorted.filter((each) => each <= 5).length;
      return {
        p999: sorted[Math.floor(0.999 * sorted.length)] ?? Number.NaN,
        within5: within / sorted.length,
      };
    },
    stop: () => clearInterval(timer),
  };
}

/** The address; undefined when it is taken. */
function listen(server: net.Server, place: number, basePort: number): Promise<string | undefined> {
  const host = `127.0.0.${1 + Math.floor(place / PORTS_MAX)}`;
  const port = basePort + (place % PORTS_MAX);
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    };
    server.once('error', failed);
    server.listen(port, host, () => {
      server.off('error', failed);
      resolve(`${host}:${port}`);
    });
  });
}

function makeAnswer(body: Buffer, compressed: boolean): Buffer {
  const sent = compressed ? gzipSync(body) : body;
  const head = [
    'HTTP/1.1 200 OK',
    'Content-Type: text/plain; version=0.0.4; charset=utf-8',
    ...(compressed ? ['Content-Encoding: gzip'] : []),
    `Content-Length: ${sent.length}`,
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), sent]);
}

/** Between two real scrapes of a machine, and as far again after the second. */
function makeExpositions(series: number): Buffer[] {
  const [first, second] = ['0s', '15s'].map((name) =>
    readFileSync(path.join(sharedBench, 'captures', `node-exporter-${name}.txt`), 'utf8').split('\n'),
  ) as [string[], string[]];
  const later = new Map(second.filter(isSample).map((line) => split(line)));
  return Array.from({ length: VERSIONS }, (_, version) => {
    const lines: string[] = [];
    let samples = 0;
    for (let copy = 0; samples < series; copy++) {
      for (const line of first) {
        if (samples === series) break;
        if (line === '') continue;
        if (!isSample(line)) {
          if (copy === 0) lines.push(line);
          continue;
        }
        const [name, text] = split(line);
        samples++;
        lines.push(`${copy === 0 ? name : `copy${copy}_${name}`} ${between(text, later.get(name), version)}`);
      }
    }
    return Buffer.from(`${lines.join('\n')}\n`);
  });
}

/** What is constant stays as it was written; what moved goes on at its rate, in steps of its own precision. */
function between(first: string, second: string | undefined, version: number): string {
  const from = Number(first);
  const step = Number(second) - from;
  if (!Number.isFinite(step) || step === 0) return first;
  const value = from + (step * version) / 2;
  if (Number.isInteger(from) && Number.isInteger(step)) return String(Math.round(value));
  const decimals = (/\.(\d+)$/.exec(first)?.[1] ?? '00').length;
  return value.toFixed(decimals);
}

function isSample(line: string): boolean {
  return line !== '' && !line.startsWith('#');
}

function split(line: string): [name: string, value: string] {
  const at = line.lastIndexOf(' ');
  return [line.slice(0, at), line.slice(at + 1)];
}

/** Each target's time within the interval is where most of its scrapes are: the median. */
function punctualityOf(arrivals: readonly (readonly number[])[], intervalMs: number): Punctuality {
  const deviations: number[] = [];
  for (const own of arrivals) {
    if (own.length < 3) continue;
    const first = own[0]!;
    const offsets = own.map((timeMs) => {
      const steps = Math.round((timeMs - first) / intervalMs);
      return timeMs - first - steps * intervalMs;
    });
    const middle = offsets.toSorted((a, b) => a - b)[offsets.length >> 1]!;
    for (const offset of offsets) deviations.push(Math.abs(offset - middle));
  }
  deviations.sort((a, b) => a - b);
  const at = (share: number): number =>
    deviations[Math.min(deviations.length - 1, Math.floor(share * deviations.length))] ?? Number.NaN;
  const within = deviations.filter((each) => each <= 5).length;
  return {
    scrapes: deviations.length,
    p50: at(0.5),
    p99: at(0.99),
    p999: at(0.999),
    within5: within / deviations.length,
  };
}
