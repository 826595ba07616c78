// Named places at which a process can be told to die (RELIABILITY R2): around each step after which something is durable, visible or
// promised. Off unless TIDEMARK_FAILPOINT is in the environment: `NAME` or `NAME:NTH` ends the process with SIGKILL at the NTH passing
// of NAME, `?` writes each name that is passed to standard error. For tests and chaos runs; nobody sets it in production.
import { writeSync } from 'node:fs';
import { AppError } from './errors.ts';

/** All of them: each is passed somewhere in the services, and each is died at in test/integration/failpoints.test.ts. */
export const FAILPOINTS = [
  // The log: a new segment, one commit, old segments.
  'log-roll-before',
  'log-roll-after',
  'log-write-before',
  'log-write-after',
  'log-sync-before',
  'log-sync-after',
  'log-truncate-before',
  'log-truncate-after',
  // The answer of an ingester, and of a gateway or all-in-one to the sender.
  'append-ack-before',
  'append-ack-after',
  'write-ack-before',
  'write-ack-after',
  // What stands beside the log.
  'checkpoint-before',
  'checkpoint-rename-before',
  'checkpoint-rename-after',
  'image-before',
  'image-rename-before',
  'image-rename-after',
  // A range becomes a block: cut, on enough stores, marked as sealed.
  'seal-cut',
  'block-ship-before',
  'block-ship-after',
  'seal-mark-after',
  // A block at a store: on disk, in its place (put, pulled or merged), known to queries and to the other stores.
  'block-write-before',
  'block-sync-before',
  'block-rename-before',
  'block-rename-after',
  'block-announce-before',
  'block-announce-after',
] as const;

export type Failpoint = (typeof FAILPOINTS)[number];

export const FAILPOINT_VARIABLE = 'TIDEMARK_FAILPOINT';

/** Read once: what is not set costs a comparison. The count ends with the process, so it is nobody's state. */
const chosen = readChoice(process.env[FAILPOINT_VARIABLE]);

interface Choice {
  /** Undefined: all are named, none is died at. */
  readonly name: Failpoint | undefined;
  passingsLeft: number;
}

/** Marks a named place; does not return where the process was told to die. */
export function failpoint(name: Failpoint): void {
  if (chosen !== undefined) pass(chosen, name);
}

function pass(choice: Choice, name: Failpoint): void {
  if (choice.name === undefined) writeSync(2, `failpoint ${name}\n`);
  else if (choice.name === name && --choice.passingsLeft === 0) process.kill(process.pid, 'SIGKILL');
}

function readChoice(text: string | undefined): Choice | undefined {
  if (text === undefined || text === '') return undefined;
  if (text === '?') return { name: undefined, passingsLeft: 0 };
  const [given, nth = '1'] = text.split(':');
  const name = FAILPOINTS.find((known) => known === given);
  if (name === undefined || !/^[1-9]\d{0,8}$/.test(nth)) {
    throw new AppError(
      'bad_data',
      `${FAILPOINT_VARIABLE}=${text}: neither ? nor NAME or NAME:NTH; names are ${FAILPOINTS.join(', ')}`,
    );
  }
  return { name, passingsLeft: Number(nth) };
}
