// The share of a service's work that falls to this process: by rendezvous hash over the live members of its service. Follows
// the membership, but not its every flutter: a change takes effect when it has lasted a moment.
import type { Clock } from '../../core/clock.ts';
import { isOwner } from '../../placement/shares.ts';
import type { ControlPlane, ServiceName } from '../control-plane.ts';

export interface WorkSharesOptions {
  readonly service: ServiceName;
  readonly instance: string;
  /** How long a change of the members must last. */
  readonly settleMs: number;
}

export interface WorkShares {
  /** The members that share, sorted. */
  readonly live: () => readonly string[];
  /** Whether the work of this name is ours. */
  readonly owns: (key: string) => boolean;
  /** Whether the work of this name is a live other member's. Neither is true while nobody is known. */
  readonly othersOwn: (key: string) => boolean;
  /** Calls back when `owns` may answer otherwise; the answer ends it. */
  onChange(listener: () => void): () => void;
  close(): void;
}

/** A view of the control plane: with it out of reach the last known members keep their shares. */
export function createWorkShares(
  options: WorkSharesOptions,
  deps: { readonly control: ControlPlane; readonly clock: Clock },
): WorkShares {
  const { control, clock } = deps;
  const listeners = new Set<() => void>();
  const closing = new AbortController();
  let live: readonly string[] = liveOf(control, options);
  let isSettling = false;
  const settle = async (): Promise<void> => {
    await clock.sleep(options.settleMs, closing.signal);
    isSettling = false;
    const next = liveOf(control, options);
    if (next.join(' ') === live.join(' ')) return;
    live = next;
    for (const listener of listeners) listener();
  };
  const unsubscribe = control.onChange(() => {
    if (isSettling || liveOf(control, options).join(' ') === live.join(' ')) return;
    isSettling = true;
    settle().catch(() => undefined);
  });
  return {
    live: () => live,
    owns: (key) => isOwner(options.instance, live, key),
    othersOwn: (key) => live.length > 0 && !isOwner(options.instance, live, key),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {
      closing.abort();
      unsubscribe();
    },
  };
}

/** Members that work or are about to: one that starts takes its share when it is ready. */
function liveOf(control: ControlPlane, options: WorkSharesOptions): string[] {
  const live = control
    .members()
    .filter(({ service, state }) => service === options.service && state === 'ready')
    .map(({ instance }) => instance);
  return live.sort();
}
