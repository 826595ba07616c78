// Between the scrape loops and the distributor. Scrapes of a moment are written together, since a write costs more than its samples;
// writes go out side by side, up to a bound. What the distributor cannot take now
// goes to disk at once, and is sent when the distributor takes samples again, beside the new ones; without a disk it waits in
// memory. Loops never wait here. Where a bound is met the oldest samples are given up, counted and logged.
import type { Clock } from '../../lib/core/clock.ts';
import { type AppError, toAppError } from '../../lib/core/errors.ts';
import type { Appender } from '../../lib/distributor/appender.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { startDeadline } from '../deadline.ts';
import type { ScraperMetrics } from '../metrics.ts';
import { type WriteBatch, WriteBatches } from '../write-batch.ts';
import type { DiskSpool } from './disk-spool.ts';
import { decodeSpoolRecord, type SpoolRefusal } from './spool-record.ts';

/** Half of what the distributor takes at most. */
const WRITE_SAMPLES_MAX = 2 ** 19;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** The same write may succeed later. */
const TRANSIENT: ReadonlySet<string> = new Set(['unavailable', 'timeout', 'canceled', 'internal']);
/** Longest that one write may take; the distributor gives up before, this is the last resort. */
const WRITE_TIMEOUT_MS = 60_000;
/** Between two files of the disk spool while the distributor takes nothing. */
const SPILL_INTERVAL_MS = 500;
/** As many samples are written at once without waiting for more. */
const GATHERED_SAMPLES_MAX = 16_384;
/** As many joined writes are usually under way; each may have grown to 650 KB. */
const JOINED_KEPT_MAX = 4;
/** Writes of spooled samples at one time: enough to fill group commits, few enough that new samples come first. */
const BACKLOG_IN_FLIGHT_MAX = 8;

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

/** A batch that waits. */
interface Waiting extends SpooledBatch {
  /** In a write of its own: it was part of one that was refused for some of its samples. */
  readonly alone?: boolean;
}

export interface WriteSpoolOptions {
  readonly samplesMax: number;
  readonly inFlightMax: number;
  /** What comes within this time is one write. */
  readonly gatherMs: number;
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
  /** For scrapes that are written together; those of single scrapes stay small. */
  readonly #joined = new WriteBatches(JOINED_KEPT_MAX);
  /** Oldest first. Head index instead of shift: an outage makes it long. */
  #waiting: Waiting[] = [];
  #head = 0;
  /** Waiting and under way. */
  #waitingSamples = 0;
  /** Under way. */
  #inFlightSamples = 0;
  /** What waits has waited for long enough. */
  #isDue = false;
  #gathering = false;
  #inFlight = 0;
  #backoffMs = 0;
  #pause: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  readonly #idle = new Set<() => void>();
  /** Called when a write has ended. */
  readonly #settled = new Set<() => void>();
  #disk: DiskSpool | undefined;
  #spilling: Promise<void> | undefined;
  #isSpillDue = false;
  #sendingBacklog: Promise<void> | undefined;
  #diskTrouble = '';

