// What requests came to while something was wrong, held against how long it may be noticed.
import { loadFactor } from '../../test/support/programs.ts';
import type { Watch } from './chaos-ledger.ts';

/** Failures or waits for a part of the cluster are over so long after it is gone (R13, R21). */
export const STEADY_MS = 2_000;

/**
 * Fails when requests that were sent later than `quietMs` after the watch began failed, or took longer than `STEADY_MS`.
 *
 * @param quietMs  On a quiet machine; longer where others use it too.
 * @param what  Names it in the message.
 */
export function expectSteady({ failures, tookMs }: Watch, quietMs: number, what: string): void {
  const limitMs = quietMs * loadFactor();
  const slowMs = STEADY_MS * loadFactor();
  const slow = tookMs.filter(({ afterMs, tookMs: ms }) => afterMs > limitMs && ms > slowMs);
  const late = [
    ...failures.filter(({ afterMs }) => afterMs > limitMs),
    ...slow.map(({ kind, afterMs, tookMs: ms }) => ({ kind, afterMs, reason: `took ${Math.round(ms)} ms` })),
  ];
  if (late.length === 0) return;
  const list = late
    .slice(0, 3)
    .map(({ kind, afterMs, reason }) => `${kind} sent after ${Math.round(afterMs)} ms: ${reason}`);
  throw new Error(
    `${what}: ${late.length} requests later than ${limitMs} ms after it began: ${list.join('; ')}`,
  );
}

/** What requests came to, in a line. */
export function describeWatch({ failures, tookMs }: Watch): string {
  const slowest = (kind: 'write' | 'query', sinceMs: number): number => {
    const times = tookMs
      .filter((each) => each.kind === kind && each.afterMs >= sinceMs)
      .map(({ tookMs: ms }) => ms);
    return Math.round(Math.max(0, ...times));
  };
  const slowestOf = (sinceMs: number) =>
    `write ${slowest('write', sinceMs)} ms, query ${slowest('query', sinceMs)} ms`;
  return `${tookMs.length} requests, ${failures.length} failed once, slowest ${slowestOf(0)}; after 2 s ${slowestOf(STEADY_MS)}`;
}
