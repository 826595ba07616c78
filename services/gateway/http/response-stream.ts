// A long JSON answer: text goes in piece by piece, and is compressed while more of it is written where the client takes that.
// Up to a megabyte it goes out whole; what is longer goes in pieces, no faster than the client reads. The head is sent with the
// first of it, so that an error before can still choose the status.
import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzip, gzipSync } from 'node:zlib';
import { throwIfAborted } from '../../lib/core/errors.ts';
import type { Repeats } from '../json/repeats.ts';
import { acceptsGzip, type Exchange, GZIP_BYTES_MIN, GZIP_LEVEL, varyByEncoding } from './exchange.ts';
import { GZIP_PIECE_BYTES, GzipPieces } from './gzip-pieces.ts';
import { RepeatGzip } from './repeat-gzip.ts';
import { untilRead } from './slow-readers.ts';

const CHUNK_CHARACTERS = 64 * 1024;
/** Nothing is sent before there is so much, or all: of an answer that is not longer the length is known. */
const SEND_BYTES_MIN = 1 << 20;
/**
 * Share of a piece's bytes that stand in known repeats, from which on the others are compressed by what is known alone; and up to which:
 * where nearly all repeats, zlib finds it as fast, on another thread.
 */
const REPEATS_SHARE_MIN = 0.25;
const REPEATS_SHARE_MAX = 0.8;
const gzipAsync = promisify(gzip);
/** So much takes 0.3 ms at most; to have it compressed elsewhere would cost 0.1 ms beside. */
const GZIP_AT_ONCE_BYTES_MAX = 64 * 1024;
/** No more than a socket takes without a wait. */
const END_BYTES_MAX = 16 * 1024;
/** So much is copied in less time than two buffers are handed to the socket. */
const TEXT_BYTES_MAX = 4 * 1024;
/** After so much work on end, other requests get their turn. */
const SLICE_MS = 10;
/** Pieces that may be compressed at one time, or wait for the client. */
const GZIP_PENDING_MAX = 8;

export class ResponseStream {
  readonly #exchange: Exchange;
  readonly #response: ServerResponse;
  readonly #nowMs: () => number;
  /** Chunks that wait for `flush`. */
  #full: Buffer[] = [];
  #text = '';
  /** Bytes in them. */
  #fullBytes = 0;
  #writtenBytes = 0;
  readonly #mayCompress: boolean;
  #gzip: GzipPieces | RepeatGzip | undefined;
  #started = false;
  #sliceStartedMs: number;

  /** @param nowMs Monotonic milliseconds. */
  constructor(exchange: Exchange, nowMs: () => number) {
    this.#exchange = exchange;
    this.#response = exchange.response;
    this.#nowMs = nowMs;
    this.#mayCompress = acceptsGzip(exchange.request);
    this.#sliceStartedMs = nowMs();
  }

  /** True once the status is on its way: an error can only cut the answer off now. */
  get started(): boolean {
    return this.#started;
  }

