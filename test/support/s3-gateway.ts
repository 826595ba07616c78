// A real S3 API for tests: versitygw over a folder. It can be stopped, and started again on what it holds.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import { onTestFinished } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import type { ObjectStore } from '../../services/lib/objstore/object-store.ts';
import { OBJSTORE_FLAGS, openObjectStore } from '../../services/lib/objstore/objstore-flags.ts';
import { parseFlags } from '../../services/lib/runtime/flags.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { hasPrograms, type RunningProcess, startProcess } from './process.ts';
import { findProgram, freePort, waitFor } from './programs.ts';
import { freshFolder } from './tidemark.ts';

const PROGRAM = 'versitygw';

/** Whether tests that need one can run; named where not, a failure in CI. */
export const hasS3Gateway = (): boolean => hasPrograms(PROGRAM);

export const S3_ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: 'test-access',
  AWS_SECRET_ACCESS_KEY: 'canary-secret-4711',
};
export const BUCKET = 'blocks';

export interface S3Gateway {
  readonly endpoint: string;
  /** Its folder with one more below for the bucket: objects lie in it as files under their keys. */
  readonly bucketFolder: string;
  /** Flags of a process that uses it. */
  readonly flags: readonly string[];
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
}

/** Starts one with an empty bucket; it ends with the test. */
export async function startS3Gateway(): Promise<S3Gateway> {
  const port = await freePort();
  const folder = freshFolder();
  const bucketFolder = path.join(folder, BUCKET);
  mkdirSync(bucketFolder);
  const endpoint = `http://127.0.0.1:${port}`;
  let running: RunningProcess | undefined;
  const start = async (): Promise<void> => {
    running = startProcess(
      findProgram(PROGRAM)!,
      ['--quiet', '--port', `127.0.0.1:${port}`, 'posix', folder],
      {
        env: {
          ROOT_ACCESS_KEY: S3_ENVIRONMENT.AWS_ACCESS_KEY_ID,
          ROOT_SECRET_KEY: S3_ENVIRONMENT.AWS_SECRET_ACCESS_KEY,
        },
      },
    );
    const { output } = running;
    await waitFor('versitygw answers', async () => (await fetch(endpoint)).status > 0, { describe: output });
  };
  const stop = async (): Promise<void> => running?.end('SIGKILL');
  onTestFinished(stop);
  await start();
  return {
    ...{ endpoint, bucketFolder, start, stop },
    flags: [
      `--objstore.bucket=${BUCKET}`,
      `--objstore.endpoint=${endpoint}`,
      '--objstore.prefix=test/cluster',
    ],
  };
}

/** The store that a process with these flags has. */
export function objectStoreOf(
  gateway: Pick<S3Gateway, 'flags'>,
  extra: readonly string[] = [],
  environment: Readonly<Record<string, string>> = S3_ENVIRONMENT,
  registry = new Registry(),
): ObjectStore {
  const flags = parseFlags(OBJSTORE_FLAGS, [...gateway.flags, ...extra], {}).values;
  return openObjectStore(flags, 'tidemark', environment, {
    ...{ clock: systemClock, logger: createSilentLogger(), registry },
  })!;
}
