// Vector selectors: a metric name, matchers in braces, or both.
import { AppError } from '../../core/errors.ts';
import { METRIC_NAME } from '../../model/labels.ts';
import { compileMatcher, type Matcher, type MatchOperator } from '../../model/matcher.ts';
import type { VectorSelector } from '../ast.ts';
import { unquote } from './go-quote.ts';
import type { Token } from './token.ts';
import type { TokenStream } from './token-stream.ts';

const CONTEXT = 'label matching';
const OPERATORS: ReadonlySet<string> = new Set(['=', '!=', '=~', '!~']);

/** The selector that begins with `nameToken`, or with a brace when that is undefined. */
export function parseSelector(tokens: TokenStream, nameToken: Token | undefined): VectorSelector {
  const name = nameToken?.text ?? '';
  const start = nameToken?.start ?? tokens.peek().start;
  const matchers = nameToken === undefined || tokens.is('{') ? parseMatchers(tokens) : [];
  // Last, as in Prometheus: the type check looks for a second name among those before it.
  if (nameToken !== undefined) matchers.push({ name: METRIC_NAME, operator: '=', value: name });
  return {
    kind: 'vector-selector',
    name,
    matchers,
    offset: undefined,
    at: undefined,
    extension: undefined,
    pos: { start, end: tokens.lastEnd },
  };
}

function parseMatchers(tokens: TokenStream): Matcher[] {
  tokens.next();
  const matchers: Matcher[] = [];
  if (tokens.accept('}') !== undefined) return matchers;
  for (;;) {
    matchers.push(parseMatcher(tokens));
    if (tokens.accept('}') !== undefined) return matchers;
    tokens.expect(',', CONTEXT, '"," or "}"');
    if (tokens.accept('}') !== undefined) return matchers;
  }
}

function parseMatcher(tokens: TokenStream): Matcher {
  const label = tokens.peek();
  if (label.kind !== 'identifier' && label.kind !== 'string') {
    tokens.unexpected(CONTEXT, 'identifier or "}"');
  }
  tokens.next();
  const name = label.kind === 'string' ? unquote(label.text) : label.text;
  if (!OPERATORS.has(tokens.peek().id)) {
    // A string alone is the metric's name.
    if (label.kind === 'string') return { name: METRIC_NAME, operator: '=', value: name };
    tokens.unexpected(CONTEXT, 'label matching operator');
  }
  const operator = tokens.next().id as MatchOperator;
  if (tokens.peek().kind !== 'string') tokens.unexpected(CONTEXT, 'string');
  const matcher: Matcher = { name, operator, value: unquote(tokens.next().text) };
  checkRegex(tokens, matcher, label.start);
  return matcher;
}

function checkRegex(tokens: TokenStream, matcher: Matcher, start: number): void {
  if (matcher.operator !== '=~' && matcher.operator !== '!~') return;
  try {
    compileMatcher(matcher);
  } catch (caught) {
    if (!(caught instanceof AppError)) throw caught;
    const reason = caught.cause instanceof Error ? caught.cause.message : caught.message;
    // Our engine writes the flag that lets the dot match a newline into the expression that it quotes.
    tokens.fail(start, reason.replace('`(?s)', '`'));
  }
}
