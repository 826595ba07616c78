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
    // They end what hangs, and judge no speed: a busy machine takes four times as long as a quiet one.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    globalSetup: 'test/support/run-folder.ts',
    pool: 'forks',
    maxWorkers: 2,
  },
});
