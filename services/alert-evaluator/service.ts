// The alert evaluator: evaluates rule groups on time, writes what they record, and tells Alertmanagers.
import type { Registry } from 'prom-client';
import type { Clock } from '../lib/core/clock.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import type { DiscoverySources } from '../lib/discovery/discovery.ts';
import { createDiscoverySources } from '../lib/discovery/discovery-sources.ts';
import { type Distributor, FencedWriteError } from '../lib/distributor/appender.ts';
import { Labels } from '../lib/model/labels.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import type { PromqlFeatures } from '../lib/promql/features.ts';
import type { AlertInstance } from '../lib/rules/alerting-state.ts';
import type { RuleGroup, RuleIo, RuleSettings, RuleState } from '../lib/rules/rule-group.ts';
import type { RuleSamples } from '../lib/rules/rule-samples.ts';
import { tableLink } from '../lib/rules/template/functions.ts';
import type { PrometheusConfig } from '../lib/runtime/config/prometheus-config.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { Service } from '../lib/runtime/service.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import type { Handlers } from '../lib/transport/rpc.ts';
import type { AlertEvaluatorDefinition } from '../lib/wire/contracts.ts';
import { createEvaluatorMetrics } from './evaluator-metrics.ts';
import { groupKey } from './group-runner.ts';
import { Notifier, type OutgoingAlert } from './notifier.ts';
import { QuerySlots } from './query-slots.ts';
import type { GroupFence, RuleLeases } from './rule-leases.ts';
import { loadRuleGroups } from './rule-loader.ts';
import { RuleManager } from './rule-manager.ts';
import { RuleQuerier } from './rule-querier.ts';
import { writeRuleSamples } from './rule-writer.ts';
import { toWireGroup } from './wire-groups.ts';

export interface AlertEvaluatorOptions {
  /** `--web.external-url`, for links in alerts; a slash at its end does not count. */
  readonly externalUrl: string;
  /** `--rules.alert.resend-delay`, milliseconds. Default 1m. */
  readonly resendDelayMs?: number;
  /** `--rules.alert.for-outage-tolerance`, milliseconds. Default 1h. */
  readonly outageToleranceMs?: number;
  /** `--rules.alert.for-grace-period`, milliseconds. Default 10m. */
  readonly gracePeriodMs?: number;
  /** `--alertmanager.notification-queue-capacity`. Default 10,000. */
  readonly queueCapacity?: number;
  /** Most rule queries under way at one time. Default 10: half of what a querier takes. */
  readonly queryConcurrency?: number;
  readonly features: PromqlFeatures;
  /** Whose series the rules read and write. */
  readonly tenant?: string;
  /** Longest time between the last evaluation of an evaluator that dies and the hand-over of its groups, ms. Default 0. */
  readonly handOverMs?: number;
}

export interface AlertEvaluatorDeps {
  readonly cluster: Cluster;
  readonly distributor: Distributor;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Whether this evaluator evaluates the group `FILE;GROUP`; absent: all of them. Call `rebalance` when it answers otherwise. */
  readonly owns?: (groupKey: string) => boolean;
  /** Whether another live evaluator evaluates the group. What is taken over from it is taken over without a hole. */
  readonly othersOwn?: (groupKey: string) => boolean;
  /** The leases that groups are evaluated under; absent where nobody else could. */
  readonly fencing?: Pick<RuleLeases, 'use' | 'fenceOf'>;
  /** Shared with others of this process; one of its own by default. */
  readonly discovery?: DiscoverySources;
}

export type AlertEvaluator = Service & {
  readonly handlers: Handlers<typeof AlertEvaluatorDefinition>;
  /**
   * Loads the rule files and the Alertmanagers of a configuration. Groups that did not change go on undisturbed.
   *
   * @throws AppError `bad_data` naming file, line and column; rules and Alertmanagers stay as they were.
   */
  applyConfig(config: PrometheusConfig): Promise<void>;
  /** Takes on and gives up groups as `owns` says now. */
  rebalance(): Promise<void>;
  /** Sends what waits to be sent, for at most a few seconds. */
  flush(): Promise<void>;
};

