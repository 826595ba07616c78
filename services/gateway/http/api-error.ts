// How an expected error is told over the API: its errorType and HTTP status, in one table.
import type { AppError, ErrorCode } from '../../lib/core/errors.ts';

interface Told {
  readonly errorType: string;
  readonly status: number;
}

/**
 * Prometheus' error types and their statuses. Codes that Prometheus does not have go to the type whose meaning for a
 * client is the same: the query cannot be executed as it is.
 */
const TOLD: Readonly<Record<ErrorCode, Told>> = {
  bad_data: { errorType: 'bad_data', status: 400 },
  execution: { errorType: 'execution', status: 422 },
  resource_exhausted: { errorType: 'execution', status: 422 },
  already_exists: { errorType: 'execution', status: 422 },
  failed_precondition: { errorType: 'execution', status: 422 },
  canceled: { errorType: 'canceled', status: 499 },
  timeout: { errorType: 'timeout', status: 503 },
  internal: { errorType: 'internal', status: 500 },
  not_found: { errorType: 'not_found', status: 404 },
  // Prometheus has 500 for it; 503 says to load balancers and clients that the same request may succeed.
  unavailable: { errorType: 'unavailable', status: 503 },
};

/** Seconds after which it is worth asking again: a node that went is missed, or back, by then. */
const RETRY_AFTER_SECONDS = 5;

/** What Retry-After says; undefined for what will not be otherwise by then. */
export function retryAfterOf(error: AppError): number | undefined {
  return error.code === 'unavailable' ? RETRY_AFTER_SECONDS : undefined;
}

export function statusOf(error: AppError): number {
  return TOLD[error.code].status;
}

/** The error envelope. */
export function errorEnvelope(error: AppError): string {
  return envelope(TOLD[error.code].errorType, error.message);
}

/** The error envelope of an errorType that no code stands for. */
export function envelope(errorType: string, message: string): string {
  return JSON.stringify({ status: 'error', errorType, error: message });
}
