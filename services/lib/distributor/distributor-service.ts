// A distributor with the life of a service: what it has in flight is finished when the process drains.
import type { Service } from '../runtime/service.ts';

/** Drained after the services that write through it: give it to the process before them. */
export function asService(distributor: { stop(): Promise<void> }): Service {
  return {
    name: 'distributor',
    start: () => Promise.resolve(),
    isReady: () => true,
    drain: () => distributor.stop(),
    stop: () => distributor.stop(),
  };
}
