// Relabelling that monitors ask for, and what stands for their selectors.
import type { JsonObject } from '../json.ts';
import { sanitizeLabelName } from '../target-labels.ts';
import {
  copy,
  MonitorProblem,
  objectAt,
  objectsAt,
  type ScrapeJob,
  textAt,
  textsAt,
} from './monitor-object.ts';

/** One step of relabelling, as it would stand in a prometheus.yml. */
export type Step = Record<string, unknown>;

/** `${1}`, as a replacement. */
export const FIRST_GROUP = '\u0024{1}';

/** First of all jobs: the name stays where relabelling can see it. */
export const KEEP_JOB_NAME: Step = { source_labels: ['job'], target_label: '__tmp_prometheus_job_name' };

export const DROP_ENDED_PODS: Step = {
  action: 'drop',
  source_labels: ['__meta_kubernetes_pod_phase'],
  regex: '(Failed|Succeeded)',
};

/** A list of `{sourceLabels, separator, targetLabel, regex, modulus, replacement, action}`. */
export function relabelSteps(of: JsonObject, key: string): readonly Step[] {
  return objectsAt(of, key).map((own) => {
    const step: Step = {};
    copy(step, own, 'sourceLabels:source_labels targetLabel:target_label regex');
    if (Array.isArray(own.sourceLabels) && own.sourceLabels.length === 0) delete step.source_labels;
    if (typeof own.modulus === 'number' && own.modulus !== 0) step.modulus = own.modulus;
    // An empty one means something.
    for (const name of ['separator', 'replacement'])
      if (typeof own[name] === 'string') step[name] = own[name];
    const action = textAt(own, 'action');
    if (action !== '') step.action = action.toLowerCase();
    return step;
  });
}

/** Keeps what a label selector matches. `object` is `service`, `pod` or `ingress`. */
export function selectorSteps(selector: JsonObject, object: string): readonly Step[] {
  const prefix = `__meta_kubernetes_${object}_`;
  const both = (key: string): string[] => [
    `${prefix}label_${sanitizeLabelName(key)}`,
    `${prefix}labelpresent_${sanitizeLabelName(key)}`,
  ];
  const steps: Step[] = [];
  const labels = objectAt(selector, 'matchLabels');
  for (const key of Object.keys(labels).toSorted())
    steps.push({ action: 'keep', source_labels: both(key), regex: `(${textAt(labels, key)});true` });
  for (const [i, expression] of objectsAt(selector, 'matchExpressions').entries()) {
    const key = textAt(expression, 'key');
    const values = `(${textsAt(expression, 'values').join('|')});true`;
    const present = [both(key)[1]!];
    switch (expression.operator) {
      case 'In':
        steps.push({ action: 'keep', source_labels: both(key), regex: values });
        break;
      case 'NotIn':
        steps.push({ action: 'drop', source_labels: both(key), regex: values });
        break;
      case 'Exists':
        steps.push({ action: 'keep', source_labels: present, regex: 'true' });
        break;
      case 'DoesNotExist':
        steps.push({ action: 'drop', source_labels: present, regex: 'true' });
        break;
      default:
        throw new MonitorProblem(
          `selector.matchExpressions[${i}].operator`,
          `${JSON.stringify(expression.operator)} is not known; use In, NotIn, Exists or DoesNotExist`,
        );
    }
  }
  return steps;
}

/** A label selector as the API spells it. */
export function selectorText(selector: JsonObject): string {
  const labels = objectAt(selector, 'matchLabels');
  const terms: (readonly [string, string])[] = Object.keys(labels).map((key) => [
    key,
    `${key}=${textAt(labels, key)}`,
  ]);
  for (const expression of objectsAt(selector, 'matchExpressions')) {
    const key = textAt(expression, 'key');
    const values = textsAt(expression, 'values').toSorted().join(',');
    const term = {
      In: `${key} in (${values})`,
      NotIn: `${key} notin (${values})`,
      Exists: key,
      DoesNotExist: `!${key}`,
    }[textAt(expression, 'operator')];
    terms.push([key, term ?? key]);
  }
  return terms
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, term]) => term)
    .join(',');
}

/** A label of the object behind the target as a label of the target. */
export function labelSteps(names: readonly string[], object: string): readonly Step[] {
  return names.map((name) => fromLabel(name, object, sanitizeLabelName(name)));
}

/** The label's value, where there is one. */
export function fromLabel(name: string, object: string, targetLabel: string): Step {
  return {
    source_labels: [`__meta_kubernetes_${object}_label_${sanitizeLabelName(name)}`],
    target_label: targetLabel,
    regex: '(.+)',
    replacement: FIRST_GROUP,
  };
}

/** Puts the monitor's own metric relabelling into the job. */
export function addMetricRelabeling(job: ScrapeJob, of: JsonObject): void {
  const steps = relabelSteps(of, 'metricRelabelings');
  if (steps.length > 0) job.metric_relabel_configs = steps;
}
