// A task that the calling thread does itself: the conversation of a worker's task (worker-tasks.ts) by calls instead of messages,
// for what takes less time than waking a thread up does, twice.
import { type AppError, toAppError } from '../core/errors.ts';
import type { WorkerTask } from './worker-pool.ts';
import type { LastMessage, TaskChannel } from './worker-tasks.ts';

/**
 * Begins a task.
 *
 * @param run        The task's side, as serveTasks() calls it. It must let others run now and then: nobody can end it by force.
 * @param onMessage  Called with what the task says until it ends, never before this function has returned.
 */
export function openLocalTask<First, In, Out>(
  first: First,
  run: (first: First, channel: TaskChannel<In, Out>) => Promise<LastMessage<Out> | undefined>,
  onMessage: (message: Out) => void,
): WorkerTask<In> {
  let isOver = false;
  /** What is said before the task runs; undefined once it does. */
  let waiting: In[] | undefined = [];
  const channel: TaskChannel<In, Out> = {
    post: (message) => onMessage(message),
    onMessage: () => undefined,
  };
  const finish = async (): Promise<AppError | undefined> => {
    // Not before the caller has the task: what it says may want to be answered.
    await Promise.resolve();
    try {
      const running = run(first, channel);
      const said = waiting!;
      waiting = undefined;
      for (const message of said) channel.onMessage(message);
      const last = await running;
      isOver = true;
      if (last !== undefined) onMessage(last.message);
      return undefined;
    } catch (caught) {
      isOver = true;
      return toAppError(caught);
    }
  };
  const ended = finish();
  return {
    post: (message) => {
      if (waiting !== undefined) waiting.push(message);
      else if (!isOver) channel.onMessage(message);
    },
    ended,
    endWithin: async () => void (await ended),
  };
}
