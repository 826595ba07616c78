import { Registry } from 'prom-client';
import { expect, onTestFinished } from 'vitest';
import { type Clock, systemClock } from '../../services/lib/core/clock.ts';
import { AppError } from '../../services/lib/core/errors.ts';
import type { WriteColumns } from '../../services/lib/distributor/appender.ts';
import { createDistributor, type DistributorOptions } from '../../services/lib/distributor/distributor.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { clusterOf, createRecordingIngester, type RecordingIngester } from './recording-ingester.ts';

/** Of the clock at first. */
export const NOW = 1_800_000_000_000;
/** One that is never aborted. */
export const signal = (): AbortSignal => new AbortController().signal;

/** Real sleeping, wall clock fixed, monotonic time that tests can push. */
export function createClock() {
  let skippedMs = 0;
  const clock: Clock = {
    nowMs: () => NOW + skippedMs,
    monotonicMs: () => systemClock.monotonicMs() + skippedMs,
    sleep: (ms, abort) => systemClock.sleep(ms, abort),
  };
  return Object.assign(clock, {
    skip(ms: number) {
      skippedMs += ms;
    },
  });
}

export function create(
  instances: readonly string[],
  replicationFactor: number,
  options: Partial<DistributorOptions> = {},
  partitionCount = 8,
) {
  const ingesters = instances.map((instance) => createRecordingIngester(instance));
  const cluster = clusterOf(ingesters, { replicationFactor, partitionCount });
  const clock = createClock();
  const registry = new Registry();
  let random = 1;
  const distributor = createDistributor(
    {
      ...{
        outOfOrderWindowMs: 3_600_000,
        writeTimeoutMs: 300,
        epochWaitMs: 0,
        backoffMinMs: 10,
        backoffMaxMs: 40,
      },
      ...options,
    },
    {
      cluster,
      clock,
      logger: createSilentLogger(),
      registry,
      randomUint32: () => (random = (Math.imul(random, 1664525) + 1013904223) >>> 0),
    },
  );
  onTestFinished(() => distributor.stop());
  const appender = distributor.appender('anonymous');
  const resolve = (name: string): number => appender.resolve(Labels.from([['__name__', name]]));
  return { ingesters, cluster, clock, registry, distributor, appender, resolve };
}

export function createGate() {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** Columns from rows of reference, timestamp, value. */
export function columnsOf(rows: readonly (readonly [number, number, number])[]): WriteColumns {
  return {
    count: rows.length,
    references: Uint32Array.from(rows, ([reference]) => reference),
    timestampsMs: Float64Array.from(rows, ([, timestamp]) => timestamp),
    values: Float64Array.from(rows, ([, , value]) => value),
  };
}

export const keptBy = (ingester: RecordingIngester): string[] =>
  ingester.samples.map(({ series, timestampMs, value }) => `${series}@${timestampMs}=${value}`).toSorted();

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'ok',
    (error: AppError) => {
      expect(error).toBeInstanceOf(AppError);
      return error.code;
    },
  );
}
