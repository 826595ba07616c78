// Hands everything over before a process ends for good: with --cluster.leave, on SIGTERM.
import type { Clock } from '../../lib/core/clock.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Ingester } from '../service.ts';

const POLL_MS = 500;

/** Resolves when nobody needs this ingester any more, or after `timeoutMs`: what it has then stays on its disk. */
export async function leaveCluster(
  ingester: Pick<Ingester, 'replicationHandlers'>,
  timeoutMs: number,
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): Promise<void> {
  const handlers = ingester.replicationHandlers;
  if (handlers === undefined) return;
  const context = { signal: new AbortController().signal };
  const untilMs = clock.monotonicMs() + timeoutMs;
  let reported = '';
  while (clock.monotonicMs() < untilMs) {
    const { released, state } = await handlers.leave({ leave: true, onlyAsk: false }, context);
    if (state !== reported) logger.info({ state }, 'leaving the cluster');
    reported = state;
    if (released) return;
    await clock.sleep(POLL_MS);
  }
  logger.error(
    { timeoutMs, state: reported },
    'not all was handed over in time; keep the disk of this ingester',
  );
}
