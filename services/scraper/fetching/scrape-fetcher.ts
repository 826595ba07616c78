// The main thread's end of the fetch thread: orders scrapes ahead of their times and gives what came. The thread starts with the first
// client. One that dies is replaced: scrapes that had begun fail, those whose time is still to come are ordered anew.
import { Worker } from 'node:worker_threads';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { createSlotStates, FilledSlots } from './body-slots.ts';
import type {
  FailedMessage,
  FetchedMessage,
  FetchThreadData,
  FromFetchThread,
  ScrapeOrder,
  ToFetchThread,
} from './fetch-messages.ts';
import { MessageBatch } from './message-batch.ts';
import { packSecrets } from './packed-secrets.ts';
import { BodyTooLargeError, type ClientSettings } from './scrape-client.ts';

/** What became of a scrape. */
export interface Fetched {
  /** When its request began, Unix milliseconds. */
  readonly startedMs: number;
  /** From then until the body was complete. */
  readonly tookMs: number;
  /** Undefined when there is a body. */
  readonly error: AppError | undefined;
  /** The body: valid in [0, length) until `release`. */
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly contentType: string;
  release(): void;
}

/** A scrape that was ordered. */
export interface PendingScrape {
  /** Undefined when it was cancelled before its time. Never rejects. */
  readonly fetched: Promise<Fetched | undefined>;
  /** @param isWaitingOnly  A scrape that has begun goes on. */
  cancel(isWaitingOnly: boolean): void;
}

/** What is asked for at a time. */
export type ScrapeWish = Pick<ScrapeOrder, 'dueMs' | 'url' | 'timeoutMs' | 'bodyBytesMax' | 'patienceMs'>;

/** The connections of a job. */
export interface FetchClient {
  order(wish: ScrapeWish): PendingScrape;
  close(): void;
}

interface OpenOrder {
  readonly order: ScrapeOrder;
  readonly end: (fetched: Fetched | undefined) => void;
}

/** Orders wait for others so long at most, and never into the last part before their time. */
const ORDER_PATIENCE_MS = 200;
const ORDER_AHEAD_MS = 500;
/** What a scrape allocates is garbage when it is over: a small young generation is collected in less than a millisecond. */
const YOUNG_HEAP_MIB = 8;
/** Between a thread that died and the next. */
const RESTART_MS = 100;
const NO_BYTES = new Uint8Array();

export class ScrapeFetcher {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #clients = new Map<number, unknown>();
  readonly #open = new Map<number, OpenOrder>();
  readonly #outgoing = new MessageBatch<ToFetchThread>((messages) => this.#worker?.postMessage(messages));
  #worker: Worker | undefined;
  #slots = new FilledSlots(createSlotStates());
  #clientCount = 0;
  #orderCount = 0;
  #isStopped = false;
  #ready = Promise.withResolvers<void>();

  constructor(deps: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  open(settings: ClientSettings): FetchClient {
    const client = ++this.#clientCount;
    const packed = packSecrets(settings);
    this.#clients.set(client, packed);
    if (this.#worker === undefined) this.#start();
    else this.#outgoing.add({ kind: 'open', client, settings: packed }, 0);
    return {
      order: (wish) => this.#order({ kind: 'fetch', id: ++this.#orderCount, client, ...wish }),
      close: () => {
        this.#clients.delete(client);
        this.#outgoing.add({ kind: 'close', client }, 0);
      },
    };
  }

  /** Resolves when the thread of the clients so far can fetch. */
  async ready(): Promise<void> {
    await this.#ready.promise;
  }

  /** Ends the thread; what is open ends without an answer. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#ready.resolve();
    await this.#worker?.terminate();
    for (const { end } of this.#open.values()) end(undefined);
    this.#open.clear();
  }

  #order(order: ScrapeOrder): PendingScrape {
    const fetched = new Promise<Fetched | undefined>((end) => {
      if (this.#isStopped) end(undefined);
      else this.#open.set(order.id, { order, end });
    });
    const aheadMs = order.dueMs - this.#clock.nowMs() - ORDER_AHEAD_MS;
    this.#outgoing.add(order, Math.min(ORDER_PATIENCE_MS, aheadMs));
    return {
      fetched,
      cancel: (isWaitingOnly) => {
        if (this.#open.has(order.id)) this.#outgoing.add({ kind: 'cancel', id: order.id, isWaitingOnly }, 0);
      },
    };
  }

  /** A thread with all clients and all orders that are open. */
  #start(): void {
    const slotStates = createSlotStates();
    this.#slots = new FilledSlots(slotStates);
    const worker = new Worker(new URL('./fetch-thread.ts', import.meta.url), {
      name: 'scrape-fetch',
      workerData: { slotStates } satisfies FetchThreadData,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_HEAP_MIB },
    });
    // What still waits to be sent is in what the new thread is told below.
    this.#outgoing.clear();
    this.#worker = worker;
    // What keeps a process alive is not that it could scrape.
    worker.unref();
    worker.on('message', (messages: readonly FromFetchThread[]) => {
      for (const message of messages) this.#receive(message);
    });
    worker.on('error', (err) => this.#logger.error({ err }, 'the thread that fetches expositions died'));
    worker.on('exit', () => this.#replace(worker));
    const opens = [...this.#clients].map(
      ([client, settings]) => ({ kind: 'open', client, settings }) as const,
    );
    const orders = [...this.#open.values()].map(({ order }) => order);
    worker.postMessage([...opens, ...orders] satisfies ToFetchThread[]);
  }

  #replace(worker: Worker): void {
    if (this.#worker !== worker || this.#isStopped) return;
    this.#worker = undefined;
    const error = new AppError('unavailable', 'the thread that fetches expositions died and was replaced');
    for (const [id, { order, end }] of this.#open) {
      if (order.dueMs > this.#clock.nowMs() + RESTART_MS) continue;
      this.#open.delete(id);
      end(failedFetch(order.dueMs, error));
    }
    setTimeout(() => {
      if (!this.#isStopped && this.#worker === undefined) this.#start();
    }, RESTART_MS).unref();
  }

  #receive(message: FromFetchThread): void {
    if (message.kind === 'ready') {
      this.#ready.resolve();
      return;
    }
    const open = this.#open.get(message.id);
    this.#open.delete(message.id);
    if (message.kind === 'unneeded') open?.end(undefined);
    else if (message.kind === 'failed') open?.end(failureOf(message, open.order));
    else this.#take(message, open);
  }

  #take(message: FetchedMessage, open: OpenOrder | undefined): void {
    const { startedMs, tookMs, contentType, slot, length, memory } = message;
    const slots = this.#slots;
    const bytes = slots.open(slot, memory);
    if (open === undefined) {
      slots.release(slot);
      return;
    }
    const release = (): void => slots.release(slot);
    open.end({ startedMs, tookMs, error: undefined, bytes, length, contentType, release });
  }
}

/** A scrape that brought nothing. */
export function failedFetch(startedMs: number, error: AppError, tookMs = 0): Fetched {
  return { startedMs, tookMs, error, bytes: NO_BYTES, length: 0, contentType: '', release: () => undefined };
}

function failureOf(failed: FailedMessage, { bodyBytesMax }: ScrapeOrder): Fetched {
  const { startedMs, tookMs, code, message, isTooLarge } = failed;
  const error = isTooLarge ? new BodyTooLargeError(bodyBytesMax) : new AppError(code, message);
  return failedFetch(startedMs, error, tookMs);
}
