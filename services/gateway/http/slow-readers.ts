// Answers that wait for clients that do not read them. A client may take its time, but not the memory of all others: over the limit those
// that have waited longest are cut off.
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { throwIfAborted } from '../../lib/core/errors.ts';

export interface SlowReadersOptions {
  /** Bytes of answers that may wait at one time. */
  readonly bytesMax: number;
}

interface WaitingAnswer {
  readonly bytes: number;
  readonly cut: () => void;
}

export class SlowReaders {
  readonly #options: SlowReadersOptions;
  readonly #onCut: () => void;
  /** In the order in which they began to wait. */
  readonly #waiting = new Set<WaitingAnswer>();
  #bytes = 0;

  /** @param onCut  Told of every answer that is cut off. */
  constructor(options: SlowReadersOptions, onCut: () => void = () => undefined) {
    this.#options = options;
    this.#onCut = onCut;
  }

  /** Bytes that wait now. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * An answer begins to wait. One that alone is over the limit may wait while it is alone.
   *
   * @param bytes  That it holds while it waits.
   * @param cut    Ends its connection.
   * @returns      To be called when it waits no longer, also after a cut.
   */
  wait(bytes: number, cut: () => void): () => void {
    const mine: WaitingAnswer = { bytes, cut };
    this.#waiting.add(mine);
    this.#bytes += bytes;
    for (const oldest of this.#waiting) {
      if (this.#bytes <= this.#options.bytesMax || oldest === mine) break;
      this.#end(oldest);
      this.#onCut();
      oldest.cut();
    }
    return () => this.#end(mine);
  }

  #end(answer: WaitingAnswer): void {
    if (this.#waiting.delete(answer)) this.#bytes -= answer.bytes;
  }
}

/** What an exchange (exchange.ts) has of it. */
interface Unread {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly signal: AbortSignal;
  readonly stallTimeoutMs: number;
  readonly slowReaders: SlowReaders;
}

/**
 * Waits until the client has read what was written, no longer than the exchange's stall time; then its connection ends.
 *
 * @throws AppError with the signal's reason when the client left or was cut off.
 */
export async function untilRead({
  request,
  response,
  signal,
  stallTimeoutMs,
  slowReaders,
}: Unread): Promise<void> {
  throwIfAborted(signal);
  const ended = slowReaders.wait(response.writableLength, () => request.socket.destroy());
  // Without a listener for it, Node ends a connection whose time is up; that aborts the signal.
  response.setTimeout(stallTimeoutMs);
  try {
    await once(response, 'drain', { signal });
  } catch (caught) {
    throwIfAborted(signal);
    throw caught;
  } finally {
    ended();
    response.setTimeout(0);
  }
}
