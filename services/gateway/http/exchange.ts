// One HTTP request and its answer, as handlers see it, and the ways to answer with a whole body. Long answers are
// streamed by response-stream.ts.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Parameters } from './parameters.ts';
import type { SlowReaders } from './slow-readers.ts';

const gzipAsync = promisify(gzip);

/** Smaller bodies fit one packet anyway. */
export const GZIP_BYTES_MIN = 1024;
/** Fast: answers are compressed once and read once. */
export const GZIP_LEVEL = 1;

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly parameters: Parameters;
  /** Aborts with an AppError `canceled` when the client leaves. */
  readonly signal: AbortSignal;
  /** How long an answer waits for a client that reads nothing of it, milliseconds. */
  readonly stallTimeoutMs: number;
  /** Answers of all exchanges that wait for their clients. */
  readonly slowReaders: SlowReaders;
  /** The variable part of the path, decoded; empty where there is none. */
  readonly pathValue: string;
}

/** A whole answer of the API. */
export interface ApiResult {
  readonly data: unknown;
  readonly warnings?: readonly string[];
}

export function acceptsGzip(request: IncomingMessage): boolean {
  const accepted = request.headers['accept-encoding'];
  if (typeof accepted !== 'string') return false;
  return accepted.split(',').some((part) => {
    const [coding, ...rest] = part.split(';');
    if (coding!.trim().toLowerCase() !== 'gzip') return false;
    const quality = rest.find((parameter) => parameter.trim().startsWith('q='));
    return quality === undefined || Number(quality.trim().slice(2)) > 0;
  });
}

/** Adds to Vary what the answer depends on. */
export function varyByEncoding(response: ServerResponse): void {
  const vary = response.getHeader('Vary');
  response.setHeader('Vary', vary === undefined ? 'Accept-Encoding' : `${String(vary)}, Accept-Encoding`);
}

/** Sends a whole body, compressed where that pays. */
export async function sendBody(
  exchange: Pick<Exchange, 'request' | 'response'>,
  status: number,
  contentType: string,
  text: string,
): Promise<void> {
  const { request, response } = exchange;
  let body: Buffer = Buffer.from(text);
  response.statusCode = status;
  response.setHeader('Content-Type', contentType);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (body.length >= GZIP_BYTES_MIN) {
    varyByEncoding(response);
    if (acceptsGzip(request)) {
      body = await gzipAsync(body, { level: GZIP_LEVEL });
      response.setHeader('Content-Encoding', 'gzip');
    }
  }
  response.setHeader('Content-Length', body.length);
  response.end(request.method === 'HEAD' ? undefined : body);
}

export function sendText(
  exchange: Pick<Exchange, 'request' | 'response'>,
  status: number,
  text: string,
): Promise<void> {
  return sendBody(exchange, status, 'text/plain; charset=utf-8', text);
}

export function sendJson(
  exchange: Pick<Exchange, 'request' | 'response'>,
  status: number,
  json: string,
): Promise<void> {
  return sendBody(exchange, status, 'application/json', json);
}

/** Answers `{"status":"success","data":…}`. */
export function sendResult(exchange: Exchange, result: ApiResult): Promise<void> {
  const warnings =
    result.warnings !== undefined && result.warnings.length > 0 ? { warnings: result.warnings } : {};
  return sendJson(exchange, 200, JSON.stringify({ status: 'success', data: result.data, ...warnings }));
}
