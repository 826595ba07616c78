// What travels between the scraper's main thread and its fetch thread, several at a time: waking a thread up costs more than fetching a
// body. The bytes of bodies are in shared memory (body-slots.ts).
import type { ErrorCode } from '../../lib/core/errors.ts';

export type ToFetchThread =
  /** `settings` as packSecrets() gives them. */
  | { readonly kind: 'open'; readonly client: number; readonly settings: unknown }
  | { readonly kind: 'close'; readonly client: number }
  | ScrapeOrder
  /** `isWaitingOnly`: a scrape that has begun goes on. Either way it is answered. */
  | { readonly kind: 'cancel'; readonly id: number; readonly isWaitingOnly: boolean };

/** A scrape to come. */
export interface ScrapeOrder {
  readonly kind: 'fetch';
  readonly id: number;
  readonly client: number;
  /** When it begins, Unix milliseconds. */
  readonly dueMs: number;
  readonly url: string;
  readonly timeoutMs: number;
  /** Bytes of the body, decompressed. */
  readonly bodyBytesMax: number;
  /** How long the answer may wait for others, to be handed over with them. */
  readonly patienceMs: number;
}

export type FromFetchThread = { readonly kind: 'ready' } | FetchedMessage | FailedMessage | UnneededMessage;

/** The order was cancelled before its time. */
export interface UnneededMessage {
  readonly kind: 'unneeded';
  readonly id: number;
}

/** The body of an answer. */
export interface FetchedMessage {
  readonly kind: 'fetched';
  readonly id: number;
  /** When the request began, Unix milliseconds with fraction. */
  readonly startedMs: number;
  /** From then until the body was complete. */
  readonly tookMs: number;
  readonly contentType: string;
  /** Where the body is, and its bytes. */
  readonly slot: number;
  readonly length: number;
  /** The memory of the slot, when it is not the one of before. */
  readonly memory: SharedArrayBuffer | undefined;
}

export interface FailedMessage {
  readonly kind: 'failed';
  readonly id: number;
  readonly startedMs: number;
  readonly tookMs: number;
  readonly code: ErrorCode;
  readonly message: string;
  /** The body was over its limit. */
  readonly isTooLarge: boolean;
}

/** What a thread begins with. */
export interface FetchThreadData {
  /** Int32Array[SLOTS_MAX]: which slots are in use. */
  readonly slotStates: SharedArrayBuffer;
}
