// Calls a service over gRPC with the same client type as the in-process channel. One channel per peer; gRPC reconnects by
// itself with back-off and jitter.
import {
  type CallOptions,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  connectivityState,
  Client as GrpcChannel,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { AppError, throwIfAborted, toAppError } from '../../core/errors.ts';
import { MessageQueue } from '../message-queue.ts';
import type { CallContext, Client, ServiceDefinition } from '../rpc.ts';
import { createRpcTraffic, type RpcTraffic } from '../rpc-traffic.ts';
import { type ClusterSecurity, PLAINTEXT } from '../tls/cluster-security.ts';
import { CHANNEL_OPTIONS, grpcMethodsOf } from './grpc-methods.ts';
import { fromServiceError } from './grpc-status.ts';

export interface GrpcClientOptions {
  /** `host:port` of the peer. */
  readonly address: string;
  /** Whether the peer says that it takes TLS; see ClusterSecurity.channelCredentials. */
  readonly takesTls?: boolean | undefined;
  /** Longest time of a unary call; streams end with their signal. */
  readonly unaryTimeoutMs: number;
}

/** A client and the way to end its connection. */
export interface GrpcConnection<D extends ServiceDefinition> {
  readonly client: Client<D>;
  /** Whether the peer is reached now; asking opens the connection. */
  isConnected(): boolean;
  /** Calls under way fail as `unavailable`: a peer that does not answer any more must not hold its callers up. */
  close(): void;
}

/** What the calls of one connection share. */
interface Connection {
  readonly channel: GrpcChannel;
  readonly peer: string;
  readonly unaryTimeoutMs: number;
  readonly isEncrypted: boolean;
  readonly underWay: Set<{ cancel(): void }>;
  isClosed: boolean;
}

/** How long a call waits for a connection that is being made: where packets are lost gRPC itself goes on for 20 s, and then begins anew. */
const CONNECT_PATIENCE_MS = 3_000;

const REFUSAL_HINT = ', whose log says whether it refused the certificate of this process';

type Method = MethodDefinition<unknown, unknown>;

/** Connects lazily: the first call, or the first question whether it is connected, opens the connection. */
export function connectGrpc<D extends ServiceDefinition>(
  definition: D,
  options: GrpcClientOptions,
  traffic: RpcTraffic = createRpcTraffic(),
  security: ClusterSecurity = PLAINTEXT,
): GrpcConnection<D> {
  const connection: Connection = {
    channel: new GrpcChannel(
      options.address,
      security.channelCredentials(options.address, options.takesTls),
      CHANNEL_OPTIONS,
    ),
    peer: `${definition.name} at ${options.address}`,
    unaryTimeoutMs: options.unaryTimeoutMs,
    isEncrypted: security.tls !== undefined,
    underWay: new Set(),
    isClosed: false,
  };
  const client: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(grpcMethodsOf(definition, traffic))) {
    client[key] = method.responseStream
      ? (request: unknown, context: CallContext) => callStream(connection, method, request, context)
      : (request: unknown, context: CallContext) => callUnary(connection, method, request, context);
  }
  const close = (): void => {
    connection.isClosed = true;
    for (const call of connection.underWay) call.cancel();
    connection.channel.close();
  };
  const isConnected = (): boolean =>
    !connection.isClosed &&
    connection.channel.getChannel().getConnectivityState(true) === connectivityState.READY;
  return { client: client as Client<D>, isConnected, close };
}

/** What a failed call throws: the caller's own reason first, then that the peer is gone, then what gRPC says. */
function failureOf(error: ServiceError, connection: Connection, context: CallContext): AppError {
  if (context.signal.aborted) return toAppError(context.signal.reason);
  if (connection.isClosed) return gone(connection);
  // With TLS 1.3 a server that refuses a client's certificate closes a connection that the client takes for open.
  const hint = connection.isEncrypted && /Failed to connect/.test(error.details) ? REFUSAL_HINT : '';
  return fromServiceError(error, connection.peer + hint);
}

/**
 * Resolves when calls go out, or fail by themselves.
 *
 * @throws AppError `unavailable` when the connection is being made and takes too long, or the signal's reason.
 */
