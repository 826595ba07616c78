// The syntax tree of PromQL, as the parser makes it and the engine reads it. Plain data; positions are byte-free:
// UTF-16 offsets into the query text, half-open, for messages and annotations.
import type { Matcher } from '../model/matcher.ts';

/** Where a node stands in the query text: [start, end). */
export interface Position {
  readonly start: number;
  readonly end: number;
}

export type ValueType = 'scalar' | 'vector' | 'matrix' | 'string';

/** `@` of a selector or subquery. */
export type AtModifier =
  | { readonly kind: 'time'; readonly timeMs: number }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' };

/**
 * A duration as written: a number of milliseconds, or arithmetic that is evaluated once per query (`step()`, `range()`,
 * `5m * 2`). `kind: 'literal'` is by far the most common.
 */
export type DurationExpr =
  | {
      readonly kind: 'literal';
      /** May have a fraction inside an operation: arithmetic is in seconds (`5m * 2` is 300 times 2). */
      readonly durationMs: number;
      /** Written with a unit; matters for printing only. */
      readonly isDuration?: boolean;
      readonly pos: Position;
    }
  | {
      readonly kind: 'operation';
      readonly operator: '+' | '-' | '*' | '/' | '%' | '^' | 'step' | 'range' | 'min' | 'max';
      /** Absent for step(), range() and unary operators. */
      readonly left?: DurationExpr;
      readonly right?: DurationExpr;
      /** Written in parentheses. */
      readonly wrapped: boolean;
      readonly pos: Position;
    };

export interface NumberLiteral {
  readonly kind: 'number';
  readonly value: number;
  /** Written as a duration (`5m`), in seconds in `value`. */
  readonly isDuration: boolean;
  readonly pos: Position;
}

export interface StringLiteral {
  readonly kind: 'string';
  readonly value: string;
  readonly pos: Position;
}

export interface VectorSelector {
  readonly kind: 'vector-selector';
  /** Metric name where it stands before the braces, else empty. It is among the matchers too. */
  readonly name: string;
  readonly matchers: readonly Matcher[];
  readonly offset: DurationExpr | undefined;
  readonly at: AtModifier | undefined;
  /** `anchored` or `smoothed` range or instant selectors (feature flag promql-extended-range-selectors). */
  readonly extension: 'anchored' | 'smoothed' | undefined;
  readonly pos: Position;
}

export interface MatrixSelector {
  readonly kind: 'matrix-selector';
  readonly vector: VectorSelector;
  readonly range: DurationExpr;
  readonly pos: Position;
}

export interface Subquery {
  readonly kind: 'subquery';
  readonly expr: Expr;
  readonly range: DurationExpr;
  /** Absent: the default resolution. */
  readonly step: DurationExpr | undefined;
  readonly offset: DurationExpr | undefined;
  readonly at: AtModifier | undefined;
  readonly pos: Position;
}

export interface Call {
  readonly kind: 'call';
  /** A key of the function table (functions-table.ts). */
  readonly func: string;
  readonly args: readonly Expr[];
  readonly pos: Position;
}

export type AggregationOperator =
  | 'sum'
  | 'avg'
  | 'min'
  | 'max'
  | 'count'
  | 'group'
  | 'stddev'
  | 'stdvar'
  | 'topk'
  | 'bottomk'
  | 'quantile'
  | 'count_values'
  | 'limitk'
  | 'limit_ratio';

export interface Aggregation {
  readonly kind: 'aggregation';
  readonly operator: AggregationOperator;
  readonly expr: Expr;
  /** topk's k, quantile's φ, count_values' label. */
  readonly param: Expr | undefined;
  /** Labels of `by` or `without`, as written. */
  readonly grouping: readonly string[];
  readonly without: boolean;
  readonly pos: Position;
}

export type BinaryOperator =
  | '+'
  | '-'
  | '*'
  | '/'
  | '%'
  | '^'
  | 'atan2'
  | '=='
  | '!='
  | '<'
  | '>'
  | '<='
  | '>='
  /** Trim a native histogram: drop observations above (`</`) or below (`>/`) the right side. */
  | '</'
  | '>/'
  | 'and'
  | 'or'
  | 'unless';

export type Cardinality = 'one-to-one' | 'many-to-one' | 'one-to-many' | 'many-to-many';

export interface VectorMatching {
  readonly cardinality: Cardinality;
  /** True: match on `labels` only; false: on all but `labels`. */
  readonly on: boolean;
  readonly labels: readonly string[];
  /** Labels of group_left or group_right. */
  readonly include: readonly string[];
  /** `fill`, `fill_left`, `fill_right` values. */
  readonly fillLeft: number | undefined;
  readonly fillRight: number | undefined;
}

export interface BinaryExpr {
  readonly kind: 'binary';
  readonly operator: BinaryOperator;
  readonly left: Expr;
  readonly right: Expr;
  /** Comparison returns 0 or 1. */
  readonly returnBool: boolean;
  /** Set when both sides are vectors. */
  readonly matching: VectorMatching | undefined;
  readonly pos: Position;
}

export interface UnaryExpr {
  readonly kind: 'unary';
  readonly operator: '+' | '-';
  readonly expr: Expr;
  readonly pos: Position;
}

export interface ParenExpr {
  readonly kind: 'paren';
  readonly expr: Expr;
  readonly pos: Position;
}

export type Expr =
  | NumberLiteral
  | StringLiteral
  | VectorSelector
  | MatrixSelector
  | Subquery
  | Call
  | Aggregation
  | BinaryExpr
  | UnaryExpr
  | ParenExpr;
