// Posts alerts to one Alertmanager: its v2 API, with the credentials and TLS of the configuration.
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import type { HttpClientConfig } from '../lib/runtime/config/http-client-config.ts';
import { HttpClient } from '../lib/runtime/http-client.ts';

/** Most of an error reply that is read for its message, bytes. */
const REPLY_BYTES_MAX = 4096;
const HEADERS = { 'content-type': 'application/json', 'user-agent': 'Tidemark' };

/** Connections of one Alertmanager's section, kept open between rounds. */
export class AlertmanagerClient {
  readonly #client: HttpClient;

  constructor(config: HttpClientConfig, deps: { readonly clock: Clock }) {
    this.#client = new HttpClient(config, deps);
  }

  /**
   * Posts a JSON body.
   *
   * @param mayWrite  Asked when the connection is there, right before the first byte is written; absent: it may.
   * @throws AppError `unavailable` when the request fails or is answered with anything but 2xx, `failed_precondition` when it may not be
   *         written; the signal's reason.
   */
  async post(url: URL, body: Uint8Array, signal: AbortSignal, mayWrite?: () => boolean): Promise<void> {
    try {
      const response = await this.#client.post(url, HEADERS, body, signal, mayWrite);
      const text = await readReply(response);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return;
      throw new AppError('unavailable', `bad response status ${status}: ${text}`.trimEnd());
    } catch (caught) {
      if (signal.aborted) throw signal.reason;
      throw caught instanceof AppError ? caught : requestError(caught);
    }
  }

  /** Closes all connections. */
  close(): void {
    this.#client.close();
  }
}

/** The beginning of a reply; its rest is read away. */
async function readReply(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    if (size < REPLY_BYTES_MAX) pieces.push(piece);
    size += piece.length;
  }
  return Buffer.concat(pieces).subarray(0, REPLY_BYTES_MAX).toString('utf8');
}

function requestError(caught: unknown): AppError {
  const { message, code } = caught as NodeJS.ErrnoException;
  return new AppError('unavailable', message || String(code), { cause: caught });
}
