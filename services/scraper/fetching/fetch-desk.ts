// The fetch thread's work: scrapes that were ordered begin at their times, and what comes is handed over. It parses nothing and its
// heap stays small, so that neither a collection of garbage nor a large exposition makes a scrape late.
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { BodySlots } from './body-slots.ts';
import type {
  FetchedMessage,
  FetchThreadData,
  FromFetchThread,
  ScrapeOrder,
  ToFetchThread,
} from './fetch-messages.ts';
import { MessageBatch } from './message-batch.ts';
import { unpackSecrets } from './packed-secrets.ts';
import {
  BodyTooLargeError,
  type ClientSettings,
  createScrapeClient,
  type ScrapeClient,
  type ScrapeResponse,
} from './scrape-client.ts';

/** An order that is not answered yet. */
interface OpenOrder {
  readonly order: ScrapeOrder;
  /** Until its time; undefined once it has begun. */
  timer: NodeJS.Timeout | undefined;
  readonly cancel: AbortController;
}

export class FetchDesk {
  readonly #slots: BodySlots;
  readonly #clock: Clock;
  readonly #answers: MessageBatch<FromFetchThread>;
  readonly #clients = new Map<number, ScrapeClient>();
  readonly #open = new Map<number, OpenOrder>();

  constructor(
    { slotStates }: FetchThreadData,
    deps: { readonly clock: Clock; readonly post: (messages: readonly FromFetchThread[]) => void },
  ) {
    this.#slots = new BodySlots(slotStates);
    this.#clock = deps.clock;
    this.#answers = new MessageBatch(deps.post);
  }

  accept(message: ToFetchThread): void {
    switch (message.kind) {
      case 'open': {
        const settings = unpackSecrets(message.settings) as ClientSettings;
        this.#clients.set(
          message.client,
          createScrapeClient(settings, { slots: this.#slots, clock: this.#clock }),
        );
        break;
      }
      case 'close':
        this.#clients.get(message.client)?.close();
        this.#clients.delete(message.client);
        break;
      case 'fetch':
        this.#wait(message);
        break;
      case 'cancel':
        this.#cancel(message.id, message.isWaitingOnly);
    }
  }

  #wait(order: ScrapeOrder): void {
    const open: OpenOrder = { order, timer: undefined, cancel: new AbortController() };
    this.#open.set(order.id, open);
    const begin = (): void => {
      open.timer = undefined;
      void this.#fetch(open);
    };
    open.timer = setTimeout(begin, Math.max(0, order.dueMs - this.#clock.nowMs()));
  }

  #cancel(id: number, isWaitingOnly: boolean): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    if (open.timer !== undefined) {
      clearTimeout(open.timer);
      this.#open.delete(id);
      this.#answers.add({ kind: 'unneeded', id }, 0);
    } else if (!isWaitingOnly) open.cancel.abort();
  }

  async #fetch({ order, cancel }: OpenOrder): Promise<void> {
    const { id, client, url, timeoutMs, bodyBytesMax, patienceMs } = order;
    const startedMs = this.#clock.nowMs();
    const started = this.#clock.monotonicMs();
    try {
      const response = await this.#clients
        .get(client)!
        .fetch({ url: new URL(url), timeoutMs, bodyBytesMax, signal: cancel.signal });
      this.#answers.add(fetchedOf(id, startedMs, this.#clock.monotonicMs() - started, response), patienceMs);
    } catch (caught) {
      const { code, message } = toAppError(caught);
      const isTooLarge = caught instanceof BodyTooLargeError;
      const tookMs = this.#clock.monotonicMs() - started;
      this.#answers.add({ kind: 'failed', id, startedMs, tookMs, code, message, isTooLarge }, patienceMs);
    }
    this.#open.delete(id);
  }
}

/** Hands the slot over: from here on it is the other thread's. */
function fetchedOf(id: number, startedMs: number, tookMs: number, response: ScrapeResponse): FetchedMessage {
  const { slot, length, contentType } = response;
  const memory = slot.isNew ? slot.bytes.buffer : undefined;
  slot.isNew = false;
  return { kind: 'fetched', id, startedMs, tookMs, contentType, slot: slot.slot, length, memory };
}
