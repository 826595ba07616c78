// Where a container engine listens, for the tests that need one (`*.docker.test.ts`). Free of the test runner: vitest.config.ts asks.
import { existsSync } from 'node:fs';

const DEFAULT_SOCKET = '/var/run/docker.sock';

/** Address of the engine; undefined where none is. DOCKER_HOST says it, as for the docker command. */
export function containerEngine(): string | undefined {
  const host = process.env.DOCKER_HOST ?? `unix://${DEFAULT_SOCKET}`;
  if (!host.startsWith('unix://')) return host;
  return existsSync(host.slice('unix://'.length)) ? host : undefined;
}
