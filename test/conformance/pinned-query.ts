// Queries with `@` on their selectors: upstream's runner asks every instant query so, at other times, for the same answer.
import type { Expr, Subquery, VectorSelector } from '../../services/lib/promql/ast.ts';

const STEP_DEPENDENT = new Set(
  'days_in_month day_of_month day_of_week day_of_year hour minute month year predict_linear time timestamp start_timestamp start end'.split(
    ' ',
  ),
);

/** The expression with `@ timeMs` on every selector that has none, or undefined where its value depends on the time. */
export function pinSelectors(expr: Expr, timeMs: number): Expr | undefined {
  let dependent = false;
  const at = { kind: 'time', timeMs } as const;
  const pin = <T extends VectorSelector | Subquery>(node: T): T =>
    node.at === undefined ? { ...node, at } : node;
  const visit = (node: Expr): Expr => {
    switch (node.kind) {
      case 'vector-selector':
        return pin(node);
      case 'matrix-selector':
        return { ...node, vector: pin(node.vector) };
      case 'subquery':
        // What is inside a pinned subquery is left alone.
        return pin(node);
      case 'call':
        dependent ||= STEP_DEPENDENT.has(node.func);
        return { ...node, args: node.args.map(visit) };
      case 'aggregation':
        return {
          ...node,
          expr: visit(node.expr),
          param: node.param === undefined ? undefined : visit(node.param),
        };
      case 'binary':
        return { ...node, left: visit(node.left), right: visit(node.right) };
      case 'unary':
      case 'paren':
        return { ...node, expr: visit(node.expr) };
      case 'number':
      case 'string':
        return node;
    }
  };
  const pinned = visit(expr);
  return dependent || dependsInside(expr) ? undefined : pinned;
}

/** A step-dependent call anywhere, also inside of subqueries. */
function dependsInside(expr: Expr): boolean {
  switch (expr.kind) {
    case 'subquery':
    case 'unary':
    case 'paren':
      return dependsInside(expr.expr);
    case 'call':
      return STEP_DEPENDENT.has(expr.func) || expr.args.some(dependsInside);
    case 'aggregation':
      return dependsInside(expr.expr) || (expr.param !== undefined && dependsInside(expr.param));
    case 'binary':
      return dependsInside(expr.left) || dependsInside(expr.right);
    default:
      return false;
  }
}
