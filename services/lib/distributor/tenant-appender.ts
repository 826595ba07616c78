// One tenant's door: label sets to references, columns to the write path, and the words for what was refused.
import { ByteWriter, encodeUtf8, VARINT_BYTES_MAX } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { AppError, toAppError } from '../core/errors.ts';
import { hash128 } from '../core/hash128.ts';
import { formatDuration } from '../model/duration.ts';
import { countHistograms, type Extras } from '../model/extra-columns.ts';
import { encodeLabels, type Labels } from '../model/labels.ts';
import { PLACEMENT_SEED, partitionOf } from '../placement/placement.ts';
import { BATCH_SAMPLES_MAX } from '../wire/append/append-batch.ts';
import { EXTRAS_BYTES_MAX, EXTRAS_MAX } from '../wire/append/append-extras.ts';
import type { MetricMetadata } from '../wire/contracts.ts';
import type { Appender, SeriesReference, WriteColumns, WriteFence, WriteOutcome } from './appender.ts';
import { type ExtraAdmission, firstUnknownKind } from './extra-sorter.ts';
import { checkLabels, describeLabels, type LabelLimits } from './label-rules.ts';
import type { DistributorMetrics } from './metrics.ts';
import type { RouteTable } from './routes.ts';
import type { Admission } from './sample-sorter.ts';
import { SeriesAdmission } from './series-admission.ts';
import type { SeriesTable } from './series-table.ts';
import type { Write, WritePath } from './write-path.ts';

export interface TenantAppenderOptions {
  readonly outOfOrderWindowMs: number;
  readonly futureToleranceMs: number;
  readonly seriesPerTenantMax: number;
  readonly asksForSeries: boolean;
  readonly writeTimeoutMs: number;
  /** 0 means no limit. */
  readonly samplesPerSecondMax: number;
  readonly labelLimits: LabelLimits;
}

export interface TenantAppenderDeps {
  readonly clock: Clock;
  readonly table: SeriesTable;
  readonly routes: RouteTable;
  readonly path: WritePath;
  readonly metrics: DistributorMetrics;
  readonly replicationFactor: () => number;
  /** The series table's time of use. */
  readonly tick: () => number;
  /** Why nothing may be written now; undefined when it may. */
  readonly closedReason: () => string | undefined;
  /** Called with each write. */
  readonly onWrite: () => void;
}

/** The rate budget may be saved up for this long, so that a sender that was cut off can catch up. */
const RATE_BURST_SECONDS = 10;

export class TenantAppender implements Appender {
  readonly #tenant: string;
  readonly #number: number;
  /** First hash word of the tenant's name, mixed into each series' partition. */
  readonly #tenantWord: number;
  readonly #options: TenantAppenderOptions;
  readonly #deps: TenantAppenderDeps;
  readonly #hash = new Uint32Array(4);
  readonly #scratch = new ByteWriter(512);
  readonly #admission: SeriesAdmission | undefined;
  #budgetSamples: number;
  #budgetAtMs: number;

