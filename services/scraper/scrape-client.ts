// Fetches expositions over HTTP: what is asked for, gzip and zstd, the time-out, and a bound on the bytes of every body, compressed and
// not. One client per job; connections and credentials are runtime/http-client.ts.
import type http from 'node:http';
import { gunzip, zstdDecompress } from 'node:zlib';
import type { Clock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import type { ScrapeConfig, ScrapeProtocol } from '../lib/runtime/config/prometheus-config.ts';
import { HttpClient } from '../lib/runtime/http-client.ts';
import type { BodyBuffers } from './body-buffers.ts';

const ACCEPT: Readonly<Record<ScrapeProtocol, string>> = {
  PrometheusProto:
    'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited',
  'OpenMetricsText0.0.1': 'application/openmetrics-text;version=0.0.1',
  'OpenMetricsText1.0.0': 'application/openmetrics-text;version=1.0.0',
  'PrometheusText0.0.4': 'text/plain;version=0.0.4',
  'PrometheusText1.0.0': 'text/plain;version=1.0.0',
};

/** An exposition. The owner calls `release` when done with `bytes`. */
export interface ScrapeResponse {
  /** Valid in [0, length) until `release`. */
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly contentType: string;
  release(): void;
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
  config: ScrapeConfig,
  options: { readonly version: string },
  deps: { readonly buffers: BodyBuffers; readonly clock: Clock },
): ScrapeClient {
  const client = new HttpClient(config.http, deps);
  const accept = acceptHeader(config);
  return {
    fetch: async (request) => {
      const headers = {
        accept,
        'accept-encoding': config.enableCompression ? 'zstd, gzip;q=0.9' : 'identity',
        'user-agent': `Tidemark/${options.version}`,
        'x-prometheus-scrape-timeout-seconds': String(request.timeoutMs / 1000),
      };
      const deadline = AbortSignal.timeout(request.timeoutMs);
      const signal = AbortSignal.any([request.signal, deadline]);
      try {
        const response = await client.get(request.url, headers, signal);
        if (response.statusCode !== 200) {
          response.destroy();
          throw new AppError(
            'unavailable',
            `server returned HTTP status ${response.statusCode} ${response.statusMessage ?? ''}`.trimEnd(),
          );
        }
        return await readBody(response, request.bodyBytesMax, deps.buffers);
      } catch (caught) {
        if (caught instanceof AppError) throw caught;
        if (deadline.aborted && !request.signal.aborted) {
          throw new AppError(
            'unavailable',
            `Get "${request.url.href}": no complete answer within ${request.timeoutMs / 1000}s (scrape_timeout)`,
          );
        }
        const reason = caught instanceof Error ? caught.message : String(caught);
        throw new AppError('unavailable', `Get "${request.url.href}": ${reason}`, { cause: caught });
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
  buffers: BodyBuffers,
): Promise<ScrapeResponse> {
  const contentType = response.headers['content-type'] ?? '';
  const encoding = response.headers['content-encoding'] ?? 'identity';
  let buffer = buffers.acquire();
  let length = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      const needed = length + piece.length;
      if (needed > bodyBytesMax) throw new BodyTooLargeError(bodyBytesMax);
      if (needed > buffer.length) buffer = buffers.grow(buffer, length, needed);
      buffer.set(piece, length);
      length = needed;
    }
    if (encoding === 'identity') {
      const own = buffer;
      return { bytes: own, length, contentType, release: () => buffers.release(own) };
    }
    const plain = await decompress(encoding, buffer.subarray(0, length), bodyBytesMax);
    buffers.release(buffer);
    return { bytes: plain, length: plain.length, contentType, release: () => {} };
  } catch (caught) {
    response.destroy();
    buffers.release(buffer);
    throw caught;
  }
}

/** On the thread pool, so that large bodies do not stall other targets. */
function decompress(encoding: string, bytes: Uint8Array, bodyBytesMax: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, plain: Uint8Array): void => {
      if (error === null) resolve(plain);
      else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
        reject(new BodyTooLargeError(bodyBytesMax));
      else reject(new AppError('unavailable', `the ${encoding} body is damaged: ${error.message}`));
    };
    if (encoding === 'gzip') gunzip(bytes, { maxOutputLength: bodyBytesMax }, done);
    else if (encoding === 'zstd') zstdDecompress(bytes, { maxOutputLength: bodyBytesMax }, done);
    else
      reject(new AppError('unavailable', `content encoding ${JSON.stringify(encoding)} was not asked for`));
  });
}
