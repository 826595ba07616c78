// Who is asked which deletes concern a block that comes from object storage, besides what is said beside it there.
import type { Clock } from '../../lib/core/clock.ts';
import { throwIfAborted } from '../../lib/core/errors.ts';
import { withinTime } from '../../lib/core/time-limit.ts';
import type { BlockName, ListDeletesResponse } from '../../lib/wire/contracts.ts';
import type { StorePeer } from './peer-inventories.ts';

/** @throws AppError when it has to be heard and was not. */
export type DeleteWitness = (block: BlockName, signal: AbortSignal) => Promise<ListDeletesResponse>;

const ANSWER_TIMEOUT_MS = 5_000;

/** A store that has the samples has to be heard: it hides them in its own blocks. Others are a help: they may know of a delete that came after the block. */
export function witnessOf(peer: StorePeer, isHolder: boolean, clock: Clock): DeleteWitness {
  if (isHolder) return (block, signal) => peer.client.blockDeletes(block, { signal });
  const limit = { ms: ANSWER_TIMEOUT_MS, what: 'answer' };
  return async (block, signal) => {
    try {
      return await withinTime(clock, limit, signal, (own) =>
        peer.client.blockDeletes(block, { signal: own }),
      );
    } catch {
      throwIfAborted(signal);
      return { deletes: [] };
    }
  };
}
