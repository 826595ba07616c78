// Metric names go away where a result is no longer the metric; label sets that become equal thereby are merged where
// they do not meet at a step, and are an error where they do.
import { AppError } from '../../core/errors.ts';
import { isLegacyMetricName, type Labels, METRIC_NAME } from '../../model/labels.ts';
import type { Grid } from './grid.ts';
import { ABSENT, HISTOGRAM, hasValues, type SeriesMeta, StepColumn, type VectorOperand } from './operand.ts';
import type { QuerySession } from './session.ts';
import { StepTable, StoredOperand, type StoredVector, storeVector } from './step-table.ts';

const SAME_LABELS = 'vector cannot contain metrics with the same labelset';

/** Labels that say what kind of metric a series is; they go where the name goes. */
const METADATA_LABELS = new Set([METRIC_NAME, '__type__', '__unit__']);

/** The error of two values with equal labels at one step. */
export function sameLabelsError(): AppError {
  return new AppError('execution', SAME_LABELS);
}

/** Label set without name, type and unit. */
export function withoutMetadata(labels: Labels): Labels {
  return labels.withoutReserved(METADATA_LABELS);
}

/** Metadata of a result that is no longer the metric: its name is dropped now, or marked to be. */
export function dropMetricNames(session: QuerySession, series: readonly SeriesMeta[]): SeriesMeta[] {
  if (session.delayedNames) return series.map(({ labels }) => ({ labels, dropName: true }));
  return series.map(({ labels }) => ({ labels: withoutMetadata(labels), dropName: false }));
}

/**
 * True when label sets that differ still do without their names, because all had the same one, and nothing else went with it.
 *
 * @param metric  The name that all of `before` have.
 */
export function differWithoutName(
  metric: string,
  before: readonly SeriesMeta[],
  after: readonly SeriesMeta[],
): boolean {
  if (!isLegacyMetricName(metric) || metric.length > 127) return false;
  const pairBytes = 1 + METRIC_NAME.length + 1 + metric.length;
  for (let i = 0; i < after.length; i++) {
    if (after[i]!.labels.bytesBehind(before[i]!.labels) !== pairBytes) return false;
  }
  return true;
}

/** True when two series have equal labels. */
function hasSameLabels(series: readonly SeriesMeta[]): boolean {
  if (isAscending(series)) return false;
  const seen = new Set<string>();
  for (const { labels } of series) seen.add(labels.key);
  return seen.size < series.length;
}

/** In strictly ascending order, as the series of one metric mostly still are without its name: then no two are equal. */
function isAscending(series: readonly SeriesMeta[]): boolean {
  for (let i = 1; i < series.length; i++) {
    if (series[i - 1]!.labels.compareTo(series[i]!.labels) >= 0) return false;
  }
  return true;
}

/**
 * Merges series with equal labels.
 *
 * @throws AppError `execution` (on reading) when two of them have a value at the same step.
 */
export async function mergeSameLabels(
  session: QuerySession,
  operand: VectorOperand,
  grid: Grid,
): Promise<VectorOperand> {
  if (!hasSameLabels(operand.series)) return operand;
  const column = new StepColumn(grid.steps);
  return new StoredOperand(await mergeInto(session, operand, column));
}

async function mergeInto(
  session: QuerySession,
  operand: VectorOperand,
  column: StepColumn,
): Promise<StoredVector> {
  const table = new StepTable(session, column.values.length);
  const series: SeriesMeta[] = [];
  const rows = new Map<string, number>();
  for (const meta of operand.series) {
    if (session.isSliceOver()) await session.pause();
    operand.next(column);
    // Without values it has no place either: the first that has some gives the series its place.
    if (!hasValues(column.kinds, 0, column.kinds.length)) continue;
    const row = rows.get(meta.labels.key);
    if (row === undefined) {
      rows.set(meta.labels.key, table.append(column));
      series.push(meta);
    } else {
      mergeRow(column, table, row);
    }
  }
  return { series, table };
}

/** Adds a column's values to a row that must not have any at the same steps. */
export function mergeRow(column: StepColumn, table: StepTable, row: number): void {
  const offset = table.offset(row);
  const values = table.values(row);
  const kinds = table.kinds(row);
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    if (kinds[offset + k] !== ABSENT) throw sameLabelsError();
    if (column.kinds[k] === HISTOGRAM) table.putHistogram(row, k, column.histograms[k]!);
    kinds[offset + k] = column.kinds[k]!;
    values[offset + k] = column.values[k]!;
  }
}

/** Range functions are stricter: two series with values and equal labels are an error even at different steps. */
export async function rejectSameLabels(
  session: QuerySession,
  operand: VectorOperand,
  grid: Grid,
  before: number,
): Promise<VectorOperand> {
  if (!hasSameLabels(operand.series)) return operand;
  const stored = await storeVector(session, operand, new StepColumn(grid.steps));
  const seen = new Set<string>();
  for (let i = 0; i < stored.series.length; i++) {
    if (!hasValues(stored.table.kinds(i), stored.table.offset(i), grid.steps)) continue;
    const { key } = stored.series[i]!.labels;
    if (seen.has(key)) throw sameLabelsError();
    seen.add(key);
  }
  session.settleSamples(before, session.samplesCurrent - before);
  return new StoredOperand(stored);
}
