// A tree as Prometheus' /api/v1/parse_query answers it: its names, its nulls, durations in milliseconds.

import type { AtModifier, DurationExpr, Expr, VectorMatching, VectorSelector } from '../ast.ts';
import { formatDecimal } from '../engine/go-format.ts';
import { FUNCTIONS } from './functions-table.ts';

export type AstJson = { readonly type: string } & Readonly<Record<string, unknown>>;

/** The tree as data for JSON.stringify. */
export function astToJson(expr: Expr): AstJson {
  switch (expr.kind) {
    case 'number':
      return { type: 'numberLiteral', val: formatDecimal(expr.value) };
    case 'string':
      // Bytes that are no text (go-quote.ts) are U+FFFD in JSON.
      return { type: 'stringLiteral', val: expr.value.toWellFormed() };
    case 'vector-selector':
      return { type: 'vectorSelector', ...selector(expr) };
    case 'matrix-selector':
      return {
        type: 'matrixSelector',
        range: wholeMs(expr.range),
        rangeExpr: operation(expr.range),
        ...selector(expr.vector),
      };
    case 'subquery':
      return {
        type: 'subquery',
        expr: astToJson(expr.expr),
        range: wholeMs(expr.range),
        rangeExpr: operation(expr.range),
        offset: wholeMs(expr.offset),
        offsetExpr: operation(expr.offset),
        step: wholeMs(expr.step),
        stepExpr: operation(expr.step),
        ...pinned(expr.at),
      };
    case 'call':
      return { type: 'call', func: signature(expr.func), args: expr.args.map(astToJson) };
    case 'aggregation':
      return {
        type: 'aggregation',
        op: expr.operator,
        expr: astToJson(expr.expr),
        param: expr.param === undefined ? null : astToJson(expr.param),
        grouping: expr.grouping,
        without: expr.without,
      };
    case 'binary':
      return {
        type: 'binaryExpr',
        op: expr.operator,
        lhs: astToJson(expr.left),
        rhs: astToJson(expr.right),
        matching: expr.matching === undefined ? null : matching(expr.matching),
        bool: expr.returnBool,
      };
    case 'unary':
      return { type: 'unaryExpr', op: expr.operator, expr: astToJson(expr.expr) };
    case 'paren':
      return { type: 'parenExpr', expr: astToJson(expr.expr) };
  }
}

function selector({ name, matchers, offset, at, extension }: VectorSelector) {
  return {
    name,
    offset: wholeMs(offset),
    offsetExpr: operation(offset),
    matchers: matchers.map((matcher) => ({
      name: matcher.name,
      value: matcher.value.toWellFormed(),
      type: matcher.operator,
    })),
    ...pinned(at),
    anchored: extension === 'anchored',
    smoothed: extension === 'smoothed',
  };
}

function pinned(at: AtModifier | undefined) {
  return {
    timestamp: at?.kind === 'time' ? at.timeMs : null,
    startOrEnd: at === undefined || at.kind === 'time' ? null : at.kind,
  };
}

function matching({ cardinality, labels, on, include, fillLeft, fillRight }: VectorMatching) {
  return {
    card: cardinality,
    labels,
    on,
    include,
    fillValues: { lhs: fillLeft ?? null, rhs: fillRight ?? null },
  };
}

function signature(name: string) {
  const { argTypes, variadic, returnType } = FUNCTIONS.get(name)!;
  return { name, argTypes, variadic, returnType };
}

/** What is absent, or has to be worked out when the query runs, is 0. */
function wholeMs(duration: DurationExpr | undefined): number {
  return duration?.kind === 'literal' ? Math.trunc(duration.durationMs) : 0;
}

/** Null for what is known without running the query. */
function operation(duration: DurationExpr | undefined): AstJson | null {
  return duration?.kind === 'operation' ? durationToJson(duration) : null;
}

/** Literals in seconds. */
function durationToJson(duration: DurationExpr): AstJson {
  if (duration.kind === 'literal') {
    const val = formatDecimal(duration.durationMs / 1000);
    return { type: 'numberLiteral', val, duration: duration.isDuration === true };
  }
  const { operator, left, right, wrapped } = duration;
  return {
    type: 'durationExpr',
    op: operator,
    lhs: left === undefined ? null : durationToJson(left),
    rhs: right === undefined ? null : durationToJson(right),
    wrapped,
  };
}
