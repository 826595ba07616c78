// What both channels promise, run over each: the in-process one and gRPC on loopback.
import { setTimeout as sleep } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCertificateAuthority } from '../../../test/support/certificate-authority.ts';
import { hasPrograms } from '../../../test/support/process.ts';
import { systemClock } from '../core/clock.ts';
import { AppError, type ErrorCode } from '../core/errors.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import {
  AppendOutcome,
  type AppendRequest,
  type AppendResponse,
  IngesterDefinition,
  type SelectResponse,
  type WireSelectRequest,
} from '../wire/contracts.ts';
import { connectGrpc } from './grpc/grpc-client.ts';
import { GrpcServer } from './grpc/grpc-server.ts';
import { createInProcessClient } from './in-process.ts';
import type { CallContext, Client, Handlers } from './rpc.ts';
import { type ClusterSecurity, createTlsSecurity, PLAINTEXT } from './tls/cluster-security.ts';
import { TlsIdentity } from './tls/tls-identity.ts';
import { TlsRefusals } from './tls/tls-refusals.ts';

const canEncrypt = hasPrograms('openssl');
const CODES: readonly ErrorCode[] = [
  'bad_data',
  'execution',
  'not_found',
  'already_exists',
  'failed_precondition',
  'unavailable',
  'resource_exhausted',
  'timeout',
  'canceled',
  'internal',
];

/** What the far side saw. */
interface Seen {
  sent: number;
  aborted: number;
  left: number;
}

function createHandlers(seen: Seen): Handlers<typeof IngesterDefinition> {
  return {
    labels: async (request) => {
      const code = CODES.find((candidate) => candidate === request.labelName);
      if (code !== undefined) throw new AppError(code, `refused: ${code}`);
      return { values: [request.tenant, request.labelName], truncated: request.limit > 0 };
    },
    metadata: async (_, context) => {
      await new Promise<void>((resolve) => context.signal.addEventListener('abort', () => resolve()));
      seen.aborted++;
      throw new AppError('canceled', 'aborted');
    },
    headStatistics: () => Promise.reject(new AppError('internal', 'not asked for')),
    admitSeries: () => Promise.reject(new AppError('internal', 'not asked for')),
    fence: () => Promise.reject(new AppError('internal', 'not asked for')),
    seal: () => Promise.reject(new AppError('internal', 'not asked for')),
    deleteSeries: () => Promise.reject(new AppError('internal', 'not asked for')),
    undoDelete: () => Promise.reject(new AppError('internal', 'not asked for')),
    listDeletes: () => Promise.reject(new AppError('internal', 'not asked for')),
    select: (request, context) => select(request, context, seen),
    append: (requests) => append(requests, seen),
  };
}

async function* select(
  request: WireSelectRequest,
  context: CallContext,
  seen: Seen,
): AsyncGenerator<SelectResponse> {
  context.signal.addEventListener('abort', () => seen.aborted++);
  const frame = new Uint8Array(256 * 1024).fill(7);
  for (let i = 0; i < request.seriesMax; i++) {
    seen.sent++;
    yield { frame, coverage: undefined };
  }
  if (request.tenant === 'fails') throw new AppError('execution', 'half-way');
}

async function* append(requests: AsyncIterable<AppendRequest>, seen: Seen): AsyncGenerator<AppendResponse> {
  try {
    for await (const { sequence, batch } of requests) {
      if (batch[0] === 0xff) throw new AppError('failed_precondition', `gap at ${sequence}`);
      yield { sequence, outcome: AppendOutcome.APPEND_OUTCOME_DURABLE, failedPartitions: [], message: '' };
    }
  } finally {
    seen.left++;
  }
}

const seenOver: Record<string, Seen> = {
  'in-process': { sent: 0, aborted: 0, left: 0 },
  gRPC: { sent: 0, aborted: 0, left: 0 },
  'gRPC with TLS': { sent: 0, aborted: 0, left: 0 },
};
const clients: Record<string, Client<typeof IngesterDefinition>> = {};
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  clients['in-process'] = createInProcessClient(IngesterDefinition, createHandlers(seenOver['in-process']!));
  await serve('gRPC', PLAINTEXT);
  if (canEncrypt) await serve('gRPC with TLS', await selfSigned());
});

async function serve(name: string, security: ClusterSecurity): Promise<void> {
  const server = new GrpcServer(
    { listenAddress: '127.0.0.1:0', concurrentStreamsMax: 100 },
    { logger: createSilentLogger(), tls: security.tls },
  );
  server.add(IngesterDefinition, createHandlers(seenOver[name]!));
  const address = `127.0.0.1:${await server.start()}`;
  const connection = connectGrpc(IngesterDefinition, { address, unaryTimeoutMs: 5000 }, undefined, security);
  clients[name] = connection.client;
  closers.push(async () => {
    connection.close();
    await server.stop(1000);
  });
}

async function selfSigned(): Promise<ClusterSecurity> {
  const deps = { clock: systemClock, logger: createSilentLogger(), registry: new Registry() };
  const files = createCertificateAuthority().issue();
  const identity = await TlsIdentity.open({ files, intervalMs: 60_000 }, deps);
  return createTlsSecurity({ identity, refusals: new TlsRefusals(deps), peerName: '' });
}

