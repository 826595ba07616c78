// Calls between processes of the world, in place of gRPC's connections: messages as the real bytes (the same serializers), each
// call's in order, and everything that a network does to them: delay, loss (which TCP turns into delay), overtaking between
// calls, connections that break with what is on its way, silence.
import { AppError, throwIfAborted, toAppError } from '../../../services/lib/core/errors.ts';
import type {
  connectGrpc,
  GrpcClientOptions,
  GrpcConnection,
} from '../../../services/lib/transport/grpc/grpc-client.ts';
import { grpcMethodsOf } from '../../../services/lib/transport/grpc/grpc-methods.ts';
import { MessageQueue } from '../../../services/lib/transport/message-queue.ts';
import type {
  CallContext,
  Client,
  Handlers,
  ServiceDefinition,
} from '../../../services/lib/transport/rpc.ts';
import { createRpcTraffic } from '../../../services/lib/transport/rpc-traffic.ts';
import { currentProcess, type Host, type SimProcess, type World } from './world.ts';

/** A silent peer is found out after so long: gRPC's keep-alive and its time-out. */
const KEEPALIVE_MS = 30_000;
/** A lost packet is sent again after so long, the first time. */
const RETRANSMIT_MS = 200;
const LATENCY_MS_MAX = 1.5;
/** Messages of a call that are sent before the first of them was taken. */
const WINDOW_MESSAGES = 16;

type Method = ReturnType<typeof grpcMethodsOf>[string];
type Handler = (request: unknown, context: CallContext) => unknown;

interface Listener {
  readonly process: SimProcess;
  readonly services: Map<string, Handlers<ServiceDefinition>>;
}

/** What the network does to everything now. */
export interface Weather {
  /** Share of messages that are lost the first time. */
  lossShare: number;
  /** Added to every message, at most. */
  extraMs: number;
}

export class SimNetwork {
  readonly weather: Weather = { lossShare: 0, extraMs: 0 };
  readonly world: World;
  /** `from>to` by host name: nothing arrives. */
  readonly #cuts = new Set<string>();
  readonly #listeners = new Map<string, Listener>();
  readonly #links = new Set<Link>();

  constructor(world: World) {
    this.world = world;
  }

  /** Serves `handlers` at an address until the process dies. */
  listen<D extends ServiceDefinition>(
    process: SimProcess,
    address: string,
    definition: D,
    handlers: Handlers<D>,
  ): void {
    let listener = this.#listeners.get(address);
    if (listener?.process !== process) {
      listener = { process, services: new Map() };
      this.#listeners.set(address, listener);
    }
    listener.services.set(definition.fullName, handlers as Handlers<ServiceDefinition>);
  }

  cut(from: Host, to: Host): void {
    this.#cuts.add(`${from.name}>${to.name}`);
  }

