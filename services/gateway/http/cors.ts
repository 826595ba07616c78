// Cross-origin headers, as Prometheus sends them: only to requests that carry an Origin.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { compileRegex } from '../../lib/model/matcher.ts';

/** Sets the headers on a response that has not begun. */
export type SetCorsHeaders = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * @param originPattern  RE2, anchored.
 * @throws AppError `bad_data` when the pattern is malformed.
 */
export function createCors(originPattern: string): SetCorsHeaders {
  const everybody = originPattern === '.*';
  const { matches } = compileRegex(originPattern);
  return (request, response) => {
    const origin = request.headers.origin;
    if (origin === undefined || origin === '') return;
    response.setHeader('Access-Control-Allow-Headers', 'Accept, Authorization, Content-Type, Origin');
    response.setHeader('Access-Control-Allow-Methods', 'GET, POST, OPTIONS');
    response.setHeader('Access-Control-Expose-Headers', 'Date');
    response.setHeader('Vary', 'Origin');
    if (everybody) response.setHeader('Access-Control-Allow-Origin', '*');
    else if (matches(origin)) response.setHeader('Access-Control-Allow-Origin', origin);
  };
}
