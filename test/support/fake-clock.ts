// A wall clock that a test moves under a running process, by Debian's libfaketime. What counts elapsed time (the monotonic clock, timers)
// goes on as it was, as when an operator or NTP steps a machine's clock.
import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freshFolder } from './tidemark.ts';

const LIBRARIES = '/usr/lib';

/** Path of the library for programs with threads, or undefined. */
function findLibrary(): string | undefined {
  if (!existsSync(LIBRARIES)) return undefined;
  return readdirSync(LIBRARIES)
    .map((name) => path.join(LIBRARIES, name, 'faketime/libfaketimeMT.so.1'))
    .find((file) => existsSync(file));
}

/**
 * Whether clocks can be moved here; says why not.
 *
 * @throws Error in CI (CI=true) when they cannot.
 */
export function hasFakeClock(): boolean {
  if (findLibrary() !== undefined) return true;
  if (process.env.CI === 'true') throw new Error('CI needs libfaketime (Debian: faketime)');
  console.warn('skipped: no libfaketime here (Debian: faketime)');
  return false;
}

export interface FakeClock {
  /** For the process whose clock it is. */
  readonly env: Readonly<Record<string, string>>;
  /** How far it is from the true time, seconds. */
  readonly offsetSeconds: () => number;
  /** Steps it: the process sees the new time when it next looks. */
  readonly step: (offsetSeconds: number) => void;
}

/** A clock that shows the true time at first. */
export function createFakeClock(): FakeClock {
  const library = findLibrary();
  if (library === undefined) throw new Error('libfaketime is not there: call hasFakeClock first');
  const file = path.join(freshFolder(), 'clock');
  let current = 0;
  const step = (offsetSeconds: number): void => {
    current = offsetSeconds;
    // Renamed, so that the process never reads half of it.
    writeFileSync(`${file}.new`, `${offsetSeconds < 0 ? '' : '+'}${offsetSeconds}\n`);
    renameSync(`${file}.new`, file);
  };
  step(0);
  return {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
    offsetSeconds: () => current,
    step,
  };
}
