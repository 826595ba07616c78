// Matcher propagation: in `x / on (job) y{job="api"}` only series of x with that job can have a partner, so only they are
// asked for. Values, annotations and errors stay what they are: a matcher goes only where a series without a partner is never
// noticed. That is not so on the "one" side of a join, whose duplicates are errors, nor on the other one while that side
// may have duplicates, which are errors only if there is anything to match; nor where samples give rise to remarks.
import { METRIC_NAME } from '../../model/labels.ts';
import type { Matcher } from '../../model/matcher.ts';
import type { Aggregation, BinaryExpr, Call, Expr, VectorMatching, VectorSelector } from '../ast.ts';
import { unwrap } from '../engine/expressions.ts';
import { typeOf } from '../parse/expression-type.ts';

/** Functions whose result has labels of its own. */
const OWN_LABELS: ReadonlySet<string> = new Set([
  'absent',
  'absent_over_time',
  'histogram_quantiles',
  'info',
  'label_join',
  'label_replace',
  'vector',
]);
const BUCKET_LABEL = 'le';
/** Aggregations that answer more than a series per group; count_values makes up a label. */
const KEEPS_SERIES: ReadonlySet<string> = new Set([
  'topk',
  'bottomk',
  'limitk',
  'limit_ratio',
  'count_values',
]);

/** The same query, with selectors narrowed by what the other side of a join requires. Pure; keeps positions. */
export function propagateMatchers(expr: Expr): Expr {
  switch (expr.kind) {
    case 'paren':
    case 'unary':
    case 'subquery':
      return { ...expr, expr: propagateMatchers(expr.expr) };
    case 'call':
      return { ...expr, args: expr.args.map(propagateMatchers) };
    case 'aggregation':
      return {
        ...expr,
        expr: propagateMatchers(expr.expr),
        param: expr.param === undefined ? undefined : propagateMatchers(expr.param),
      };
    case 'binary':
      return join({ ...expr, left: propagateMatchers(expr.left), right: propagateMatchers(expr.right) });
    case 'vector-selector':
    case 'matrix-selector':
    case 'number':
    case 'string':
      return expr;
  }
}

/** Whether a selector has a matcher on one of the labels. */
export function matchesAnyOf(expr: Expr, labels: readonly string[]): boolean {
  switch (expr.kind) {
    case 'vector-selector':
      return expr.matchers.some(({ name }) => labels.includes(name));
    case 'matrix-selector':
      return matchesAnyOf(expr.vector, labels);
    case 'paren':
    case 'unary':
    case 'subquery':
      return matchesAnyOf(expr.expr, labels);
    case 'aggregation':
      return (
        matchesAnyOf(expr.expr, labels) || (expr.param !== undefined && matchesAnyOf(expr.param, labels))
      );
    case 'binary':
      return matchesAnyOf(expr.left, labels) || matchesAnyOf(expr.right, labels);
    case 'call':
      return expr.args.some((argument) => matchesAnyOf(argument, labels));
    case 'number':
    case 'string':
      return false;
  }
}

function join(expr: BinaryExpr): BinaryExpr {
  const { operator, matching, left, right } = expr;
  if (matching === undefined || operator === 'or') return expr;
  if (typeOf(left) !== 'vector' || typeOf(right) !== 'vector') return expr;
  if (matching.fillLeft !== undefined || matching.fillRight !== undefined) return expr;
  const isSet = operator === 'and' || operator === 'unless';
  const isOneLeft = matching.cardinality === 'one-to-many';
  const intoLeft = operator === 'and' || (!isSet && !isOneLeft && isUnique(right, matching));
  const intoRight = isSet || (isOneLeft && isUnique(left, matching));
  return {
    ...expr,
    left: intoLeft ? narrow(left, matched(matching, guaranteed(right))) : left,
    right: intoRight ? narrow(right, matched(matching, guaranteed(left))) : right,
  };
}

/** Whether no two series of an expression can have the same matching labels. */
function isUnique(expr: Expr, { labels, on }: VectorMatching): boolean {
  const inner = unwrap(expr);
  if (inner.kind !== 'aggregation' || inner.without || KEEPS_SERIES.has(inner.operator)) return false;
  return inner.grouping.every((label) => labels.includes(label) === on);
}

/** The matchers on labels that partners have in common. */
function matched({ labels, on }: VectorMatching, matchers: readonly Matcher[]): Matcher[] {
  return matchers.filter(({ name }) => labels.includes(name) === on);
}

/** A selector with more matchers; anything else as it is. */
function narrow(expr: Expr, matchers: readonly Matcher[]): Expr {
  if (expr.kind === 'paren') return { ...expr, expr: narrow(expr.expr, matchers) };
  if (expr.kind !== 'vector-selector') return expr;
  const added = matchers.filter((matcher) => !expr.matchers.some((own) => isEqual(own, matcher)));
  return added.length === 0 ? expr : { ...expr, matchers: [...expr.matchers, ...added] };
}

function isEqual(a: Matcher, b: Matcher): boolean {
  return a.name === b.name && a.operator === b.operator && a.value === b.value;
}

/** Matchers that hold for every series of an expression's result, the name apart. */
function guaranteed(expr: Expr): readonly Matcher[] {
  switch (expr.kind) {
    case 'vector-selector':
      return labelMatchers(expr);
    case 'matrix-selector':
      return labelMatchers(expr.vector);
    case 'paren':
    case 'unary':
    case 'subquery':
      return guaranteed(expr.expr);
    case 'call':
      return guaranteedByCall(expr);
    case 'aggregation':
      return guaranteedByAggregation(expr);
    case 'binary':
      return guaranteedByBinary(expr);
    case 'number':
    case 'string':
      return [];
  }
}

function labelMatchers({ matchers }: VectorSelector): readonly Matcher[] {
  return matchers.filter(({ name }) => name !== METRIC_NAME);
}

function guaranteedByCall({ func, args }: Call): readonly Matcher[] {
  if (OWN_LABELS.has(func)) return [];
  const source = args.find((argument) => ['vector', 'matrix'].includes(typeOf(argument)));
  if (source === undefined) return [];
  return guaranteed(unwrap(source)).filter(({ name }) => name !== BUCKET_LABEL);
}

function guaranteedByAggregation({ operator, expr, grouping, without }: Aggregation): readonly Matcher[] {
  const inner = guaranteed(expr);
  if (operator === 'count_values') return [];
  return KEEPS_SERIES.has(operator) ? inner : inner.filter(({ name }) => grouping.includes(name) !== without);
}

function guaranteedByBinary({ operator, left, right }: BinaryExpr): readonly Matcher[] {
  if (typeOf(right) === 'scalar' || operator === 'and' || operator === 'unless') return guaranteed(left);
  return typeOf(left) === 'scalar' ? guaranteed(right) : [];
}
