import { configDefaults, defineConfig } from 'vitest/config';
import { containerEngine } from './test/support/container-engine.ts';

const hasEngine = containerEngine() !== undefined;
if (!hasEngine) {
  console.warn(
    'not run: *.docker.test.ts, for want of a container engine (DOCKER_HOST, /var/run/docker.sock)',
  );
}

export default defineConfig({
  test: {
    include: ['services/**/*.test.ts', 'test/**/*.test.ts', 'load-tests/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(hasEngine ? [] : ['**/*.docker.test.ts'])],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
