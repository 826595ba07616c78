// Between the scrape loops and the distributor. Writes go out side by side, up to a bound; what the distributor cannot take now
// waits in memory, up to a bound in samples, and is tried again. Loops never wait here. When the bound is met the oldest
// samples are given up, counted and logged. (A spool on disk is to replace the memory.)
import type { Clock } from '../lib/core/clock.ts';
import { type AppError, toAppError } from '../lib/core/errors.ts';
import type { Appender } from '../lib/distributor/appender.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { ScraperMetrics } from './metrics.ts';
import type { WriteBatch, WriteBatches } from './write-batch.ts';

/** Half of what the distributor takes at most. */
const WRITE_SAMPLES_MAX = 2 ** 19;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** Longest that one write may take; the distributor gives up before, this is the last resort. */
const WRITE_TIMEOUT_MS = 60_000;

/** A batch and who it belongs to. */
export interface SpooledBatch {
  readonly batch: WriteBatch;
  readonly job: string;
  /**
   * Called when the distributor forgot references of the batch: replaces them by new ones. False when that cannot be done
   * any more.
   */
  readonly resolveAgain: (batch: WriteBatch) => boolean;
}

export interface WriteSpoolOptions {
  readonly samplesMax: number;
  readonly inFlightMax: number;
}

export interface WriteSpoolDeps {
  readonly appender: Appender;
  readonly batches: WriteBatches;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ScraperMetrics;
}

export class WriteSpool {
  readonly #options: WriteSpoolOptions;
  readonly #deps: WriteSpoolDeps;
  /** Oldest first. Head index instead of shift: an outage makes it long. */
  #waiting: SpooledBatch[] = [];
  #head = 0;
  #waitingSamples = 0;
  #inFlight = 0;
  #backoffMs = 0;
  #pause: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  readonly #idle = new Set<() => void>();

  constructor(options: WriteSpoolOptions, deps: WriteSpoolDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Samples that wait or are under way. */
  get waitingSamples(): number {
    return this.#waitingSamples;
  }

  /** Takes a batch over; it is given back to the pool once it is written or given up. */
  submit(spooled: SpooledBatch): void {
    if (spooled.batch.weight === 0) {
      this.#deps.batches.release(spooled.batch);
      return;
    }
    for (const part of this.#split(spooled)) {
      this.#waiting.push(part);
      this.#waitingSamples += part.batch.weight;
    }
    this.#giveUpOldest();
    this.#pump();
  }

  /** Batches that the distributor takes in one write. */
  #split(spooled: SpooledBatch): SpooledBatch[] {
    const { batch } = spooled;
    const parts = [spooled];
    while (batch.count > WRITE_SAMPLES_MAX) {
      const part = this.#deps.batches.acquire();
      part.takeLast(batch, Math.min(WRITE_SAMPLES_MAX, batch.count - WRITE_SAMPLES_MAX));
      parts.push({ ...spooled, batch: part });
    }
    return parts;
  }

  /** Resolves when everything is written or given up, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    if (this.#isIdle()) return;
    const idle = new Promise<void>((resolve) => this.#idle.add(resolve));
    const timer = new AbortController();
    await Promise.race([idle, this.#deps.clock.sleep(timeoutMs, timer.signal).catch(() => {})]);
    timer.abort();
  }

  stop(): void {
    this.#stopping.abort();
    const lost = this.#waitingSamples;
    if (lost === 0) return;
    this.#deps.metrics.samplesDropped.inc({ reason: 'stopped' }, lost);
    this.#deps.logger.warn({ samples: lost }, 'stopped with samples that could not be written');
  }

  #isIdle(): boolean {
    return this.#inFlight === 0 && this.#head === this.#waiting.length;
  }

  #giveUpOldest(): void {
    let lost = 0;
    while (this.#waitingSamples > this.#options.samplesMax && this.#head < this.#waiting.length) {
      const { batch } = this.#waiting[this.#head++]!;
      lost += batch.weight;
      this.#finish(batch);
    }
    if (lost === 0) return;
    this.#deps.metrics.samplesDropped.inc({ reason: 'spool_full' }, lost);
    this.#deps.logger.error(
      { samples: lost, spoolSamplesMax: this.#options.samplesMax },
      'the distributor takes no samples and the spool is full: the oldest samples were given up',
    );
  }

  #pump(): void {
    while (this.#pause === undefined && this.#inFlight < this.#options.inFlightMax) {
      if (this.#head === this.#waiting.length || this.#stopping.signal.aborted) break;
      const spooled = this.#waiting[this.#head++]!;
      if (this.#head > 1024 && this.#head * 2 > this.#waiting.length) {
        this.#waiting = this.#waiting.slice(this.#head);
        this.#head = 0;
      }
      this.#inFlight++;
      void this.#write(spooled);
    }
    if (!this.#isIdle()) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  async #write(spooled: SpooledBatch): Promise<void> {
    const { batch } = spooled;
    const { appender, metrics, logger } = this.#deps;
    try {
      const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(WRITE_TIMEOUT_MS)]);
      const outcome = await appender.write(batch, batch.metadata, signal);
      this.#backoffMs = 0;
      metrics.samplesWritten.inc(outcome.written);
      if (outcome.rejected > 0) {
        metrics.samplesDropped.inc({ reason: 'rejected' }, outcome.rejected);
        logger.warn(
          { job: spooled.job, rejected: outcome.rejected, reason: outcome.firstRejection },
          'samples of a scrape were refused',
        );
      }
      this.#finish(batch);
    } catch (caught) {
      this.#failed(spooled, toAppError(caught));
    } finally {
      this.#inFlight--;
      this.#pump();
    }
  }

  #failed(spooled: SpooledBatch, error: AppError): void {
    const { metrics, logger } = this.#deps;
    metrics.writesFailed.inc({ code: error.code });
    switch (error.code) {
      case 'unavailable':
      case 'timeout':
      case 'canceled':
      case 'internal':
        this.#waiting.splice(this.#head, 0, spooled);
        this.#startPause();
        return;
      case 'failed_precondition':
        if (spooled.resolveAgain(spooled.batch)) {
          this.#waiting.splice(this.#head, 0, spooled);
          return;
        }
        break;
      default:
    }
    metrics.samplesDropped.inc({ reason: error.code }, spooled.batch.weight);
    logger.warn(
      { job: spooled.job, samples: spooled.batch.weight, reason: error.message },
      'samples of a scrape were given up',
    );
    this.#finish(spooled.batch);
  }

  #finish(batch: WriteBatch): void {
    this.#waitingSamples -= batch.weight;
    this.#deps.batches.release(batch);
  }

  /** After a failure nothing is sent for a while, longer each time. */
  #startPause(): void {
    if (this.#pause !== undefined || this.#stopping.signal.aborted) return;
    this.#backoffMs = Math.min(Math.max(this.#backoffMs * 2, BACKOFF_FIRST_MS), BACKOFF_MAX_MS);
    this.#deps.logger.warn(
      { retryInMs: this.#backoffMs, waitingSamples: this.#waitingSamples },
      'the distributor takes no samples now',
    );
    this.#pause = this.#deps.clock
      .sleep(this.#backoffMs, this.#stopping.signal)
      .catch(() => {})
      .then(() => {
        this.#pause = undefined;
        this.#pump();
      });
  }
}
