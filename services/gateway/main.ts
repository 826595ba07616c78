// `node services/gateway/main.ts`: a gateway as a process of a cluster.

import { createDistributor, seriesLimitOptions } from '../lib/distributor/distributor.ts';
import { asService } from '../lib/distributor/distributor-service.ts';
import { featuresOf } from '../lib/promql/feature-names.ts';
import { ConfigHolder } from '../lib/runtime/config-holder.ts';
import { forgetStore } from '../lib/transport/members/forget-store.ts';
import { setStoreLeaving } from '../lib/transport/members/store-membership.ts';
import { runServiceProcess } from '../lib/transport/service-process.ts';
import { viewCluster } from './api/cluster-view.ts';
import { GATEWAY_FLAGS } from './flags.ts';
import { createHost } from './process-host.ts';
import { createGateway } from './service.ts';

runServiceProcess({
  service: 'gateway',
  usage:
    'Tidemark gateway: remote write, the query API and the page, over HTTP. It shows the configuration file and checks\n' +
    'it on reload; scrapers and alert evaluators read theirs themselves.',
  flags: GATEWAY_FLAGS,
  build: async (context) => {
    const { flags, common, cluster, control, clock, logger, registry, version } = context;
    const config = await ConfigHolder.open(flags['config.file'], { clock, logger, registry });
    const retentionMs = flags['storage.tsdb.retention.time'];
    const distributor = createDistributor(
      {
        outOfOrderWindowMs: flags['ingest.out-of-order-window'] || retentionMs,
        ...seriesLimitOptions(flags['ingest.max-series']),
      },
      { cluster, clock, logger, registry },
    );
    const reload = () => config.reload([]);
    const host = createHost(
      { version, flags: { ...common, ...flags }, retentionMs, retentionBytes: 0 },
      {
        startedAtMs: context.startedAtMs,
        config,
        reload,
        isReady: context.isReady,
        shutdown: context.shutdown,
        members: () => viewCluster(control, cluster),
        forgetStore: (instance) => forgetStore(instance, control),
        setStoreLeaving: (instance, leaving) => setStoreLeaving(instance, leaving, control),
      },
    );
    const gateway = createGateway(
      {
        listenAddress: flags['web.listen-address'],
        externalUrl: flags['web.external-url'],
        lifecycleEnabled: flags['web.enable-lifecycle'],
        adminApiEnabled: flags['web.enable-admin-api'],
        corsOrigin: flags['web.cors.origin'],
        queryTimeoutMs: flags['query.timeout'],
        features: featuresOf(flags['enable-feature'], logger),
      },
      { cluster, distributor, clock, logger, registry, host },
    );
    return { services: [asService(distributor), gateway], reload, ownsHttp: true, needsPlacement: true };
  },
});
