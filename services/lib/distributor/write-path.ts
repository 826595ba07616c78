// One write from columns to quorum: route, admit, sort, send to each replica its part, wait. Everything up to the sending is
// synchronous; a replica whose window is full gets its part later, out of the caller's columns.
import type { Clock } from '../core/clock.ts';
import { AppError, throwIfAborted, toAppError } from '../core/errors.ts';
import type { Extras } from '../model/extra-columns.ts';
import { quorumOf } from '../placement/placement.ts';
import type { MetricMetadata } from '../wire/contracts.ts';
import { FencedWriteError, type WriteColumns, type WriteFence } from './appender.ts';
import { type ExtraAdmission, ExtraSorter } from './extra-sorter.ts';
import type { WriteNumber } from './ingester-session.ts';
import type { IngesterStream } from './ingester-stream.ts';
import type { DistributorMetrics } from './metrics.ts';
import { PendingWrite } from './pending-write.ts';
import type { Routes, RouteTable } from './routes.ts';
import { type Admission, SampleSorter } from './sample-sorter.ts';
import type { SeriesTable } from './series-table.ts';
import { WriteNumbers } from './write-numbers.ts';

/** A write with everything that decides about its samples, so that the decision can be made again. */
export interface Write {
  readonly tenant: string;
  readonly tenantNumber: number;
  readonly columns: WriteColumns;
  readonly metadata: readonly MetricMetadata[];
  readonly fence: WriteFence | undefined;
  /** Samples outside [minTimeMs, maxTimeMs] are refused. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** What the series table notes as the time of use. */
  readonly tick: number;
}

/** What goes to one ingester. */
interface Target {
  readonly stream: IngesterStream;
  readonly partitions: number[];
  /** Indexes of the write's sections, as `partitions`. */
  readonly sections: number[];
  readonly metadata: MetricMetadata[];
  samples: number;
  extras: number;
  /** Undefined where a sample has one copy: nobody could be asked for what is missing. */
  number: WriteNumber | undefined;
}

export interface WritePathDeps {
  readonly clock: Clock;
  readonly table: SeriesTable;
  readonly routes: RouteTable;
  readonly metrics: DistributorMetrics;
  readonly replicationFactor: () => number;
  /** Partition that a metric's metadata goes with. */
  readonly partitionOfMetric: (metric: string, partitionCount: number) => number;
  /** This distributor's writes, for as long as it lives: 16 hexadecimal digits that no other has. */
  readonly origin: string;
  /** Longest wait for a placement that ingesters know already: it is on its way from NATS. */
  readonly epochWaitMs: number;
}

/** Deadlines are looked at this often, or ten times within a short one. */
const SUPERVISION_MS_MAX = 100;

const EPOCH_POLL_MS = 20;

/** Header and padding of a batch, before its definitions (docs/append-batch.md). Packed ones take a quarter of it. */
const BATCH_BYTES_MIN = 28;
const BATCH_BYTES_PER_SAMPLE = 20;
const BATCH_BYTES_PER_SECTION = 8;
/** Extras differ in size: an average of their write, and this for their heads. */
const BYTES_PER_EXTRA = 16;

/** Shared by all tenants of a distributor. */
export class WritePath {
  readonly #timeoutMs: number;
  readonly #deps: WritePathDeps;
  readonly #deadlines = new Map<PendingWrite, number>();
  #sorter: SampleSorter | undefined;
  #extraSorter = new ExtraSorter(0);
  /** The write whose samples and extras the sorters hold. */
  #sorted: Write | undefined;
  #supervising = false;
  readonly #numbers: WriteNumbers;

  constructor(timeoutMs: number, deps: WritePathDeps) {
    this.#timeoutMs = timeoutMs;
    this.#deps = deps;
    this.#numbers = new WriteNumbers(deps.origin);
  }

  /** Writes that have not settled. */
  get pending(): number {
    return this.#deadlines.size;
  }

