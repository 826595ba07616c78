// Cuts an expression into parts, which can be evaluated over disjoint sets of series, and what merges their results. The
// merge is the tree itself: where it stands on the root of a part, it takes the parts' results instead of going on down.
// Pure: the same expression and options give the same plan everywhere, so what travels is the query's text and a number.

import { METRIC_NAME } from '../../model/labels.ts';
import type { Aggregation, Call, Expr, Subquery, VectorSelector } from '../ast.ts';
import { stringArgument, unwrap } from '../engine/expressions.ts';
import type { PromqlFeatures } from '../features.ts';
import { typeOf } from '../parse/expression-type.ts';
import { isPureScalar, isSeriesWiseCall, keepsNames } from './series-wise.ts';

export interface CutOptions {
  readonly features: PromqlFeatures;
  /**
   * `all`: also parts that answer a row per series (selectors and functions of each series). `reducing`: only those that
   * answer less, the aggregations. Measured at 8,000 series and 250 steps: bytes and merge of `rate(x[5m])` cost more than the
   * function itself (147 ms and 91 ms), those of `sum by (a) (rate(x[5m]))` a twentieth of it (5 and 96). Default `all`.
   */
  readonly parts?: 'all' | 'reducing';
}

/** What a part's rows are, and so how they are merged. */
export type PartKind =
  /** A row per series: functions of each series alone. */
  | 'series'
  /** Sums and moments per group: sum, avg, min, max, count, group, stddev, stdvar. */
  | 'cells'
  /** What may be among the k selected: topk, bottomk, limitk. */
  | 'candidates'
  /** Counts per group and value: count_values. */
  | 'counts';

/** An expression that is evaluated over each set of series on its own. */
export interface Part {
  /** Its place in `Plan.parts`. */
  readonly index: number;
  readonly kind: PartKind;
  /** A node of the plan's expression. */
  readonly root: Expr;
  /** The one selector that the part reads. */
  readonly selector: VectorSelector;
  /** Subqueries around the root, outermost first: the root is evaluated at the steps of the last. */
  readonly subqueries: readonly Subquery[];
  /**
   * Names, types and units of metrics are dropped below the root: two series that differ in nothing but type or unit would
   * become one without anybody noticing. A part that finds such labels declines.
   */
  readonly refusesMetadata: boolean;
}

/** A cut expression. Parts do not contain each other. */
export interface Plan {
  readonly expr: Expr;
  /** At least one; in the order in which evaluation comes to them. */
  readonly parts: readonly Part[];
}

/** Cuts a type-checked expression; undefined when nothing in it is distributive. */
export function cut(expr: Expr, options: CutOptions): Plan | undefined {
  const type = typeOf(expr);
  if (type !== 'vector' && type !== 'scalar') return undefined;
  const cutter = new Cutter(options);
  cutter.visit(expr, []);
  return cutter.parts.length === 0 ? undefined : { expr, parts: cutter.parts };
}

/** What is known of an expression that works on each series alone. */
interface SeriesWise {
  readonly selector: VectorSelector;
  /** Some operation drops metric names. */
  readonly dropsNames: boolean;
  /** The outermost operation may give equal labels to series of any two sets, and must find that out. */
  readonly mayCollide: boolean;
}

class Cutter {
  readonly parts: Part[] = [];
  readonly #options: CutOptions;

  constructor(options: CutOptions) {
    this.#options = options;
  }

  visit(expr: Expr, subqueries: readonly Subquery[]): void {
    const node = unwrap(expr);
    const found = this.#partOf(node);
    if (found !== undefined) {
      this.parts.push({ index: this.parts.length, root: node, subqueries, ...found });
      return;
    }
    switch (node.kind) {
      case 'aggregation':
        if (node.param !== undefined) this.visit(node.param, subqueries);
        this.visit(node.expr, subqueries);
        return;
      case 'binary':
        this.visit(node.left, subqueries);
        this.visit(node.right, subqueries);
        return;
      case 'unary':
        this.visit(node.expr, subqueries);
        return;
      case 'subquery':
        this.visit(node.expr, [...subqueries, node]);
        return;
      case 'call':
        // The second argument of info() is no expression of its own.
        for (const argument of node.func === 'info' ? node.args.slice(0, 1) : node.args) {
          this.visit(argument, subqueries);
        }
        return;
      default:
    }
  }

