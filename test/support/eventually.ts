// Waiting in tests for what happens in the background.
import { expect } from 'vitest';

/** To be followed by a matcher, and awaited: reads again and again until it holds. Generous, for busy machines. */
export const eventually = <T>(read: () => T | Promise<T>) =>
  expect.poll(read, { timeout: 60_000, interval: 10 });
