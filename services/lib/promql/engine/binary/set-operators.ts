// and, or, unless: which steps of a series stay depends on whether its signature has a value on the other side.
import type { BinaryExpr, VectorMatching } from '../../ast.ts';
import type { Grid } from '../grid.ts';
import { mergeSameLabels } from '../names.ts';
import { ABSENT, countPresent, StepColumn, type VectorOperand } from '../operand.ts';
import type { Evaluator, QuerySession } from '../session.ts';
import { StepTable, StoredOperand } from '../step-table.ts';
import { signaturesOf } from './matching.ts';

/** Opens `vector and|or|unless vector`. */
export async function openSetOperator(
  evaluator: Evaluator,
  expr: BinaryExpr,
  matching: VectorMatching,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const before = session.samplesCurrent;
  const left = await evaluator.vector(expr.left, grid);
  const right = await evaluator.vector(expr.right, grid);
  const signatures = signaturesOf(matching, left.series, right.series);
  const present = new SignatureSteps(session, signatures.count, grid.steps);
  const table = new StepTable(session, grid.steps);
  const column = new StepColumn(grid.steps);
  if (expr.operator === 'or') {
    await collect(session, left, column, (i) => {
      present.add(signatures.left[i]!, column);
      table.append(column);
    });
    await collect(session, right, column, (i) => {
      present.keep(signatures.right[i]!, column, false);
      table.append(column);
    });
  } else {
    // Prometheus reads the left side first.
    const saidOfRight = await session.annotations.apart(() =>
      collect(session, right, column, (i) => present.add(signatures.right[i]!, column)),
    );
    await collect(session, left, column, (i) => {
      present.keep(signatures.left[i]!, column, expr.operator === 'and');
      table.append(column);
    });
    session.annotations.absorb(saidOfRight);
  }
  const series = expr.operator === 'or' ? [...left.series, ...right.series] : left.series;
  settle(session, before, table);
  const operand = new StoredOperand({ series, table });
  return expr.operator === 'or' ? mergeSameLabels(session, operand, grid) : operand;
}

async function collect(
  session: QuerySession,
  operand: VectorOperand,
  column: StepColumn,
  take: (index: number) => void,
): Promise<void> {
  for (let i = 0; i < operand.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    operand.next(column);
    take(i);
  }
}

function settle(session: QuerySession, before: number, table: StepTable): void {
  let held = 0;
  for (let row = 0; row < table.rows; row++) {
    held += countPresent(table.kinds(row), table.offset(row), table.steps);
  }
  session.settleSamples(before, held);
}

/** For each signature, the steps at which it has a value. */
class SignatureSteps {
  readonly #flags: Uint8Array;
  readonly #steps: number;

  constructor(session: QuerySession, signatures: number, steps: number) {
    session.charge(signatures * steps);
    this.#flags = new Uint8Array(signatures * steps);
    this.#steps = steps;
  }

  add(signature: number, column: StepColumn): void {
    const offset = signature * this.#steps;
    for (let k = 0; k < this.#steps; k++) if (column.kinds[k] !== ABSENT) this.#flags[offset + k] = 1;
  }

  /** Removes the values at steps where the signature's presence is not `wanted`. */
  keep(signature: number, column: StepColumn, wanted: boolean): void {
    const offset = signature * this.#steps;
    const flag = wanted ? 1 : 0;
    for (let k = 0; k < this.#steps; k++) if (this.#flags[offset + k] !== flag) column.kinds[k] = ABSENT;
  }
}
