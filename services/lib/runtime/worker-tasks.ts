// What travels between the process' main thread and its worker threads, and the threads' side of it: tasks, each of them a
// conversation. The pool that starts threads and gives them tasks is in worker-pool.ts.
import type { MessagePort, Transferable } from 'node:worker_threads';
import { AppError, type ErrorCode, toAppError } from '../core/errors.ts';

/** An AppError as a message: errors lose their class on the way. */
export interface PackedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly stack: string | undefined;
}

export function packError(caught: unknown): PackedError {
  const { code, message, stack } = toAppError(caught);
  return { code, message, stack };
}

/** The error with its stack of the thread that it comes from. */
export function unpackError({ code, message, stack }: PackedError): AppError {
  const error = new AppError(code, message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** To a thread: a message of task `task`, whose first one opens it. */
export interface ToThread {
  readonly task: number;
  readonly isFirst: boolean;
  readonly message: unknown;
}

/** From a thread. */
export type FromThread =
  | { readonly kind: 'ready' }
  | { readonly kind: 'message'; readonly task: number; readonly message: unknown }
  /** The task is over. `message`: its last one, which would wake the main thread for itself otherwise. */
  | {
      readonly kind: 'end';
      readonly task: number;
      readonly error: PackedError | undefined;
      readonly message: unknown;
    };

/** What a task says at its end. */
export interface LastMessage<Out> {
  readonly message: Out;
  /** Buffers that the main thread owns from now on. */
  readonly transfer: readonly Transferable[];
}

/** A task as its thread sees it. */
export interface TaskChannel<In, Out> {
  /** @param transfer  Buffers that the main thread owns from now on. */
  post(message: Out, transfer?: readonly Transferable[]): void;
  /** Set before the first `await`: what comes without it is lost. */
  onMessage: (message: In) => void;
}

/**
 * Serves tasks on a thread, any number at a time: `run` is called with the first message of each, and the task ends when
 * it settles, with what it answers as the last message.
 */
export function serveTasks<First, In, Out>(
  port: MessagePort,
  run: (first: First, channel: TaskChannel<In, Out>) => Promise<LastMessage<Out> | undefined>,
): void {
  const open = new Map<number, TaskChannel<In, Out>>();
  const send = (message: FromThread, transfer: readonly Transferable[] = []) =>
    port.postMessage(message, transfer);
  const begin = (task: number, first: First): void => {
    const channel: TaskChannel<In, Out> = {
      post: (message, transfer) => send({ kind: 'message', task, message }, transfer),
      onMessage: () => undefined,
    };
    open.set(task, channel);
    const end = (error: PackedError | undefined, last?: LastMessage<Out>) => {
      open.delete(task);
      send({ kind: 'end', task, error, message: last?.message }, last?.transfer);
    };
    run(first, channel).then(
      (last) => end(undefined, last),
      (caught: unknown) => end(packError(caught)),
    );
  };
  port.on('message', ({ task, isFirst, message }: ToThread) => {
    if (isFirst) begin(task, message as First);
    else open.get(task)?.onMessage(message as In);
  });
  send({ kind: 'ready' });
}

/** Smaller than this a copy costs less than giving a buffer away. */
const MOVE_BYTES_MIN = 16 * 1024;

/**
 * Bytes as they can be sent with `transfer`: the buffer itself where they are (nearly) all that is in it, else a copy. What
 * is given away cannot be read here any more.
 */
export function movable(bytes: Uint8Array): {
  readonly bytes: Uint8Array;
  readonly transfer: readonly Transferable[];
} {
  const { buffer } = bytes;
  if (buffer instanceof SharedArrayBuffer) return { bytes, transfer: [] };
  const isWhole = bytes.length >= MOVE_BYTES_MIN && buffer.byteLength <= bytes.length + MOVE_BYTES_MIN;
  if (isWhole) return { bytes, transfer: [buffer] };
  // Uint8Array's own slice: a Buffer's is a view.
  const copy = Uint8Array.prototype.slice.call(bytes);
  return { bytes: copy, transfer: [copy.buffer] };
}
