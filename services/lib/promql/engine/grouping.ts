// Groups of an aggregation: which series belong together, and the label set of each group.
import { type Labels, METRIC_NAME } from '../../model/labels.ts';
import type { Aggregation } from '../ast.ts';
import type { SeriesMeta } from './operand.ts';

export interface Groups {
  /** Group of series i. */
  readonly groupOf: Int32Array;
  /** Label sets, by first member. */
  readonly labels: readonly Labels[];
}

/** Label set that a series has in `by (…)` or `without (…)`. */
export function groupLabels(labels: Labels, grouping: readonly string[], without: boolean): Labels {
  return without
    ? labels.filter((name) => name !== METRIC_NAME && !grouping.includes(name))
    : labels.filter((name) => grouping.includes(name));
}

export function groupSeries(expr: Aggregation, series: readonly SeriesMeta[]): Groups {
  const groupOf = new Int32Array(series.length);
  const labels: Labels[] = [];
  const known = new Map<string, number>();
  for (let i = 0; i < series.length; i++) {
    const own = groupLabels(series[i]!.labels, expr.grouping, expr.without);
    let group = known.get(own.key);
    if (group === undefined) {
      group = labels.length;
      known.set(own.key, group);
      labels.push(own);
    }
    groupOf[i] = group;
  }
  return { groupOf, labels };
}

/** Series of each group, ascending. */
export function membersOf(groups: Groups): number[][] {
  const members: number[][] = Array.from({ length: groups.labels.length }, () => []);
  for (let i = 0; i < groups.groupOf.length; i++) members[groups.groupOf[i]!]!.push(i);
  return members;
}