  /** All that was held back arrives. */
  heal(): void {
    this.#cuts.clear();
    for (const link of this.#links) link.flush();
  }

  isCut(from: Host, to: Host): boolean {
    return from !== to && this.#cuts.has(`${from.name}>${to.name}`);
  }

  listenerAt(address: string): Listener | undefined {
    const listener = this.#listeners.get(address);
    return listener?.process.isAlive === true ? listener : undefined;
  }

  /** Some connections break, with what is under way on them. */
  breakSome(share: number): number {
    let broken = 0;
    for (const link of [...this.#links]) {
      if (!this.world.chance(share)) continue;
      link.break('connection reset');
      broken++;
    }
    return broken;
  }

  delayMs(): number {
    const { lossShare, extraMs } = this.weather;
    let ms = this.world.random() * (LATENCY_MS_MAX + extraMs);
    for (let wait = RETRANSMIT_MS; this.world.chance(lossShare) && wait < 4_000; wait *= 2) ms += wait;
    return ms;
  }

  track(link: Link): () => void {
    this.#links.add(link);
    return () => this.#links.delete(link);
  }

  /** In place of connectGrpc. */
  readonly connect: typeof connectGrpc = (definition, options, traffic) =>
    connectSim(this, definition, options, grpcMethodsOf(definition, traffic ?? createRpcTraffic()));
}

/** One call's way between two processes. */
class Link {
  readonly #network: SimNetwork;
  readonly #client: SimProcess | undefined;
  readonly #server: SimProcess;
  readonly #onBreak: (reason: string) => void;
  readonly #forget: () => void;
  readonly #held: (() => void)[] = [];
  #lastUpMs = 0;
  #lastDownMs = 0;
  #isOver = false;

  constructor(
    network: SimNetwork,
    client: SimProcess | undefined,
    server: SimProcess,
    onBreak: (reason: string) => void,
  ) {
    this.#network = network;
    this.#client = client;
    this.#server = server;
    this.#onBreak = onBreak;
    this.#forget = network.track(this);
    const onDeath = () => this.break('connection reset by peer');
    server.onDeath.push(onDeath);
    client?.onDeath.push(onDeath);
  }

  /** To the server; in order. */
  up(deliver: () => void): void {
    const again = () => this.up(deliver);
    this.#lastUpMs = this.#send(this.#client, this.#server, this.#lastUpMs, deliver, again);
  }

  /** To the client; in order. */
  down(deliver: () => void): void {
    const again = () => this.down(deliver);
    this.#lastDownMs = this.#send(this.#server, this.#client, this.#lastDownMs, deliver, again);
  }

  close(): void {
    this.#isOver = true;
    this.#forget();
  }

  break(reason: string): void {
    if (this.#isOver) return;
    this.close();
    this.#onBreak(reason);
  }

  flush(): void {
    for (const send of this.#held.splice(0)) send();
  }

  /**
   * @param lastMs  When the message before arrives.
   * @param again   Sends it anew, behind those that were held before it.
   */
  #send(
    from: SimProcess | undefined,
    to: SimProcess | undefined,
    lastMs: number,
    deliver: () => void,
    again: () => void,
  ): number {
    const { world } = this.#network;
    if (this.#isOver) return lastMs;
    if (from !== undefined && to !== undefined && this.#network.isCut(from.host, to.host)) {
      this.#hold(again);
      return lastMs;
    }
    const atMs = Math.max(lastMs, world.nowMs + this.#network.delayMs());
    world.schedule(
      atMs - world.nowMs,
      () => {
        if (!this.#isOver) deliver();
      },
      to,
    );
    return atMs;
  }

  #hold(send: () => void): void {
    if (this.#held.length === 0) {
      const silent = () => {
        if (this.#held.length > 0) this.break('keep-alive timed out');
      };
      this.#network.world.schedule(KEEPALIVE_MS, silent, undefined);
    }
    this.#held.push(send);
  }
}

interface Connection {
  readonly network: SimNetwork;
  readonly definition: ServiceDefinition;
  readonly address: string;
  readonly unaryTimeoutMs: number;
  readonly underWay: Set<ClientCall>;
  isClosed: boolean;
}

function connectSim<D extends ServiceDefinition>(
  network: SimNetwork,
  definition: D,
  { address, unaryTimeoutMs }: GrpcClientOptions,
  methods: Record<string, Method>,
): GrpcConnection<D> {
  const connection: Connection = {
    ...{ network, definition, address, unaryTimeoutMs },
    underWay: new Set(),
    isClosed: false,
  };
  const client: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(methods)) {
    client[key] = method.responseStream
      ? (request: unknown, context: CallContext) => callStream(connection, key, method, request, context)
      : (request: unknown, context: CallContext) => callUnary(connection, key, method, request, context);
  }
  const own = currentProcess();
  return {
    client: client as Client<D>,
    isConnected: () => {
      const peer = network.listenerAt(address)?.process.host;
      if (connection.isClosed || peer === undefined) return false;
      return own === undefined || !(network.isCut(own.host, peer) || network.isCut(peer, own.host));
    },
    close: () => {
      connection.isClosed = true;
      for (const call of connection.underWay) call.fail(gone(connection));
    },
  };
}

function gone({ definition, address }: Connection): AppError {
  return new AppError('unavailable', `${definition.name} at ${address} is no longer a member`);
}

async function callUnary(
  connection: Connection,
  key: string,
  method: Method,
  request: unknown,
  context: CallContext,
): Promise<unknown> {
  const { world } = connection.network;
  let call: ClientCall | undefined;
  const late = world.schedule(connection.unaryTimeoutMs, () =>
    call?.fail(new AppError('timeout', `${connection.definition.name}: deadline exceeded`)),
  );
  try {
    for await (const response of callStream(connection, key, method, request, context, (made) => {
      call = made;
    })) {
      return response;
    }
    throw new AppError('internal', 'a unary call without an answer');
  } finally {
    late.isCancelled = true;
  }
}

async function* callStream(
  connection: Connection,
  key: string,
  method: Method,
  request: unknown,
  context: CallContext,
  onMade: (call: ClientCall) => void = () => undefined,
): AsyncGenerator<unknown> {
  throwIfAborted(context.signal);
  if (connection.isClosed) throw gone(connection);
  const call = new ClientCall(connection, key, method);
  onMade(call);
  const cancel = (): void => call.cancel(toAppError(context.signal.reason));
  context.signal.addEventListener('abort', cancel, { once: true });
  call.begin(request);
  try {
    yield* call.responses;
  } finally {
    context.signal.removeEventListener('abort', cancel);
    connection.underWay.delete(call);
  }
}

/** The caller's end. */
class ClientCall {
  readonly responses: MessageQueue<unknown>;
  readonly #connection: Connection;
  readonly #key: string;
  readonly #method: Method;
  #link: Link | undefined;
  #server: ServerCall | undefined;

  constructor(connection: Connection, key: string, method: Method) {
    this.#connection = connection;
    this.#key = key;
    this.#method = method;
    this.responses = new MessageQueue<unknown>({ pause: () => undefined, resume: () => undefined }, () =>
      this.cancel(new AppError('canceled', 'the caller left')),
    );
    connection.underWay.add(this);
  }

  begin(request: unknown): void {
    const { network, address, definition } = this.#connection;
    const client = currentProcess();
    const listener = network.listenerAt(address);
    const handlers = listener?.services.get(definition.fullName);
    if (listener === undefined || handlers === undefined) {
      const refused = new AppError('unavailable', `${definition.name} at ${address}: connection refused`);
      network.world.schedule(network.delayMs(), () => this.fail(refused));
      return;
    }
    const link = new Link(network, client, listener.process, (reason) =>
      this.#broken(client, listener.process, reason),
    );
    this.#link = link;
    const server = new ServerCall(network.world, link, this.#method, this.responses, () => this.#over());
    this.#server = server;
    const handler = handlers[this.#key] as Handler;
    if (this.#method.requestStream) {
      link.up(() => server.begin(handler, undefined));
      this.#pump(request as AsyncIterable<unknown>, link, server).catch((caught: unknown) => {
        this.cancel(toAppError(caught));
      });
      return;
    }
    const bytes = this.#method.requestSerialize(request);
    link.up(() => server.begin(handler, bytes));
  }

  /** The caller wants no more. */
  cancel(reason: AppError): void {
    if (this.#link === undefined) return;
    const server = this.#server;
    this.#link.up(() => server?.cancel());
    this.responses.end(reason);
  }

  /** It is over for the caller, and the server hears of it. */
  fail(reason: AppError): void {
    this.cancel(reason);
    this.responses.end(reason);
  }

  #over(): void {
    this.#link?.close();
  }

  #broken(client: SimProcess | undefined, server: SimProcess, reason: string): void {
    const { world } = this.#connection.network;
    const { definition, address } = this.#connection;
    const failure = new AppError('unavailable', `${definition.name} at ${address}: ${reason}`);
    world.schedule(1, () => this.responses.end(failure), client);
    const own = this.#server;
    world.schedule(1, () => own?.cancel(), server);
  }

  async #pump(messages: AsyncIterable<unknown>, link: Link, server: ServerCall): Promise<void> {
    const client = currentProcess();
    const window = new Window(this.#connection.network.world);
    for await (const message of messages) {
      const bytes = this.#method.requestSerialize(message);
      link.up(() => {
        window.taken(client);
        server.push(bytes);
      });
      await window.room();
    }
    link.up(() => server.endRequests());
  }
}

/** Bounds what is under way in one direction. */
class Window {
  readonly #world: World;
  #open = 0;
  #wake: (() => void) | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** Counts a message; resolves when another may be sent. */
  async room(): Promise<void> {
    if (++this.#open < WINDOW_MESSAGES) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  /** The other side took one: `sender` hears of it. */
  taken(sender: SimProcess | undefined): void {
    this.#world.schedule(
      0,
      () => {
        this.#open--;
        this.#wake?.();
        this.#wake = undefined;
      },
      sender,
    );
  }
}

/** The handler's end. */
class ServerCall {
  readonly #world: World;
  readonly #link: Link;
  readonly #method: Method;
  readonly #responses: MessageQueue<unknown>;
  readonly #onEnd: () => void;
  readonly #controller = new AbortController();
  readonly #requests = new MessageQueue<unknown>(
    { pause: () => undefined, resume: () => undefined },
    () => undefined,
  );

  constructor(world: World, link: Link, method: Method, responses: MessageQueue<unknown>, onEnd: () => void) {
    this.#world = world;
    this.#link = link;
    this.#method = method;
    this.#responses = responses;
    this.#onEnd = onEnd;
  }

  /** @param bytes  The request; undefined where requests are a stream. */
  begin(handler: Handler, bytes: Buffer | undefined): void {
    this.#serve(handler, bytes).then(
      () => this.#finish(undefined),
      (caught: unknown) => this.#finish(toAppError(caught)),
    );
  }

  push(bytes: Buffer): void {
    this.#requests.push(this.#method.requestDeserialize(bytes));
  }

  endRequests(): void {
    this.#requests.end();
  }

  cancel(): void {
    const reason = new AppError('canceled', 'the caller left or its deadline passed');
    this.#controller.abort(reason);
    this.#requests.end(new AppError('canceled', 'the caller left'));
  }

  async #serve(handler: Handler, bytes: Buffer | undefined): Promise<void> {
    const { signal } = this.#controller;
    const request = bytes === undefined ? this.#requests : this.#method.requestDeserialize(bytes);
    const answer = handler(request, { signal });
    if (!this.#method.responseStream) {
      this.#send(this.#method.responseSerialize(await (answer as Promise<unknown>)));
      return;
    }
    const own = currentProcess();
    const window = new Window(this.#world);
    for await (const message of answer as AsyncIterable<unknown>) {
      if (signal.aborted) return;
      this.#send(this.#method.responseSerialize(message), () => window.taken(own));
      await Promise.race([window.room(), aborted(signal)]);
    }
  }

  #send(bytes: Buffer, onTaken: () => void = () => undefined): void {
    this.#link.down(() => {
      onTaken();
      this.#responses.push(this.#method.responseDeserialize(bytes));
    });
  }

  #finish(failure: AppError | undefined): void {
    this.#link.down(() => {
      this.#onEnd();
      this.#responses.end(failure && new AppError(failure.code, failure.message));
    });
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
