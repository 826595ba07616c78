// `npm start`: parses flags, builds the services, runs them until told to stop.
import { collectDefaultMetrics, Registry } from 'prom-client';
import { systemClock } from '../lib/core/clock.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import { checkClusterIdentity, lockDataDirectory } from '../lib/runtime/data-directory.ts';
import { describeFlags, parseFlags } from '../lib/runtime/flags.ts';
import { setHeapPolicy } from '../lib/runtime/heap-policy.ts';
import { runUntilStopped, startAll } from '../lib/runtime/lifecycle.ts';
import { createLogger, type LogFormat, type LogLevel } from '../lib/runtime/logger.ts';
import { readVersion } from '../lib/runtime/version.ts';
import { ALL_IN_ONE_FLAGS } from './flags.ts';
import { createAllInOne } from './service.ts';

const USAGE = `Tidemark, all services in one process: scrapes, takes remote write, stores, answers PromQL, evaluates rules.

usage: npm start -- [flags]
   or: node services/all-in-one/main.ts [flags]

Then open http://localhost:9090, and send it your Prometheus:

  remote_write:
    - url: http://localhost:9090/api/v1/write`;

/** Exit code for a command line that cannot be understood. */
const EXIT_USAGE = 2;

async function main(): Promise<void> {
  setHeapPolicy();
  const flags = parseFlags(ALL_IN_ONE_FLAGS, process.argv.slice(2), process.env);
  if (flags.help) {
    process.stdout.write(describeFlags(USAGE, ALL_IN_ONE_FLAGS));
    return;
  }
  const version = readVersion();
  if (flags.version) {
    process.stdout.write(`tidemark, version ${version} (node ${process.version})\n`);
    return;
  }
  const logger = createLogger({
    level: flags.values['log.level'] as LogLevel,
    format: flags.values['log.format'] as LogFormat,
  });
  for (const name of flags.ignored) logger.info({ flag: `--${name}` }, 'flag has no effect here');
  const directory = flags.values['storage.tsdb.path'];
  const unlock = lockDataDirectory(directory);
  process.on('exit', unlock);
  checkClusterIdentity(directory, {
    clusterName: flags.values['cluster.name'],
    partitionCount: flags.values['cluster.partitions'],
  });
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  let stop = (_reason: string): void => {};
  const allInOne = await createAllInOne(flags.values, {
    clock: systemClock,
    logger,
    registry,
    version,
    shutdown: (reason) => stop(reason),
  });
  ({ stop } = runUntilStopped([allInOne.service], logger, { reload: () => allInOne.reload() }));
  await startAll([allInOne.service], logger);
  logger.info(
    { version, address: flags.values['web.listen-address'], data: directory },
    'ready: the page, the query API and remote write',
  );
}

main().catch((caught: unknown) => {
  const error = toAppError(caught);
  process.stderr.write(`tidemark: ${error.message}\n`);
  if (!(caught instanceof AppError)) process.stderr.write(`${error.stack ?? ''}\n`);
  process.exit(error.code === 'bad_data' && process.argv.length > 2 && isUsage(error) ? EXIT_USAGE : 1);
});

/** Errors of the command line, as opposed to those of files and ports. */
function isUsage(error: AppError): boolean {
  return /^(unknown flag|flag --|unexpected argument|TIDEMARK_)/.test(error.message);
}