  constructor(tenant: string, options: TenantAppenderOptions, deps: TenantAppenderDeps) {
    this.#tenant = tenant;
    this.#number = deps.table.addTenant();
    const name = encodeUtf8(tenant);
    hash128(name, 0, name.length, PLACEMENT_SEED, this.#hash);
    this.#tenantWord = this.#hash[0]!;
    this.#options = options;
    this.#deps = deps;
    this.#admission = options.asksForSeries ? this.#createAdmission() : undefined;
    this.#budgetSamples = options.samplesPerSecondMax * RATE_BURST_SECONDS;
    this.#budgetAtMs = deps.clock.monotonicMs();
  }

  resolve(labels: Labels): SeriesReference {
    this.#scratch.reset();
    encodeLabels(labels, this.#scratch);
    return this.resolveBytes(this.#scratch.bytes, 0, this.#scratch.length);
  }

  resolveBytes(bytes: Uint8Array, start: number, end: number): SeriesReference {
    const { table, metrics, routes } = this.#deps;
    const tick = this.#deps.tick();
    const known = table.find(this.#number, bytes, start, end, tick);
    if (known >= 0) return known;
    try {
      checkLabels(bytes, start, end, this.#options.labelLimits);
    } catch (caught) {
      metrics.seriesRejected.inc({ reason: 'labels' });
      throw caught;
    }
    if (table.seriesOf(this.#number) >= this.#options.seriesPerTenantMax) {
      metrics.seriesRejected.inc({ reason: 'series_limit' });
      throw new AppError(
        'resource_exhausted',
        `tenant ${this.#tenant} has ${table.seriesOf(this.#number)} series, the limit seriesPerTenantMax is ` +
          `${this.#options.seriesPerTenantMax}; refused ${describeLabels(bytes, start, end)}; known series go on being ` +
          'written: raise --ingest.max-series, or send fewer label values (/api/v1/status/tsdb shows which labels have most)',
      );
    }
    if (this.#admission?.isFull === true) {
      metrics.seriesRejected.inc({ reason: 'series_limit' });
      throw this.#admission.refusalOf(() => describeLabels(bytes, start, end));
    }
    const partition = this.#partitionOf(bytes, start, end, routes.current().partitionCount);
    const reference = table.add(this.#number, partition, bytes, start, end, tick);
    this.#admission?.add(reference);
    return reference;
  }

  #hasWithheld({ references, count, extras }: WriteColumns): boolean {
    const admission = this.#admission;
    if (admission === undefined) return false;
    if (admission.concerns(references, count)) return true;
    return extras !== undefined && admission.concerns(extras.references, extras.count);
  }

  #createAdmission(): SeriesAdmission {
    const { table, routes, clock, metrics, replicationFactor } = this.#deps;
    const partitionOf = (reference: number, partitionCount: number): number => {
      const { bytes, start, end } = table.labelsOf(reference);
      return this.#partitionOf(bytes, start, end, partitionCount);
    };
    const deps = { table, routes, clock, metrics, replicationFactor, partitionOf };
    return new SeriesAdmission(this.#tenant, this.#options.writeTimeoutMs, deps);
  }

  labelsOf(reference: SeriesReference) {
    return this.#deps.table.knows(reference) ? this.#deps.table.labelsOf(reference) : undefined;
  }

  async write(
    columns: WriteColumns,
    metadata: readonly MetricMetadata[],
    signal: AbortSignal,
    fence?: WriteFence,
  ): Promise<WriteOutcome> {
    const { clock, metrics, path } = this.#deps;
    const startedMs = clock.monotonicMs();
    let rejected = 0;
    let overLimit = 0;
    let histogramsWritten = 0;
    let exemplarsWritten = 0;
    let exemplarsRejected = 0;
    let firstRejection: string | undefined;
    try {
      this.#checkWrite(columns);
      if (this.#hasWithheld(columns)) await this.#admission!.settle();
      const nowMs = clock.nowMs();
      const write: Write = {
        tenant: this.#tenant,
        tenantNumber: this.#number,
        columns,
        metadata,
        fence,
        minTimeMs: nowMs - this.#options.outOfOrderWindowMs,
        maxTimeMs: nowMs + this.#options.futureToleranceMs,
        tick: this.#deps.tick(),
      };
      this.#deps.onWrite();
      await path.write(
        write,
        (admission, extras) => {
          this.#checkReferences(columns, admission, extras);
          overLimit = admission.withheld + extras.histogramsWithheld;
          rejected = admission.tooOld + admission.tooNew + extras.histogramsTooOld + extras.histogramsTooNew;
          histogramsWritten = extras.histograms;
          exemplarsWritten = extras.exemplars;
          exemplarsRejected = extras.exemplarsRefused;
          if (rejected > 0) firstRejection = this.#describeRejection(write, admission, extras, nowMs);
          if (overLimit > 0) firstRejection = this.#describeWithheld(write, admission, extras);
          rejected += overLimit;
        },
        signal,
      );
      const histograms = columns.extras === undefined ? 0 : countHistograms(columns.extras);
      const written = columns.count + histograms - rejected;
      metrics.samplesWritten.inc(written);
      if (exemplarsWritten > 0) metrics.exemplars.inc({ outcome: 'written' }, exemplarsWritten);
      if (exemplarsRejected > 0) metrics.exemplars.inc({ outcome: 'rejected' }, exemplarsRejected);
      metrics.writes.inc({ outcome: 'ok' });
      return {
        ...{ written, histogramsWritten, rejected },
        ...(overLimit > 0 ? { overLimit } : {}),
        ...{ exemplarsWritten, exemplarsRejected, firstRejection },
      };
    } catch (caught) {
      const error = toAppError(caught);
      metrics.writes.inc({ outcome: error.code });
      throw error;
    } finally {
      metrics.writeSeconds.observe((clock.monotonicMs() - startedMs) / 1000);
    }
  }

  #partitionOf(bytes: Uint8Array, start: number, end: number, partitionCount: number): number {
    hash128(bytes, start, end, PLACEMENT_SEED, this.#hash);
    return partitionOf(this.#hash[0]!, this.#tenantWord, partitionCount);
  }

  #checkWrite(columns: WriteColumns): void {
    const closed = this.#deps.closedReason();
    if (closed !== undefined) throw new AppError('unavailable', closed);
    if (columns.count > BATCH_SAMPLES_MAX) {
      throw new AppError('bad_data', `a write of ${columns.count} samples; the most is ${BATCH_SAMPLES_MAX}`);
    }
    const { extras } = columns;
    if (extras !== undefined) checkExtras(extras);
    this.#chargeRate(columns.count + (extras === undefined ? 0 : countHistograms(extras)));
  }

  /** Token bucket over the samples as they come, refused ones included. */
  #chargeRate(samples: number): void {
    const limit = this.#options.samplesPerSecondMax;
    if (limit === 0) return;
    const nowMs = this.#deps.clock.monotonicMs();
    const gained = ((nowMs - this.#budgetAtMs) / 1000) * limit;
    this.#budgetSamples = Math.min(limit * RATE_BURST_SECONDS, this.#budgetSamples + gained);
    this.#budgetAtMs = nowMs;
    if (samples > this.#budgetSamples) {
      this.#deps.metrics.samplesRejected.inc({ reason: 'rate_limit' }, samples);
      throw new AppError(
        'resource_exhausted',
        `tenant ${this.#tenant} is over its rate limit samplesPerSecondMax = ${limit}`,
      );
    }
    this.#budgetSamples -= samples;
  }

  #checkReferences(columns: WriteColumns, admission: Admission, extras: ExtraAdmission): void {
    if (admission.firstForgotten < 0 && extras.firstForgotten < 0) return;
    const reference =
      admission.firstForgotten >= 0
        ? columns.references[admission.firstForgotten]
        : columns.extras!.references[extras.firstForgotten];
    throw new AppError(
      'failed_precondition',
      `series reference ${reference} is not known (not written for long, or never ` +
        'given out); resolve the labels again',
    );
  }

  #describeWithheld(write: Write, admission: Admission, extras: ExtraAdmission): string {
    const { metrics, table } = this.#deps;
    metrics.samplesRejected.inc({ reason: 'series_limit' }, admission.withheld + extras.histogramsWithheld);
    const reference =
      admission.firstWithheld >= 0
        ? write.columns.references[admission.firstWithheld]!
        : write.columns.extras!.references[extras.firstWithheld]!;
    const { bytes, start, end } = table.labelsOf(reference);
    return `series ${describeLabels(bytes, start, end)}: ${this.#admission!.reason}`;
  }

  #describeRejection(write: Write, admission: Admission, extras: ExtraAdmission, nowMs: number): string {
    const { metrics, table } = this.#deps;
    const tooOld = admission.tooOld + extras.histogramsTooOld;
    const tooNew = admission.tooNew + extras.histogramsTooNew;
    if (tooOld > 0) metrics.samplesRejected.inc({ reason: 'too_old' }, tooOld);
    if (tooNew > 0) metrics.samplesRejected.inc({ reason: 'too_far_in_future' }, tooNew);
    const isFloat = admission.firstRefused >= 0;
    const index = isFloat ? admission.firstRefused : extras.firstRefused;
    const refused = isFloat ? write.columns : write.columns.extras!;
    const timestampMs = refused.timestampsMs[index]!;
    const { bytes, start, end } = table.labelsOf(refused.references[index]!);
    const limit =
      timestampMs < write.minTimeMs
        ? `older than the out-of-order window of ${formatDuration(this.#options.outOfOrderWindowMs)}`
        : `more than ${formatDuration(this.#options.futureToleranceMs)} in the future`;
    const value = isFloat ? `value ${write.columns.values[index]}` : 'a native histogram';
    return (
      `timestamp ${formatTime(timestampMs)} is ${limit} (now ${formatTime(nowMs)}): ` +
      `series ${describeLabels(bytes, start, end)}, ${value}`
    );
  }
}

/** @throws AppError `bad_data` when ingesters would have to refuse them. */
function checkExtras(extras: Extras): void {
  const { count, starts, ends } = extras;
  let bytes = 0;
  for (let i = 0; i < count; i++) bytes += ends[i]! - starts[i]! + 3 * VARINT_BYTES_MAX;
  if (count > EXTRAS_MAX || bytes > EXTRAS_BYTES_MAX) {
    throw new AppError(
      'bad_data',
      `a write of ${count} histograms, start times and exemplars in ${bytes} bytes; the most are ${EXTRAS_MAX} in ` +
        `${EXTRAS_BYTES_MAX} bytes: send fewer per request`,
    );
  }
  const unknown = firstUnknownKind(extras);
  if (unknown >= 0) throw new AppError('bad_data', `an extra of unknown kind ${extras.kinds[unknown]}`);
}

/** ISO 8601 where a date can say it, else the number. */
function formatTime(timeMs: number): string {
  return Math.abs(timeMs) <= 8.64e15 ? new Date(timeMs).toISOString() : `${timeMs} ms`;
}
