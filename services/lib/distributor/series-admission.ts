// Which of a tenant's new series may be written: ingesters count what they have in memory and decide before the first sample of a
// series is sent, so that none of them ever refuses a sample that another one keeps (services/ingester/README.md). While they have
// much room they are asked once a minute; series that are not admitted are withheld (series-table.ts) and asked for again later.
import { ByteWriter } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { AppError, toAppError } from '../core/errors.ts';
import { quorumOf } from '../placement/placement.ts';
import { putDefinition } from '../wire/append/append-batch.ts';
import type { DistributorMetrics } from './metrics.ts';
import type { Routes, RouteTable } from './routes.ts';
import type { SeriesTable } from './series-table.ts';

export interface SeriesAdmissionDeps {
  readonly clock: Clock;
  readonly table: SeriesTable;
  readonly routes: RouteTable;
  readonly metrics: DistributorMetrics;
  readonly replicationFactor: () => number;
  readonly partitionOf: (reference: number, partitionCount: number) => number;
}

/** Series in one question. */
const QUESTION_SERIES_MAX = 16_384;
/**
 * While every ingester has more than half of its limit free, an eighth of the least room is taken without asking. Each ingester keeps that
 * free for whom it told so (ingester/writes/series-grants.ts, with the same share), so all of them must have been asked and must have answered.
 */
const GRANT_SHARE = 1 / 8;
const GRANT_MS = 60_000;
/** What was refused is asked for again after this long, so many at a time: series leave memory every two hours. */
const RETRY_MS = 10_000;
const RETRY_SERIES_MAX = 4096;
/** Withheld series that are remembered; further ones are refused as they come. 200 bytes each. */
export const WITHHELD_MAX = 100_000;

const ERROR_MS = 100;

/** What an ingester said when it refused. */
interface Refusal {
  readonly instance: string;
  readonly series: number;
  readonly limit: number;
}

/** One tenant's. */
export class SeriesAdmission {
  readonly #tenant: string;
  readonly #timeoutMs: number;
  readonly #deps: SeriesAdmissionDeps;
  /** References that are to be asked for. */
  #pending: number[] = [];
  /** References that were refused, the one that waits longest first; some may be forgotten. */
  #refused: number[] = [];
  #retryAtMs = 0;
  /** Series that need no question until `#grantEndsMs`. */
  #grant = 0;
  #grantEndsMs = 0;
  /** When all were last asked, and one of them had nothing to grant or did not answer; monotonic ms. */
  #nothingToGrantMs = Number.NEGATIVE_INFINITY;
  #questions = 0;
  /** Series that were taken without a question since the last one. */
  #taken = 0;
  #asking: Promise<void> | undefined;
  #refusal: Refusal | undefined;
  #error: AppError | undefined;
  #errorMadeMs = 0;

  constructor(tenant: string, timeoutMs: number, deps: SeriesAdmissionDeps) {
    this.#tenant = tenant;
    this.#timeoutMs = timeoutMs;
    this.#deps = deps;
  }