afterAll(async () => {
  for (const close of closers) await close();
});

const never = (): CallContext => ({ signal: new AbortController().signal });
const selectRequest = (tenant: string, frames: number): WireSelectRequest => ({
  ...{ tenant, matchers: [], minTimeMs: -1, maxTimeMs: 2 ** 53 - 1 },
  ...{ labelsOnly: false, partitions: [], seriesMax: frames },
});
const appendRequest = (sequence: number, ...bytes: number[]): AppendRequest => ({
  ...{ tenant: 't', writerId: 'w', sequence, epoch: 1 },
  ...{ batch: Uint8Array.from(bytes), metadata: [] },
});

describe.each(['in-process', 'gRPC', ...(canEncrypt ? ['gRPC with TLS'] : [])])('%s', (name) => {
  const labels = (labelName: string) => ({
    ...{ tenant: 't', matchers: [], minTimeMs: 0, maxTimeMs: 0, labelName, limit: 1 },
  });

  test('a unary call and its answer', async () => {
    const answer = await clients[name]!.labels(labels('größe'), never());
    expect(answer).toEqual({ values: ['t', 'größe'], truncated: true });
  });

  test.each(CODES)('error code %s arrives as it was thrown', async (code) => {
    await expect(clients[name]!.labels(labels(code), never())).rejects.toMatchObject({
      ...{ name: 'AppError', code, message: `refused: ${code}` },
    });
  });

  test('aborting a unary call rejects with the reason and tells the handler', async () => {
    const before = seenOver[name]!.aborted;
    const controller = new AbortController();
    const call = clients[name]!.metadata({ tenant: '', metric: '', limit: 0 }, { signal: controller.signal });
    await sleep(50);
    controller.abort(new AppError('timeout', 'too long'));
    await expect(call).rejects.toMatchObject({ code: name === 'in-process' ? 'canceled' : 'timeout' });
    await expect.poll(() => seenOver[name]!.aborted).toBe(before + 1);
  });

  test('a stream arrives whole, and its failure after what was sent', async () => {
    let bytes = 0;
    for await (const { frame } of clients[name]!.select(selectRequest('whole', 40), never()))
      bytes += frame.length;
    expect(bytes).toBe(40 * 256 * 1024);
    let frames = 0;
    const read = async () => {
      for await (const _ of clients[name]!.select(selectRequest('fails', 3), never())) frames++;
    };
    await expect(read()).rejects.toMatchObject({ code: 'execution', message: 'half-way' });
    expect(frames).toBe(3);
  });

  test('a slow reader holds the sender back', async () => {
    const before = seenOver[name]!.sent;
    for await (const _ of clients[name]!.select(selectRequest('slow', 4000), never())) {
      await sleep(200);
      break;
    }
    expect(seenOver[name]!.sent - before).toBeLessThan(200);
  });

  test('a stream of requests is answered one by one, and ends with its caller', async () => {
    async function* requests() {
      for (let i = 1; i <= 1000; i++) yield appendRequest(i, 1);
    }
    const sequences: number[] = [];
    for await (const { sequence } of clients[name]!.append(requests(), never())) sequences.push(sequence);
    expect(sequences).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    await expect.poll(() => seenOver[name]!.left).toBeGreaterThan(0);
  });

  test('a handler that refuses a request ends the stream with its error', async () => {
    async function* requests() {
      yield appendRequest(1, 1);
      yield appendRequest(2, 0xff);
      await sleep(10_000, undefined, { ref: false });
    }
    const read = async () => {
      for await (const _ of clients[name]!.append(requests(), never()));
    };
    await expect(read()).rejects.toMatchObject({ code: 'failed_precondition', message: 'gap at 2' });
  });
});

test('a peer that is not there is unavailable, by name', async () => {
  const connection = connectGrpc(IngesterDefinition, { address: '127.0.0.1:1', unaryTimeoutMs: 2000 });
  const call = connection.client.seal({ tenant: '' }, never());
  await expect(call).rejects.toMatchObject({ code: 'unavailable' });
  await expect(call).rejects.toThrow(/127\.0\.0\.1:1/);
  connection.close();
});

test('calls under way to a peer that left fail as unavailable, at once', async () => {
  const seen: Seen = { sent: 0, aborted: 0, left: 0 };
  const server = new GrpcServer(
    { listenAddress: '127.0.0.1:0', concurrentStreamsMax: 10 },
    { logger: createSilentLogger() },
  );
  server.add(IngesterDefinition, createHandlers(seen));
  const address = `127.0.0.1:${await server.start()}`;
  const connection = connectGrpc(IngesterDefinition, { address, unaryTimeoutMs: 60_000 });
  const { client } = connection;
  const { signal } = new AbortController();
  const hanging = client.metadata({ tenant: 't', metric: '', limit: 0 }, { signal });
  await sleep(100);
  const outcome = expect(hanging).rejects.toMatchObject({
    code: 'unavailable',
    message: `Ingester at ${address} is no longer a member`,
  });
  connection.close();
  await outcome;
  await expect(client.metadata({ tenant: 't', metric: '', limit: 0 }, { signal })).rejects.toThrow(
    'no longer',
  );
  await server.stop(1_000);
  expect(seen.aborted).toBe(1);
});
