// Durations and arithmetic on them: in brackets, and behind `offset`, where only a part of the grammar holds without
// parentheses.
import type { DurationExpr, Position } from '../ast.ts';
import { isDurationInRange, literalValue } from './number-literal.ts';
import type { Token } from './token.ts';
import type { TokenStream } from './token-stream.ts';

type Operator = '+' | '-' | '*' | '/' | '%' | '^';

const PRECEDENCE: Readonly<Record<Operator, number>> = { '+': 1, '-': 1, '*': 2, '/': 2, '%': 2, '^': 3 };
const SIGN_PRECEDENCE = 3;

export interface DurationContext {
  readonly tokens: TokenStream;
  /** promql-duration-expr. */
  readonly isArithmeticAllowed: boolean;
  /** How an unexpected token is reported. */
  readonly context: string;
  readonly expected: string;
}

/** A whole duration, as it stands in brackets. */
export function parseDurationExpr(at: DurationContext): DurationExpr {
  return toTopLevel(parseBinary(at, 1));
}

/** A duration in brackets, which must be positive where that can be seen already. */
export function parsePositiveDuration(at: DurationContext): DurationExpr {
  const duration = parseBinary(at, 1);
  // Not a comparison with <= alone: NaN is refused too.
  if (duration.kind === 'literal' && !(duration.durationMs > 0)) {
    at.tokens.fail(duration.pos.start, 'duration must be greater than 0');
  }
  return toTopLevel(duration);
}

/**
 * The duration behind `offset`. A number, a function or a sign with one of these ends it: `foo offset 5m + 2` is an
 * addition to `foo`. Behind a leading parenthesis, and behind a second sign, the arithmetic goes on.
 */
export function parseOffsetDuration(at: DurationContext): DurationExpr {
  const { tokens } = at;
  const sign = tokens.is('+') || tokens.is('-') ? tokens.next() : undefined;
  if (sign === undefined && tokens.is('(')) return parseDurationExpr(at);
  if (sign === undefined) return toTopLevel(parseAtom(at));
  if (tokens.is('+') || tokens.is('-')) {
    const operand = tokens.nested(() => parseBinary(at, SIGN_PRECEDENCE));
    return toTopLevel(parseOperators(at, applySign(at, sign, operand), 1));
  }
  return toTopLevel(applySign(at, sign, parseAtom(at, sign.start)));
}

function parseBinary(at: DurationContext, minimum: number): DurationExpr {
  return parseOperators(at, parseSigned(at), minimum);
}

/** What follows the first operand, as far as its operators bind as tightly as `minimum`. */
function parseOperators(at: DurationContext, first: DurationExpr, minimum: number): DurationExpr {
  const { tokens } = at;
  let left = first;
  for (;;) {
    const operator = tokens.peek().id as Operator;
    const precedence = Object.hasOwn(PRECEDENCE, operator) ? PRECEDENCE[operator] : 0;
    if (precedence === 0 || precedence < minimum) return left;
    const token = tokens.next();
    const right = tokens.nested(() => parseBinary(at, operator === '^' ? precedence : precedence + 1));
    requireArithmetic(at, left);
    if (right.kind === 'literal' && right.durationMs === 0) {
      if (operator === '/') tokens.fail(token.start, 'division by zero');
      if (operator === '%') tokens.fail(token.start, 'modulo by zero');
    }
    const pos = { start: left.pos.start, end: right.pos.end };
    left = { kind: 'operation', operator, left, right, wrapped: false, pos };
  }
}

function parseSigned(at: DurationContext): DurationExpr {
  const { tokens } = at;
  if (!tokens.is('+') && !tokens.is('-')) return parseAtom(at);
  const sign = tokens.next();
  return applySign(
    at,
    sign,
    tokens.nested(() => parseBinary(at, SIGN_PRECEDENCE)),
  );
}

function parseAtom(at: DurationContext, from = at.tokens.peek().start): DurationExpr {
  const { tokens } = at;
  const token = tokens.peek();
  if (token.kind === 'number' || token.kind === 'duration') return parseLiteral(tokens, from);
  switch (token.id) {
    case 'step':
    case 'range':
      return parseQueryDuration(at, token.id);
    case 'min_of':
    case 'max_of':
      return parseChoice(at, token.id);
    case '(':
      return parseWrapped(at);
    default:
      return tokens.unexpected(at.context, at.expected);
  }
}

/** @param from  Offset of the sign before it, or of the literal itself. */
function parseLiteral(tokens: TokenStream, from: number): DurationExpr {
  const token = tokens.next();
  const seconds = literalValue(tokens, token);
  if (!isDurationInRange(seconds)) tokens.fail(from, 'duration out of range');
  return makeLiteral(seconds * 1000, token.kind === 'duration', { start: token.start, end: token.end });
}

function makeLiteral(durationMs: number, isDuration: boolean, pos: Position): DurationExpr {
  return { kind: 'literal', durationMs, isDuration, pos };
}

function parseQueryDuration(at: DurationContext, operator: 'step' | 'range'): DurationExpr {
  const { tokens } = at;
  const { start } = tokens.next();
  tokens.expect('(', at.context, at.expected);
  const { end } = tokens.expect(')', at.context, at.expected);
  const duration: DurationExpr = { kind: 'operation', operator, wrapped: false, pos: { start, end } };
  requireArithmetic(at, duration);
  return duration;
}

function parseChoice(at: DurationContext, name: 'min_of' | 'max_of'): DurationExpr {
  const { tokens } = at;
  const { start } = tokens.next();
  tokens.expect('(', at.context, at.expected);
  const left = tokens.nested(() => parseBinary(at, 1));
  tokens.expect(',', at.context, at.expected);
  const right = tokens.nested(() => parseBinary(at, 1));
  const { end } = tokens.expect(')', at.context, at.expected);
  const operator = name === 'min_of' ? 'min' : 'max';
  const duration: DurationExpr = {
    kind: 'operation',
    operator,
    left,
    right,
    wrapped: false,
    pos: { start, end },
  };
  requireArithmetic(at, duration);
  return duration;
}

function parseWrapped(at: DurationContext): DurationExpr {
  const { tokens } = at;
  const { start } = tokens.next();
  const inner = tokens.nested(() => parseBinary(at, 1));
  const { end } = tokens.expect(')', at.context, at.expected);
  requireArithmetic(at, inner);
  const pos = { start, end };
  if (inner.kind === 'literal') return { ...inner, pos };
  return { ...inner, wrapped: true, pos };
}

function applySign(at: DurationContext, sign: Token, operand: DurationExpr): DurationExpr {
  const pos = { start: sign.start, end: operand.pos.end };
  if (operand.kind === 'literal') {
    const durationMs = sign.id === '-' ? -operand.durationMs : operand.durationMs;
    return makeLiteral(durationMs, operand.isDuration ?? false, pos);
  }
  if (sign.id === '+') return operand;
  requireArithmetic(at, operand);
  return { kind: 'operation', operator: '-', right: operand, wrapped: false, pos };
}

function requireArithmetic(at: DurationContext, operand: DurationExpr): void {
  if (!at.isArithmeticAllowed) {
    at.tokens.fail(operand.pos.start, 'experimental duration expression is not enabled');
  }
}

/** A duration that stands alone has whole milliseconds, cut from whole nanoseconds as Prometheus does. */
function toTopLevel(duration: DurationExpr): DurationExpr {
  if (duration.kind !== 'literal') return duration;
  const durationMs = Math.trunc(Math.round(duration.durationMs * 1e6) / 1e6);
  return { kind: 'literal', durationMs, pos: duration.pos };
}
