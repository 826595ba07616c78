// Refuses blocks of senders that are behind: the placement says who seals what, and who decides by an older one than another sender knew
// may have been replaced meanwhile (a process that was stopped for minutes, a machine that was cut off). It learns of the newer one
// and sends again. The epoch grows with each change of the record in the control plane, so it is the fencing token.
import { AppError } from '../../lib/core/errors.ts';

export class PublishFence {
  readonly #knownEpoch: () => number;
  #newest = 0;

  /** @param knownEpoch  Of the placement that this store knows; 0 when none. */
  constructor(knownEpoch: () => number) {
    this.#knownEpoch = knownEpoch;
  }

  /** @throws AppError `failed_precondition` when another sender, or this store, knew a newer placement. */
  check(epoch: number | undefined): void {
    // Whoever brings blocks by hand follows no placement.
    if (epoch === undefined || epoch === 0) return;
    this.#newest = Math.max(this.#newest, this.#knownEpoch(), epoch);
    if (epoch >= this.#newest) return;
    throw new AppError(
      'failed_precondition',
      `the sender seals by placement ${epoch}, placement ${this.#newest} is known here: it has to learn of it, and sends again then`,
    );
  }
}
