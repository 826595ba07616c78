// Binary operators on floats, by column: one loop per operator, so that each is compiled for itself. Go's rules where
// JavaScript's differ (powers of one).
import { unreachable } from '../../../core/assert.ts';
import type { BinaryOperator } from '../../ast.ts';

export type ArithmeticOperator = '+' | '-' | '*' | '/' | '%' | '^' | 'atan2';
export type ComparisonOperator = '==' | '!=' | '<' | '>' | '<=' | '>=';

export type TrimOperator = '</' | '>/';

export function isTrim(operator: BinaryOperator): operator is TrimOperator {
  return operator === '</' || operator === '>/';
}

const COMPARISONS = new Set<string>(['==', '!=', '<', '>', '<=', '>=']);

export function isComparison(operator: BinaryOperator): operator is ComparisonOperator {
  return COMPARISONS.has(operator);
}

export function isSetOperator(operator: BinaryOperator): operator is 'and' | 'or' | 'unless' {
  return operator === 'and' || operator === 'or' || operator === 'unless';
}

/** Power as Go defines it: 1 to any power is 1, and so is −1 to an infinite one. */
export function power(base: number, exponent: number): number {
  if (base === 1) return 1;
  if (base === -1 && Math.abs(exponent) === Number.POSITIVE_INFINITY) return 1;
  return base ** exponent;
}

/** out[o + i] = a[ao + i] ⊕ b[bo + i] for i in [0, n). `out` may be `a` or `b`. */
export function computeColumn(
  operator: ArithmeticOperator,
  a: Float64Array,
  ao: number,
  b: Float64Array,
  bo: number,
  out: Float64Array,
  o: number,
  n: number,
): void {
  switch (operator) {
    case '+':
      for (let i = 0; i < n; i++) out[o + i] = a[ao + i]! + b[bo + i]!;
      return;
    case '-':
      for (let i = 0; i < n; i++) out[o + i] = a[ao + i]! - b[bo + i]!;
      return;
    case '*':
      for (let i = 0; i < n; i++) out[o + i] = a[ao + i]! * b[bo + i]!;
      return;
    case '/':
      for (let i = 0; i < n; i++) out[o + i] = a[ao + i]! / b[bo + i]!;
      return;
    case '%':
      for (let i = 0; i < n; i++) out[o + i] = a[ao + i]! % b[bo + i]!;
      return;
    case '^':
      for (let i = 0; i < n; i++) out[o + i] = power(a[ao + i]!, b[bo + i]!);
      return;
    case 'atan2':
      for (let i = 0; i < n; i++) out[o + i] = Math.atan2(a[ao + i]!, b[bo + i]!);
      return;
    default:
      unreachable(operator);
  }
}

/** out[i] = 1 where a[ao + i] compares to b[bo + i], else 0. */
export function compareColumn(
  operator: ComparisonOperator,
  a: Float64Array,
  ao: number,
  b: Float64Array,
  bo: number,
  out: Uint8Array,
  n: number,
): void {
  switch (operator) {
    case '==':
      for (let i = 0; i < n; i++) out[i] = a[ao + i]! === b[bo + i]! ? 1 : 0;
      return;
    case '!=':
      for (let i = 0; i < n; i++) out[i] = a[ao + i]! !== b[bo + i]! ? 1 : 0;
      return;
    case '<':
      for (let i = 0; i < n; i++) out[i] = a[ao + i]! < b[bo + i]! ? 1 : 0;
      return;
    case '>':
      for (let i = 0; i < n; i++) out[i] = a[ao + i]! > b[bo + i]! ? 1 : 0;
      return;
    case '<=':
      for (let i = 0; i < n; i++) out[i] = a[ao + i]! <= b[bo + i]! ? 1 : 0;
      return;
    case '>=':
      for (let i = 0; i < n; i++) out[i] = a[ao + i]! >= b[bo + i]! ? 1 : 0;
      return;
    default:
      unreachable(operator);
  }
}
