// From the text of a series in an exposition to the label set that is stored: bucket bounds in normal form, the target's
// labels added, metric relabelling, limits. Needed once per series of a target.
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { normaliseBound } from '../../lib/exposition/bucket-label.ts';
import { readSeriesText } from '../../lib/exposition/series-text.ts';
import { isLegacyLabelName, isLegacyMetricName, Labels, METRIC_NAME } from '../../lib/model/labels.ts';
import type { Relabeler } from '../../lib/relabel/relabel.ts';
import type { ScrapeConfig } from '../../lib/runtime/config/prometheus-config.ts';

const EXPORTED_PREFIX = 'exported_';
/** Four times the label bytes that the distributor takes of a series: reading a longer text would stall other targets for nothing. */
const SERIES_TEXT_BYTES_MAX = 256 * 1024;

/** What the series of a target go through. */
export interface SeriesRules {
  readonly targetLabels: Labels;
  readonly honorLabels: boolean;
  readonly relabel: Relabeler;
  readonly limits: Pick<
    ScrapeConfig,
    'labelLimit' | 'labelNameLengthLimit' | 'labelValueLengthLimit' | 'nameValidation'
  >;
}

/** The type line that the series stands under decides which labels are bounds. Small integers: they are kept per series. */
export const FAMILY_OTHER = 0;
export const FAMILY_HISTOGRAM = 1;
export const FAMILY_SUMMARY = 2;

/**
 * The label set of a series; undefined when relabelling drops it.
 *
 * @throws AppError `bad_data`: the whole scrape fails, as in Prometheus.
 */
export function seriesLabels(
  bytes: Uint8Array,
  start: number,
  end: number,
  family: number,
  rules: SeriesRules,
): Labels | undefined {
  if (end - start > SERIES_TEXT_BYTES_MAX) {
    const first = Buffer.from(bytes.subarray(start, start + 50)).toString();
    throw new AppError(
      'bad_data',
      `a series of ${end - start} bytes begins with ${JSON.stringify(first)}; the most is ${SERIES_TEXT_BYTES_MAX}`,
    );
  }
  const exposed = readSeriesText(bytes, start, end);
  if (family !== FAMILY_OTHER) normaliseBounds(exposed, family);
  const merged = rules.honorLabels
    ? honorExposed(exposed, rules.targetLabels)
    : renameExposed(exposed, rules.targetLabels);
  const labels = rules.relabel(merged);
  if (labels === undefined || labels.size === 0) return undefined;
  checkLabels(labels, rules.limits);
  return labels;
}

function normaliseBounds(pairs: string[], family: number): void {
  const bound = family === FAMILY_HISTOGRAM ? 'le' : 'quantile';
  for (let i = 0; i < pairs.length; i += 2)
    if (pairs[i] === bound) pairs[i + 1] = normaliseBound(pairs[i + 1]!);
}

/** The target's labels where the exposition says nothing; an empty label says something. */
function honorExposed(exposed: readonly string[], target: Labels): Labels {
  const labels = new Map<string, string>(target.entries());
  for (let i = 0; i < exposed.length; i += 2) labels.set(exposed[i]!, exposed[i + 1]!);
  return Labels.from(labels);
}

/** The target's labels win; exposed ones of the same name become `exported_…`, repeatedly where that is taken too. */
function renameExposed(exposed: readonly string[], target: Labels): Labels {
  const labels = new Map<string, string>();
  for (let i = 0; i < exposed.length; i += 2) labels.set(exposed[i]!, exposed[i + 1]!);
  const conflicts: [string, string][] = [];
  for (const [name, value] of target.entries()) {
    const own = labels.get(name);
    if (own) conflicts.push([name, own]);
    labels.set(name, value);
  }
  conflicts.sort(([a], [b]) => a.length - b.length);
  for (const [name, value] of conflicts) {
    let renamed = EXPORTED_PREFIX + name;
    while (labels.get(renamed)) renamed = EXPORTED_PREFIX + renamed;
    labels.set(renamed, value);
  }
  return Labels.from(labels);
}

function checkLabels(labels: Labels, limits: SeriesRules['limits']): void {
  const metric = labels.get(METRIC_NAME);
  if (metric === '')
    throw new AppError('bad_data', `missing metric name (__name__ label) in ${labels.toString()}`);
  if (limits.nameValidation === 'legacy') checkLegacyNames(labels, metric);
  const { labelLimit, labelNameLengthLimit, labelValueLengthLimit } = limits;
  if (labelLimit > 0 && labels.size > labelLimit) {
    throw new AppError(
      'bad_data',
      `label_limit exceeded (metric: ${metric}, number of labels: ${labels.size}, limit: ${labelLimit})`,
    );
  }
  if (labelNameLengthLimit === 0 && labelValueLengthLimit === 0) return;
  for (const [name, value] of labels.entries()) {
    if (labelNameLengthLimit > 0 && byteLength(name) > labelNameLengthLimit) {
      throw new AppError(
        'bad_data',
        `label_name_length_limit exceeded (metric: ${metric}, label name: ${name.slice(0, 50)}, length: ${byteLength(name)}, limit: ${labelNameLengthLimit})`,
      );
    }
    if (labelValueLengthLimit > 0 && byteLength(value) > labelValueLengthLimit) {
      throw new AppError(
        'bad_data',
        `label_value_length_limit exceeded (metric: ${metric}, label name: ${name}, value: ${value.slice(0, 50)}, length: ${byteLength(value)}, limit: ${labelValueLengthLimit})`,
      );
    }
  }
}

function checkLegacyNames(labels: Labels, metric: string): void {
  if (!isLegacyMetricName(metric)) {
    throw new AppError(
      'bad_data',
      `invalid metric name ${JSON.stringify(metric)} (metric_name_validation_scheme: legacy)`,
    );
  }
  for (const [name] of labels.entries()) {
    if (name !== METRIC_NAME && !isLegacyLabelName(name)) {
      throw new AppError(
        'bad_data',
        `invalid label name ${JSON.stringify(name)} (metric_name_validation_scheme: legacy)`,
      );
    }
  }
}

function byteLength(text: string): number {
  return encodeUtf8(text).length;
}
