// Calls a service over gRPC with the same client type as the in-process channel. One channel per peer; gRPC reconnects by
// itself with back-off and jitter.
import {
  type CallOptions,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  Client as GrpcChannel,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { AppError, throwIfAborted, toAppError } from '../core/errors.ts';
import { CHANNEL_OPTIONS, grpcMethodsOf } from './grpc-methods.ts';
import { fromServiceError } from './grpc-status.ts';
import { MessageQueue } from './message-queue.ts';
import type { CallContext, Client, ServiceDefinition } from './rpc.ts';

export interface GrpcClientOptions {
  /** `host:port` of the peer. */
  readonly address: string;
  /** Longest time of a unary call; streams end with their signal. */
  readonly unaryTimeoutMs: number;
}

/** A client and the way to end its connection. */
export interface GrpcConnection<D extends ServiceDefinition> {
  readonly client: Client<D>;
  close(): void;
}

type Method = MethodDefinition<unknown, unknown>;

/** Connects lazily: the first call opens the connection. */
export function connectGrpc<D extends ServiceDefinition>(
  definition: D,
  options: GrpcClientOptions,
): GrpcConnection<D> {
  const channel = new GrpcChannel(options.address, credentials.createInsecure(), CHANNEL_OPTIONS);
  const peer = `${definition.name} at ${options.address}`;
  const client: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(grpcMethodsOf(definition))) {
    client[key] = method.responseStream
      ? (request: unknown, context: CallContext) => callStream(channel, method, request, context, peer)
      : (request: unknown, context: CallContext) =>
          callUnary(channel, method, request, context, options, peer);
  }
  return { client: client as Client<D>, close: () => channel.close() };
}

async function callUnary(
  channel: GrpcChannel,
  method: Method,
  request: unknown,
  context: CallContext,
  options: GrpcClientOptions,
  peer: string,
): Promise<unknown> {
  throwIfAborted(context.signal);
  const callOptions: CallOptions = { deadline: Date.now() + options.unaryTimeoutMs };
  return new Promise((resolve, reject) => {
    const answer = (error: ServiceError | null, response: unknown): void => {
      context.signal.removeEventListener('abort', cancel);
      if (error === null) resolve(response);
      else reject(context.signal.aborted ? toAppError(context.signal.reason) : fromServiceError(error, peer));
    };
    const { path, requestSerialize, responseDeserialize } = method;
    const call = method.requestStream
      ? channel.makeClientStreamRequest(path, requestSerialize, responseDeserialize, callOptions, answer)
      : channel.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, callOptions, answer);
    const cancel = (): void => call.cancel();
    context.signal.addEventListener('abort', cancel, { once: true });
    if (method.requestStream) {
      pump(request as AsyncIterable<unknown>, call as ClientWritableStream<unknown>).catch(cancel);
    }
  });
}

async function* callStream(
  channel: GrpcChannel,
  method: Method,
  request: unknown,
  context: CallContext,
  peer: string,
): AsyncGenerator<unknown> {
  throwIfAborted(context.signal);
  const { path, requestSerialize, responseDeserialize } = method;
  const call: ClientReadableStream<unknown> | ClientDuplexStream<unknown, unknown> = method.requestStream
    ? channel.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    : channel.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  const cancel = (): void => call.cancel();
  const queue = new MessageQueue<unknown>({ pause: () => call.pause(), resume: () => call.resume() }, cancel);
  call.on('data', (message: unknown) => queue.push(message));
  call.on('end', () => queue.end());
  call.on('error', (error: ServiceError) => {
    queue.end(context.signal.aborted ? toAppError(context.signal.reason) : fromServiceError(error, peer));
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
