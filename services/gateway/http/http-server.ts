// node:http with every bound set, and its life: listen, stop taking requests, wait for those in flight, close.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { HttpLimits } from '../options.ts';
import { parseListenAddress } from './listen-address.ts';

export class HttpServer {
  readonly #server: Server;
  readonly #limits: HttpLimits;
  readonly #clock: Clock;
  #closing: Promise<void> | undefined;
  /** Requests being answered, by open connection. */
  readonly #inFlight = new Map<Socket, number>();

  constructor(
    limits: HttpLimits,
    deps: { readonly clock: Clock },
    onRequest: (request: IncomingMessage, response: ServerResponse) => void,
  ) {
    this.#limits = limits;
    this.#clock = deps.clock;
    this.#server = createServer(
      {
        maxHeaderSize: limits.headerBytesMax,
        headersTimeout: limits.headersTimeoutMs,
        requestTimeout: limits.requestTimeoutMs,
        keepAliveTimeout: limits.keepAliveTimeoutMs,
        connectionsCheckingInterval: 5_000,
        noDelay: true,
      },
      (request, response) => {
        this.#track(request.socket, response);
        onRequest(request, response);
      },
    );
    this.#server.maxConnections = limits.connectionsMax;
    this.#server.maxRequestsPerSocket = limits.requestsPerConnectionMax;
    this.#server.on('connection', (socket) => {
      this.#inFlight.set(socket, 0);
      socket.once('close', () => this.#inFlight.delete(socket));
    });
  }

  /** Open connections. */
  get connections(): number {
    return this.#inFlight.size;
  }

  /** True once closing has begun. */
  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  get isListening(): boolean {
    return this.#server.listening;
  }

  /** @throws AppError `failed_precondition` when the address cannot be had; the message names it. */
  async listen(address: string): Promise<void> {
    const { host, port } = parseListenAddress(address);
    await new Promise<void>((resolve, reject) => {
      const onError = (cause: Error) =>
        reject(
          new AppError('failed_precondition', `cannot listen on ${address}: ${cause.message}`, { cause }),
        );
      this.#server.once('error', onError);
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off('error', onError);
        resolve();
      });
    });
  }

  /** Where it listens; undefined before and after. */
  address(): AddressInfo | undefined {
    const address = this.#server.address();
    return address === null || typeof address === 'string' ? undefined : address;
  }

  /** Takes no new connections, waits for requests in flight, then cuts what is left. Safe to call again. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #track(socket: Socket, response: ServerResponse): void {
    this.#inFlight.set(socket, (this.#inFlight.get(socket) ?? 0) + 1);
    response.once('close', () => {
      const left = (this.#inFlight.get(socket) ?? 1) - 1;
      if (this.#inFlight.has(socket)) this.#inFlight.set(socket, left);
      if (this.isClosing && left === 0) socket.end();
    });
  }

  async #close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    // Node itself waits for connections that have not asked anything yet.
    for (const [socket, requests] of this.#inFlight) if (requests === 0) socket.destroy();
    const done = new AbortController();
    const cut = this.#clock.sleep(this.#limits.drainTimeoutMs, done.signal).then(
      () => this.#server.closeAllConnections(),
      () => undefined,
    );
    await closed;
    done.abort();
    await cut;
  }
}
