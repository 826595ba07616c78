// Calls between services, whatever carries them. A service implements `Handlers` of its definition (proto/), a caller
// holds a `Client` of it; in-process channels and gRPC both connect the two.

import type { RunHold, SeriesRun } from '../model/series-run.ts';

/** What a handler knows of its call. */
export interface CallContext {
  /** Aborts with an AppError when the caller cancels, its deadline passes, or the server stops. */
  readonly signal: AbortSignal;
  /**
   * Set by a caller that takes parts of the answer to a select as places in shared memory. In-process channels pass it on, others do
   * not: a handler that cannot call it answers with frames.
   *
   * @param hold  The same for all runs of an answer. Whoever took one releases it.
   */
  readonly takeRun?: (run: SeriesRun, hold: RunHold) => void;
}

interface MethodDefinition {
  readonly name: string;
  readonly requestType: { fromPartial(object: never): unknown };
  readonly requestStream: boolean;
  readonly responseType: { fromPartial(object: never): unknown };
  readonly responseStream: boolean;
}

/** A service as ts-proto describes it. */
export interface ServiceDefinition {
  readonly name: string;
  readonly fullName: string;
  readonly methods: Readonly<Record<string, MethodDefinition>>;
}

type RequestOf<M extends MethodDefinition> = ReturnType<M['requestType']['fromPartial']>;
type ResponseOf<M extends MethodDefinition> = ReturnType<M['responseType']['fromPartial']>;

type Input<M extends MethodDefinition> = M['requestStream'] extends true
  ? AsyncIterable<RequestOf<M>>
  : RequestOf<M>;

type Output<M extends MethodDefinition> = M['responseStream'] extends true
  ? AsyncIterable<ResponseOf<M>>
  : Promise<ResponseOf<M>>;

/**
 * What a service implements. Expected errors are thrown as AppError and arrive as such. A streaming handler is an async
 * generator; leaving the loop over its output cancels the call.
 */
export type Handlers<D extends ServiceDefinition> = {
  [K in keyof D['methods']]: (
    request: Input<D['methods'][K]>,
    context: CallContext,
  ) => Output<D['methods'][K]>;
};

/** What a caller holds. */
export type Client<D extends ServiceDefinition> = {
  [K in keyof D['methods']]: (
    request: Input<D['methods'][K]>,
    context: CallContext,
  ) => Output<D['methods'][K]>;
};