  constructor(options: WriteSpoolOptions, deps: WriteSpoolDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Samples that wait or are under way, in memory and on disk. */
  get waitingSamples(): number {
    return this.#waitingSamples + (this.#disk?.samples ?? 0);
  }

  /** From now on what has to wait waits on disk; what an earlier process left there is sent. */
  useDisk(disk: DiskSpool): void {
    this.#disk = disk;
    if (!disk.isEmpty)
      this.#deps.logger.info(
        { samples: disk.samples, bytes: disk.bytes },
        'samples of an earlier run are sent',
      );
    this.#pump();
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
    if (this.#pause !== undefined) this.#spillSoon();
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

  /** Resolves when everything in memory is written or given up, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    if (this.#isIdle()) return;
    const idle = new Promise<void>((resolve) => this.#idle.add(resolve));
    this.#pump();
    const timer = new AbortController();
    await Promise.race([idle, this.#deps.clock.sleep(timeoutMs, timer.signal).catch(() => {})]);
    timer.abort();
  }

  /** Ends all writes; what is not acknowledged goes to disk. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#sendingBacklog;
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#settled.add(resolve));
    await this.#spilling;
    await this.#spill();
    const lost = this.#waitingSamples;
    if (lost === 0) return;
    this.#deps.metrics.samplesDropped.inc({ reason: 'stopped' }, lost);
    this.#deps.logger.warn({ samples: lost }, 'stopped with samples that could not be written');
  }

  /** Waiting samples go to disk, a little later, with those that come until then. */
  #spillSoon(): void {
    if (this.#disk === undefined || this.#isSpillDue || this.#stopping.signal.aborted) return;
    this.#isSpillDue = true;
    this.#deps.clock
      .sleep(SPILL_INTERVAL_MS, this.#stopping.signal)
      .then(() => {
        this.#isSpillDue = false;
        this.#spilling ??= this.#spill().finally(() => {
          this.#spilling = undefined;
        });
      })
      .catch(() => undefined);
  }

  async #spill(): Promise<void> {
    const disk = this.#disk;
    if (disk === undefined || this.#head === this.#waiting.length) return;
    const taken = this.#waiting.splice(this.#head);
    const { appender, metrics, logger } = this.#deps;
    try {
      const batches = taken.map(({ batch }) => batch);
      const { forgotten, madeRoom } = await disk.put(batches, appender);
      for (const batch of batches) this.#finish(batch);
      if (forgotten > 0) metrics.samplesDropped.inc({ reason: 'failed_precondition' }, forgotten);
      if (madeRoom > 0) this.#reportFull(madeRoom);
      this.#diskTrouble = '';
    } catch (caught) {
      // They go on waiting in memory, and are tried again with the next.
      this.#waiting.splice(this.#head, 0, ...taken);
      const reason = toAppError(caught).message;
      if (reason !== this.#diskTrouble)
        logger.error({ reason }, 'samples that wait cannot be written to the spool');
      this.#diskTrouble = reason;
    }
    this.#pump();
  }

  #reportFull(lost: number): void {
    this.#deps.metrics.samplesDropped.inc({ reason: 'spool_full' }, lost);
    this.#deps.logger.error(
      { samples: lost },
      'the distributor takes no samples and the spool is full (--scrape.spool-size): the oldest samples were given up',
    );
  }

  /** Sends what is on disk, file after file, until there is none or the distributor takes no more. */
  async #sendBacklog(disk: DiskSpool): Promise<void> {
    while (!disk.isEmpty && this.#pause === undefined && !this.#stopping.signal.aborted) {
      const underWay = new Set<Promise<void>>();
      let failure: AppError | undefined;
      const send = async (payload: Uint8Array): Promise<void> => {
        if (failure !== undefined) throw failure;
        const batch = this.#deps.batches.acquire();
        const refusal = decodeSpoolRecord(payload, this.#deps.appender, batch);
        const sent = this.#writeSpooled(batch, refusal)
          .catch((caught: unknown) => {
            failure ??= toAppError(caught);
          })
          .finally(() => underWay.delete(sent));
        underWay.add(sent);
        if (underWay.size >= BACKLOG_IN_FLIGHT_MAX) await Promise.race(underWay);
      };
      try {
        await disk.takeOldest(send, async () => {
          await Promise.all(underWay);
          if (failure !== undefined) throw failure;
        });
      } catch (caught) {
        await Promise.all(underWay);
        this.#deps.metrics.writesFailed.inc({ code: toAppError(caught).code });
        this.#startPause();
      }
    }
  }

