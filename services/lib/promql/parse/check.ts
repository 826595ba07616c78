// Type checks of a parsed tree, bottom-up, each operand before its operation: the first error is the one that
// Prometheus reports. Settles how the vectors of a binary operation match.
import { METRIC_NAME } from '../../model/labels.ts';
import { matchesEmpty } from '../../model/matcher.ts';
import type {
  Aggregation,
  BinaryExpr,
  BinaryOperator,
  Call,
  Expr,
  ValueType,
  VectorMatching,
  VectorSelector,
} from '../ast.ts';
import { TREE_DEPTH_MAX, typeOf } from './expression-type.ts';
import { FUNCTIONS } from './functions-table.ts';
import { goQuote } from './go-quote.ts';
import { ParseError } from './parse-error.ts';

const COMPARISONS: ReadonlySet<BinaryOperator> = new Set(['==', '!=', '<', '>', '<=', '>=']);
const SET_OPERATORS: ReadonlySet<BinaryOperator> = new Set(['and', 'or', 'unless']);

/** Types as Prometheus' messages name them. */
export const TYPE_NAMES: Readonly<Record<ValueType, string>> = {
  scalar: 'scalar',
  string: 'string',
  vector: 'instant vector',
  matrix: 'range vector',
};

/**
 * Checks a tree whose binary operations still carry their modifiers as written, and settles `matching` in place:
 * undefined unless both sides are vectors, many-to-many for set operators.
 *
 * @returns The type of the expression.
 * @throws ParseError in Prometheus' words.
 */
export function checkExpr(expr: Expr, query: string): ValueType {
  return new Checker(query).check(expr, 1);
}

class Checker {
  readonly #query: string;

  constructor(query: string) {
    this.#query = query;
  }

