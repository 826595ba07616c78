// What says how vectors are grouped and matched: `by`, `without`, `bool`, `on`, `ignoring`, `group_left`, `fill` and their like.
import type { VectorMatching } from '../ast.ts';
import { unquote } from './go-quote.ts';
import { signedNumber } from './number-literal.ts';
import { beginsExpr, isGroupingLabel, type Token } from './token.ts';
import type { TokenStream } from './token-stream.ts';

/** `by (…)` or `without (…)`, if there is one. */
export function parseGrouping(tokens: TokenStream): { without: boolean; labels: string[] } | undefined {
  if (!tokens.is('by') && !tokens.is('without')) return undefined;
  const without = tokens.next().id === 'without';
  return { without, labels: groupingLabels(tokens) };
}

function groupingLabels(tokens: TokenStream): string[] {
  const context = 'grouping opts';
  tokens.expect('(', context, '"("');
  const labels: string[] = [];
  for (;;) {
    if (tokens.accept(')') !== undefined) return labels;
    const token = tokens.peek();
    if (token.kind === 'string') labels.push(quotedLabel(tokens, token));
    else if (isGroupingLabel(token)) labels.push(token.text);
    else tokens.unexpected(context, 'label');
    tokens.next();
    if (tokens.accept(')') !== undefined) return labels;
    tokens.expect(',', context, '"," or ")"');
  }
}

function quotedLabel(tokens: TokenStream, token: Token): string {
  const label = unquote(token.text);
  if (label === '') {
    tokens.fail(token.start, `invalid label name for grouping: ${tokens.quote(label)}`);
  }
  return label;
}

/** What stands between a binary operator and its right side. */
export function parseBinaryModifiers(tokens: TokenStream): { returnBool: boolean; matching: VectorMatching } {
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
    matching = { ...matching, on, labels: groupingLabels(tokens) };
    if (tokens.is('group_left') || tokens.is('group_right')) {
      const cardinality = tokens.next().id === 'group_left' ? 'many-to-one' : 'one-to-many';
      const isOperandNext = beginsExpr(tokens.peek()) && !tokens.is('(');
      matching = { ...matching, cardinality, include: isOperandNext ? [] : groupingLabels(tokens) };
    }
  }
  return { returnBool, matching: fillModifiers(tokens, matching) };
}

function fillModifiers(tokens: TokenStream, matching: VectorMatching): VectorMatching {
  if (tokens.accept('fill') !== undefined) {
    const value = fillValue(tokens);
    return { ...matching, fillLeft: value, fillRight: value };
  }
  let { fillLeft, fillRight } = matching;
  for (;;) {
    if (fillLeft === undefined && tokens.accept('fill_left') !== undefined) fillLeft = fillValue(tokens);
    else if (fillRight === undefined && tokens.accept('fill_right') !== undefined)
      fillRight = fillValue(tokens);
    else return { ...matching, fillLeft, fillRight };
  }
}

function fillValue(tokens: TokenStream): number {
  tokens.expect('(');
  const value = signedNumber(tokens);
  if (value === undefined) return tokens.unexpected();
  tokens.expect(')');
  return value;
}
