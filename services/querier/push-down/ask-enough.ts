// A short question to all nodes of a kind before a part is pushed down: soon answered by enough of them, or there is no push-down.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { settleEnough } from '../selection/hedge.ts';

/** The longest wait for the answers, and for a late one when the others' suffice. */
const TIMEOUT_MS = 250;
const PATIENCE_MS = 25;

/**
 * Answers by index, undefined for those that were not waited for; undefined when there were not enough in time.
 *
 * @param ask       Does not throw. Its signal aborts when its answer is of no use any more.
 * @param isEnough  Of the answers so far, undefined: none yet.
 */
export async function askEnough<P, T extends object>(
  peers: readonly P[],
  ask: (peer: P, signal: AbortSignal) => Promise<T>,
  isEnough: (answers: readonly (T | undefined)[]) => boolean,
  clock: Clock,
): Promise<readonly (T | undefined)[] | undefined> {
  const over = new AbortController();
  const timeout = clock.sleep(TIMEOUT_MS, over.signal).then(
    () => undefined,
    () => undefined,
  );
  const settled = settleEnough(
    peers.map((peer) => ask(peer, over.signal)),
    { clock, isEnough, patienceMs: () => PATIENCE_MS },
  );
  const answers = await Promise.race([settled, timeout]);
  over.abort(new AppError('canceled', 'enough is known'));
  return answers !== undefined && isEnough(answers) ? answers : undefined;
}
