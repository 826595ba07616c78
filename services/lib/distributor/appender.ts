// What writers (gateway, scraper, alert evaluator) see of the distributor. A write is a batch of columns: the writer
// resolves label sets to series references once, and sends references, timestamps and values from then on.
import { AppError } from '../core/errors.ts';
import type { Extras } from '../model/extra-columns.ts';
import type { Labels } from '../model/labels.ts';
import type { MetricMetadata } from '../wire/contracts.ts';

/**
 * A series reference: a small non-negative integer, valid for one tenant of this process. A series that was neither resolved
 * nor written for `referenceIdleMs` (distributor.ts; hours) is forgotten, so that churn does not fill the memory. Its
 * reference is never given to another series: writing it fails with `failed_precondition`, and nothing of that write is sent.
 * Whoever keeps references drops them then and resolves again.
 */
export type SeriesReference = number;

/** Samples to be written, as columns; reused from write to write by its owner. */
export interface WriteColumns {
  /** Samples in use in each column. */
  count: number;
  /** Uint32Array[≥ count]. */
  references: Uint32Array;
  /** Float64Array[≥ count], Unix milliseconds, integers. */
  timestampsMs: Float64Array;
  /** Float64Array[≥ count]. */
  values: Float64Array;
  /**
   * Native histograms, start timestamps and exemplars (model/extra-columns.ts: kinds and their bytes), in any order; absent
   * when there are none. References are the same as the samples'. A histogram is a sample of its series: it counts as one,
   * and has to lie in the same window. A start timestamp outside the window is left out silently; an exemplar outside it, or
   * of more than EXEMPLAR_BYTES_MAX bytes, is counted as rejected. A start timestamp is to be written when it changes for a
   * series and when the series' reference is new to the writer (a resolve); it may be repeated at any time.
   */
  extras?: Extras | undefined;
}

export interface WriteOutcome {
  /** Samples durable on a quorum, floats and histograms, duplicates of what was there included. */
  readonly written: number;
  /** How many of `rejected` belong to series that are new and over their tenant's limit. Absent: none. */
  readonly overLimit?: number;
  /** How many of `written` are native histograms. */
  readonly histogramsWritten: number;
  /** Samples that were refused for good (timestamp outside the window, limits), floats and histograms. */
  readonly rejected: number;
  /** Exemplars, likewise; they count nowhere else. */
  readonly exemplarsWritten: number;
  readonly exemplarsRejected: number;
  /** The first refusal, for people: the reason, the series, the value. */
  readonly firstRejection: string | undefined;
}

/** The lease under which samples are made: what a holder writes that another replaced is refused by name. */
export interface WriteFence {
  readonly name: string;
  readonly token: number;
}

/** An ingester knows a later holder of the write's lease. Some replicas may have kept the write, never a quorum of those that knew. */
export class FencedWriteError extends AppError {
  constructor(reason: string) {
    super('failed_precondition', reason);
  }
}

/** One tenant's door to the cluster. */
export interface Appender {
  /**
   * The reference of a label set, making it known when it is new. Checks label rules.
   *
   * @throws AppError `bad_data` with the label and the rule that it breaks; `resource_exhausted` over the series limit.
   */
  resolve(labels: Labels): SeriesReference;
  /**
   * The same from canonical label bytes (model/labels.ts) in bytes[start, end), which are copied.
   */
  resolveBytes(bytes: Uint8Array, start: number, end: number): SeriesReference;
  /** The canonical label bytes of a reference, valid until the next call of any method; undefined when it was forgotten. */
  labelsOf(
    reference: SeriesReference,
  ): { readonly bytes: Uint8Array; readonly start: number; readonly end: number } | undefined;
  /**
   * Writes the first `count` samples, and the extras. Both may be reused once the promise settles, not before.
   *
   * @throws AppError `unavailable` when some partition has no quorum now, or none in time (nothing is known of those samples;
   *         a resend is harmless), `resource_exhausted` when the tenant is over its quota, `failed_precondition` when a
   *         reference was forgotten (see SeriesReference), `bad_data` for more than 2^20 samples
   *         or extras, or an extra of an unknown kind; FencedWriteError when `fence` is not the newest.
   */
  write(
    columns: WriteColumns,
    metadata: readonly MetricMetadata[],
    signal: AbortSignal,
    fence?: WriteFence,
  ): Promise<WriteOutcome>;
}

/** Appenders by tenant. */
export interface Distributor {
  appender(tenant: string): Appender;
}
