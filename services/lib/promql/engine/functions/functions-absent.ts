// absent and absent_over_time: one series with value 1 at the steps where the argument has nothing.
import { Labels, METRIC_NAME } from '../../../model/labels.ts';
import type { Matcher } from '../../../model/matcher.ts';
import type { Expr } from '../../ast.ts';
import { unwrap } from '../expressions.ts';
import type { Grid } from '../grid.ts';
import { ABSENT, FLOAT, type SeriesMeta, StepColumn, type VectorOperand } from '../operand.ts';
import type { QuerySession } from '../session.ts';

/** Opens the inverse of `input`; the result's labels come from the expression that it was selected by. */
export async function openAbsence(
  session: QuerySession,
  input: VectorOperand,
  selector: Expr,
  grid: Grid,
): Promise<VectorOperand> {
  const before = session.samplesCurrent;
  const present = new Uint8Array(grid.steps);
  const column = new StepColumn(grid.steps);
  for (let i = 0; i < input.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    input.next(column);
    for (let k = 0; k < grid.steps; k++) if (column.kinds[k] !== ABSENT) present[k] = 1;
  }
  session.settleSamples(before, present.filter((flag) => flag === 0).length);
  return new AbsenceOperand(present, absentLabels(selector));
}

class AbsenceOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #present: Uint8Array;

  constructor(present: Uint8Array, labels: Labels) {
    this.series = [{ labels, dropName: false }];
    this.#present = present;
  }

  next(into: StepColumn): void {
    for (let k = 0; k < this.#present.length; k++) {
      into.kinds[k] = this.#present[k] === 0 ? FLOAT : ABSENT;
      into.values[k] = 1;
    }
  }
}

/** Labels that the selector asks for by `=`, once each; a label that it asks for in other ways too is left out. */
function absentLabels(expr: Expr): Labels {
  const entries = new Map<string, string>();
  const seen = new Set<string>();
  for (const { name, operator, value } of matchersOf(unwrap(expr))) {
    if (name === METRIC_NAME) continue;
    if (operator === '=' && !seen.has(name)) {
      entries.set(name, value);
      seen.add(name);
    } else {
      entries.delete(name);
    }
  }
  return Labels.from(entries);
}

function matchersOf(expr: Expr): readonly Matcher[] {
  if (expr.kind === 'vector-selector') return expr.matchers;
  return expr.kind === 'matrix-selector' ? expr.vector.matchers : [];
}
