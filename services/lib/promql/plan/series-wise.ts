// Which operations look at each series alone, and which scalars need no series at all.
import type { Call, Expr } from '../ast.ts';
import { unwrap } from '../engine/expressions.ts';
import { typeOf } from '../parse/expression-type.ts';

/** Functions of vectors and ranges that need more than one series at a time, or are about what is not there. */
const NEEDS_ALL_SERIES = new Set([
  'absent',
  'absent_over_time',
  'histogram_quantile',
  'histogram_quantiles',
  'histogram_fraction',
  'info',
  'sort',
  'sort_desc',
  'sort_by_label',
  'sort_by_label_desc',
  'vector',
  'scalar',
]);

/** Range functions whose results are still the metric. */
const NAME_KEEPING = new Set(['first_over_time', 'last_over_time', 'label_replace', 'label_join']);

/** Whether a call works on each series of its argument alone. Its scalars are another question. */
export function isSeriesWiseCall(call: Call): boolean {
  return typeOf(call) === 'vector' && !NEEDS_ALL_SERIES.has(call.func);
}

/** Whether the result of a series-wise operation has the metric's name as its operand had it. */
export function keepsNames(expr: Expr): boolean {
  const node = unwrap(expr);
  switch (node.kind) {
    case 'unary':
      return node.operator === '+';
    case 'binary': {
      const isFilter = ['==', '!=', '<', '>', '<=', '>='].includes(node.operator) && !node.returnBool;
      return isFilter || node.operator === '</' || node.operator === '>/';
    }
    case 'call':
      return NAME_KEEPING.has(node.func);
    default:
      return true;
  }
}

/** A scalar that is the same whatever the series: no `scalar(v)` in it. */
export function isPureScalar(expr: Expr): boolean {
  const node = unwrap(expr);
  switch (node.kind) {
    case 'number':
      return true;
    case 'unary':
      return isPureScalar(node.expr);
    case 'binary':
      return isPureScalar(node.left) && isPureScalar(node.right);
    case 'call':
      return typeOf(node) === 'scalar' && node.func !== 'scalar' && node.args.every(isPureScalar);
    default:
      return false;
  }
}