  #partOf(node: Expr): Omit<Part, 'index' | 'root' | 'subqueries'> | undefined {
    if (typeOf(node) !== 'vector') return undefined;
    const own = this.#seriesWise(node);
    if (own !== undefined) {
      if (this.#options.parts === 'reducing') return undefined;
      // The outermost operation's own labels are compared by the merge.
      const below = this.#operandOf(node);
      return { kind: 'series', selector: own.selector, refusesMetadata: below?.dropsNames ?? false };
    }
    if (node.kind !== 'aggregation') return undefined;
    const kind = kindOf(node);
    if (kind === undefined || (node.param !== undefined && !isParameter(node.param))) return undefined;
    const input = this.#seriesWise(unwrap(node.expr));
    if (input === undefined || input.mayCollide) return undefined;
    return { kind, selector: input.selector, refusesMetadata: input.dropsNames };
  }

  /** The vector that an operation on each series works on, where it is series-wise itself. */
  #operandOf(node: Expr): SeriesWise | undefined {
    const operand = vectorOperandOf(node);
    return operand === undefined ? undefined : this.#seriesWise(operand);
  }

  #seriesWise(expr: Expr): SeriesWise | undefined {
    const node = unwrap(expr);
    if (node.kind === 'vector-selector') return { selector: node, dropsNames: false, mayCollide: false };
    const operand = vectorOperandOf(node);
    if (operand === undefined) return undefined;
    const below = this.#seriesWise(operand);
    // What may collide has to be the root of a part: operations above might hide the collision.
    if (below === undefined || below.mayCollide) return undefined;
    if (overwritesItsSource(node)) return { ...below, mayCollide: true };
    if (keepsNames(node) || this.#options.features.delayedNameRemoval) return below;
    return { ...below, dropsNames: true, mayCollide: !hasOneName(below.selector) };
  }
}

function kindOf({ operator }: Aggregation): PartKind | undefined {
  switch (operator) {
    case 'topk':
    case 'bottomk':
    case 'limitk':
      return 'candidates';
    case 'count_values':
      return 'counts';
    case 'quantile':
    case 'limit_ratio':
      return undefined;
    default:
      return 'cells';
  }
}

/** A parameter that every part finds by itself. */
function isParameter(param: Expr): boolean {
  return unwrap(param).kind === 'string' || isPureScalar(param);
}

/** The vector (or the inside of the range) that an operation on each series alone works on; else undefined. */
function vectorOperandOf(expr: Expr): Expr | undefined {
  const node = unwrap(expr);
  switch (node.kind) {
    case 'unary':
      return node.expr;
    case 'binary': {
      if (node.matching !== undefined || typeOf(node) !== 'vector') return undefined;
      const scalarLeft = typeOf(node.left) === 'scalar';
      const scalar = scalarLeft ? node.left : node.right;
      return isPureScalar(scalar) ? (scalarLeft ? node.right : node.left) : undefined;
    }
    case 'aggregation':
      // Each series is in or out by its own labels.
      return node.operator === 'limit_ratio' && isPureScalar(node.param!) ? node.expr : undefined;
    case 'call':
      return isSeriesWiseCall(node) ? operandOfCall(node) : undefined;
    default:
      return undefined;
  }
}

function operandOfCall(call: Call): Expr | undefined {
  let operand: Expr | undefined;
  for (const argument of call.args) {
    const inner = unwrap(argument);
    const type = typeOf(inner);
    if (type === 'vector' || type === 'matrix') operand = inner;
    else if (type === 'scalar' && !isPureScalar(inner)) return undefined;
  }
  if (operand?.kind === 'matrix-selector') return operand.vector;
  return operand?.kind === 'subquery' ? operand.expr : operand;
}

/** Every series of the selector has the same metric name. */
function hasOneName({ matchers }: VectorSelector): boolean {
  return matchers.some(({ name, operator }) => name === METRIC_NAME && operator === '=');
}

/** label_replace() or label_join() that writes one of the labels that it reads: series that have it lose what told them apart. */
function overwritesItsSource(node: Expr): boolean {
  if (node.kind !== 'call') return false;
  const { func, args } = node;
  if (func === 'label_replace') return stringArgument(node, 1) === stringArgument(node, 3);
  if (func !== 'label_join') return false;
  const destination = stringArgument(node, 1);
  return args.some((_, i) => i > 2 && stringArgument(node, i) === destination);
}
