// Serves `Handlers` over gRPC: the same handlers that the in-process channel calls.
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type UntypedHandleCall,
} from '@grpc/grpc-js';
import { AppError, toAppError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/logger.ts';
import { MessageQueue } from '../message-queue.ts';
import { splitAddress } from '../process-flags.ts';
import type { CallContext, Handlers, ServiceDefinition } from '../rpc.ts';
import { createRpcTraffic, type RpcTraffic } from '../rpc-traffic.ts';
import type { TlsServerSecurity } from '../tls/cluster-security.ts';
import { TlsListener } from '../tls/tls-listener.ts';
import { CHANNEL_OPTIONS, grpcMethodsOf } from './grpc-methods.ts';
import { CODE_KEY, grpcStatusOf } from './grpc-status.ts';

export interface GrpcServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listenAddress: string;
  /** Streams a connection may have open at one time. */
  readonly concurrentStreamsMax: number;
}

type UnaryHandler = (request: unknown, context: CallContext) => Promise<unknown>;
type StreamHandler = (request: unknown, context: CallContext) => AsyncIterable<unknown>;

/** A gRPC server for any number of services; add them all before start. */
export class GrpcServer {
  readonly #server: Server;
  readonly #options: GrpcServerOptions;
  readonly #logger: Logger;
  readonly #traffic: RpcTraffic;
  readonly #tls: TlsServerSecurity | undefined;
  #listener: TlsListener | undefined;

  /** @param deps Without `tls` connections are in plaintext. */
  constructor(
    options: GrpcServerOptions,
    deps: {
      readonly logger: Logger;
      readonly traffic?: RpcTraffic | undefined;
      readonly tls?: TlsServerSecurity | undefined;
    },
  ) {
    this.#options = options;
    this.#logger = deps.logger;
    this.#traffic = deps.traffic ?? createRpcTraffic();
    this.#tls = deps.tls;
    this.#server = new Server({
      ...CHANNEL_OPTIONS,
      'grpc.max_concurrent_streams': options.concurrentStreamsMax,
    });
  }

  add<D extends ServiceDefinition>(definition: D, handlers: Handlers<D>): void {
    const methods = grpcMethodsOf(definition, this.#traffic);
    const implementation: Record<string, UntypedHandleCall> = {};
    for (const [key, method] of Object.entries(definition.methods)) {
      const handler = handlers[key] as unknown;
      implementation[key] = method.responseStream
        ? serveStream(handler as StreamHandler, method.requestStream)
        : serveUnary(handler as UnaryHandler, method.requestStream);
    }
    this.#server.addService(methods, implementation);
  }

  /** Listens; resolves to the bound port. */
  async start(): Promise<number> {
    const port = await (this.#tls === undefined ? this.#listenInPlaintext() : this.#listen(this.#tls));
    const { listenAddress } = this.#options;
    this.#logger.info({ address: listenAddress, port, tls: this.#tls !== undefined }, 'gRPC listening');
    return port;
  }

  #listenInPlaintext(): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(
        this.#options.listenAddress,
        ServerCredentials.createInsecure(),
        (error, bound) => {
          if (error === null) resolve(bound);
          else reject(new AppError('unavailable', `gRPC: ${error.message}`, { cause: error }));
        },
      );
    });
  }

  /** Connections reach gRPC only once both sides have shown who they are. */
  #listen(tls: TlsServerSecurity): Promise<number> {
    const { host, port } = splitAddress(this.#options.listenAddress);
    const injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#listener = new TlsListener(
      { host: host.replaceAll(/[[\]]/g, '') || '0.0.0.0', port, peerName: tls.peerName },
      { ...tls, accept: (socket) => injector.injectConnection(socket) },
    );
    return this.#listener.listen();
  }

  /** Takes no new calls and waits for those under way; after `timeoutMs` they are cancelled. */
  async stop(timeoutMs: number): Promise<void> {
    this.#listener?.close();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#server.forceShutdown();
        resolve();
      }, timeoutMs);
      this.#server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

function contextOf(call: {
  on(event: 'cancelled', listener: () => void): unknown;
  readonly cancelled: boolean;
}): CallContext {
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(new AppError('canceled', 'the caller left or its deadline passed'));
  if (call.cancelled) abort();
  else call.on('cancelled', abort);
  return { signal: controller.signal };
}

function statusOf(caught: unknown): { code: number; details: string; metadata: Metadata } {
  const error = toAppError(caught);
  const metadata = new Metadata();
  metadata.set(CODE_KEY, error.code);
  return { code: grpcStatusOf(error.code), details: error.message, metadata };
}

function incoming(
  call: ServerReadableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>,
): AsyncIterable<unknown> {
  const queue = new MessageQueue<unknown>({ pause: () => call.pause(), resume: () => call.resume() }, () =>
    call.removeAllListeners('data'),
  );
  call.on('data', (message: unknown) => queue.push(message));
  call.on('end', () => queue.end());
  call.on('error', (error: Error) => queue.end(toAppError(error)));
  call.on('cancelled', () => queue.end(new AppError('canceled', 'the caller left')));
  return queue;
}

function serveUnary(handler: UnaryHandler, requestStream: boolean) {
  return (
    call: ServerUnaryCall<unknown, unknown> | ServerReadableStream<unknown, unknown>,
    callback: sendUnaryData<unknown>,
  ): void => {
    const request = requestStream
      ? incoming(call as ServerReadableStream<unknown, unknown>)
      : (call as ServerUnaryCall<unknown, unknown>).request;
    handler(request, contextOf(call)).then(
      (response) => callback(null, response),
      (caught: unknown) => callback(statusOf(caught)),
    );
  };
}

function serveStream(handler: StreamHandler, requestStream: boolean) {
  return (call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>): void => {
    const context = contextOf(call);
    const request = requestStream
      ? incoming(call as ServerDuplexStream<unknown, unknown>)
      : (call as ServerWritableStream<unknown, unknown>).request;
    send(call, handler(request, context), context.signal).then(
      () => call.end(),
      (caught: unknown) => call.emit('error', statusOf(caught)),
    );
  };
}

async function send(
  call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>,
  messages: AsyncIterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  for await (const message of messages) {
    if (signal.aborted) return;
    if (!call.write(message)) await drained(call, signal);
  }
}

function drained(call: NodeJS.EventEmitter, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.removeListener('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
