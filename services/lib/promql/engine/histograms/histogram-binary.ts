// Binary operators where at least one side is a native histogram, one pair of values at a time.
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { BinaryOperator, Position } from '../../ast.ts';
import type { Annotations } from '../annotations.ts';
import { trimHistogram } from './histogram-trim.ts';

/** A histogram as the result, `true` or `false` for a comparison, undefined for no result. */
export type PairResult = FloatHistogram | boolean | undefined;

/** left ⊕ right; a number stands for a float sample. Says why where there is no result. */
export function combinePair(
  operator: BinaryOperator,
  left: FloatHistogram | number,
  right: FloatHistogram | number,
  annotations: Annotations,
  at: Position,
): PairResult {
  if (typeof left === 'number') {
    if (typeof right === 'number') {
      annotations.incompatibleTypes(operator, 'float', 'float', at);
      return undefined;
    }
    if (operator === '*') return right.copy().scale(left).compact();
    annotations.incompatibleTypes(operator, 'float', 'histogram', at);
    return undefined;
  }
  if (typeof right === 'number') {
    switch (operator) {
      case '*':
        return left.copy().scale(right).compact();
      case '/':
        return left.copy().divide(right).compact();
      case '</':
      case '>/':
        return trimHistogram(left.copy(), right, operator === '</');
      default:
        annotations.incompatibleTypes(operator, 'histogram', 'float', at);
        return undefined;
    }
  }
  switch (operator) {
    case '+':
    case '-':
      return addPair(operator, left, right, annotations, at);
    case '==':
      return left.equals(right);
    case '!=':
      return !left.equals(right);
    default:
      annotations.incompatibleTypes(operator, 'histogram', 'histogram', at);
      return undefined;
  }
}

function addPair(
  operator: '+' | '-',
  left: FloatHistogram,
  right: FloatHistogram,
  annotations: Annotations,
  at: Position,
): FloatHistogram | undefined {
  const result = left.copy();
  const outcome = operator === '+' ? result.add(right) : result.subtract(right);
  if (outcome.incompatible) {
    annotations.incompatibleLayout(operator, at);
    return undefined;
  }
  const operation = operator === '+' ? 'addition' : 'subtraction';
  if (outcome.hintCollision) annotations.resetCollision(operation, at);
  if (outcome.boundsReconciled) annotations.reconciledBounds(operation, at);
  // A difference is no counter any more.
  if (operator === '-') result.hint = 'gauge';
  return result.compact();
}
