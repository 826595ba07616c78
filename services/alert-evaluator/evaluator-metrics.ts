// The alert evaluator's metrics. A group is labelled `FILE;GROUP`, as in Prometheus.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export type EvaluatorMetrics = ReturnType<typeof createEvaluatorMetrics>;

/** Registers the metrics. */
export function createEvaluatorMetrics(registry: Registry) {
  const registers = [registry];
  const labelNames = ['rule_group'];
  const counter = (name: string, help: string, labels: string[]) =>
    new Counter({ name, help, labelNames: labels, registers });
  const gauge = (name: string, help: string, labels: string[]) =>
    new Gauge({ name, help, labelNames: labels, registers });
  return {
    evaluations: counter('tidemark_rule_evaluations_total', 'Rules evaluated.', labelNames),
    failures: counter(
      'tidemark_rule_evaluation_failures_total',
      'Rule evaluations that failed, or whose samples could not be written.',
      labelNames,
    ),
    duration: new Histogram({
      name: 'tidemark_rule_evaluation_duration_seconds',
      help: 'How long one rule took.',
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
      registers,
    }),
    iterations: counter(
      'tidemark_rule_group_iterations_total',
      'Evaluations of a group that were due, missed ones included.',
      labelNames,
    ),
    iterationsMissed: counter(
      'tidemark_rule_group_iterations_missed_total',
      'Evaluations of a group that were skipped because the one before took too long.',
      labelNames,
    ),
    iterationsMadeUp: counter(
      'tidemark_rule_group_iterations_made_up_total',
      'Evaluations of slots that had passed when the group was taken over from another evaluator.',
      labelNames,
    ),
    lastDuration: gauge(
      'tidemark_rule_group_last_duration_seconds',
      "How long the group's last evaluation took.",
      labelNames,
    ),
    lastEvaluation: gauge(
      'tidemark_rule_group_last_evaluation_timestamp_seconds',
      'When the group was evaluated last.',
      labelNames,
    ),
    interval: gauge('tidemark_rule_group_interval_seconds', "The group's interval.", labelNames),
    rules: gauge('tidemark_rule_group_rules', 'Rules in the group.', labelNames),
    notificationsFailing: gauge(
      'tidemark_notifications_failing',
      'Whether the last request to an Alertmanager failed.',
      ['alertmanager'],
    ),
    notificationsFenced: counter(
      'tidemark_notifications_fenced_total',
      'Alerts that were not sent because another evaluator has their group, or nobody could say that none has.',
      [],
    ),
    templateFailures: counter(
      'tidemark_rule_template_failures_total',
      'Labels and annotations whose template did not expand.',
      [],
    ),
    reloadFailures: counter(
      'tidemark_rule_load_failures_total',
      'Rule files that were refused; the rules before them stay in use.',
      [],
    ),
    restored: counter('tidemark_alerts_restored_total', 'Alerts whose "for" clock was restored.', []),
    notificationsSent: counter('tidemark_notifications_sent_total', 'Alerts that an Alertmanager accepted.', [
      'alertmanager',
    ]),
    notificationErrors: counter(
      'tidemark_notifications_errors_total',
      'Alerts that an Alertmanager did not accept.',
      ['alertmanager'],
    ),
    notificationsDropped: counter(
      'tidemark_notifications_dropped_total',
      'Alerts given up: the queue was full, a send failed, or no Alertmanager is known.',
      [],
    ),
    notificationLatency: new Histogram({
      name: 'tidemark_notifications_latency_seconds',
      help: 'How long a request to an Alertmanager took.',
      labelNames: ['alertmanager'],
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    }),
    notificationQueueLength: gauge('tidemark_notifications_queue_length', 'Alerts that wait to be sent.', [
      'alertmanager',
    ]),
    discoveryErrors: counter(
      'tidemark_notifications_discovery_errors_total',
      'Files of Alertmanagers that could not be read.',
      [],
    ),
    alertmanagers: gauge(
      'tidemark_notifications_alertmanagers',
      'Alertmanagers that alerts are sent to.',
      [],
    ),
  };
}
