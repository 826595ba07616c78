// `</` and `>/` cut buckets off native histograms. Floats have none: there is no result, and an info says why.
import type { BinaryExpr } from '../ast.ts';
import type { Grid } from './grid.ts';
import { EMPTY_OPERAND } from './literals.ts';
import { hasValues, StepColumn, type VectorOperand } from './operand.ts';
import type { Evaluator } from './session.ts';

export function isTrim(operator: BinaryExpr['operator']): operator is '</' | '>/' {
  return operator === '</' || operator === '>/';
}

export async function openTrim(evaluator: Evaluator, expr: BinaryExpr, grid: Grid): Promise<VectorOperand> {
  const { session } = evaluator;
  const before = session.samplesCurrent;
  let both = true;
  for (const side of [expr.left, expr.right]) {
    const operand = await evaluator.vector(side, grid);
    const column = new StepColumn(grid.steps);
    let any = false;
    for (let i = 0; i < operand.series.length; i++) {
      if (session.isSliceOver()) await session.pause();
      operand.next(column);
      any ||= hasValues(column.kinds, 0, grid.steps);
    }
    both &&= any;
  }
  if (both) session.annotations.incompatibleTypes(expr.operator, 'float', 'float', expr.pos);
  session.settleSamples(before, 0);
  return EMPTY_OPERAND;
}
