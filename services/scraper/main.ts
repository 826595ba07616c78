// `node services/scraper/main.ts`: a scraper as a process of a cluster. It scrapes its share of all targets.
import path from 'node:path';
import { toAppError } from '../lib/core/errors.ts';
import { createDistributor, seriesLimitOptions } from '../lib/distributor/distributor.ts';
import { asService } from '../lib/distributor/distributor-service.ts';
import { ConfigHolder } from '../lib/runtime/config-holder.ts';
import { lockDataDirectory } from '../lib/runtime/data-directory.ts';
import { runServiceProcess } from '../lib/transport/service-process.ts';
import { ScraperDefinition } from '../lib/wire/contracts.ts';
import { SCRAPER_FLAGS } from './flags.ts';
import { SPOOL_FOLDER } from './options.ts';
import { createScraper } from './service.ts';
import { TargetShares } from './sharding/target-shares.ts';

runServiceProcess({
  service: 'scraper',
  usage:
    'Tidemark scraper: discovers targets, scrapes those that fall to it, and hands the samples to the ingesters.',
  flags: SCRAPER_FLAGS,
  build: async ({ flags, cluster, clock, control, instance, logger, registry, version, shares }) => {
    const dataDirectory = flags['storage.tsdb.path'];
    const spoolBytesMax = flags['scrape.spool-size'];
    const unlock = spoolBytesMax > 0 ? lockDataDirectory(dataDirectory) : () => undefined;
    process.once('exit', unlock);
    const config = await ConfigHolder.open(flags['config.file'], { clock, logger, registry });
    const distributor = createDistributor(
      {
        outOfOrderWindowMs: flags['ingest.out-of-order-window'] || flags['storage.tsdb.retention.time'],
        ...seriesLimitOptions(flags['ingest.max-series']),
      },
      { cluster, clock, logger, registry },
    );
    const spoolFolder = path.join(dataDirectory, SPOOL_FOLDER);
    const others = () => cluster.scrapers().filter((peer) => peer.instance !== instance);
    const targetShares = new TargetShares({
      instance,
      live: shares.live,
      onMembers: (listener) => shares.onChange(listener),
      others: () => others().map((peer) => ({ instance: peer.instance, balance: peer.client.balance })),
      tryAcquire: (name) => control.tryAcquire(name),
      ...{ clock, logger, registry },
    });
    const scraper = createScraper(
      { version, spoolFolder, spoolBytesMax },
      {
        distributor,
        clock,
        logger,
        registry,
        owns: (targetKey) => targetShares.owns(targetKey),
        hasOthers: () => others().length > 0,
        shares: targetShares,
        sharing: {
          tryAcquire: (name) => control.tryAcquire(name),
          others: () => others().map(({ client }) => client.discover),
        },
      },
    );
    targetShares.onChange(() => {
      scraper.rebalance().catch((caught: unknown) => {
        logger.error({ err: toAppError(caught) }, 'targets were not shared out');
      });
    });
    return {
      services: [asService(distributor), scraper],
      serve: (server) => server.add(ScraperDefinition, scraper.handlers),
      reload: () => config.reload([scraper]),
      needsPlacement: true,
    };
  },
});
