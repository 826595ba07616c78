// The parser of PromQL: a query text becomes a checked tree (../ast.ts). Recursive descent with operator precedence;
// what follows which, and the wording of every error, are those of Prometheus 3.14's grammar.
import type { Matcher } from '../../model/matcher.ts';
import type {
  Aggregation,
  AggregationOperator,
  AtModifier,
  BinaryExpr,
  BinaryOperator,
  Call,
  DurationExpr,
  Expr,
  Subquery,
  VectorMatching,
  VectorSelector,
} from '../ast.ts';
import type { PromqlFeatures } from '../features.ts';
import { checkExpr } from './check.ts';
import { type DurationContext, parseOffsetDuration, parsePositiveDuration } from './duration-parser.ts';
import { FUNCTIONS } from './functions-table.ts';
import { unquote } from './go-quote.ts';
import { literalValue } from './number-literal.ts';
import { ParseError } from './parse-error.ts';
import { parseSelector } from './selector-parser.ts';
import { isGroupingLabel, isMetricName, type Token } from './token.ts';
import { TokenStream } from './token-stream.ts';

/** Longest query, UTF-16 code units: far above what people and dashboards write, far below what hurts. */
export const QUERY_LENGTH_MAX = 1 << 20;

const PRECEDENCE: ReadonlyMap<string, number> = new Map([
  ['or', 1],
  ['and', 2],
  ['unless', 2],
  ...['==', '!=', '<', '>', '<=', '>=', '</', '>/'].map((operator): [string, number] => [operator, 3]),
  ['+', 4],
  ['-', 4],
  ...['*', '/', '%', 'atan2'].map((operator): [string, number] => [operator, 5]),
  ['^', 6],
]);
/** A sign binds as loosely as `*`, so its operand takes powers only. */
const SIGN_OPERAND_PRECEDENCE = 6;

const AGGREGATIONS_WITH_PARAM: ReadonlySet<string> = new Set([
  'topk',
  'bottomk',
  'count_values',
  'quantile',
  'limitk',
  'limit_ratio',
]);
const EXPERIMENTAL_AGGREGATIONS: ReadonlySet<string> = new Set(['limitk', 'limit_ratio']);

const DURATION_EXPECTED = 'number, duration, step(), or range()';

/**
 * Parses and type-checks a query.
 *
 * @throws ParseError (an AppError `bad_data`) with Prometheus' message.
 */
export function parseExpr(query: string, features: PromqlFeatures): Expr {
  checkLength(query);
  const parser = new Parser(query, features);
  const expr = parser.parseWhole();
  checkExpr(expr, query);
  return expr;
}

/**
 * Parses a series selector such as `match[]` takes, and answers its matchers.
 *
 * @throws ParseError (an AppError `bad_data`) with Prometheus' message.
 */
export function parseMetricSelector(selector: string): readonly Matcher[] {
  checkLength(selector);
  const tokens = new TokenStream(selector);
  const token = tokens.peek();
  if (token.id !== '{' && !isMetricName(token)) tokens.unexpected();
  const { matchers } = parseSelector(tokens, token.id === '{' ? undefined : tokens.next());
  if (tokens.peek().kind !== 'end') tokens.unexpected();
  return matchers;
}

function checkLength(query: string): void {
  if (query.length > QUERY_LENGTH_MAX) {
    throw new ParseError(
      '',
      0,
      `query of ${query.length} characters is longer than the limit of ${QUERY_LENGTH_MAX}; shorten it`,
    );
  }
}

class Parser {
  readonly #tokens: TokenStream;
  readonly #features: PromqlFeatures;

  constructor(query: string, features: PromqlFeatures) {
    this.#tokens = new TokenStream(query);
    this.#features = features;
  }

  parseWhole(): Expr {
    const tokens = this.#tokens;
    if (tokens.peek().kind === 'end') tokens.fail(0, 'no expression found in input');
    const expr = this.#binary(1);
    if (tokens.peek().kind !== 'end') tokens.unexpected();
    return expr;
  }

  #binary(minimum: number): Expr {
    const tokens = this.#tokens;
    let left = this.#signed();
    for (;;) {
      const operator = tokens.peek().id as BinaryOperator;
      const precedence = PRECEDENCE.get(operator);
      if (precedence === undefined || precedence < minimum) return left;
      tokens.next();
      const { returnBool, matching } = this.#binaryModifiers();
      const right = tokens.nested(() => this.#binary(operator === '^' ? precedence : precedence + 1));
      const pos = { start: left.pos.start, end: right.pos.end };
      const binary: BinaryExpr = { kind: 'binary', operator, left, right, returnBool, matching, pos };
      if (hasFill(matching) && !this.#features.binopFillModifiers) {
        tokens.fail(pos.start, 'binop fill modifiers are experimental and not enabled');
      }
      left = binary;
    }
  }

