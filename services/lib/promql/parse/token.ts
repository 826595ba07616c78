// Tokens of PromQL and their names in error messages.
import { goQuote } from './go-quote.ts';

/**
 * Groups of tokens as Prometheus' messages tell them apart.
 *
 * - `word`: start, end, step, range, min_of, max_of: functions, modifiers of `@`, or plain names.
 * - `sign`: brackets, comma, colon and `=`.
 */
export type TokenKind =
  | 'end'
  | 'identifier'
  | 'metric-identifier'
  | 'number'
  | 'duration'
  | 'string'
  | 'operator'
  | 'aggregator'
  | 'keyword'
  | 'word'
  | 'sign';

export interface Token {
  readonly kind: TokenKind;
  /** Operator, keyword, word or sign in lower case; empty for the other kinds. */
  readonly id: string;
  /** As written. */
  readonly text: string;
  /** UTF-16 offsets, half-open. */
  readonly start: number;
  readonly end: number;
}

/** Kinds of the words that mean something; looked up in lower case. */
export const KEYWORDS: ReadonlyMap<string, TokenKind> = new Map<string, TokenKind>([
  ...entries('operator', 'and or unless atan2'),
  ...entries(
    'aggregator',
    'sum avg count min max group stddev stdvar topk bottomk count_values quantile limitk limit_ratio',
  ),
  ...entries('keyword', 'offset smoothed anchored by without on ignoring group_left group_right'),
  ...entries('keyword', 'fill fill_left fill_right bool'),
  ...entries('word', 'start end step range min_of max_of'),
  ...entries('number', 'inf nan'),
]);

function entries(kind: TokenKind, words: string): [string, TokenKind][] {
  return words.split(' ').map((word) => [word, kind]);
}

/** Words that cannot name a metric, though they may stand where an expression begins. */
const NOT_METRICS: ReadonlySet<string> = new Set([
  'bool',
  'on',
  'ignoring',
  'group_left',
  'group_right',
  'atan2',
]);

/** Whether the token can name a metric. */
export function isMetricName(token: Token): boolean {
  switch (token.kind) {
    case 'identifier':
    case 'metric-identifier':
    case 'aggregator':
    case 'word':
      return true;
    case 'keyword':
      return !NOT_METRICS.has(token.id);
    case 'operator':
      return token.id === 'and' || token.id === 'or' || token.id === 'unless';
    default:
      return false;
  }
}

/** Whether an expression can begin with the token. */
export function beginsExpr(token: Token): boolean {
  switch (token.kind) {
    case 'number':
    case 'duration':
    case 'string':
      return true;
    default:
      return isMetricName(token) || ['(', '{', '+', '-'].includes(token.id);
  }
}

/** Whether the token can name a label in `by (…)`, `on (…)` and their like. */
export function isGroupingLabel(token: Token): boolean {
  switch (token.kind) {
    case 'identifier':
    case 'metric-identifier':
    case 'aggregator':
    case 'word':
      return true;
    case 'keyword':
      return token.id !== 'without';
    case 'operator':
      return /^[a-z]/.test(token.id);
    default:
      return false;
  }
}

/** Longest piece of a string or number in a message, in characters. */
const EXCERPT_MAX = 10;

/** The token as error messages name it: `identifier "x"`, `<op:+>`, `end of input`. */
export function describeToken(token: Token): string {
  switch (token.kind) {
    case 'end':
      return 'end of input';
    case 'identifier':
      return `identifier ${goQuote(token.text)}`;
    case 'metric-identifier':
      return `metric identifier ${goQuote(token.text)}`;
    case 'operator':
      return `<op:${token.text}>`;
    case 'aggregator':
      return `<aggr:${token.text}>`;
    case 'keyword':
      return `<${token.text}>`;
    case 'word':
    case 'sign':
      return excerpt(token.text);
    case 'string':
    case 'number':
    case 'duration':
      return `${token.kind} ${excerpt(token.text)}`;
  }
}

function excerpt(text: string): string {
  if (Buffer.byteLength(text) <= EXCERPT_MAX) return goQuote(text);
  return `${goQuote(Array.from(text).slice(0, EXCERPT_MAX).join(''))}...`;
}
