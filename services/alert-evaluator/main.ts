// `node services/alert-evaluator/main.ts`: an alert evaluator as a process of a cluster.

import { toAppError } from '../lib/core/errors.ts';
import { createDistributor, seriesLimitOptions } from '../lib/distributor/distributor.ts';
import { asService } from '../lib/distributor/distributor-service.ts';
import { featuresOf } from '../lib/promql/feature-names.ts';
import { ConfigHolder } from '../lib/runtime/config-holder.ts';
import type { Service } from '../lib/runtime/service.ts';
import { advertisedAddress, splitAddress } from '../lib/transport/process-flags.ts';
import { runServiceProcess } from '../lib/transport/service-process.ts';
import { AlertEvaluatorDefinition } from '../lib/wire/contracts.ts';
import { announceFence, endFence } from './fence-quorum.ts';
import { ALERT_EVALUATOR_FLAGS } from './flags.ts';
import { RuleLeases } from './rule-leases.ts';
import { type AlertEvaluator, createAlertEvaluator } from './service.ts';

/** Until an expired member's leases are taken and known to the ingesters, the wait after it (rule-leases.ts), and what its last heartbeat was late. */
const HAND_OVER_MARGIN_MS = 10_000;

runServiceProcess({
  service: 'alert-evaluator',
  usage: 'Tidemark alert evaluator: evaluates rule groups, writes what they record, notifies Alertmanagers.',
  flags: ALERT_EVALUATOR_FLAGS,
  build: async (context) => {
    const { flags, common, cluster, control, clock, logger, registry, shares } = context;
    const config = await ConfigHolder.open(flags['config.file'], { clock, logger, registry });
    const distributor = createDistributor(
      {
        outOfOrderWindowMs: flags['ingest.out-of-order-window'] || flags['storage.tsdb.retention.time'],
        ...seriesLimitOptions(flags['ingest.max-series']),
      },
      { cluster, clock, logger, registry },
    );
    const leases = new RuleLeases({
      ...{ control, shares, clock, logger, registry },
      announce: (name, token) => announceFence(name, token, { cluster, clock }),
      tellEnd: (name, token, quietAfterMs) => endFence(name, token, quietAfterMs, { cluster, clock }),
      onChange: async (isLoss) => {
        await evaluator.rebalance();
        if (isLoss) await evaluator.flush();
      },
    });
    const { port } = splitAddress(common['web.listen-address']);
    const evaluator: AlertEvaluator = createAlertEvaluator(
      {
        externalUrl:
          flags['web.external-url'] || `http://${advertisedAddress(common['web.listen-address'], port)}`,
        resendDelayMs: flags['rules.alert.resend-delay'],
        outageToleranceMs: flags['rules.alert.for-outage-tolerance'],
        gracePeriodMs: flags['rules.alert.for-grace-period'],
        queueCapacity: flags['alertmanager.notification-queue-capacity'],
        features: featuresOf(flags['enable-feature'], logger),
        handOverMs:
          common['cluster.member-expiry'] + common['cluster.heartbeat-interval'] + HAND_OVER_MARGIN_MS,
      },
      {
        ...{ cluster, distributor, clock, logger, registry },
        ...{ owns: leases.owns, othersOwn: leases.othersOwn, fencing: leases },
      },
    );
    shares.onChange(() => {
      evaluator.rebalance().catch((caught: unknown) => {
        logger.error({ err: toAppError(caught) }, 'rule groups were not shared out');
      });
    });
    const holding: Service = {
      name: 'rule-leases',
      start: async () => leases.start(),
      isReady: () => true,
      drain: () => leases.stop(),
      stop: () => leases.stop(),
    };
    return {
      services: [asService(distributor), holding, evaluator],
      member: () => ({ fences: true }),
      serve: (server) => server.add(AlertEvaluatorDefinition, evaluator.handlers),
      reload: () => config.reload([evaluator]),
      needsPlacement: true,
    };
  },
});
