// Answers for /api/v1/targets/relabel_steps: what each step of a job's relabelling makes of a label set.
import { Labels } from '../../lib/model/labels.ts';
import { compileRelabeler, type LabelNameRule } from '../../lib/relabel/relabel.ts';
import type { RelabelConfig } from '../../lib/relabel/relabel-config.ts';
import type { RelabelStepsResponse } from '../../lib/wire/contracts.ts';

/** Steps after the one that drops are not run: they have no output, as in Prometheus. */
export function relabelSteps(
  configs: readonly RelabelConfig[],
  names: LabelNameRule,
  labels: Readonly<Record<string, string>>,
): RelabelStepsResponse {
  const before = Labels.from(Object.entries(labels));
  const steps = configs.map((config, i) => {
    // From the beginning each time: which labels earlier steps have set decides about the order of labelmap.
    const now = compileRelabeler(configs.slice(0, i + 1), names)(before);
    const { sourceLabels, separator, regex, modulus, targetLabel, replacement, action } = config;
    return {
      rule: { sourceLabels: [...sourceLabels], separator, regex, modulus, targetLabel, replacement, action },
      output: Object.fromEntries(now?.entries() ?? []),
      keep: now !== undefined,
    };
  });
  return { steps };
}
