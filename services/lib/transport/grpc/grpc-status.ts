// One mapping between our error codes and gRPC's, both ways. The exact code travels as metadata too, because gRPC has no
// status of its own for a query that failed while it was evaluated.
import { type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { AppError, type ErrorCode } from '../../core/errors.ts';

/** Metadata key of the exact code. */
export const CODE_KEY = 'tidemark-code';

const STATUS_OF: Readonly<Record<ErrorCode, status>> = {
  bad_data: status.INVALID_ARGUMENT,
  execution: status.ABORTED,
  not_found: status.NOT_FOUND,
  already_exists: status.ALREADY_EXISTS,
  failed_precondition: status.FAILED_PRECONDITION,
  unavailable: status.UNAVAILABLE,
  resource_exhausted: status.RESOURCE_EXHAUSTED,
  timeout: status.DEADLINE_EXCEEDED,
  canceled: status.CANCELLED,
  internal: status.INTERNAL,
};

const CODE_OF = new Map<status, ErrorCode>(
  Object.entries(STATUS_OF).map(([code, number]) => [number, code as ErrorCode]),
);

/** gRPC status of an error code. */
export function grpcStatusOf(code: ErrorCode): status {
  return STATUS_OF[code];
}

/** What a client throws for a failed call; `peer` names the other side in the message. */
export function fromServiceError(error: ServiceError, peer: string): AppError {
  const exact = exactCode(error.metadata);
  if (exact !== undefined) return new AppError(exact, error.details, { cause: error });
  const code = CODE_OF.get(error.code) ?? 'internal';
  return new AppError(code, `${peer}: ${error.details}`, { cause: error });
}

function exactCode(metadata: Metadata | undefined): ErrorCode | undefined {
  const value = metadata?.get(CODE_KEY)[0];
  return typeof value === 'string' && Object.hasOwn(STATUS_OF, value) ? (value as ErrorCode) : undefined;
}
