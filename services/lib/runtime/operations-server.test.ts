import { Counter, Registry } from 'prom-client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSilentLogger } from './logger.ts';
import { createOperationsServer } from './operations-server.ts';

let ready = false;
const registry = new Registry();
const server = createOperationsServer(
  { listenAddress: '127.0.0.1:0' },
  { registry, logger: createSilentLogger(), isReady: () => ready },
);

beforeAll(() => server.start());
afterAll(() => server.stop());

const get = async (path: string, method = 'GET') => {
  const response = await fetch(`http://127.0.0.1:${server.port()}${path}`, { method });
  return [response.status, await response.text()] as const;
};

test('healthy while it runs, ready when the service is', async () => {
  expect((await get('/-/healthy'))[0]).toBe(200);
  expect((await get('/-/ready'))[0]).toBe(503);
  ready = true;
  expect((await get('/-/ready'))[0]).toBe(200);
});

test('metrics of the registry, and nothing else', async () => {
  new Counter({ name: 'tidemark_test_total', help: 'x', registers: [registry] }).inc(3);
  expect((await get('/metrics'))[1]).toContain('tidemark_test_total 3');
  expect((await get('/-/metrics'))[0]).toBe(404);
  expect((await get('/metrics', 'POST'))[0]).toBe(405);
});

test('a port that is taken is named', async () => {
  const second = createOperationsServer(
    { listenAddress: `127.0.0.1:${server.port()}` },
    { registry: new Registry(), logger: createSilentLogger(), isReady: () => true },
  );
  await expect(second.start()).rejects.toThrow(`cannot listen on 127.0.0.1:${server.port()}`);
});
