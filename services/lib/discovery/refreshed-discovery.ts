// Discovery that asks somebody again and again: at a regular interval, with the last result kept where an attempt fails.
import { toAppError } from '../core/errors.ts';
import type { TargetGroup } from '../runtime/config/discovery-config.ts';
import type { GroupSource, GroupSourceDeps } from './group-source.ts';

/** Longest that a start waits for the first answer. */
const START_WAIT_MS = 10_000;

export interface Refreshed {
  readonly groups: readonly TargetGroup[];
  /** Parts that failed and kept what they had. */
  readonly problems: readonly string[];
}

export interface RefreshOptions {
  readonly intervalMs: number;
  /** One attempt; what it throws keeps all that there was. */
  readonly refresh: (before: readonly TargetGroup[], signal: AbortSignal) => Promise<Refreshed>;
  readonly close?: () => void;
}

export function createRefreshed(options: RefreshOptions, deps: GroupSourceDeps): GroupSource {
  const stopping = new AbortController();
  const { signal } = stopping;
  let current: Refreshed = { groups: [], problems: [] };
  let isFirst = true;
  let loop: Promise<void> | undefined;

  const attempt = async (): Promise<void> => {
    const before = current;
    try {
      const next = await options.refresh(before.groups, signal);
      if (signal.aborted) return;
      current = next;
    } catch (caught) {
      if (signal.aborted) return;
      current = { groups: before.groups, problems: [toAppError(caught).message] };
    }
    for (const reason of current.problems) {
      deps.onError();
      if (!before.problems.includes(reason))
        deps.logger.warn({ reason }, 'service discovery failed, its last result stays');
    }
    if (!isFirst && current.groups !== before.groups) deps.onChange();
    isFirst = false;
  };

  const run = async (first: Promise<void>): Promise<void> => {
    await first;
    while (!signal.aborted) {
      await deps.clock.sleep(options.intervalMs, signal).catch(() => undefined);
      if (!signal.aborted) await attempt();
    }
  };

  return {
    start: async () => {
      const first = attempt();
      loop = run(first);
      const over = new AbortController();
      const limit = deps.clock.sleep(START_WAIT_MS, over.signal).catch(() => undefined);
      await Promise.race([first, limit]);
      // Whatever comes later is a change.
      isFirst = false;
      over.abort();
    },
    groups: () => current.groups,
    problems: () => current.problems,
    stop: async () => {
      stopping.abort();
      await loop;
      options.close?.();
    },
  };
}
