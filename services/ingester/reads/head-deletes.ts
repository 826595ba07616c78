// The deletes that hide samples of one tenant's head. A delete freezes the ranges that it concerns, so that it hides what was
// written before it and nothing that is written afterwards; sealing leaves out what it hides, and then it is over.

import type { HeadMask } from '../../lib/tsdb/head/masked-series.ts';
import { DeletionMask } from '../../lib/tsdb/tombstones/deletion.ts';
import type { DeleteMark } from '../log/delete-records.ts';

/** A delete, ready to hide. */
export interface HeadDelete extends HeadMask {
  readonly mark: DeleteMark;
}

/** Deletes of one head that are kept at once, at most. */
export const HEAD_DELETES_MAX = 1000;

export class HeadDeletes {
  #entries: readonly HeadDelete[] = [];
  #changes = 0;

  /** How many times something was hidden or shown again: whoever keeps answers asks. */
  get changes(): number {
    return this.#changes;
  }

  /** For selections and for sealing; never changed, only replaced. */
  get masks(): readonly HeadMask[] {
    return this.#entries;
  }

  get marks(): readonly DeleteMark[] {
    return this.#entries.map(({ mark }) => mark);
  }

  /** The delete of an id; undefined when it is not there. */
  find(id: string): HeadDelete | undefined {
    return this.#entries.find(({ mark }) => mark.id === id);
  }

  /** Adds a delete; one of the same id is replaced. @throws AppError `bad_data` when a matcher is malformed. */
  add(mark: DeleteMark): void {
    const entry = { mark, mask: new DeletionMask([mark]), generationMax: mark.generationMax };
    this.#entries = [...this.#entries.filter((other) => other.mark.id !== mark.id), entry];
    this.#changes++;
  }

  /** False when it is not there. */
  remove(id: string): boolean {
    const before = this.#entries.length;
    this.#entries = this.#entries.filter(({ mark }) => mark.id !== id);
    this.#changes++;
    return this.#entries.length < before;
  }

  /** Forgets deletes whose ranges have all left the head. */
  forget(generations: readonly number[]): void {
    if (this.#entries.length === 0) return;
    this.#entries = this.#entries.filter(({ generationMax }) =>
      generations.some((generation) => generation <= generationMax),
    );
  }
}