  #signed(): Expr {
    const tokens = this.#tokens;
    if (!tokens.is('+') && !tokens.is('-')) return this.#postfix(this.#primary());
    const sign = tokens.next();
    const operator = sign.id as '+' | '-';
    const operand = tokens.nested(() => this.#binary(SIGN_OPERAND_PRECEDENCE));
    const pos = { start: sign.start, end: operand.pos.end };
    if (operand.kind === 'number') {
      return { ...operand, value: operator === '-' ? -operand.value : operand.value, pos };
    }
    return { kind: 'unary', operator, expr: operand, pos };
  }

  #primary(): Expr {
    const tokens = this.#tokens;
    const token = tokens.peek();
    const pos = { start: token.start, end: token.end };
    if (token.kind === 'number' || token.kind === 'duration') {
      tokens.next();
      const isDuration = token.kind === 'duration';
      return { kind: 'number', value: literalValue(tokens, token), isDuration, pos };
    }
    if (token.kind === 'string') {
      tokens.next();
      return { kind: 'string', value: unquote(token.text), pos };
    }
    if (token.id === '(') return this.#paren();
    if (token.id === '{') return parseSelector(tokens, undefined);
    if (!isMetricName(token)) tokens.unexpected();
    tokens.next();
    const isCallable = token.kind === 'identifier' || token.kind === 'word';
    if (isCallable && tokens.is('(')) return this.#call(token);
    if (token.kind === 'aggregator' && (tokens.is('(') || tokens.is('by') || tokens.is('without'))) {
      return this.#aggregation(token);
    }
    return parseSelector(tokens, token);
  }

  #paren(): Expr {
    const tokens = this.#tokens;
    const { start } = tokens.next();
    const expr = tokens.nested(() => this.#binary(1));
    const { end } = tokens.expect(')');
    return { kind: 'paren', expr, pos: { start, end } };
  }

  // Calls and aggregations.

  #call(name: Token): Call {
    const tokens = this.#tokens;
    const args = this.#arguments();
    const signature = FUNCTIONS.get(name.text);
    if (signature === undefined) {
      return tokens.fail(name.start, `unknown function with name ${tokens.quote(name.text)}`);
    }
    if (signature.experimental && !this.#features.experimentalFunctions) {
      tokens.fail(name.start, `function ${tokens.quote(name.text)} is not enabled`);
    }
    return { kind: 'call', func: signature.name, args, pos: { start: name.start, end: tokens.lastEnd } };
  }

  #arguments(): Expr[] {
    const tokens = this.#tokens;
    tokens.expect('(');
    const args: Expr[] = [];
    if (tokens.accept(')') !== undefined) return args;
    for (;;) {
      args.push(tokens.nested(() => this.#binary(1)));
      if (tokens.accept(')') !== undefined) return args;
      const comma = tokens.expect(',');
      if (!beginsExpr(tokens.peek())) {
        tokens.fail(comma.start, 'trailing commas not allowed in function call args');
      }
    }
  }

  #aggregation(name: Token): Aggregation {
    const tokens = this.#tokens;
    const operator = name.id as AggregationOperator;
    const { grouping, args } = tokens.within('aggregation', () => ({
      grouping: this.#grouping(),
      args: this.#arguments(),
    }));
    const { without, labels } = grouping ?? this.#grouping() ?? { without: false, labels: [] };
    const wanted = AGGREGATIONS_WITH_PARAM.has(operator) ? 2 : 1;
    if (args.length === 0) tokens.fail(name.start, 'no arguments for aggregate expression provided');
    if (EXPERIMENTAL_AGGREGATIONS.has(operator) && !this.#features.experimentalFunctions) {
      tokens.fail(
        name.start,
        `${operator}() is experimental and must be enabled with --enable-feature=promql-experimental-functions`,
      );
    }
    if (args.length !== wanted) {
      tokens.fail(
        name.start,
        `wrong number of arguments for aggregate expression provided, expected ${wanted}, got ${args.length}`,
      );
    }
    return {
      kind: 'aggregation',
      operator,
      expr: args[wanted - 1]!,
      param: wanted === 2 ? args[0]! : undefined,
      grouping: labels,
      without,
      pos: { start: name.start, end: tokens.lastEnd },
    };
  }

  /** `by (…)` or `without (…)`, if there is one. */
  #grouping(): { without: boolean; labels: string[] } | undefined {
    const tokens = this.#tokens;
    if (!tokens.is('by') && !tokens.is('without')) return undefined;
    const without = tokens.next().id === 'without';
    return { without, labels: this.#groupingLabels() };
  }

  #groupingLabels(): string[] {
    const tokens = this.#tokens;
    const context = 'grouping opts';
    tokens.expect('(', context, '"("');
    const labels: string[] = [];
    for (;;) {
      if (tokens.accept(')') !== undefined) return labels;
      const token = tokens.peek();
      if (token.kind === 'string') labels.push(this.#quotedLabel(token));
      else if (isGroupingLabel(token)) labels.push(token.text);
      else tokens.unexpected(context, 'label');
      tokens.next();
      if (tokens.accept(')') !== undefined) return labels;
      tokens.expect(',', context, '"," or ")"');
    }
  }

  #quotedLabel(token: Token): string {
    const label = unquote(token.text);
    if (label === '') {
      this.#tokens.fail(token.start, `invalid label name for grouping: ${this.#tokens.quote(label)}`);
    }
    return label;
  }

  // Modifiers of binary operators.

  #binaryModifiers(): { returnBool: boolean; matching: VectorMatching } {
    const tokens = this.#tokens;
    const returnBool = tokens.accept('bool') !== undefined;
    let matching: VectorMatching = {
      cardinality: 'one-to-one',
      on: false,
      labels: [],
      include: [],
      fillLeft: undefined,
      fillRight: undefined,
    };
    if (tokens.is('on') || tokens.is('ignoring')) {
      const on = tokens.next().id === 'on';
      matching = { ...matching, on, labels: this.#groupingLabels() };
      if (tokens.is('group_left') || tokens.is('group_right')) {
        const cardinality = tokens.next().id === 'group_left' ? 'many-to-one' : 'one-to-many';
        matching = { ...matching, cardinality, include: tokens.is('(') ? this.#groupingLabels() : [] };
      }
    }
    return { returnBool, matching: this.#fillModifiers(matching) };
  }

  #fillModifiers(matching: VectorMatching): VectorMatching {
    const tokens = this.#tokens;
    if (tokens.accept('fill') !== undefined) {
      const value = this.#fillValue();
      return { ...matching, fillLeft: value, fillRight: value };
    }
    let { fillLeft, fillRight } = matching;
    for (;;) {
      if (fillLeft === undefined && tokens.accept('fill_left') !== undefined) fillLeft = this.#fillValue();
      else if (fillRight === undefined && tokens.accept('fill_right') !== undefined)
        fillRight = this.#fillValue();
      else return { ...matching, fillLeft, fillRight };
    }
  }

  #fillValue(): number {
    const tokens = this.#tokens;
    tokens.expect('(');
    const value = this.#signedNumber();
    if (value === undefined) return tokens.unexpected();
    tokens.expect(')');
    return value;
  }

  /** A number with or without a sign; undefined when the next tokens are none. */
  #signedNumber(): number | undefined {
    const tokens = this.#tokens;
    const sign = tokens.is('+') || tokens.is('-') ? tokens.next().id : '';
    const token = tokens.peek();
    if (token.kind !== 'number' && token.kind !== 'duration') return undefined;
    tokens.next();
    const value = literalValue(tokens, token);
    return sign === '-' ? -value : value;
  }

  // What follows an expression.

  #postfix(primary: Expr): Expr {
    const tokens = this.#tokens;
    let expr = primary;
    for (;;) {
      switch (tokens.peek().id) {
        case '[':
          expr = this.#brackets(expr);
          break;
        case 'offset':
          expr = this.#offset(expr);
          break;
        case '@':
          expr = this.#at(expr);
          break;
        case 'anchored':
        case 'smoothed':
          expr = this.#extension(expr, tokens.next().id as 'anchored' | 'smoothed');
          break;
        default:
          return expr;
      }
    }
  }

  #durationContext(context: string, expected: string): DurationContext {
    return {
      tokens: this.#tokens,
      isArithmeticAllowed: this.#features.durationExpressions,
      context,
      expected,
    };
  }

  #brackets(expr: Expr): Expr {
    const tokens = this.#tokens;
    const open = tokens.next();
    const range = parsePositiveDuration(
      this.#durationContext('subquery or range selector', DURATION_EXPECTED),
    );
    const { start } = expr.pos;
    const close = tokens.accept(']');
    if (close !== undefined) {
      return {
        kind: 'matrix-selector',
        vector: this.#selectorForRange(expr, open.start),
        range,
        pos: { start, end: close.end },
      };
    }
    tokens.expect(':', 'subquery or range', '":" or "]"');
    const step = tokens.is(']') ? undefined : this.#subqueryStep();
    const { end } = tokens.expect(']', 'subquery selector', '"]"');
    return { kind: 'subquery', expr, range, step, offset: undefined, at: undefined, pos: { start, end } };
  }

  #subqueryStep(): DurationExpr {
    const expected = 'number, duration, step(), range(), or "]"';
    return parsePositiveDuration(this.#durationContext('subquery selector', expected));
  }

  #selectorForRange(expr: Expr, bracket: number): VectorSelector {
    const tokens = this.#tokens;
    if (expr.kind !== 'vector-selector') {
      return tokens.fail(bracket, 'ranges only allowed for vector selectors');
    }
    if (expr.offset !== undefined) tokens.fail(bracket, 'no offset modifiers allowed before range');
    if (expr.at?.kind === 'time') tokens.fail(bracket, 'no @ modifiers allowed before range');
    return expr;
  }

  #offset(expr: Expr): Expr {
    const tokens = this.#tokens;
    tokens.next();
    const offset = parseOffsetDuration(this.#durationContext('offset', DURATION_EXPECTED));
    const target = this.#modified(expr, 'offset modifier');
    // A literal offset of zero counts as none, as in Prometheus.
    const before = target.offset;
    if (before !== undefined && !(before.kind === 'literal' && before.durationMs === 0)) {
      tokens.fail(expr.pos.start, 'offset may not be set multiple times');
    }
    return this.#modify(expr, { offset });
  }

  #at(expr: Expr): Expr {
    const tokens = this.#tokens;
    tokens.next();
    const at = this.#timestamp(expr);
    if (this.#modified(expr, '@ modifier').at !== undefined) {
      tokens.fail(expr.pos.start, '@ <timestamp> may not be set multiple times');
    }
    return this.#modify(expr, { at });
  }

  #timestamp(expr: Expr): AtModifier {
    const tokens = this.#tokens;
    if (tokens.is('start') || tokens.is('end')) {
      const kind = tokens.next().id as 'start' | 'end';
      tokens.expect('(', '@', 'timestamp');
      tokens.expect(')', '@', 'timestamp');
      return { kind };
    }
    const seconds = this.#signedNumber();
    if (seconds === undefined) return tokens.unexpected('@', 'timestamp');
    if (!Number.isFinite(seconds) || Math.abs(seconds) >= 2 ** 63) {
      tokens.fail(expr.pos.start, `timestamp out of bounds for @ modifier: ${printFixed6(seconds)}`);
    }
    return { kind: 'time', timeMs: Math.round(seconds * 1000) };
  }

  /** The selector or subquery that a modifier belongs to. */
  #modified(expr: Expr, modifier: string): VectorSelector | Subquery {
    switch (expr.kind) {
      case 'vector-selector':
      case 'subquery':
        return expr;
      case 'matrix-selector':
        return expr.vector;
      default:
        return this.#tokens.fail(
          expr.pos.start,
          `${modifier} must be preceded by an instant vector selector or range vector selector or a subquery`,
        );
    }
  }

  #modify(expr: Expr, change: { readonly offset: DurationExpr } | { readonly at: AtModifier }): Expr {
    const pos = { start: expr.pos.start, end: this.#tokens.lastEnd };
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

  #extension(expr: Expr, extension: 'anchored' | 'smoothed'): Expr {
    const { start } = expr.pos;
    const tokens = this.#tokens;
    if (!this.#features.extendedRangeSelectors) {
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
}

function beginsExpr(token: Token): boolean {
  switch (token.kind) {
    case 'number':
    case 'duration':
    case 'string':
      return true;
    default:
      return isMetricName(token) || ['(', '{', '+', '-'].includes(token.id);
  }
}

function hasFill(matching: VectorMatching): boolean {
  return matching.fillLeft !== undefined || matching.fillRight !== undefined;
}

/** As Go's %f prints it. */
function printFixed6(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return `${BigInt(value)}.000000`;
}