async function untilConnected(connection: Connection, { signal }: CallContext): Promise<void> {
  const deadlineMs = Date.now() + CONNECT_PATIENCE_MS;
  const { channel, peer } = connection;
  while (isConnecting(connection)) {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
      const inner = channel.getChannel();
      inner.watchConnectivityState(inner.getConnectivityState(true), deadlineMs, done);
    });
    throwIfAborted(signal);
    if (connection.isClosed) throw gone(connection);
    if (Date.now() >= deadlineMs && isConnecting(connection)) {
      throw new AppError('unavailable', `${peer} could not be connected to within ${CONNECT_PATIENCE_MS} ms`);
    }
  }
}

/** Whether `untilConnected` has nothing to wait for. */
function isConnecting({ channel }: Connection): boolean {
  const state = channel.getChannel().getConnectivityState(true);
  return state === connectivityState.IDLE || state === connectivityState.CONNECTING;
}

function gone({ peer }: Connection): AppError {
  return new AppError('unavailable', `${peer} is no longer a member`);
}

async function callUnary(
  connection: Connection,
  method: Method,
  request: unknown,
  context: CallContext,
): Promise<unknown> {
  throwIfAborted(context.signal);
  if (connection.isClosed) throw gone(connection);
  if (isConnecting(connection)) await untilConnected(connection, context);
  const { channel, underWay } = connection;
  const callOptions: CallOptions = { deadline: Date.now() + connection.unaryTimeoutMs };
  return new Promise((resolve, reject) => {
    const answer = (error: ServiceError | null, response: unknown): void => {
      context.signal.removeEventListener('abort', cancel);
      underWay.delete(call);
      if (error === null) resolve(response);
      else reject(failureOf(error, connection, context));
    };
    const { path, requestSerialize, responseDeserialize } = method;
    const call = method.requestStream
      ? channel.makeClientStreamRequest(path, requestSerialize, responseDeserialize, callOptions, answer)
      : channel.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, callOptions, answer);
    underWay.add(call);
    const cancel = (): void => call.cancel();
    context.signal.addEventListener('abort', cancel, { once: true });
    if (method.requestStream) {
      pump(request as AsyncIterable<unknown>, call as ClientWritableStream<unknown>).catch(cancel);
    }
  });
}

async function* callStream(
  connection: Connection,
  method: Method,
  request: unknown,
  context: CallContext,
): AsyncGenerator<unknown> {
  throwIfAborted(context.signal);
  if (connection.isClosed) throw gone(connection);
  if (isConnecting(connection)) await untilConnected(connection, context);
  const { channel, underWay } = connection;
  const { path, requestSerialize, responseDeserialize } = method;
  const call: ClientReadableStream<unknown> | ClientDuplexStream<unknown, unknown> = method.requestStream
    ? channel.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    : channel.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  underWay.add(call);
  const cancel = (): void => call.cancel();
  const queue = new MessageQueue<unknown>({ pause: () => call.pause(), resume: () => call.resume() }, cancel);
  call.on('data', (message: unknown) => queue.push(message));
  call.on('end', () => queue.end());
  call.on('error', (error: ServiceError) => {
    queue.end(failureOf(error, connection, context));
  });
  context.signal.addEventListener('abort', cancel, { once: true });
  if (method.requestStream) {
    pump(request as AsyncIterable<unknown>, call as ClientDuplexStream<unknown, unknown>).catch(
      (caught: unknown) => {
        queue.end(toAppError(caught));
        cancel();
      },
    );
  }
  try {
    yield* queue;
  } finally {
    underWay.delete(call);
    context.signal.removeEventListener('abort', cancel);
  }
}

/** Sends a caller's messages, no faster than the connection takes them. */
async function pump(messages: AsyncIterable<unknown>, call: ClientWritableStream<unknown>): Promise<void> {
  for await (const message of messages) {
    if (call.destroyed) throw new AppError('unavailable', 'the stream is closed');
    if (!call.write(message)) await writableAgain(call);
  }
  call.end();
}

/** Resolves when the stream takes more, or when it is over. */
function writableAgain(call: ClientWritableStream<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['drain', 'close', 'status']) call.removeListener(event, done);
      resolve();
    };
    for (const event of ['drain', 'close', 'status']) call.on(event, done);
  });
}