  /** Adds text. Call `flush` now and then. */
  write(text: string): void {
    this.#text += text;
    if (this.#text.length >= CHUNK_CHARACTERS) this.#closeText();
  }

  /** Whether it helps to be told of repeats: until the first piece shows, or where they are made use of. */
  get wantsRepeats(): boolean {
    return this.#mayCompress && (this.#gzip === undefined || this.#gzip instanceof RepeatGzip);
  }

  /**
   * Adds UTF-8, which must not change any more. Call `flush` now and then.
   *
   * @param repeats  Runs of it that stand before, as far as whoever wrote it knows.
   */
  writeBytes(piece: Buffer, repeats?: Repeats): void {
    this.#closeText();
    if (this.#gzip === undefined && repeats !== undefined && this.wantsRepeats && areOfUse(repeats, piece)) {
      this.#gzip = new RepeatGzip();
      this.#gzip.add(this.#takeFull());
    }
    this.#push(piece, repeats);
  }

  /**
   * Sends full chunks and waits until the client has taken them; lets others run when this request ran long.
   *
   * @throws AppError with the signal's reason when the client left.
   */
  async flush(): Promise<void> {
    throwIfAborted(this.#exchange.signal);
    if (this.#writtenBytes >= SEND_BYTES_MIN) await this.#send(GZIP_PENDING_MAX);
    if (this.#nowMs() - this.#sliceStartedMs >= SLICE_MS) {
      await nextTurn();
      this.#sliceStartedMs = this.#nowMs();
    }
  }

  /** Sends the rest. */
  async end(): Promise<void> {
    throwIfAborted(this.#exchange.signal);
    this.#closeText();
    if (this.#gzip === undefined && !this.#started) {
      await this.#endWhole();
      return;
    }
    this.#gzip?.finish(this.#takeFull());
    if (!this.#started) await this.#endCompressed(this.#gzip!);
    else await this.#send(0);
    this.#response.end();
  }

  /** The whole answer is here, and nothing of it compressed. */
  async #endWhole(): Promise<void> {
    let body = this.#takeFull();
    const isLarge = body.length >= GZIP_BYTES_MIN;
    if (isLarge && this.#mayCompress) {
      const how = { level: GZIP_LEVEL, chunkSize: Math.max(GZIP_BYTES_MIN, body.length >> 1) };
      if (body.length <= GZIP_AT_ONCE_BYTES_MAX) body = gzipSync(body, { ...how, ...roomFor(body.length) });
      else body = await gzipAsync(body, how);
      throwIfAborted(this.#exchange.signal);
      this.#response.setHeader('Content-Encoding', 'gzip');
    }
    this.#response.setHeader('Content-Length', body.length);
    this.#writeHead(isLarge);
    if (body.length > END_BYTES_MAX) await this.#sendPiece(body);
    // Together with the head; a text is one piece with it.
    if (body.length <= TEXT_BYTES_MAX) this.#response.end(body.toString('latin1'), 'latin1');
    else this.#response.end(body.length > END_BYTES_MAX ? undefined : body);
  }

  /** The whole answer is here, compressed or being so. */
  async #endCompressed(gzipped: GzipPieces | RepeatGzip): Promise<void> {
    const pieces: Buffer[] = [];
    for (let next = gzipped.take(); next !== undefined; next = gzipped.take()) pieces.push(await next);
    throwIfAborted(this.#exchange.signal);
    const body = Buffer.concat(pieces);
    this.#response.setHeader('Content-Encoding', 'gzip');
    this.#response.setHeader('Content-Length', body.length);
    this.#writeHead(true);
    await this.#sendPiece(body);
  }

  #closeText(): void {
    if (this.#text !== '') this.#push(Buffer.from(this.#text));
    this.#text = '';
  }

  #push(piece: Buffer, repeats?: Repeats): void {
    if (this.#gzip instanceof RepeatGzip) {
      this.#writtenBytes += piece.length;
      this.#gzip.add(piece, repeats);
      return;
    }
    this.#full.push(piece);
    this.#fullBytes += piece.length;
    this.#writtenBytes += piece.length;
    if (!this.#mayCompress || this.#fullBytes < GZIP_PIECE_BYTES) return;
    this.#gzip ??= new GzipPieces();
    this.#gzip.add(this.#takeFull());
  }

  /** All that waits, in one. */
  #takeFull(): Buffer {
    const chunks = this.#full;
    this.#full = [];
    this.#fullBytes = 0;
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  }

  #writeHead(variesByEncoding: boolean): void {
    const response = this.#response;
    response.statusCode = 200;
    response.setHeader('Content-Type', 'application/json');
    response.setHeader('X-Content-Type-Options', 'nosniff');
    if (variesByEncoding) varyByEncoding(response);
    this.#started = true;
  }

  /** Sends what is there; of compressed pieces all but so many, which may not be ready. */
  async #send(pendingMax: number): Promise<void> {
    const gzipped = this.#gzip;
    if (!this.#started) {
      if (gzipped !== undefined) this.#response.setHeader('Content-Encoding', 'gzip');
      this.#writeHead(true);
    }
    if (gzipped === undefined) {
      const chunks = this.#full;
      this.#full = [];
      this.#fullBytes = 0;
      for (const chunk of chunks) await this.#sendPiece(chunk);
      return;
    }
    while (gzipped.pending > pendingMax) {
      const piece = await gzipped.take()!;
      throwIfAborted(this.#exchange.signal);
      await this.#sendPiece(piece);
    }
  }

  async #sendPiece(piece: Buffer): Promise<void> {
    if (!this.#response.write(piece)) await untilRead(this.#exchange);
  }
}

/** What zlib looks back over and its tables, no larger than a body needs: they are filled with zeros each time, for longer than 5 KB take. */
function roomFor(bytes: number): { readonly windowBits: number; readonly memLevel: number } {
  return { windowBits: Math.min(15, Math.ceil(Math.log2(bytes))), memLevel: 6 };
}

function areOfUse(repeats: Repeats, piece: Buffer): boolean {
  const share = repeats.bytes / piece.length;
  return piece.length >= GZIP_AT_ONCE_BYTES_MAX && share >= REPEATS_SHARE_MIN && share <= REPEATS_SHARE_MAX;
}