  check(expr: Expr, depth: number): ValueType {
    if (depth > TREE_DEPTH_MAX) {
      this.#fail(expr, `expression is deeper than the limit of ${TREE_DEPTH_MAX} operations; simplify it`);
    }
    switch (expr.kind) {
      case 'number':
        return 'scalar';
      case 'string':
        return 'string';
      case 'vector-selector':
        this.#checkSelector(expr);
        return 'vector';
      case 'matrix-selector':
        this.#checkSelector(expr.vector);
        return 'matrix';
      case 'subquery': {
        const type = this.check(expr.expr, depth + 1);
        if (type !== 'vector') {
          this.#fail(expr, `subquery is only allowed on instant vector, got ${type} instead`);
        }
        return 'matrix';
      }
      case 'paren':
        return this.check(expr.expr, depth + 1);
      case 'unary': {
        const type = this.check(expr.expr, depth + 1);
        if (type !== 'scalar' && type !== 'vector') {
          this.#fail(
            expr,
            `unary expression only allowed on expressions of type scalar or instant vector, got ${goQuote(TYPE_NAMES[type])}`,
          );
        }
        return type;
      }
      case 'call':
        return this.#checkCall(expr, depth);
      case 'aggregation':
        return this.#checkAggregation(expr, depth);
      case 'binary':
        return this.#checkBinary(expr, depth);
    }
  }

  #checkSelector(selector: VectorSelector): void {
    if (selector.name !== '') {
      const second = selector.matchers.slice(0, -1).find((matcher) => matcher.name === METRIC_NAME);
      if (second !== undefined) {
        this.#fail(
          selector,
          `metric name must not be set twice: ${goQuote(selector.name)} or ${goQuote(second.value)}`,
        );
      }
      return;
    }
    if (selector.matchers.every(matchesEmpty)) {
      this.#fail(selector, 'vector selector must contain at least one non-empty matcher');
    }
  }

  #checkCall(call: Call, depth: number): ValueType {
    const { name, argTypes, variadic, returnType } = FUNCTIONS.get(call.func)!;
    const count = call.args.length;
    const least = variadic === 0 ? argTypes.length : argTypes.length - 1;
    const most = variadic < 0 ? Number.POSITIVE_INFINITY : least + variadic;
    if (variadic === 0 && count !== least) {
      this.#fail(call, `expected ${least} argument(s) in call to ${goQuote(name)}, got ${count}`);
    }
    if (count < least) {
      this.#fail(call, `expected at least ${least} argument(s) in call to ${goQuote(name)}, got ${count}`);
    }
    if (count > most) {
      this.#fail(call, `expected at most ${most} argument(s) in call to ${goQuote(name)}, got ${count}`);
    }
    if (name === 'info' && count > 1) this.#checkInfoSelector(call, call.args[1]!);
    for (let i = 0; i < count; i++) {
      const arg = call.args[i]!;
      if (name === 'info' && i === 1) continue;
      const wanted = argTypes[Math.min(i, argTypes.length - 1)]!;
      this.#expectType(arg, wanted, `call to function ${goQuote(name)}`, depth);
    }
    return returnType;
  }

  /** info's second argument is a set of label matchers, which may all match the empty string. */
  #checkInfoSelector(call: Call, arg: Expr): void {
    const type = typeOf(arg);
    if (type !== 'vector') {
      this.#fail(call, `expected type instant vector in call to function "info", got ${TYPE_NAMES[type]}`);
    }
    if (arg.kind !== 'vector-selector') this.#fail(arg, 'expected label selectors only');
    if (arg.name !== '') this.#fail(arg, 'expected label selectors only, got vector selector instead');
  }

  #checkAggregation(aggregation: Aggregation, depth: number): ValueType {
    this.#expectType(aggregation.expr, 'vector', 'aggregation expression', depth);
    if (aggregation.param !== undefined) {
      const wanted = aggregation.operator === 'count_values' ? 'string' : 'scalar';
      this.#expectType(aggregation.param, wanted, 'aggregation parameter', depth);
    }
    return 'vector';
  }

  #expectType(expr: Expr, wanted: ValueType, context: string, depth: number): void {
    const type = this.check(expr, depth + 1);
    if (type !== wanted) {
      this.#fail(expr, `expected type ${TYPE_NAMES[wanted]} in ${context}, got ${TYPE_NAMES[type]}`);
    }
  }

  #checkBinary(binary: BinaryExpr, depth: number): ValueType {
    const left = this.check(binary.left, depth + 1);
    const right = this.check(binary.right, depth + 1);
    const { operator, returnBool } = binary;
    const matching = binary.matching!;
    const isComparison = COMPARISONS.has(operator);
    const isSetOperator = SET_OPERATORS.has(operator);
    if (returnBool && !isComparison) {
      this.#failAtOperator(binary, 'bool modifier can only be used on comparison operators');
    }
    if (isComparison && !returnBool && left === 'scalar' && right === 'scalar') {
      this.#failAtOperator(binary, 'comparisons between scalars must use BOOL modifier');
    }
    const twice = matching.on ? matching.labels.find((label) => matching.include.includes(label)) : undefined;
    if (twice !== undefined) {
      this.#failAtOperator(binary, `label ${goQuote(twice)} must not occur in ON and GROUP clause at once`);
    }
    this.#expectOperand(binary.left, left);
    this.#expectOperand(binary.right, right);
    if (left === 'vector' && right === 'vector') {
      if (isSetOperator) this.#checkSetMatching(binary, matching);
      settle(binary, isSetOperator ? { ...matching, cardinality: 'many-to-many' } : matching);
      return 'vector';
    }
    if (matching.labels.length > 0) {
      this.#fail(binary, 'vector matching only allowed between instant vectors');
    }
    if (matching.fillLeft !== undefined || matching.fillRight !== undefined) {
      this.#fail(binary, 'filling in missing series only allowed between instant vectors');
    }
    if (isSetOperator) {
      this.#fail(binary, `set operator ${goQuote(operator)} not allowed in binary scalar expression`);
    }
    settle(binary, undefined);
    return left === 'scalar' && right === 'scalar' ? 'scalar' : 'vector';
  }

  #expectOperand(operand: Expr, type: ValueType): void {
    if (type !== 'scalar' && type !== 'vector') {
      this.#fail(operand, 'binary expression must contain only scalar and instant vector types');
    }
  }

  #checkSetMatching(binary: BinaryExpr, matching: VectorMatching): void {
    if (matching.cardinality !== 'one-to-one') {
      this.#fail(binary, `no grouping allowed for ${goQuote(binary.operator)} operation`);
    }
    if (matching.fillLeft !== undefined || matching.fillRight !== undefined) {
      this.#fail(binary, 'filling in missing series not allowed for set operators');
    }
  }

  /** The operator stands behind the left operand and the space that follows it. */
  #failAtOperator(binary: BinaryExpr, reason: string): never {
    let offset = binary.left.pos.end;
    while (' \t\n\r'.includes(this.#query[offset] ?? '.')) offset++;
    throw new ParseError(this.#query, offset, reason);
  }

  #fail(expr: Expr, reason: string): never {
    throw new ParseError(this.#query, expr.pos.start, reason);
  }
}

/** The parser's trees are its own until it hands them out: the one place that writes to one. */
function settle(binary: BinaryExpr, matching: VectorMatching | undefined): void {
  (binary as { matching: VectorMatching | undefined }).matching = matching;
}
