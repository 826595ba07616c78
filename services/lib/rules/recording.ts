// Recording rules: an instant vector becomes series of the rule's name with the rule's labels.
import { AppError } from '../core/errors.ts';
import { type Labels, METRIC_NAME } from '../model/labels.ts';
import type { RecordingRuleSpec } from './rule-file.ts';
import type { QueryVector, RuleSamples } from './rule-samples.ts';

/**
 * Adds the samples of one evaluation.
 *
 * @param limit  Most series; 0 means no limit.
 * @throws AppError `execution` when two elements end up with the same labels, or over the limit.
 */
export function recordVector(
  spec: RecordingRuleSpec,
  vector: QueryVector,
  timeMs: number,
  limit: number,
  into: RuleSamples,
): void {
  const seen = new Set<string>();
  const count = vector.labels.length;
  for (let i = 0; i < count; i++) {
    const labels = recordedLabels(spec, vector.labels[i]!);
    if (seen.has(labels.key)) {
      throw new AppError(
        'execution',
        `vector contains metrics with the same labelset after applying rule labels: ${labels.toString()}`,
      );
    }
    seen.add(labels.key);
    const histogram = vector.histograms?.[i];
    if (histogram === undefined) into.add(labels, timeMs, vector.values[i]!);
    else into.addHistogram(labels, timeMs, histogram);
  }
  if (limit > 0 && count > limit) {
    throw new AppError('execution', `exceeded limit of ${limit} with ${count} series`);
  }
}

function recordedLabels(spec: RecordingRuleSpec, labels: Labels): Labels {
  let result = labels.with(METRIC_NAME, spec.name);
  for (const { name, text } of spec.labels) result = result.with(name, text);
  return result;
}