  /** Whether no more series can even be withheld. */
  get isFull(): boolean {
    if (this.#pending.length + this.#refused.length < WITHHELD_MAX) return false;
    if (this.#deps.clock.monotonicMs() >= this.#retryAtMs) this.#dropForgotten();
    return this.#pending.length + this.#refused.length >= WITHHELD_MAX;
  }

  /** What a series is refused with while `isFull`; the same error for all of a moment, since making one costs more than all else. */
  refusalOf(describe: () => string): AppError {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#error === undefined || nowMs - this.#errorMadeMs >= ERROR_MS) {
      this.#error = new AppError('resource_exhausted', `series ${describe()}: ${this.reason}`);
      this.#errorMadeMs = nowMs;
    }
    return this.#error;
  }

  /** For people: who refused a series last, and the remedy. */
  get reason(): string {
    const { instance, series, limit } = this.#refusal ?? { instance: '?', series: 0, limit: 0 };
    return (
      `tenant ${this.#tenant} has ${series} series in memory of ingester ${instance}, whose share of the limit is ${limit}; ` +
      'new series are refused and known ones go on: raise --ingest.max-series, or send fewer label values ' +
      '(/api/v1/status/tsdb shows which labels have most)'
    );
  }

  /** Takes notice of a series that is new to this process: its samples wait for `settle`, unless there is much room. */
  add(reference: number): void {
    if (this.#grant >= 1 && this.#deps.clock.monotonicMs() < this.#grantEndsMs) {
      this.#grant--;
      this.#taken++;
      return;
    }
    this.#deps.table.withhold(reference);
    this.#pending.push(reference);
  }

  /** Whether `settle` has something to do for one of these series, or more. */
  concerns(references: Uint32Array, count: number): boolean {
    const isIdle = this.#pending.length === 0 && this.#asking === undefined;
    if (isIdle && (this.#refused.length === 0 || this.#deps.clock.monotonicMs() < this.#retryAtMs))
      return false;
    const { table } = this.#deps;
    for (let i = 0; i < count; i++) if (table.isWithheld(references[i]!)) return true;
    return false;
  }

  /**
   * Has all series decided that were added before.
   *
   * @throws AppError `unavailable` when too few ingesters answered: they are asked again at the next call.
   */
  async settle(): Promise<void> {
    this.#retry();
    // What was added since that question was sent is in the next one.
    if (this.#asking !== undefined) await this.#asking.catch(() => undefined);
    if (this.#pending.length === 0) return;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    await this.#asking;
  }

  #retry(): void {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#refused.length === 0 || nowMs < this.#retryAtMs) return;
    this.#retryAtMs = nowMs + RETRY_MS;
    const { table } = this.#deps;
    for (const reference of this.#refused.splice(0, RETRY_SERIES_MAX)) {
      if (table.isWithheld(reference)) this.#pending.push(reference);
    }
  }

  #dropForgotten(): void {
    this.#retryAtMs = this.#deps.clock.monotonicMs() + RETRY_MS;
    this.#refused = this.#refused.filter((reference) => this.#deps.table.isWithheld(reference));
  }

  async #ask(): Promise<void> {
    for (let left = this.#pending.length; left > 0; left -= QUESTION_SERIES_MAX) {
      const asked = this.#pending.slice(0, QUESTION_SERIES_MAX);
      const undecided = await this.#askFor(
        asked.filter((reference) => this.#deps.table.isWithheld(reference)),
      );
      this.#pending.splice(0, asked.length, ...undecided);
      if (undecided.length === 0) continue;
      throw new AppError(
        'unavailable',
        `too few ingesters said whether they have room for ${undecided.length} new series of tenant ${this.#tenant}; send it again later`,
      );
    }
  }

  /** Decides on series that are withheld; returns those of which too few owners said anything. */
  async #askFor(references: readonly number[]): Promise<number[]> {
    const { routes: routeTable, partitionOf, replicationFactor, clock } = this.#deps;
    const routes = routeTable.current();
    const partitions = references.map((reference) => partitionOf(reference, routes.partitionCount));
    const owners = partitions.map((partition) => routes.replicas[partition]!.length);
    const votes = new Votes(owners, quorumOf(replicationFactor()));
    const over = new AbortController();
    const timer = clock.sleep(this.#timeoutMs, over.signal).then(
      () => over.abort(new AppError('timeout', `no answer within ${this.#timeoutMs} ms`)),
      () => undefined,
    );
    const taken = this.#taken;
    this.#taken = 0;
    this.#grant = 0;
    const askedAtMs = clock.monotonicMs();
    const number = ++this.#questions;
    const isForAll = askedAtMs - this.#nothingToGrantMs >= GRANT_MS;
    const question = { routes, references, partitions, votes, taken, isForAll, signal: over.signal };
    const { decided, all } = this.#collect(question);
    const ended = all.then((haveAllAnswered) => {
      over.abort(new AppError('canceled', 'all answers came'));
      const hasRoom = haveAllAnswered && votes.roomMin > 0;
      if (hasRoom) this.#nothingToGrantMs = Number.NEGATIVE_INFINITY;
      else if (isForAll) this.#nothingToGrantMs = askedAtMs;
      // A later question has its own answer.
      if (number === this.#questions) {
        this.#grant = hasRoom ? Math.floor(votes.roomMin * GRANT_SHARE) : 0;
        this.#grantEndsMs = askedAtMs + GRANT_MS;
      }
      return timer;
    });
    await decided;
    // The rest are waited for only for what they might grant.
    if (isForAll) void ended;
    else {
      over.abort(new AppError('canceled', 'enough answers came'));
      await ended;
    }
    return this.#conclude(references, partitions, votes);
  }

  /**
   * Asks all owners at once, and the other ingesters where they may grant something.
   *
   * @returns `decided` resolves when enough have answered, or all that do; `all` then, and with whether each ingester answered.
   */
  #collect(question: Question): { readonly decided: Promise<void>; readonly all: Promise<boolean> } {
    const { routes, references, partitions, votes, isForAll, signal } = question;
    const decided = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => decided.resolve(), { once: true });
    const answers: Promise<boolean>[] = [];
    for (const index of routes.streams.keys()) {
      const isOwner = (at: number) => routes.replicas[partitions[at]!]!.includes(index);
      const asked = [...references.keys()].filter(isOwner);
      if (asked.length === 0 && !isForAll) continue;
      const answer = this.#askOne(index, asked, question).then((hasAnswered) => {
        if (votes.isDecided) decided.resolve();
        return hasAnswered;
      });
      answers.push(answer);
    }
    const all = Promise.all(answers).then((each) => {
      decided.resolve();
      return each.length === routes.streams.length && each.every((hasAnswered) => hasAnswered);
    });
    return { decided: decided.promise, all };
  }

  /** Never rejects: who does not answer has no vote. Resolves with whether it did. */
  async #askOne(
    index: number,
    asked: readonly number[],
    { routes, references, partitions, votes, taken, signal }: Question,
  ): Promise<boolean> {
    const { client, instance } = routes.streams[index]!;
    const definitions = new ByteWriter(asked.length * 128);
    for (const [number, at] of asked.entries()) {
      const { bytes, start, end } = this.#deps.table.labelsOf(references[at]!);
      putDefinition(definitions, number, partitions[at]!, bytes, start, end);
    }
    const { buffer } = definitions.take();
    const request = { tenant: this.#tenant, definitions: Buffer.from(buffer), count: asked.length, taken };
    try {
      const { refused, series, limit } = await client.admitSeries(request, { signal });
      const isRefused = new Set(refused);
      for (const [number, at] of asked.entries()) votes.add(at, !isRefused.has(number));
      if (limit > 0) votes.roomMin = Math.min(votes.roomMin, series < limit / 2 ? limit - series : 0);
      if (refused.length > 0) this.#refusal = { instance, series: series + taken, limit };
      return true;
    } catch (caught) {
      // An ingester of a version before knows no such call, and no limit.
      const isOlder = toAppError(caught).code === 'internal';
      if (isOlder) for (const at of asked) votes.add(at, true);
      return isOlder;
    }
  }

  #conclude(references: readonly number[], partitions: readonly number[], votes: Votes): number[] {
    const { table, metrics, clock } = this.#deps;
    const undecided: number[] = [];
    let refused = 0;
    for (const [at, reference] of references.entries()) {
      // It may have been forgotten meanwhile.
      if (!table.isWithheld(reference)) continue;
      const verdict = votes.verdictOf(at);
      if (verdict === undefined) undecided.push(reference);
      else if (verdict) table.release(reference, partitions[at]!);
      else {
        refused++;
        this.#refused.push(reference);
      }
    }
    if (refused > 0) {
      metrics.seriesRejected.inc({ reason: 'series_limit' }, refused);
      this.#retryAtMs = Math.max(this.#retryAtMs, clock.monotonicMs() + RETRY_MS);
    }
    return undecided;
  }
}

