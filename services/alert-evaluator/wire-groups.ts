// Rule groups as the contract carries them.
import type { AlertInstance } from '../lib/rules/alerting-state.ts';
import type { TemplatedText } from '../lib/rules/rule-file.ts';
import type { RuleGroup, RuleState } from '../lib/rules/rule-group.ts';
import type {
  Alert as WireAlert,
  AlertingRule as WireAlertingRule,
  Rule as WireRule,
  RuleGroup as WireRuleGroup,
} from '../lib/wire/contracts.ts';

/** A group with its rules and their alerts, as they are now. */
export function toWireGroup(group: RuleGroup): WireRuleGroup {
  return {
    name: group.spec.name,
    file: group.spec.file,
    intervalSeconds: group.intervalMs / 1000,
    limit: group.spec.limit,
    lastEvaluationMs: group.lastEvaluationMs,
    evaluationSeconds: group.evaluationSeconds,
    rules: group.rules.map(toWireRule),
  };
}

function toWireRule(rule: RuleState): WireRule {
  return {
    name: rule.spec.name,
    query: rule.query,
    labels: texts(rule.spec.labels),
    health: rule.health,
    lastError: rule.lastError,
    lastEvaluationMs: rule.lastEvaluationMs,
    evaluationSeconds: rule.evaluationSeconds,
    alerting: toWireAlerting(rule),
  };
}

function toWireAlerting(rule: RuleState): WireAlertingRule | undefined {
  const { spec, alerting } = rule;
  if (spec.kind !== 'alerting') return undefined;
  return {
    forSeconds: spec.forMs / 1000,
    keepFiringForSeconds: spec.keepFiringForMs / 1000,
    annotations: texts(spec.annotations),
    state: rule.lastEvaluationMs === 0 ? 'unknown' : alerting.state,
    alerts: alerting.active().map(toWireAlert),
  };
}

function toWireAlert(alert: AlertInstance): WireAlert {
  return {
    labels: Object.fromEntries(alert.labels.entries()),
    annotations: Object.fromEntries(alert.annotations),
    state: alert.state,
    activeAtMs: alert.activeAtMs,
    keepFiringSinceMs: alert.keepFiringSinceMs,
    value: alert.value,
  };
}

function texts(list: readonly TemplatedText[]): { [name: string]: string } {
  return Object.fromEntries(list.map(({ name, text }) => [name, text]));
}
