// One write on its way: which sections have how many acknowledgements, and the promise that settles at the quorum of all of
// them or at the first that can no longer reach it.
import { assert } from '../core/assert.ts';
import { AppError } from '../core/errors.ts';

/** The samples of one partition within a write. */
interface Section {
  readonly partition: number;
  readonly samples: number;
  /** Replicas that it is sent to. Invariant: acks + failures <= replicas. */
  readonly replicas: number;
  acks: number;
  failures: number;
}

/** Quorum bookkeeping of one write. */
export class PendingWrite {
  /** Resolves at quorum; rejects with AppError. */
  readonly promise: Promise<void>;
  readonly sections: Section[] = [];
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

  /** Adds a section that goes to `replicas` live replicas, at least the quorum. Before any target answers. */
  addSection(partition: number, samples: number, replicas: number): number {
    assert(
      replicas >= this.#quorum,
      `partition ${partition}: ${replicas} replicas >= quorum ${this.#quorum}`,
    );
    this.#open++;
    return this.sections.push({ partition, samples, replicas, acks: 0, failures: 0 }) - 1;
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
      const section = this.sections[index]!;
      if (failed?.has(section.partition)) this.#failSection(section);
      else this.#ackSection(section);
    }
    this.#settleIfDone();
  }

  /** A target that kept nothing, or was not reached. */
  failTarget(sections: readonly number[], reason: string): void {
    this.#targets--;
    this.#lastFailure = reason;
    for (const index of sections) this.#failSection(this.sections[index]!);
    this.#settleIfDone();
  }

  /** Gives up: deadline, caller gone, shutdown. */
  abandon(error: AppError): void {
    this.#settle(error);
  }

  /** For a message: the first section without a quorum. */
  describeOpen(): string {
    const section = this.sections.find(({ acks }) => acks < this.#quorum);
    if (section === undefined) return 'no replica answered';
    return `partition ${section.partition} has ${section.acks} of ${this.#quorum} acknowledgements needed`;
  }

  #ackSection(section: Section): void {
    section.acks++;
    if (section.acks === this.#quorum) this.#open--;
  }

  #failSection(section: Section): void {
    section.failures++;
    if (this.#settled || section.acks >= this.#quorum) return;
    const possible = section.replicas - section.failures;
    if (possible >= this.#quorum) return;
    this.#settle(
      new AppError(
        'unavailable',
        `no quorum for partition ${section.partition}: ${section.failures} of ${section.replicas} replicas failed, ` +
          `${this.#quorum} are needed (last: ${this.#lastFailure}); send it again later`,
      ),
    );
  }

  #settleIfDone(): void {
    if (this.#settled) return;
    if (this.sections.length > 0) {
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
