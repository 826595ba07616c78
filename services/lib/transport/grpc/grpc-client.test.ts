import { createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../../../test/support/programs.ts';
import { IngesterDefinition } from '../../wire/contracts.ts';
import { connectGrpc } from './grpc-client.ts';

/** A client of a peer that takes connections and never says a word, as one behind a network that loses everything. */
async function connectToSilence() {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  const port = await freePort();
  await new Promise<void>((resolve) => {
    server.listen(port, '127.0.0.1', resolve);
  });
  const options = { address: `127.0.0.1:${port}`, unaryTimeoutMs: 60_000 };
  const connection = connectGrpc(IngesterDefinition, options);
  onTestFinished(() => {
    connection.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return connection;
}

const SELECT = {
  ...{
    tenant: 't',
    matchers: [],
    minTimeMs: 0,
    maxTimeMs: 1,
    labelsOnly: false,
    partitions: [],
    seriesMax: 1,
  },
};

test('calls of a peer that cannot be connected to fail within seconds, unary and streams', async () => {
  const { client } = await connectToSilence();
  const { signal } = new AbortController();
  const startedMs = performance.now();
  const calls = await Promise.allSettled([
    client.seal({ tenant: '' }, { signal }),
    client.select(SELECT, { signal })[Symbol.asyncIterator]().next(),
  ]);
  for (const call of calls) {
    expect(call).toMatchObject({
      status: 'rejected',
      reason: {
        code: 'unavailable',
        message: expect.stringMatching(/could not be connected to within/) as string,
      },
    });
  }
  expect(performance.now() - startedMs).toBeLessThan(10_000);
});

test('a call that is given up while the connection is made ends at once, and so does one whose connection is closed', async () => {
  const connection = await connectToSilence();
  const over = new AbortController();
  const startedMs = performance.now();
  const given = connection.client.seal({ tenant: '' }, { signal: over.signal });
  over.abort();
  await expect(given).rejects.toMatchObject({ code: 'canceled' });
  const closed = connection.client.seal({ tenant: '' }, { signal: new AbortController().signal });
  connection.close();
  await expect(closed).rejects.toMatchObject({ code: 'unavailable' });
  expect(performance.now() - startedMs).toBeLessThan(2_000);
});
