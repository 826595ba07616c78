// The one error type for what can be expected to go wrong, and its codes. Each boundary maps a code once:
// transport/ to a gRPC status, the gateway to Prometheus' errorType and HTTP status.

/**
 * Codes of expected errors.
 *
 * - `bad_data`: the caller's input is wrong; sending it again is useless.
 * - `execution`: a query could not be evaluated, or hit a limit of its own.
 * - `not_found`, `already_exists`, `failed_precondition`: as in gRPC.
 * - `unavailable`: not now; the same call may succeed later.
 * - `resource_exhausted`: a quota or budget of the caller is used up.
 * - `timeout`, `canceled`: the caller's deadline passed, or the caller left.
 * - `internal`: a fault of ours.
 */
export type ErrorCode =
  | 'bad_data'
  | 'execution'
  | 'not_found'
  | 'already_exists'
  | 'failed_precondition'
  | 'unavailable'
  | 'resource_exhausted'
  | 'timeout'
  | 'canceled'
  | 'internal';

/** An expected error. The message says what failed, with the values, and what to do. */
export class AppError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'AppError';
    this.code = code;
  }
}

/** Normalises whatever was caught: an `AppError` stays, an abort becomes `canceled`, all else is `internal`. */
export function toAppError(caught: unknown): AppError {
  if (caught instanceof AppError) return caught;
  if (caught instanceof Error) {
    if (caught.name === 'AbortError') return new AppError('canceled', caught.message, { cause: caught });
    if (caught.name === 'TimeoutError') return new AppError('timeout', caught.message, { cause: caught });
    return new AppError('internal', caught.message, { cause: caught });
  }
  return new AppError('internal', String(caught));
}

/** Throws the signal's own reason as an `AppError` when the call was cancelled or timed out. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw toAppError(signal.reason);
}
