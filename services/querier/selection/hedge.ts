// When a query goes on without a node whose answer it can do without: replicas answered for everything, and this one is late.
// What is late is measured per node; a process that hangs costs each query a fraction of a second and no answer.
import { type Clock, startTimer } from '../../lib/core/clock.ts';

/** Answers of a node that its patience is worked out from. */
const ANSWERS_KEPT = 128;
/** With fewer answers a node is not known yet. */
const ANSWERS_MIN = 8;
const QUANTILE = 0.99;
/** A node is late at so many times its usual time: a pause of its garbage collector is no reason to do without it. */
const USUAL_FACTOR = 3;
/** Bounds of the wait for a node that nothing depends on. The greater one is what a frozen replica costs a query at most. */
export const PATIENCE_MIN_MS = 250;
export const PATIENCE_MAX_MS = 800;
/** The wait for a node that was late and has not answered since: the next queries need not all find out. */
export const PATIENCE_LATE_MS = 25;
/** Names of nodes that are remembered; beyond it everything is learned anew. */
const NODES_MAX = 1024;

interface NodeRecord {
  /** Milliseconds of the last answers, a ring. */
  readonly answersMs: Float64Array;
  answers: number;
  isLate: boolean;
}

/** What a querier knows of the time that nodes take. */
export class NodeLatencies {
  readonly #nodes = new Map<string, NodeRecord>();

  answered(node: string, elapsedMs: number): void {
    const record = this.#recordOf(node);
    record.answersMs[record.answers++ % ANSWERS_KEPT] = elapsedMs;
    record.isLate = false;
  }

  /** A query went on without it. */
  late(node: string): void {
    this.#recordOf(node).isLate = true;
  }

  /** Whether the last that is known of a node is that it was late. */
  isLate(node: string): boolean {
    return this.#nodes.get(node)?.isLate === true;
  }

  /** How long to wait for a node that nothing depends on any more, milliseconds. */
  patienceMs(node: string): number {
    const record = this.#nodes.get(node);
    if (record?.isLate === true) return PATIENCE_LATE_MS;
    if (record === undefined || record.answers < ANSWERS_MIN) return PATIENCE_MAX_MS;
    const kept = record.answersMs.slice(0, Math.min(record.answers, ANSWERS_KEPT)).sort();
    const usualMs = kept[Math.floor(QUANTILE * (kept.length - 1))]!;
    return Math.min(PATIENCE_MAX_MS, Math.max(PATIENCE_MIN_MS, USUAL_FACTOR * usualMs));
  }

  #recordOf(node: string): NodeRecord {
    let record = this.#nodes.get(node);
    if (record === undefined) {
      if (this.#nodes.size >= NODES_MAX) this.#nodes.clear();
      record = { answersMs: new Float64Array(ANSWERS_KEPT), answers: 0, isLate: false };
      this.#nodes.set(node, record);
    }
    return record;
  }
}

export interface EnoughOptions<T> {
  readonly clock: Clock;
  /** Whether what came so far (undefined: nothing yet) will do. It may change its mind. */
  readonly isEnough: (settled: readonly (T | undefined)[]) => boolean;
  /** How long to wait for the calls of these indexes, which nothing depends on any more. */
  readonly patienceMs: (open: readonly number[]) => number;
}

/**
 * Waits for all calls, or for enough of them and then as long as patience has it.
 *
 * @returns What came, by index; undefined for calls that are still open.
 * @throws What the first call throws that fails before that.
 */
export function settleEnough<T extends object>(
  calls: readonly Promise<T>[],
  { clock, isEnough, patienceMs }: EnoughOptions<T>,
): Promise<(T | undefined)[]> {
  return new Promise((resolve, reject) => {
    const settled: (T | undefined)[] = calls.map(() => undefined);
    let stopTimer: (() => void) | undefined;
    const finish = (): void => {
      stopTimer?.();
      resolve([...settled]);
    };
    const look = (): void => {
      const open = [...settled.keys()].filter((i) => settled[i] === undefined);
      if (open.length === 0) finish();
      else if (stopTimer === undefined && isEnough(settled)) {
        stopTimer = startTimer(clock, patienceMs(open), () => {
          stopTimer = undefined;
          if (isEnough(settled)) finish();
        });
      }
    };
    const fail = (caught: unknown): void => {
      stopTimer?.();
      reject(caught);
    };
    for (const [i, call] of calls.entries()) {
      call.then((answer) => {
        settled[i] = answer;
        look();
      }, fail);
    }
    if (calls.length === 0) finish();
  });
}
