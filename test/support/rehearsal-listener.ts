// What the tests of rehearsals share: a clock whose time limits do not come, and a logger that keeps what is said.
import { type Clock, systemClock } from '../../services/lib/core/clock.ts';
import { createSilentLogger, type Logger } from '../../services/lib/runtime/logger.ts';

/** However slow this machine is, the time limit does not end it. */
export const patientClock: Clock = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs(),
  sleep: (ms, signal) => systemClock.sleep(100 * ms, signal),
};

/** A logger that keeps what is said with `warn` and above, and the fields of `debug`. */
export function listenToRehearsal(): { logger: Logger; complaints: unknown[]; notes: { answers: number }[] } {
  const complaints: unknown[] = [];
  const notes: { answers: number }[] = [];
  const keep = (fields: unknown) => complaints.push(fields);
  const debug = (fields: { answers: number }) => notes.push(fields);
  return {
    logger: Object.assign(createSilentLogger(), { warn: keep, error: keep, debug }),
    complaints,
    notes,
  };
}