/** Makes an alert evaluator. Rules run once it is started and has a configuration. */
export function createAlertEvaluator(
  options: AlertEvaluatorOptions,
  deps: AlertEvaluatorDeps,
): AlertEvaluator {
  const { clock, logger } = deps;
  const tenant = options.tenant ?? DEFAULT_TENANT;
  const metrics = createEvaluatorMetrics(deps.registry);
  const discovery = deps.discovery ?? createDiscoverySources(deps);
  const notifier = new Notifier(
    { queueCapacity: options.queueCapacity ?? 10_000 },
    { clock, logger, metrics, discovery },
  );
  const querier = new RuleQuerier(deps.cluster, tenant);
  const slots = new QuerySlots(options.queryConcurrency ?? 10);
  const externalUrl = options.externalUrl.replace(/\/+$/, '');
  let settings: RuleSettings = {
    externalLabels: Labels.empty,
    externalUrl,
    resendDelayMs: options.resendDelayMs ?? 60_000,
    outageToleranceMs: options.outageToleranceMs ?? 3_600_000,
    gracePeriodMs: options.gracePeriodMs ?? 600_000,
  };

  const write = async (samples: RuleSamples, signal: AbortSignal, fence?: GroupFence) => {
    try {
      await writeRuleSamples(samples, deps.distributor.appender(tenant), signal, fence);
    } catch (caught) {
      if (caught instanceof FencedWriteError) fence?.refused();
      else fence?.doubted();
      throw caught;
    }
  };

  const createIo = (group: RuleGroup, signal: AbortSignal): RuleIo => {
    const ruleGroup = groupKey(group.spec.file, group.spec.name);
    // Of the time when the group begins: whoever goes on after its lease was another's meanwhile begins anew.
    const fence = deps.fencing?.fenceOf(ruleGroup);
    return {
      query: (query, timeMs, lookbackMs) =>
        slots.run(signal, () => querier.query({ query, timeMs, lookbackMs }, signal)),
      write: (samples) => write(samples, signal, fence),
      notify: (rule, alerts) => {
        notifier.send(alerts.map((alert) => ({ ...outgoing(rule, alert, externalUrl), fence })));
      },
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      evaluated: (_group, rule, error) => {
        metrics.evaluations.inc({ rule_group: ruleGroup });
        metrics.duration.observe(rule.evaluationSeconds);
        if (error === undefined) return;
        metrics.failures.inc({ rule_group: ruleGroup });
        logger.warn({ rule_group: ruleGroup, rule: rule.spec.name, err: error }, 'evaluating a rule failed');
      },
      templateFailed: (rule, error) => {
        metrics.templateFailures.inc();
        logger.warn(
          { rule_group: ruleGroup, rule: rule.spec.name, err: error },
          'expanding a template failed',
        );
      },
      restoreFailed: (rule, error) => {
        logger.warn(
          { rule_group: ruleGroup, rule: rule.spec.name, err: error },
          "restoring the 'for' state of a rule failed",
        );
      },
    };
  };

  const never = new AbortController().signal;
  const manager = new RuleManager({
    clock,
    logger,
    metrics,
    settings: () => settings,
    createIo,
    writerOf: (ruleGroup) => {
      const fence = deps.fencing?.fenceOf(ruleGroup);
      return (samples) => write(samples, never, fence);
    },
    owns: deps.owns,
    othersOwn: deps.othersOwn,
    handOverMs: options.handOverMs,
  });

  let ready = false;
  // One configuration after the other.
  let applying: Promise<void> = Promise.resolve();

  const apply = async (config: PrometheusConfig) => {
    let specs: Awaited<ReturnType<typeof loadRuleGroups>>;
    try {
      specs = await loadRuleGroups(config.ruleFiles, { features: options.features, nameValidation: 'utf8' });
    } catch (caught) {
      metrics.reloadFailures.inc();
      const error = toAppError(caught);
      throw new AppError(error.code, `loading rule files failed:\n${error.message}`, { cause: caught });
    }
    settings = { ...settings, externalLabels: config.global.externalLabels };
    deps.fencing?.use(specs.map(({ file, name }) => groupKey(file, name)));
    await notifier.applyConfig(config.alerting, config.global.externalLabels);
    await manager.update(specs, {
      intervalMs: config.global.evaluationIntervalMs,
      queryOffsetMs: config.global.ruleQueryOffsetMs,
    });
  };

  return {
    name: 'alert-evaluator',
    start: async () => {
      manager.start();
      ready = true;
    },
    isReady: () => ready,
    drain: async () => {
      ready = false;
      await manager.stop();
      await notifier.drain();
    },
    stop: async () => {
      ready = false;
      await manager.stop();
      await notifier.stop();
      await discovery.hub.stop();
    },
    applyConfig: (config) => {
      const done = applying.then(() => apply(config));
      applying = done.catch(() => undefined);
      return done;
    },
    rebalance: () => {
      const done = applying.then(() => manager.rebalance());
      applying = done.catch(() => undefined);
      return done;
    },
    flush: () => notifier.drain(),
    handlers: {
      ruleGroups: async () => ({ groups: manager.groups().map(toWireGroup) }),
      alertmanagers: async () => ({ active: notifier.active(), dropped: notifier.dropped() }),
    },
  };
}

function outgoing(rule: RuleState, alert: AlertInstance, externalUrl: string): OutgoingAlert {
  return {
    labels: alert.labels,
    annotations: alert.annotations,
    startsAtMs: alert.firedAtMs,
    endsAtMs: alert.resolvedAtMs === 0 ? alert.validUntilMs : alert.resolvedAtMs,
    generatorUrl: externalUrl + tableLink(rule.query),
  };
}
