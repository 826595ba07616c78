// The parser of PromQL: a query text becomes a checked tree (../ast.ts). Recursive descent with operator precedence;
// what follows which, and the wording of every error, are those of Prometheus 3.14's grammar.
import type { Matcher } from '../../model/matcher.ts';
import type {
  Aggregation,
  AggregationOperator,
  BinaryExpr,
  BinaryOperator,
  Call,
  Expr,
  VectorMatching,
} from '../ast.ts';
import type { PromqlFeatures } from '../features.ts';
import { checkExpr } from './check.ts';
import { FUNCTIONS } from './functions-table.ts';
import { unquote } from './go-quote.ts';
import { parseBinaryModifiers, parseGrouping } from './matching-parser.ts';
import { literalValue } from './number-literal.ts';
import { ParseError } from './parse-error.ts';
import { parsePostfix } from './postfix-parser.ts';
import { parseSelector } from './selector-parser.ts';
import { beginsExpr, isMetricName, type Token } from './token.ts';
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
      const { returnBool, matching } = parseBinaryModifiers(tokens);
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
    if (!tokens.is('+') && !tokens.is('-')) return parsePostfix(tokens, this.#features, this.#primary());
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
      grouping: parseGrouping(this.#tokens),
      args: this.#arguments(),
    }));
    const { without, labels } = grouping ?? parseGrouping(this.#tokens) ?? { without: false, labels: [] };
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
}

function hasFill(matching: VectorMatching): boolean {
  return matching.fillLeft !== undefined || matching.fillRight !== undefined;
}
