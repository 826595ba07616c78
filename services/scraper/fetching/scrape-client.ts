// Fetches expositions over HTTP: what is asked for, gzip and zstd, the time-out, and a bound on the bytes of every body, compressed and
// not. One client per job, on the fetch thread; connections and credentials are runtime/http-client.ts.
import type http from 'node:http';
import { gunzip, gunzipSync, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { ScrapeConfig, ScrapeProtocol } from '../../lib/runtime/config/prometheus-config.ts';
import { HttpClient } from '../../lib/runtime/http-client.ts';
import { startDeadline } from '../deadline.ts';
import type { BodySlot, BodySlots } from './body-slots.ts';

const ACCEPT: Readonly<Record<ScrapeProtocol, string>> = {
  PrometheusProto:
    'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited',
  'OpenMetricsText0.0.1': 'application/openmetrics-text;version=0.0.1',
  'OpenMetricsText1.0.0': 'application/openmetrics-text;version=1.0.0',
  'PrometheusText0.0.4': 'text/plain;version=0.0.4',
  'PrometheusText1.0.0': 'text/plain;version=1.0.0',
};

/** What a client is made of. */
export interface ClientSettings
  extends Pick<ScrapeConfig, 'http' | 'enableCompression' | 'scrapeProtocols' | 'nameEscaping'> {
  /** Of the product. */
  readonly version: string;
}

/** An exposition, in a slot that is the caller's to hand over or to release. */
export interface ScrapeResponse {
  readonly slot: BodySlot;
  readonly length: number;
  readonly contentType: string;
}

export interface ScrapeRequest {
  readonly url: URL;
  readonly timeoutMs: number;
  /** Bytes of the body, decompressed. */
  readonly bodyBytesMax: number;
  /** Ends the scrape early: the target is gone, the process stops. */
  readonly signal: AbortSignal;
}

export interface ScrapeClient {
  /** @throws AppError `unavailable` with what went wrong; `resource_exhausted` when the body is over its limit. */
  fetch(request: ScrapeRequest): Promise<ScrapeResponse>;
  close(): void;
}

/** The body was larger than allowed: scrape_body_size_bytes is then -1. */
export class BodyTooLargeError extends AppError {
  constructor(bodyBytesMax: number) {
    super(
      'resource_exhausted',
      `body size limit exceeded: more than ${bodyBytesMax} bytes (body_size_limit)`,
    );
    this.name = 'BodyTooLargeError';
  }
}

export function createScrapeClient(
  settings: ClientSettings,
  deps: { readonly slots: BodySlots; readonly clock: Clock },
): ScrapeClient {
  const client = new HttpClient(settings.http, deps);
  const accept = acceptHeader(settings);
  const acceptEncoding = settings.enableCompression ? 'zstd, gzip;q=0.9' : 'identity';
  const userAgent = `Tidemark/${settings.version}`;
  return {
    fetch: async (request) => {
      const headers = {
        accept,
        'accept-encoding': acceptEncoding,
        'user-agent': userAgent,
        'x-prometheus-scrape-timeout-seconds': String(request.timeoutMs / 1000),
      };
      const deadline = startDeadline(request.signal, request.timeoutMs);
      try {
        const response = await client.get(request.url, headers, deadline.signal);
        if (response.statusCode !== 200) {
          response.destroy();
          throw new AppError(
            'unavailable',
            `server returned HTTP status ${response.statusCode} ${response.statusMessage ?? ''}`.trimEnd(),
          );
        }
        return await readBody(response, request.bodyBytesMax, deps.slots);
      } catch (caught) {
        if (caught instanceof AppError) throw caught;
        if (deadline.isOver()) {
          throw new AppError(
            'unavailable',
            `Get "${request.url.href}": no complete answer within ${request.timeoutMs / 1000}s (scrape_timeout)`,
          );
        }
        const reason = caught instanceof Error ? caught.message : String(caught);
        throw new AppError('unavailable', `Get "${request.url.href}": ${reason}`, { cause: caught });
      } finally {
        deadline.end();
      }
    },
    close: () => client.close(),
  };
}

/** The formats that are read, best first, and anything as a last resort. The weights are Prometheus' own. */
export function acceptHeader(config: Pick<ScrapeConfig, 'scrapeProtocols' | 'nameEscaping'>): string {
  let weight = Object.keys(ACCEPT).length + 1;
  const parts: string[] = [];
  for (const protocol of config.scrapeProtocols) {
    const escaping = protocol.endsWith('1.0.0') ? `;escaping=${config.nameEscaping}` : '';
    parts.push(`${ACCEPT[protocol]}${escaping};q=0.${weight--}`);
  }
  parts.push(`*/*;q=0.${weight}`);
  return parts.join(',');
}

async function readBody(
  response: http.IncomingMessage,
  bodyBytesMax: number,
  slots: BodySlots,
): Promise<ScrapeResponse> {
  const contentType = response.headers['content-type'] ?? '';
  const encoding = response.headers['content-encoding'] ?? 'identity';
  const sent = await collect(response, bodyBytesMax, slots);
  if (encoding === 'identity') return { ...sent, contentType };
  try {
    const plain = await decompress(encoding, sent.slot.bytes.subarray(0, sent.length), bodyBytesMax);
    const slot = slots.acquire(plain.length);
    slot.bytes.set(plain);
    return { slot, length: plain.length, contentType };
  } finally {
    slots.release(sent.slot);
  }
}

/** The body as it was sent, in a slot that is the caller's. */
function collect(
  response: http.IncomingMessage,
  bodyBytesMax: number,
  slots: BodySlots,
): Promise<{ readonly slot: BodySlot; readonly length: number }> {
  // By events: an asynchronous iterator costs more than all of the bytes of a usual body.
  return new Promise((resolve, reject) => {
    let slot = slots.acquire(0);
    let length = 0;
    let isDone = false;
    const fail = (error: Error): void => {
      if (isDone) return;
      isDone = true;
      response.destroy();
      slots.release(slot);
      reject(error);
    };
    response.on('data', (piece: Buffer) => {
      if (isDone) return;
      const needed = length + piece.length;
      if (needed > bodyBytesMax) {
        fail(new BodyTooLargeError(bodyBytesMax));
        return;
      }
      if (needed > slot.bytes.length) slot = slots.grow(slot, length, needed);
      slot.bytes.set(piece, length);
      length = needed;
    });
    response.once('end', () => {
      if (isDone) return;
      isDone = true;
      resolve({ slot, length });
    });
    response.once('error', fail);
    response.once('close', () => fail(new Error('the connection was closed before the body was complete')));
  });
}

/**
 * Usual bodies at once: inflating 60 KB takes 0.06 ms, its way through the thread pool 0.17 ms more. Large ones on the thread pool, so
 * that they do not stall other targets; how large a body is shows when it does not fit.
 */
async function decompress(encoding: string, bytes: Uint8Array, bodyBytesMax: number): Promise<Uint8Array> {
  if (encoding !== 'gzip' && encoding !== 'zstd')
    throw new AppError('unavailable', `content encoding ${JSON.stringify(encoding)} was not asked for`);
  try {
    if (bytes.length <= AT_ONCE_SENT_MAX) return decompressAtOnce(encoding, bytes, bodyBytesMax);
  } catch (caught) {
    if (!isTooLarge(caught)) throw damaged(encoding, caught);
    if (bodyBytesMax <= AT_ONCE_BYTES_MAX) throw new BodyTooLargeError(bodyBytesMax);
  }
  return new Promise((resolve, reject) => {
    const options = { maxOutputLength: bodyBytesMax, chunkSize: CHUNK_BYTES_MAX };
    const done = (error: Error | null, plain: Uint8Array): void => {
      if (error === null) resolve(plain);
      else reject(isTooLarge(error) ? new BodyTooLargeError(bodyBytesMax) : damaged(encoding, error));
    };
    if (encoding === 'gzip') gunzip(bytes, options, done);
    else zstdDecompress(bytes, options, done);
  });
}

/** Compressed bytes, and those of the body, of what is decompressed between two scrapes: a millisecond at most. */
const AT_ONCE_SENT_MAX = 128 * 1024;
const AT_ONCE_BYTES_MAX = 1024 * 1024;
const CHUNK_BYTES_MIN = 4096;
const CHUNK_BYTES_MAX = 256 * 1024;

function decompressAtOnce(encoding: 'gzip' | 'zstd', bytes: Uint8Array, bodyBytesMax: number): Uint8Array {
  const maxOutputLength = Math.min(bodyBytesMax, AT_ONCE_BYTES_MAX);
  if (encoding === 'zstd') return zstdDecompressSync(bytes, { maxOutputLength, chunkSize: ZSTD_CHUNK_BYTES });
  // A gzip body ends with its length: one chunk of that size and nothing is copied.
  const end = bytes.length;
  const told = end < 4 ? 0 : bytes[end - 4]! | (bytes[end - 3]! << 8) | (bytes[end - 2]! << 16);
  const chunkSize = Math.min(Math.max(told + 1, CHUNK_BYTES_MIN), CHUNK_BYTES_MAX);
  return gunzipSync(bytes, { maxOutputLength, chunkSize });
}

const ZSTD_CHUNK_BYTES = 64 * 1024;

function isTooLarge(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
}

function damaged(encoding: string, error: unknown): AppError {
  return new AppError('unavailable', `the ${encoding} body is damaged: ${toAppError(error).message}`);
}
