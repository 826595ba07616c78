// How much memory this process may use: the machine's, or its container's where that is less. Budgets are shares of it, so that a small
// container refuses what it has no room for instead of being killed (RELIABILITY R34).
import { totalmem } from 'node:os';
import { AppError } from '../core/errors.ts';

/** What a process needs before it holds anything: code, threads, heaps. */
const FIXED_BYTES = 128 << 20;

/** Bytes that this process may use (cgroup v1 and v2). */
export function memoryBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** A budget of `mostBytes`, or of that share of the memory where this is less. */
export function memoryShare(share: number, mostBytes: number): number {
  return Math.min(mostBytes, Math.floor(memoryBytes() * share));
}

/** For what fills all memory that it is given: half of it, without what the process needs anyway, and no less than a quarter. */
export function mainMemoryShare(): number {
  return Math.floor(Math.max(memoryBytes() / 4, memoryBytes() / 2 - FIXED_BYTES));
}

/** New questions and more memory for running ones are refused above this share of a container's memory, and then, above the other, writes. */
export const QUERY_MEMORY_SHARE = 0.8;
export const WRITE_MEMORY_SHARE = 0.88;

export interface ResidentMemoryDeps {
  /** Bytes that the process has resident. */
  readonly residentBytes: () => number;
  /** What it may have; 0 where nothing limits it but the machine. */
  readonly limitBytes: number;
}

/**
 * The last line of defence: budgets count what is asked for, and this looks at what the process really has, heaps and fragments of
 * freed memory included. Without a container's limit it lets everything pass.
 */
export class ResidentMemory {
  readonly #deps: ResidentMemoryDeps;
  readonly #share: number;
  readonly #callsPerLook: number;
  #callsLeft = 0;
  #refusal: AppError | undefined;

  /** @param callsPerLook  A look takes some ten microseconds. */
  constructor(share: number, callsPerLook: number, deps: ResidentMemoryDeps = PROCESS_MEMORY) {
    this.#share = share;
    this.#callsPerLook = callsPerLook;
    this.#deps = deps;
  }

  /** @throws AppError `unavailable` above the share. */
  check(): void {
    const { limitBytes, residentBytes } = this.#deps;
    if (limitBytes === 0) return;
    if (this.#callsLeft-- <= 0) {
      this.#callsLeft = this.#callsPerLook - 1;
      const bytes = residentBytes();
      this.#refusal =
        bytes <= limitBytes * this.#share
          ? undefined
          : new AppError(
              'unavailable',
              `this process has ${bytes} of the ${limitBytes} bytes of memory that it may use; try again later, or give it more`,
            );
    }
    if (this.#refusal !== undefined) throw this.#refusal;
  }
}

const PROCESS_MEMORY: ResidentMemoryDeps = {
  residentBytes: () => process.memoryUsage.rss(),
  limitBytes: memoryBytes() < totalmem() ? memoryBytes() : 0,
};