/** Series that are asked for at one time; columns. */
interface Question {
  readonly routes: Routes;
  readonly references: readonly number[];
  readonly partitions: readonly number[];
  readonly votes: Votes;
  readonly taken: number;
  /** Ingesters that own none of the series are asked as well: for what they would grant. */
  readonly isForAll: boolean;
  readonly signal: AbortSignal;
}

/** Answers of the owners of series. */
class Votes {
  readonly #owners: readonly number[];
  readonly #quorum: number;
  readonly #for: Uint8Array;
  readonly #against: Uint8Array;
  /** Least room that an ingester has; 0 when one is more than half full. */
  roomMin: number = Number.POSITIVE_INFINITY;

  /** @param owners  By series: how many are asked. */
  constructor(owners: readonly number[], quorum: number) {
    this.#owners = owners;
    this.#quorum = quorum;
    this.#for = new Uint8Array(owners.length);
    this.#against = new Uint8Array(owners.length);
  }

  add(at: number, isFor: boolean): void {
    (isFor ? this.#for : this.#against)[at]!++;
  }

  /** True once a quorum admits the series, false once there can be none because of refusals; undefined as long as neither is so. */
  verdictOf(at: number): boolean | undefined {
    if (this.#for[at]! >= this.#quorum) return true;
    const isPossible = this.#owners[at]! - this.#against[at]! >= this.#quorum;
    return isPossible || this.#against[at] === 0 ? undefined : false;
  }

  get isDecided(): boolean {
    return this.#owners.every((_, at) => this.verdictOf(at) !== undefined);
  }
}
