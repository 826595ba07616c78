// What follows an expression and belongs to it: ranges and subqueries in brackets, `offset`, `@`, `anchored`, `smoothed`.
import type { AtModifier, DurationExpr, Expr, Subquery, VectorSelector } from '../ast.ts';
import { formatF } from '../engine/go-format.ts';
import type { PromqlFeatures } from '../features.ts';
import { type DurationContext, parseOffsetDuration, parsePositiveDuration } from './duration-parser.ts';
import { signedNumber } from './number-literal.ts';
import type { TokenStream } from './token-stream.ts';

const DURATION_EXPECTED = 'number, duration, step(), or range()';

/** Applies to an expression the ranges, subqueries, offsets and `@` modifiers that follow it. */
export function parsePostfix(tokens: TokenStream, features: PromqlFeatures, primary: Expr): Expr {
  let expr = primary;
  for (;;) {
    switch (tokens.peek().id) {
      case '[':
        expr = parseBrackets(tokens, features, expr);
        break;
      case 'offset':
        expr = parseOffset(tokens, features, expr);
        break;
      case '@':
        expr = parseAt(tokens, expr);
        break;
      case 'anchored':
      case 'smoothed':
        expr = extend(tokens, features, expr, tokens.next().id as 'anchored' | 'smoothed');
        break;
      default:
        return expr;
    }
  }
}

function durationContext(
  tokens: TokenStream,
  features: PromqlFeatures,
  context: string,
  expected: string,
): DurationContext {
  return {
    tokens,
    isArithmeticAllowed: features.durationExpressions,
    context,
    expected,
  };
}

function parseBrackets(tokens: TokenStream, features: PromqlFeatures, expr: Expr): Expr {
  const open = tokens.next();
  const range = parsePositiveDuration(
    durationContext(tokens, features, 'subquery or range selector', DURATION_EXPECTED),
  );
  const { start } = expr.pos;
  const close = tokens.accept(']');
  if (close !== undefined) {
    return {
      kind: 'matrix-selector',
      vector: selectorForRange(tokens, expr, open.start),
      range,
      pos: { start, end: close.end },
    };
  }
  tokens.expect(':', 'subquery or range', '":" or "]"');
  const step = tokens.is(']') ? undefined : subqueryStep(tokens, features);
  const { end } = tokens.expect(']', 'subquery selector', '"]"');
  return { kind: 'subquery', expr, range, step, offset: undefined, at: undefined, pos: { start, end } };
}

function subqueryStep(tokens: TokenStream, features: PromqlFeatures): DurationExpr {
  const expected = 'number, duration, step(), range(), or "]"';
  return parsePositiveDuration(durationContext(tokens, features, 'subquery selector', expected));
}

function selectorForRange(tokens: TokenStream, expr: Expr, bracket: number): VectorSelector {
  if (expr.kind !== 'vector-selector') {
    return tokens.fail(bracket, 'ranges only allowed for vector selectors');
  }
  if (expr.offset !== undefined) tokens.fail(bracket, 'no offset modifiers allowed before range');
  if (expr.at?.kind === 'time') tokens.fail(bracket, 'no @ modifiers allowed before range');
  return expr;
}

function parseOffset(tokens: TokenStream, features: PromqlFeatures, expr: Expr): Expr {
  tokens.next();
  const offset = parseOffsetDuration(durationContext(tokens, features, 'offset', DURATION_EXPECTED));
  const target = modified(tokens, expr, 'offset modifier');
  // A literal offset of zero counts as none, as in Prometheus.
  const before = target.offset;
  if (before !== undefined && !(before.kind === 'literal' && before.durationMs === 0)) {
    tokens.fail(expr.pos.start, 'offset may not be set multiple times');
  }
  return modify(tokens, expr, { offset });
}

function parseAt(tokens: TokenStream, expr: Expr): Expr {
  tokens.next();
  const at = timestamp(tokens, expr);
  if (modified(tokens, expr, '@ modifier').at !== undefined) {
    tokens.fail(expr.pos.start, '@ <timestamp> may not be set multiple times');
  }
  return modify(tokens, expr, { at });
}

function timestamp(tokens: TokenStream, expr: Expr): AtModifier {
  if (tokens.is('start') || tokens.is('end')) {
    const kind = tokens.next().id as 'start' | 'end';
    tokens.expect('(', '@', 'timestamp');
    tokens.expect(')', '@', 'timestamp');
    return { kind };
  }
  const seconds = signedNumber(tokens);
  if (seconds === undefined) return tokens.unexpected('@', 'timestamp');
  if (!Number.isFinite(seconds) || Math.abs(seconds) >= 2 ** 63) {
    tokens.fail(expr.pos.start, `timestamp out of bounds for @ modifier: ${formatF(seconds)}`);
  }
  return { kind: 'time', timeMs: Math.round(seconds * 1000) };
}

/** The selector or subquery that a modifier belongs to. */
function modified(tokens: TokenStream, expr: Expr, modifier: string): VectorSelector | Subquery {
  switch (expr.kind) {
    case 'vector-selector':
    case 'subquery':
      return expr;
    case 'matrix-selector':
      return expr.vector;
    default:
      return tokens.fail(
        expr.pos.start,
        `${modifier} must be preceded by an instant vector selector or range vector selector or a subquery`,
      );
  }
}

function modify(
  tokens: TokenStream,
  expr: Expr,
  change: { readonly offset: DurationExpr } | { readonly at: AtModifier },
): Expr {
  const pos = { start: expr.pos.start, end: tokens.lastEnd };
  switch (expr.kind) {
    case 'vector-selector':
    case 'subquery':
      return { ...expr, ...change, pos };
    case 'matrix-selector':
      return { ...expr, vector: { ...expr.vector, ...change }, pos };
    default:
      return expr;
  }
}

function extend(
  tokens: TokenStream,
  features: PromqlFeatures,
  expr: Expr,
  extension: 'anchored' | 'smoothed',
): Expr {
  const { start } = expr.pos;
  if (!features.extendedRangeSelectors) {
    tokens.fail(start, `${extension} modifier is experimental and not enabled`);
  }
  if (expr.kind === 'subquery') {
    tokens.fail(start, `${extension} modifier is not supported for subqueries`);
  }
  if (expr.kind !== 'vector-selector' && expr.kind !== 'matrix-selector') {
    return tokens.fail(start, `${extension} modifier not implemented`);
  }
  const vector = expr.kind === 'matrix-selector' ? expr.vector : expr;
  if (vector.extension !== undefined && vector.extension !== extension) {
    tokens.fail(start, 'anchored and smoothed modifiers cannot be used together');
  }
  const extended = { ...vector, extension };
  return expr.kind === 'matrix-selector' ? { ...expr, vector: extended } : extended;
}
