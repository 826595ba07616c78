// What service discovery shares within a process: connections to API servers, and how names are looked up.
import type { Registry } from 'prom-client';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import type { DiscoverySources } from './discovery.ts';
import { SYSTEM_DNS } from './dns-discovery.ts';
import { SERVICE_ACCOUNT_FOLDER } from './kubernetes/api-access.ts';
import { WatchHub } from './kubernetes/watch-hub.ts';

/** Made once per registry, since it registers metrics; stop its hub when nobody discovers any more. */
export function createDiscoverySources(deps: {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}): DiscoverySources {
  const pod = { variables: process.env, serviceAccountFolder: SERVICE_ACCOUNT_FOLDER };
  return { hub: new WatchHub({ ...deps, pod }), dns: SYSTEM_DNS, variables: process.env };
}
