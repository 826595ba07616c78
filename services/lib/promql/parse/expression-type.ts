// The type of an expression, without a look at whether its operands have theirs.
import type { Expr, ValueType } from '../ast.ts';
import { FUNCTIONS } from './functions-table.ts';

/**
 * Deepest tree: chains such as `a + b + c …` make one as deep as they are long, and whoever walks a tree does so on
 * the stack.
 */
export const TREE_DEPTH_MAX = 1500;

/** @param levels  Deeper than that, which no tree is that was checked, everything is a vector. */
export function typeOf(expr: Expr, levels = TREE_DEPTH_MAX): ValueType {
  if (levels === 0) return 'vector';
  switch (expr.kind) {
    case 'number':
      return 'scalar';
    case 'string':
      return 'string';
    case 'matrix-selector':
    case 'subquery':
      return 'matrix';
    case 'call':
      return FUNCTIONS.get(expr.func)?.returnType ?? 'vector';
    case 'paren':
    case 'unary':
      return typeOf(expr.expr, levels - 1);
    case 'binary':
      return typeOf(expr.left, levels - 1) === 'scalar' && typeOf(expr.right, levels - 1) === 'scalar'
        ? 'scalar'
        : 'vector';
    case 'vector-selector':
    case 'aggregation':
      return 'vector';
  }
}
