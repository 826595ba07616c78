// A long JSON answer: text goes in piece by piece. Up to a megabyte it goes out whole; what is longer goes in pieces, compressed
// where the client takes it, no faster than the client reads. The head is sent with the first of it, so that an error before
// can still choose the status.
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createGzip, type Gzip, gzip } from 'node:zlib';
import { throwIfAborted } from '../lib/core/errors.ts';
import { acceptsGzip, type Exchange, GZIP_BYTES_MIN, GZIP_LEVEL, varyByEncoding } from './exchange.ts';

const CHUNK_CHARACTERS = 64 * 1024;
/**
 * Nothing is sent before there is so much, or all: an answer that is not longer is compressed in one go, which takes two
 * thirds of the CPU and a tenth of the waiting of piece by piece, and its length is known.
 */
const SEND_BYTES_MIN = 1 << 20;
const gzipAsync = promisify(gzip);
/** After so much work on end, other requests get their turn. */
const SLICE_MS = 10;

export class ResponseStream {
  readonly #exchange: Exchange;
  readonly #response: ServerResponse;
  readonly #nowMs: () => number;
  /** Chunks that wait for `flush`. */
  #full: Buffer[] = [];
  #text = '';
  #gzip: Gzip | undefined;
  #started = false;
  #sliceStartedMs: number;

  /** @param nowMs Monotonic milliseconds. */
  constructor(exchange: Exchange, nowMs: () => number) {
    this.#exchange = exchange;
    this.#response = exchange.response;
    this.#nowMs = nowMs;
    this.#sliceStartedMs = nowMs();
  }

  /** True once the status is on its way: an error can only cut the answer off now. */
  get started(): boolean {
    return this.#started;
  }

  /** Adds text. Call `flush` now and then. */
  write(text: string): void {
    this.#text += text;
    if (this.#text.length >= CHUNK_CHARACTERS) {
      this.#full.push(Buffer.from(this.#text));
      this.#text = '';
    }
  }

  /** Adds UTF-8, which must not change any more. Call `flush` now and then. */
  writeBytes(piece: Buffer): void {
    if (this.#text !== '') this.#full.push(Buffer.from(this.#text));
    this.#text = '';
    this.#full.push(piece);
  }

  /**
   * Sends full chunks and waits until the client has taken them; lets others run when this request ran long.
   *
   * @throws AppError with the signal's reason when the client left.
   */
  async flush(): Promise<void> {
    throwIfAborted(this.#exchange.signal);
    if (this.#totalBytes() >= SEND_BYTES_MIN) await this.#send();
    if (this.#nowMs() - this.#sliceStartedMs >= SLICE_MS) {
      await nextTurn();
      this.#sliceStartedMs = this.#nowMs();
    }
  }

  /** Sends the rest. */
  async end(): Promise<void> {
    throwIfAborted(this.#exchange.signal);
    if (this.#text !== '') this.#full.push(Buffer.from(this.#text));
    this.#text = '';
    if (!this.#started) {
      await this.#endWhole();
      return;
    }
    await this.#send();
    (this.#gzip ?? this.#response).end();
  }

  /** The whole answer is here. */
  async #endWhole(): Promise<void> {
    const response = this.#response;
    let body = this.#full.length === 1 ? this.#full[0]! : Buffer.concat(this.#full);
    const mayCompress = body.length >= GZIP_BYTES_MIN;
    if (mayCompress && acceptsGzip(this.#exchange.request)) {
      body = await gzipAsync(body, {
        level: GZIP_LEVEL,
        chunkSize: Math.max(GZIP_BYTES_MIN, body.length >> 1),
      });
      throwIfAborted(this.#exchange.signal);
      response.setHeader('Content-Encoding', 'gzip');
    }
    response.setHeader('Content-Length', body.length);
    this.#writeHead(mayCompress);
    this.#full = [body];
    await this.#send();
    response.end();
  }

  #totalBytes(): number {
    return this.#full.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  #begin(): void {
    this.#writeHead(true);
    if (!acceptsGzip(this.#exchange.request)) return;
    this.#response.setHeader('Content-Encoding', 'gzip');
    this.#gzip = createGzip({ level: GZIP_LEVEL, chunkSize: CHUNK_CHARACTERS });
    this.#gzip.pipe(this.#response);
  }

  #writeHead(variesByEncoding: boolean): void {
    const response = this.#response;
    response.statusCode = 200;
    response.setHeader('Content-Type', 'application/json');
    response.setHeader('X-Content-Type-Options', 'nosniff');
    if (variesByEncoding) varyByEncoding(response);
    this.#started = true;
  }

  async #send(): Promise<void> {
    if (!this.#started) this.#begin();
    const target: Writable = this.#gzip ?? this.#response;
    const chunks = this.#full;
    this.#full = [];
    for (const chunk of chunks) {
      if (target.write(chunk)) continue;
      await this.#drained(target);
    }
  }

  async #drained(target: Writable): Promise<void> {
    const { signal } = this.#exchange;
    throwIfAborted(signal);
    // Without a listener for it, Node ends a connection whose time is up; that aborts the signal.
    this.#response.setTimeout(this.#exchange.stallTimeoutMs);
    try {
      await once(target, 'drain', { signal });
    } catch (caught) {
      throwIfAborted(signal);
      throw caught;
    } finally {
      this.#response.setTimeout(0);
    }
  }
}
