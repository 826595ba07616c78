// One write on its way: which sections have how many acknowledgements, and the promise that settles at the quorum of all of
// them or at the first that can no longer reach it.
import { assert } from '../core/assert.ts';
import { AppError } from '../core/errors.ts';

/** Quorum bookkeeping of one write. */
export class PendingWrite {
  /** Resolves at quorum; rejects with AppError. */
  readonly promise: Promise<void>;
  /** By section, as columns: an object for each of up to all partitions was a quarter of what a write left to collect. */
  readonly #partitions: number[] = [];
  /** Replicas that it is sent to. Invariant: acks + failures <= replicas. */
  readonly #replicas: number[] = [];
  readonly #acks: number[] = [];
  readonly #failures: number[] = [];
  readonly #quorum: number;
  #resolve: () => void = () => {};
  #reject: (error: AppError) => void = () => {};
  #settled = false;
  /** Sections without a quorum so far. */
  #open = 0;
  /** Targets that have not answered; decides a write that carries metadata only. */
  #targets = 0;
  #durableTargets = 0;
  #lastFailure = '';
  #isMisplaced = false;
  readonly #onSettled: (() => void)[] = [];

  constructor(quorum: number) {
    this.#quorum = quorum;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // The writer may look at it later than it rejects.
    this.promise.catch(() => {});
  }

  /** Whether an ingester refused a section because others own its partition. */
  get isMisplaced(): boolean {
    return this.#isMisplaced;
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** Adds what a write has of one partition, and sends to `replicas` live replicas, at least the quorum. Before any target answers. */
  addSection(partition: number, replicas: number): number {
    // Called for up to all partitions of each write: the message is put together only when it is needed.
    if (replicas < this.#quorum) {
      assert(false, `partition ${partition}: ${replicas} replicas >= quorum ${this.#quorum}`);
    }
    this.#open++;
    this.#replicas.push(replicas);
    this.#acks.push(0);
    this.#failures.push(0);
    return this.#partitions.push(partition) - 1;
  }

  addTarget(): void {
    this.#targets++;
  }

  /** Calls back once, when the write settles; at once when it has. */
  onSettled(callback: () => void): void {
    if (this.#settled) callback();
    else this.#onSettled.push(callback);
  }

  /**
   * A target's answer.
   *
   * @param sections  Indexes of the sections that were sent to it.
   * @param failed    Partitions that it did not keep; undefined when it kept all.
   */
  acknowledge(sections: readonly number[], failed: ReadonlySet<number> | undefined, reason: string): void {
    this.#targets--;
    if (failed === undefined) this.#durableTargets++;
    else {
      this.#lastFailure = reason;
      this.#isMisplaced = true;
    }
    for (const index of sections) {
      if (failed?.has(this.#partitions[index]!)) this.#failSection(index);
      else this.#ackSection(index);
    }
    this.#settleIfDone();
  }

  /** A target that kept nothing, or was not reached. */
  failTarget(sections: readonly number[], reason: string): void {
    this.#targets--;
    this.#lastFailure = reason;
    for (const index of sections) this.#failSection(index);
    this.#settleIfDone();
  }

  /** Gives up: deadline, caller gone, shutdown. */
  abandon(error: AppError): void {
    this.#settle(error);
  }

  /** For a message: the first section without a quorum. */
  describeOpen(): string {
    const open = this.#acks.findIndex((acks) => acks < this.#quorum);
    if (open < 0) return 'no replica answered';
    return `partition ${this.#partitions[open]} has ${this.#acks[open]} of ${this.#quorum} acknowledgements needed`;
  }

  #ackSection(section: number): void {
    const acks = this.#acks[section]! + 1;
    this.#acks[section] = acks;
    if (acks === this.#quorum) this.#open--;
  }

  #failSection(section: number): void {
    const failures = this.#failures[section]! + 1;
    this.#failures[section] = failures;
    if (this.#settled || this.#acks[section]! >= this.#quorum) return;
    const replicas = this.#replicas[section]!;
    if (replicas - failures >= this.#quorum) return;
    this.#settle(
      new AppError(
        'unavailable',
        `no quorum for partition ${this.#partitions[section]}: ${failures} of ${replicas} replicas failed, ` +
          `${this.#quorum} are needed (last: ${this.#lastFailure}); send it again later`,
      ),
    );
  }

  #settleIfDone(): void {
    if (this.#settled) return;
    if (this.#partitions.length > 0) {
      if (this.#open === 0) this.#settle(undefined);
      return;
    }
    if (this.#targets > 0) return;
    if (this.#durableTargets > 0) this.#settle(undefined);
    else {
      this.#settle(
        new AppError(
          'unavailable',
          `no ingester kept the metadata (last: ${this.#lastFailure}); send it again later`,
        ),
      );
    }
  }

  #settle(error: AppError | undefined): void {
    if (this.#settled) return;
    this.#settled = true;
    if (error === undefined) this.#resolve();
    else this.#reject(error);
    for (const callback of this.#onSettled) callback();
    this.#onSettled.length = 0;
  }
}
