// Two series of a join's "one" side with the same signature and a value at the same step: an error, if there is anything
// to match at that step.
import { AppError } from '../../../core/errors.ts';
import { printLabelSet } from '../../../model/labels.ts';
import type { VectorMatching } from '../../ast.ts';
import { ABSENT, StepColumn, type VectorOperand } from '../operand.ts';
import type { QuerySession } from '../session.ts';
import { StoredOperand, type StoredVector, storeVector } from '../step-table.ts';
import { mark } from './join-columns.ts';
import { matchedLabels } from './matching.ts';

/** The sides of a join. */
export interface JoinSides {
  readonly session: QuerySession;
  readonly matching: VectorMatching;
  readonly steps: number;
  /** Where the "one" side stands, for messages. */
  readonly side: 'left' | 'right';
  readonly one: StoredVector;
  /** Rows of the "one" side by signature. */
  readonly bySignature: readonly (readonly number[])[];
  readonly many: VectorOperand;
  /** Missing partners are filled in: then every step has something to match. */
  readonly isFilled: boolean;
}

/** Rows that meet, by step; -1 where none do. */
interface Conflicts {
  readonly first: Int32Array;
  readonly second: Int32Array;
}

/**
 * Throws for the first conflict at a step where there is anything to match. That takes a look at the "many" side first,
 * which is only stored when there are conflicts: answers what to read it from.
 *
 * @throws AppError `execution`.
 */
export async function rejectConflicts(sides: JoinSides): Promise<VectorOperand> {
  const conflicts = findConflicts(sides);
  if (conflicts === undefined) return sides.many;
  const many = await storeVector(sides.session, sides.many, new StepColumn(sides.steps));
  const present = new Uint8Array(sides.steps);
  for (let row = 0; row < many.series.length; row++) {
    const offset = many.table.offset(row);
    mark(many.table.kinds(row).subarray(offset, offset + sides.steps), present);
  }
  for (let k = 0; k < sides.steps; k++) {
    if (conflicts.second[k]! < 0 || !(sides.isFilled || present[k] === 1)) continue;
    throw conflictError(sides, conflicts.first[k]!, conflicts.second[k]!);
  }
  return new StoredOperand(many);
}

/** At each step the conflict whose second row comes first. */
function findConflicts({ session, one, bySignature, steps }: JoinSides): Conflicts | undefined {
  let found: Conflicts | undefined;
  for (const rows of bySignature) {
    if (rows.length < 2) continue;
    for (let k = 0; k < steps; k++) {
      const present = rows.filter((row) => one.table.kinds(row)[one.table.offset(row) + k] !== ABSENT);
      if (present.length < 2) continue;
      if (found === undefined) {
        session.charge(steps * 8);
        found = { first: new Int32Array(steps), second: new Int32Array(steps).fill(-1) };
      }
      const second = present[1]!;
      if (found.second[k]! >= 0 && found.second[k]! <= second) continue;
      found.first[k] = present[0]!;
      found.second[k] = second;
    }
  }
  return found;
}

function conflictError({ one, matching, side }: JoinSides, first: number, second: number): AppError {
  const labels = one.series[second]!.labels;
  const group = matchedLabels(matching, labels);
  return new AppError(
    'execution',
    `found duplicate series for the match group ${printLabelSet(group)} on the ${side} hand-side of the operation: ` +
      `[${printLabelSet(labels)}, ${printLabelSet(one.series[first]!.labels)}];many-to-many matching not allowed: ` +
      'matching labels must be unique on one side',
  );
}