  /**
   * Starts a write.
   *
   * @param onAdmission  Called before anything is sent, with what was decided; the counts are valid during the call. It may
   *                     throw to stop the write.
   * @returns Resolves when a quorum has every section.
   * @throws AppError as Appender.write says.
   */
  async write(
    write: Write,
    onAdmission: (admission: Admission, extras: ExtraAdmission) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { epoch } = this.#deps.routes.current();
    const pending = new PendingWrite(quorumOf(this.#deps.replicationFactor()));
    try {
      await this.#attempt(write, onAdmission, pending, signal);
    } catch (caught) {
      // Owners changed, and ingesters knew before we did: a resend is harmless, and with the owners of now it succeeds.
      if (!pending.isMisplaced || signal.aborted || !(await this.#awaitEpochAfter(epoch))) throw caught;
      const again = new PendingWrite(quorumOf(this.#deps.replicationFactor()));
      await this.#attempt(write, checkAgain, again, signal);
    }
  }

  /** True when a placement after `epoch` came within a moment. */
  async #awaitEpochAfter(epoch: number): Promise<boolean> {
    const { clock, routes, epochWaitMs } = this.#deps;
    const untilMs = clock.monotonicMs() + epochWaitMs;
    while (routes.current().epoch <= epoch) {
      if (clock.monotonicMs() >= untilMs) return false;
      await clock.sleep(EPOCH_POLL_MS);
    }
    return true;
  }

  async #attempt(
    write: Write,
    onAdmission: (admission: Admission, extras: ExtraAdmission) => void,
    pending: PendingWrite,
    signal: AbortSignal,
  ): Promise<void> {
    throwIfAborted(signal);
    const routes = this.#deps.routes.current();
    const sorter = this.#sorterFor(routes.partitionCount);
    this.#sorted = undefined;
    const admission = this.#admit(sorter, write);
    const extraAdmission = this.#admitExtras(write);
    onAdmission(admission, extraAdmission);
    if (admission.admitted + extraAdmission.admitted === 0 && write.metadata.length === 0) return;
    const targets = this.#plan(write, routes, sorter, pending);
    this.#sort(write, sorter);
    for (const target of targets) this.#dispatch(target, write, routes.epoch, sorter, pending);
    await this.#settled(pending, signal);
  }

  #sorterFor(partitionCount: number): SampleSorter {
    if (this.#sorter === undefined || this.#sorter.counts.length !== partitionCount) {
      this.#sorter = new SampleSorter(partitionCount);
      this.#extraSorter = new ExtraSorter(partitionCount);
    }
    return this.#sorter;
  }

  #admitExtras({ columns, tenantNumber, tick, minTimeMs, maxTimeMs }: Write): ExtraAdmission {
    const { pages } = this.#deps.table;
    return this.#extraSorter.admit(columns.extras, pages, tenantNumber, tick, minTimeMs, maxTimeMs);
  }

  #sort(write: Write, sorter: SampleSorter): void {
    sorter.sort(write.columns);
    this.#extraSorter.sort();
    this.#sorted = write;
  }

  #admit(sorter: SampleSorter, write: Write): Admission {
    const { columns, tenantNumber, tick, minTimeMs, maxTimeMs } = write;
    return sorter.admit(columns, this.#deps.table.pages, tenantNumber, tick, minTimeMs, maxTimeMs);
  }

  /** Who gets what; throws before anything is sent when a partition cannot have its quorum. */
  #plan(write: Write, routes: Routes, sorter: SampleSorter, pending: PendingWrite): Target[] {
    const targets = routes.streams.map((stream) => {
      return {
        stream,
        partitions: [],
        sections: [],
        metadata: [],
        samples: 0,
        extras: 0,
        number: undefined,
      } as Target;
    });
    const down = routes.streams.map((stream) => stream.unavailableReason());
    const quorum = quorumOf(this.#deps.replicationFactor());
    const allUp = down.every((reason) => reason === undefined);
    for (let partition = 0; partition < routes.partitionCount; partition++) {
      const samples = sorter.counts[partition]!;
      const extras = this.#extraSorter.counts[partition]!;
      if (samples + extras === 0) continue;
      const owners = routes.replicas[partition]!;
      const live = allUp ? owners : owners.filter((index) => down[index] === undefined);
      if (live.length < quorum) throw noQuorum(partition, live.length, quorum, down);
      const section = pending.addSection(partition, live.length);
      for (const index of live) {
        const target = targets[index]!;
        target.partitions.push(partition);
        target.sections.push(section);
        target.samples += samples;
        target.extras += extras;
      }
    }
    for (const metadata of write.metadata) {
      const partition = this.#deps.partitionOfMetric(metadata.metric, routes.partitionCount);
      for (const index of routes.replicas[partition]!) {
        if (down[index] === undefined) targets[index]!.metadata.push(metadata);
      }
    }
    const used = targets.filter((target) => target.partitions.length > 0 || target.metadata.length > 0);
    if (used.length === 0) {
      throw new AppError('unavailable', `no ingester is live to take the metadata${listReasons(down)}`);
    }
    for (let i = 0; i < used.length; i++) pending.addTarget();
    // Numbered once it is sure to be sent: a number that nobody gets leaves a hole that all replicas have.
    if (this.#deps.replicationFactor() > 1) this.#number(used);
    return used;
  }

  #number(targets: readonly Target[]): void {
    this.#numbers.begin();
    for (const target of targets) target.number = this.#numbers.of(target.partitions);
  }

  #dispatch(target: Target, write: Write, epoch: number, sorter: SampleSorter, pending: PendingWrite): void {
    const bytes =
      BATCH_BYTES_MIN +
      target.samples * BATCH_BYTES_PER_SAMPLE +
      target.extras * averageExtraBytes(write.columns.extras) +
      target.partitions.length * BATCH_BYTES_PER_SECTION;
    if (target.stream.hasRoom(bytes)) {
      this.#send(target, write, epoch, sorter, pending);
      return;
    }
    const giveUp = target.stream.whenRoom(bytes, () => {
      if (pending.settled) return;
      const reason = target.stream.unavailableReason();
      if (reason !== undefined) pending.failTarget(target.sections, reason);
      else if (this.#sortAgain(write, sorter)) this.#send(target, write, epoch, sorter, pending);
      else pending.failTarget(target.sections, 'the series were forgotten while the write waited');
    });
    pending.onSettled(() => {
      if (giveUp()) this.#deps.metrics.replicasSkipped.inc({ ingester: target.stream.instance });
    });
  }

  /** Makes sure that the sorter holds the write's samples; false when that is no longer possible. */
  #sortAgain(write: Write, sorter: SampleSorter): boolean {
    if (this.#sorted === write) return true;
    this.#sorted = undefined;
    const isKnown = this.#admit(sorter, write).firstForgotten < 0;
    if (!isKnown || this.#admitExtras(write).firstForgotten >= 0) return false;
    this.#sort(write, sorter);
    return true;
  }

  #send(target: Target, write: Write, epoch: number, sorter: SampleSorter, pending: PendingWrite): void {
    const { partitions, sections, metadata, stream, number } = target;
    const bytes = stream.send(
      {
        ...{ tenant: write.tenant, epoch, partitions, metadata, extras: this.#extraSorter, number },
        fence: write.fence,
      },
      sorter,
      (failed, reason) => pending.acknowledge(sections, failed, reason),
      (reason, isFenced) =>
        isFenced === true
          ? pending.abandon(new FencedWriteError(reason))
          : pending.failTarget(sections, reason),
    );
    this.#deps.metrics.appendBytes.inc(bytes);
  }

  async #settled(pending: PendingWrite, signal: AbortSignal): Promise<void> {
    const onAbort = (): void => pending.abandon(toAppError(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    this.#deadlines.set(pending, this.#deps.clock.monotonicMs() + this.#timeoutMs);
    if (!this.#supervising) void this.#supervise();
    try {
      await pending.promise;
    } finally {
      this.#deadlines.delete(pending);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Runs while writes are pending: ends those past their deadline, and streams that do not answer. */
  async #supervise(): Promise<void> {
    this.#supervising = true;
    const intervalMs = Math.min(SUPERVISION_MS_MAX, Math.max(1, this.#timeoutMs / 10));
    while (this.#deadlines.size > 0) {
      await this.#deps.clock.sleep(intervalMs);
      const nowMs = this.#deps.clock.monotonicMs();
      for (const [pending, deadlineMs] of this.#deadlines) {
        if (nowMs < deadlineMs) break;
        const missing = pending.describeOpen();
        pending.abandon(
          new AppError(
            'unavailable',
            `no quorum within ${this.#timeoutMs} ms: ${missing}; send it again later`,
          ),
        );
      }
      for (const stream of this.#deps.routes.streams) stream.check();
    }
    this.#supervising = false;
  }
}

/** What was admitted a moment ago is counted already; series can have been forgotten since. */
function checkAgain(admission: Admission, extras: ExtraAdmission): void {
  if (admission.firstForgotten < 0 && extras.firstForgotten < 0) return;
  throw new AppError('unavailable', 'the series were forgotten while the owners changed; send it again');
}

function averageExtraBytes(extras: Extras | undefined): number {
  if (extras === undefined || extras.count === 0) return 0;
  return extras.ends[extras.count - 1]! / extras.count + BYTES_PER_EXTRA;
}

function noQuorum(
  partition: number,
  live: number,
  quorum: number,
  down: readonly (string | undefined)[],
): AppError {
  return new AppError(
    'unavailable',
    `partition ${partition} has ${live} live replicas, ${quorum} are needed${listReasons(down)}; send it again later`,
  );
}

function listReasons(down: readonly (string | undefined)[]): string {
  const reasons = down.filter((reason) => reason !== undefined);
  return reasons.length === 0 ? '' : ` (${reasons.join('; ')})`;
}
