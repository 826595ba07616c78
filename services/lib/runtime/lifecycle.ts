// Runs services until the process is told to stop: start in order, drain and stop in reverse, exit 0 within 30 s.
import { toAppError } from '../core/errors.ts';
import type { Logger } from './logger.ts';
import type { Service } from './service.ts';

/** Longest time that draining and stopping may take; Kubernetes kills after 30 s by default. */
const STOP_DEADLINE_MS = 28_000;

/** Starts services one after another; when one fails, those that run are stopped and its error is thrown. */
export async function startAll(services: readonly Service[], logger: Logger): Promise<void> {
  const running: Service[] = [];
  for (const service of services) {
    try {
      await service.start();
      running.push(service);
      logger.debug({ service: service.name }, 'service started');
    } catch (caught) {
      await stopAll(running, logger);
      throw caught;
    }
  }
}

/** Drains, then stops, in reverse order. A service that fails to is logged and does not keep the others. */
export async function stopAll(services: readonly Service[], logger: Logger): Promise<void> {
  const reversed = services.toReversed();
  for (const step of ['drain', 'stop'] as const) {
    for (const service of reversed) {
      try {
        await service[step]();
      } catch (caught) {
        logger.error({ err: toAppError(caught), service: service.name }, `service failed to ${step}`);
      }
    }
  }
}

/**
 * Waits for SIGTERM, SIGINT or `stop`, then stops the services and ends the process: code 0 when all went well within
 * the deadline, 1 otherwise. SIGHUP calls `reload`. An error that nobody caught ends the process at once, code 1: the
 * log brings everything back that was acknowledged.
 */
export function runUntilStopped(
  services: readonly Service[],
  logger: Logger,
  hooks: {
    readonly reload: () => Promise<void>;
    /** Awaited before anything is stopped, however long it takes; a second signal ends the wait. */
    readonly beforeStop?: () => Promise<void>;
  },
): { readonly stop: (reason: string) => void } {
  let stopping = false;
  let asked = false;
  const stop = (reason: string): void => {
    if (asked || hooks.beforeStop === undefined) {
      stopNow(reason);
      return;
    }
    asked = true;
    hooks
      .beforeStop()
      .catch((caught: unknown) =>
        logger.error({ err: toAppError(caught) }, 'what was to be done before stopping failed'),
      )
      .then(
        () => stopNow(reason),
        () => undefined,
      );
  };
  const stopNow = (reason: string): void => {
    if (stopping) return;
    stopping = true;
    logger.info({ reason }, 'stopping: draining requests, flushing to disk');
    const timer = setTimeout(() => {
      logger.error({ deadlineMs: STOP_DEADLINE_MS }, 'not stopped in time, giving up');
      process.exit(1);
    }, STOP_DEADLINE_MS);
    void stopAll(services, logger).then(() => {
      clearTimeout(timer);
      logger.info('stopped');
      process.exit(0);
    });
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  process.on('SIGHUP', () => {
    hooks.reload().catch((caught: unknown) => {
      logger.error({ err: toAppError(caught) }, 'configuration not reloaded, the old one stays in force');
    });
  });
  process.on('uncaughtException', (err) => {
    logger.fatal({ err }, 'error that nobody caught');
    process.exit(1);
  });
  return { stop };
}
