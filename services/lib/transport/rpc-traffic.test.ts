// What is counted, and what is packed, on a real connection.
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { createSilentLogger } from '../runtime/logger.ts';
import { IngesterDefinition, type SelectResponse, type WireSelectRequest } from '../wire/contracts.ts';
import { connectGrpc } from './grpc/grpc-client.ts';
import { GrpcServer } from './grpc/grpc-server.ts';
import type { Handlers } from './rpc.ts';
import { createRpcTraffic } from './rpc-traffic.ts';

const FRAME = Buffer.from('node_cpu_seconds_total{instance="10.0.0.1:9100"} '.repeat(2000));
const REQUEST: WireSelectRequest = {
  ...{
    tenant: 't',
    matchers: [],
    minTimeMs: 0,
    maxTimeMs: 1,
    labelsOnly: false,
    partitions: [],
    seriesMax: 0,
  },
};

const handlers = {
  async *select(): AsyncGenerator<SelectResponse> {
    yield { frame: FRAME, coverage: undefined };
    yield { frame: FRAME.subarray(0, 100), coverage: undefined };
  },
} as Pick<Handlers<typeof IngesterDefinition>, 'select'> as Handlers<typeof IngesterDefinition>;

test('both ends count the same bytes, frames travel packed and arrive as they were', async () => {
  const registry = new Registry();
  const [serverTraffic, clientTraffic] = [createRpcTraffic(registry), createRpcTraffic()];
  const server = new GrpcServer(
    { listenAddress: '127.0.0.1:0', concurrentStreamsMax: 10 },
    { logger: createSilentLogger(), traffic: serverTraffic },
  );
  server.add(IngesterDefinition, handlers);
  const address = `127.0.0.1:${await server.start()}`;
  const connection = connectGrpc(IngesterDefinition, { address, unaryTimeoutMs: 5_000 }, clientTraffic);
  onTestFinished(async () => {
    connection.close();
    await server.stop(1_000);
  });
  const frames: Buffer[] = [];
  for await (const { frame, codec } of connection.client.select(REQUEST, {
    signal: new AbortController().signal,
  })) {
    expect(codec).toBeUndefined();
    frames.push(Buffer.from(frame));
  }
  expect(frames.map((frame) => frame.length)).toEqual([FRAME.length, 100]);
  expect(frames[0]!.equals(FRAME)).toBe(true);
  const [sent, received] = [serverTraffic.of('Ingester/Select'), clientTraffic.of('Ingester/Select')];
  expect(received).toEqual({
    ...{ sentBytes: sent.receivedBytes, sentMessages: 1 },
    ...{ receivedBytes: sent.sentBytes, receivedMessages: 2 },
  });
  expect(sent.sentBytes).toBeGreaterThan(100);
  expect(sent.sentBytes).toBeLessThan(FRAME.length / 10);
  expect(await registry.metrics()).toContain(
    `tidemark_rpc_sent_bytes_total{method="Ingester/Select"} ${sent.sentBytes}`,
  );
});
