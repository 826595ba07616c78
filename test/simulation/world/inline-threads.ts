// The querier's worker threads without threads: tasks run on the one thread of the simulation, their messages are events.
import { AppError } from '../../../services/lib/core/errors.ts';
import { ParsedQueries } from '../../../services/lib/query/parsed-queries.ts';
import type { WorkerPool, WorkerTask } from '../../../services/lib/runtime/worker-pool.ts';
import { packError, type TaskChannel, unpackError } from '../../../services/lib/runtime/worker-tasks.ts';
import { evaluateTask } from '../../../services/querier/evaluation/evaluation.ts';
import type {
  EvaluationOrder,
  FromEvaluation,
  ToEvaluation,
} from '../../../services/querier/evaluation/evaluation-messages.ts';
import { SharedBuffers } from '../../../services/querier/evaluation/shared-buffers.ts';
import type { World } from './world.ts';

/** What a querier uses of a WorkerPool. */
export function createInlineThreads(world: World): WorkerPool {
  const kept = { buffers: new SharedBuffers(), parsed: new ParsedQueries() };
  let opened = 0;
  const open = (
    order: EvaluationOrder,
    onMessage: (message: FromEvaluation) => void,
  ): WorkerTask<ToEvaluation> => {
    opened++;
    let isOver = false;
    const ended = Promise.withResolvers<AppError | undefined>();
    const channel: TaskChannel<ToEvaluation, FromEvaluation> = {
      post: (message) => {
        world.schedule(0, () => {
          if (!isOver) onMessage(message);
        });
      },
      onMessage: () => undefined,
    };
    const end = (error: AppError | undefined): void => {
      isOver = true;
      ended.resolve(error);
    };
    world.schedule(0, () => {
      evaluateTask(order, channel, kept).then(
        (last) =>
          world.schedule(0, () => {
            onMessage(last.message);
            end(undefined);
          }),
        (caught: unknown) => world.schedule(0, () => end(unpackError(packError(caught)))),
      );
    });
    return {
      post: (message) => {
        world.schedule(0, () => {
          if (!isOver) channel.onMessage(message);
        });
      },
      ended: ended.promise,
      endWithin: async (ms) => {
        const late = world.schedule(ms, () => end(new AppError('internal', 'a query thread did not react')));
        await ended.promise;
        late.isCancelled = true;
      },
    };
  };
  const pool = {
    ...{ size: 1, busy: 0, idle: 0, queued: 0, restarts: 0 },
    get opened() {
      return opened;
    },
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
    grow: () => undefined,
    open,
  };
  return pool as unknown as WorkerPool;
}
