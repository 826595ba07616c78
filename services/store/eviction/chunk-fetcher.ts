// Fetches ranges of evicted blocks' chunks from object storage, in bounded time. Where that fails, the error names the block and its range of time:
// whoever asked says in its answer that it lacks them.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import { withinTime } from '../../lib/core/time-limit.ts';
import type { BlockBucket } from '../../lib/objstore/block-bucket.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { EvictionMetrics } from './eviction-metrics.ts';

/** Chunks that are in object storage only, and cannot be had now. */
export class ChunksUnreachableError extends AppError {
  readonly meta: BlockMeta;
  /** For people: what object storage said. */
  readonly why: string;

  constructor(meta: BlockMeta, why: string, options?: { cause?: unknown }) {
    const [from, to] = [meta.minTimeMs, meta.maxTimeMs].map((timeMs) => new Date(timeMs).toISOString());
    super(
      'unavailable',
      `block ${meta.blockId} (${from} to ${to}) is in object storage only: ${why}`,
      options,
    );
    this.name = 'ChunksUnreachableError';
    this.meta = meta;
    this.why = why;
  }
}

/** A fetch with all its tries; a query has other things to do with its two minutes. */
const FETCH_TIMEOUT_MS = 20_000;
/** After a fetch was given up, others fail at once for so long: a query over many blocks does not wait for each of them. */
const DOWN_MS = 3_000;

export interface ChunkFetcherDeps {
  /** Undefined: none is configured, though blocks were evicted when one was. */
  readonly bucket: BlockBucket | undefined;
  readonly clock: Clock;
  readonly metrics: EvictionMetrics;
}

export class ChunkFetcher {
  readonly #deps: ChunkFetcherDeps;
  #downUntilMs = Number.NEGATIVE_INFINITY;
  #downWhy = '';

  constructor(deps: ChunkFetcherDeps) {
    this.#deps = deps;
  }

  /**
   * Bytes [start, end) of the block's chunks, as they came.
   *
   * @throws ChunksUnreachableError, or the signal's reason.
   */
  async fetch(meta: BlockMeta, start: number, end: number, signal: AbortSignal): Promise<Uint8Array> {
    const { bucket, clock, metrics } = this.#deps;
    if (bucket === undefined)
      throw new ChunksUnreachableError(meta, 'give --objstore.bucket as when it was brought there');
    if (clock.monotonicMs() < this.#downUntilMs) {
      metrics.fetchFailures.inc();
      throw new ChunksUnreachableError(meta, this.#downWhy);
    }
    const startedMs = clock.monotonicMs();
    const limit = { ms: FETCH_TIMEOUT_MS, what: 'answer' };
    const read = (own: AbortSignal) => bucket.readChunks(meta, start, end, own);
    try {
      const bytes = await withinTime(clock, limit, signal, read);
      metrics.fetchSeconds.observe((clock.monotonicMs() - startedMs) / 1000);
      metrics.fetchedBytes.inc(bytes.length);
      return bytes;
    } catch (caught) {
      throwIfAborted(signal);
      const error = toAppError(caught);
      metrics.fetchFailures.inc();
      if (error.code === 'unavailable' || error.code === 'timeout') {
        this.#downUntilMs = clock.monotonicMs() + DOWN_MS;
        this.#downWhy = error.message;
      }
      throw new ChunksUnreachableError(meta, error.message, { cause: caught });
    }
  }
}
