// scalar(v): the value of the only series at each step, NaN where there is none or more than one.
import type { Grid } from '../grid.ts';
import { FLOAT, StepColumn, type VectorOperand } from '../operand.ts';
import type { QuerySession } from '../session.ts';

export async function scalarOf(
  session: QuerySession,
  input: VectorOperand,
  grid: Grid,
): Promise<Float64Array<ArrayBuffer>> {
  const values = new Float64Array(grid.steps).fill(Number.NaN);
  const counts = new Uint8Array(grid.steps);
  const column = new StepColumn(grid.steps);
  for (let i = 0; i < input.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    input.next(column);
    for (let k = 0; k < grid.steps; k++) {
      if (column.kinds[k] !== FLOAT || counts[k]! > 1) continue;
      counts[k] = counts[k]! + 1;
      values[k] = counts[k] === 1 ? column.values[k]! : Number.NaN;
    }
  }
  return values;
}
