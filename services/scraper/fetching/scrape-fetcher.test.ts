// The fetch thread from outside: real requests to real servers, at their times, through shared memory.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../lib/core/clock.ts';
import { loadConfig } from '../../lib/runtime/config/load-config.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { ClientSettings } from './scrape-client.ts';
import { type FetchClient, type Fetched, ScrapeFetcher } from './scrape-fetcher.ts';

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function serve(answer: Answer): Promise<string> {
  const server = http.createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

function createFetcher(): ScrapeFetcher {
  const fetcher = new ScrapeFetcher({ clock: systemClock, logger: createSilentLogger() });
  onTestFinished(() => fetcher.stop());
  return fetcher;
}

function settingsOf(job = '{job_name: a}'): ClientSettings {
  return { ...loadConfig(`scrape_configs: [${job}]`, '/').scrapeConfigs[0]!, version: '9' };
}

function order(client: FetchClient, url: string, dueMs = 0, bodyBytesMax = 1e9) {
  return client.order({ dueMs, url, timeoutMs: 20_000, bodyBytesMax, patienceMs: 5 });
}

function textOf({ bytes, length }: Fetched): string {
  return Buffer.from(bytes.subarray(0, length)).toString();
}

test('a scrape begins at its time and not before', async () => {
  const arrivals: number[] = [];
  const url = await serve((_request, response) => {
    arrivals.push(Date.now());
    response.end('a 1\n');
  });
  const fetcher = createFetcher();
  const client = fetcher.open(settingsOf());
  await fetcher.ready();
  const dueMs = Date.now() + 300;
  const fetched = (await order(client, url, dueMs).fetched)!;
  expect(textOf(fetched)).toBe('a 1\n');
  // Timers and clocks are milliseconds each.
  expect(arrivals[0]).toBeGreaterThanOrEqual(dueMs - 2);
  expect(fetched.startedMs).toBeGreaterThanOrEqual(dueMs - 2);
});

test('the main thread may be busy at that time: the scrape is not late', async () => {
  const url = await serve((_request, response) => response.end('a 1\n'));
  const fetcher = createFetcher();
  const client = fetcher.open(settingsOf());
  (await order(client, url).fetched)!.release();
  const dueMs = Date.now() + 200;
  const pending = order(client, url, dueMs);
  // The server is in this thread too, so what counts is when the request began.
  const until = Date.now() + 1500;
  while (Date.now() < until);
  expect((await pending.fetched)!.startedMs).toBeLessThan(dueMs + 1000);
});

test('bodies are the target’s, compressed or not, large after small, many at one time', async () => {
  const bodies = ['', 'a 1\n', `${'b'.repeat(70_000)} 1\n`, `${'c'.repeat(6_000_000)} 1\n`];
  const url = await serve((request, response) => {
    const query = new URL(request.url!, 'http://x').searchParams;
    const body = bodies[Number(query.get('body'))]!;
    if (query.has('gzip')) response.setHeader('content-encoding', 'gzip').end(gzipSync(body));
    else response.end(body);
  });
  const client = createFetcher().open(settingsOf());
  for (let round = 0; round < 3; round++) {
    const wanted = Array.from(
      { length: 40 },
      (_, i) => `${url}?body=${(i + round) % 4}${i % 3 === 0 ? '&gzip' : ''}`,
    );
    const all = await Promise.all(wanted.map((each) => order(client, each).fetched));
    for (const [i, fetched] of all.entries()) {
      expect(fetched!.error).toBeUndefined();
      expect(textOf(fetched!) === bodies[(i + round) % 4]).toBe(true);
    }
    for (const fetched of all) fetched!.release();
  }
});

test('a body over its limit is refused as that', async () => {
  const url = await serve((_request, response) => response.end('x'.repeat(1000)));
  const fetched = (await order(createFetcher().open(settingsOf()), url, 0, 999).fetched)!;
  expect(fetched.error).toMatchObject({ name: 'BodyTooLargeError', code: 'resource_exhausted' });
});

test('secrets reach the thread', async () => {
  const url = await serve((request, response) => response.end(request.headers.authorization));
  const settings = settingsOf('{job_name: a, basic_auth: {username: me, password: open}}');
  const fetched = (await order(createFetcher().open(settings), url).fetched)!;
  expect(textOf(fetched)).toBe(`Basic ${btoa('me:open')}`);
});

test('what is cancelled before its time never begins; what has begun ends only when told to', async () => {
  let requests = 0;
  const url = await serve((_request, response) => {
    requests++;
    setTimeout(() => response.end('a 1\n'), 200);
  });
  const client = createFetcher().open(settingsOf());
  const waiting = order(client, url, Date.now() + 60_000);
  waiting.cancel(true);
  expect(await waiting.fetched).toBeUndefined();
  expect(requests).toBe(0);
  const begun = order(client, url);
  const cut = order(client, url);
  await expect.poll(() => requests).toBe(2);
  begun.cancel(true);
  cut.cancel(false);
  expect(textOf((await begun.fetched)!)).toBe('a 1\n');
  expect((await cut.fetched)!.error).toBeDefined();
});

test('a thread that dies is replaced: scrapes to come still come', async () => {
  const url = await serve((_request, response) => response.end('a 1\n'));
  const fetcher = createFetcher();
  const client = fetcher.open(settingsOf());
  (await order(client, url).fetched)!.release();
  const later = order(client, url, Date.now() + 2000);
  // Settings without their HTTP part: the thread does not survive them.
  fetcher.open({ ...settingsOf(), http: undefined as unknown as ClientSettings['http'] }).close();
  expect(textOf((await later.fetched)!)).toBe('a 1\n');
});

test('a stop ends what is open', async () => {
  const fetcher = createFetcher();
  const client = fetcher.open(settingsOf());
  const waiting = order(client, 'http://127.0.0.1:1/', Date.now() + 60_000);
  await fetcher.stop();
  expect(await waiting.fetched).toBeUndefined();
});