  /** @throws AppError when the samples have to be sent again. */
  async #writeSpooled(batch: WriteBatch, refusal: SpoolRefusal): Promise<void> {
    const { appender, batches, metrics, logger } = this.#deps;
    const deadline = startDeadline(this.#stopping.signal, WRITE_TIMEOUT_MS);
    try {
      const outcome = await appender.write(batch, batch.metadata, deadline.signal);
      metrics.samplesWritten.inc(outcome.written);
      const rejected = outcome.rejected + refusal.samples;
      if (rejected === 0) return;
      metrics.samplesDropped.inc({ reason: 'rejected' }, rejected);
      logger.warn(
        { rejected, reason: refusal.reason ?? outcome.firstRejection },
        'samples of the spool were refused',
      );
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code !== 'bad_data') throw error;
      metrics.samplesDropped.inc({ reason: error.code }, batch.weight);
      logger.warn({ samples: batch.weight, reason: error.message }, 'samples of the spool were given up');
    } finally {
      deadline.end();
      batches.release(batch);
    }
  }

  #isIdle(): boolean {
    return this.#inFlight === 0 && this.#spilling === undefined && this.#head === this.#waiting.length;
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
      if (this.#head === this.#waiting.length) this.#isDue = false;
      if (this.#head === this.#waiting.length || this.#stopping.signal.aborted) break;
      if (!this.#isRipe()) {
        this.#gather();
        break;
      }
      const group = this.#takeGroup();
      this.#inFlight++;
      void this.#write(group);
    }
    const disk = this.#disk;
    if (disk !== undefined && !disk.isEmpty && this.#pause === undefined && !this.#stopping.signal.aborted) {
      this.#sendingBacklog ??= this.#sendBacklog(disk).finally(() => {
        this.#sendingBacklog = undefined;
      });
    }
    if (!this.#isIdle()) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  /** Whether what waits is to be written now: it has waited, it is much, or somebody waits for the end. */
  #isRipe(): boolean {
    const samples = this.#waitingSamples - this.#inFlightSamples;
    return (
      this.#isDue || this.#options.gatherMs === 0 || samples >= GATHERED_SAMPLES_MAX || this.#idle.size > 0
    );
  }

  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    this.#deps.clock
      .sleep(this.#options.gatherMs, this.#stopping.signal)
      .then(() => {
        this.#gathering = false;
        this.#isDue = true;
        this.#pump();
      })
      .catch(() => undefined);
  }

  /** The oldest that wait, as many as are one write. */
  #takeGroup(): readonly Waiting[] {
    const first = this.#waiting[this.#head++]!;
    const group = [first];
    let samples = first.batch.weight;
    while (first.alone !== true && this.#head < this.#waiting.length) {
      const next = this.#waiting[this.#head]!;
      samples += next.batch.weight;
      if (next.alone === true || samples > GATHERED_SAMPLES_MAX) break;
      group.push(next);
      this.#head++;
    }
    if (this.#head > 1024 && this.#head * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return group;
  }

  async #write(group: readonly Waiting[]): Promise<void> {
    const { appender, metrics, logger } = this.#deps;
    const weight = group.reduce((sum, { batch }) => sum + batch.weight, 0);
    this.#inFlightSamples += weight;
    const only = group.length === 1 ? group[0]!.batch : undefined;
    const joined = only ?? this.#joined.acquire();
    const deadline = startDeadline(this.#stopping.signal, WRITE_TIMEOUT_MS);
    try {
      if (only === undefined) for (const { batch } of group) joined.append(batch);
      const outcome = await appender.write(joined, joined.metadata, deadline.signal);
      this.#backoffMs = 0;
      metrics.samplesWritten.inc(outcome.written);
      if (outcome.rejected > 0) {
        metrics.samplesDropped.inc({ reason: 'rejected' }, outcome.rejected);
        logger.warn(
          { jobs: jobsOf(group), rejected: outcome.rejected, reason: outcome.firstRejection },
          'samples of a scrape were refused',
        );
      }
      for (const { batch } of group) this.#finish(batch);
    } catch (caught) {
      this.#failed(group, toAppError(caught));
    } finally {
      deadline.end();
      if (only === undefined) this.#joined.release(joined);
      this.#inFlight--;
      this.#inFlightSamples -= weight;
      for (const resolve of this.#settled) resolve();
      this.#settled.clear();
      this.#pump();
    }
  }

  #failed(group: readonly Waiting[], error: AppError): void {
    const { metrics, logger } = this.#deps;
    metrics.writesFailed.inc({ code: error.code });
    if (TRANSIENT.has(error.code)) {
      this.#putBack(group);
      this.#startPause();
      return;
    }
    if (group.length > 1) {
      // The fault is of some of them: each by itself now.
      this.#putBack(group.map((each) => ({ ...each, alone: true })));
      return;
    }
    const spooled = group[0]!;
    if (error.code === 'failed_precondition' && spooled.resolveAgain(spooled.batch)) {
      this.#putBack(group);
      return;
    }
    metrics.samplesDropped.inc({ reason: error.code }, spooled.batch.weight);
    logger.warn(
      { job: spooled.job, samples: spooled.batch.weight, reason: error.message },
      'samples of a scrape were given up',
    );
    this.#finish(spooled.batch);
  }

  #putBack(group: readonly Waiting[]): void {
    this.#waiting.splice(this.#head, 0, ...group);
    this.#isDue = true;
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
      { retryInMs: this.#backoffMs, waitingSamples: this.waitingSamples },
      'the distributor takes no samples now',
    );
    this.#spillSoon();
    this.#pause = this.#deps.clock
      .sleep(this.#backoffMs, this.#stopping.signal)
      .catch(() => {})
      .then(() => {
        this.#pause = undefined;
        this.#pump();
      });
  }
}

function jobsOf(group: readonly SpooledBatch[]): string[] {
  return [...new Set(group.map(({ job }) => job))];
}
