// RELIABILITY R29: clients that send slowly, never finish, never read or only hold a connection. They are cut off in time, cost little
// memory, and others do not notice them.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { encodeWriteRequest, postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { startTidemark, type Tidemark } from '../support/tidemark.ts';

const SLOW = 250;
/** Four kinds of them: 2,000 at night. */
const CLIENTS_PER_KIND = Number(process.env.TIDEMARK_SLOW_CLIENTS ?? SLOW);
const GOOD_REQUESTS = 300;
/** 128 MiB of answers that nobody reads, and what their making left for V8 to collect. It does not grow with their number. */
const GROWTH_MIB_MAX = 700;

const rssMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

/** What a slow client sends at once, and what it adds every half second. */
interface Manner {
  readonly opening: string;
  readonly drip: string;
  /** Does not read what comes back. */
  readonly isDeaf?: boolean;
}

const MANNERS: Readonly<Record<string, Manner>> = {
  'headers a line at a time': { opening: 'POST /api/v1/write HTTP/1.1\r\nhost: x\r\n', drip: 'x-a: b\r\n' },
  'a body a byte at a time': {
    opening:
      'POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-encoding: snappy\r\n' +
      'content-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n',
    drip: 'a',
  },
  'nothing at all': { opening: '', drip: '' },
  'questions, and does not read': {
    opening: 'GET /api/v1/query?query=m%5B1h%5D HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(20),
    drip: '',
    isDeaf: true,
  },
};

/** Opens connections of that manner; the answer counts those that the server has ended. */
function openSlow({ port }: Tidemark, { opening, drip, isDeaf }: Manner): () => number {
  let ended = 0;
  const sockets: Socket[] = [];
  for (let i = 0; i < CLIENTS_PER_KIND; i++) {
    const socket = connect(port, '127.0.0.1');
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => ended++);
    socket.on('connect', () => socket.write(opening));
    if (isDeaf === true) socket.pause();
    else socket.resume();
  }
  const dripping = setInterval(() => {
    if (drip !== '') for (const socket of sockets) if (!socket.destroyed) socket.write(drip);
  }, 500);
  onTestFinished(() => {
    clearInterval(dripping);
    for (const socket of sockets) socket.destroy();
  });
  return () => ended;
}

/** Writes and questions of a client that behaves, one after the other, each on a connection of its own; their times in ms, ascending. */
async function behave(server: Tidemark): Promise<number[]> {
  const times: number[] = [];
  const agent = new Agent({ keepAlive: false });
  for (let i = 0; i < GOOD_REQUESTS; i++) {
    const startedMs = performance.now();
    const status = await new Promise<number>((resolve, reject) => {
      const isWrite = i % 2 === 0;
      const outgoing = request(
        `${server.url}${isWrite ? '/api/v1/write' : '/api/v1/query?query=1'}`,
        {
          agent,
          method: isWrite ? 'POST' : 'GET',
          headers: isWrite ? { 'content-encoding': 'snappy', 'content-type': 'application/x-protobuf' } : {},
        },
        (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode!));
        },
      );
      outgoing.on('error', reject);
      outgoing.end(isWrite ? sample(Date.now()) : undefined);
    });
    expect(status).toBe(i % 2 === 0 ? 204 : 200);
    times.push(performance.now() - startedMs);
  }
  return times.sort((a, b) => a - b);
}

const sample = (timeMs: number): Buffer =>
  snappyLiterals(encodeWriteRequest([{ labels: { __name__: 'good' }, samples: [[timeMs, 1]] }]));

async function cutOff({ url }: Tidemark): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^tidemark_gateway_http_slow_readers_cut_off_total (\d+)$/m.exec(text)?.[1]);
}

const at = (sorted: readonly number[], share: number): number => sorted[Math.floor(share * sorted.length)]!;

test('R29: a thousand slow clients do not take the service from others', { timeout: 180_000 }, async () => {
  const server = await startTidemark();
  const now = Date.now();
  const series = Array.from({ length: 200 }, (_, i) => ({
    labels: { __name__: 'm', i: String(i) },
    samples: Array.from({ length: 100 }, (_each, k): [number, number] => [now - (100 - k) * 1000, i + k / 7]),
  }));
  expect((await postWrite(server.url, snappyLiterals(encodeWriteRequest(series)))).status).toBe(204);
  await behave(server);
  const alone = await behave(server);
  const before = rssMib(server.pid);

  const ended = Object.entries(MANNERS).map(([name, manner]) => ({ name, count: openSlow(server, manner) }));
  const crowded = await behave(server);
  const p99 = { alone: at(alone, 0.99), crowded: at(crowded, 0.99) };
  console.log(
    `R29: ${4 * CLIENTS_PER_KIND} slow clients; p99 of a good one ${p99.alone.toFixed(1)} ms without, ${p99.crowded.toFixed(1)} ms with them; ` +
      `memory ${before.toFixed(0)} MiB, then ${rssMib(server.pid).toFixed(0)} MiB`,
  );
  // Twice, and what a machine that runs other tests beside adds.
  expect(p99.crowded).toBeLessThan(2 * p99.alone + 250);
  expect(rssMib(server.pid) - before).toBeLessThan(GROWTH_MIB_MAX);
  // More than 128 MiB of answers would wait otherwise.
  await expect.poll(() => cutOff(server), { timeout: 20_000 }).toBeGreaterThan(0);

  // Whoever has not sent its headers after 10 s is cut off; a body has 60 s, an answer that is not read, too.
  await expect
    .poll(() => ended.filter(({ name }) => /headers|nothing/.test(name)).map(({ count }) => count()), {
      timeout: 40_000,
      interval: 250,
    })
    .toEqual([CLIENTS_PER_KIND, CLIENTS_PER_KIND]);
  expect((await behave(server)).length).toBe(GOOD_REQUESTS);
});
