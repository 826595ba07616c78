// Matchers between their wire form and the model's.
import { AppError } from '../core/errors.ts';
import type { Matcher, MatchOperator } from '../model/matcher.ts';
import { MatchType, type WireMatcher } from './contracts.ts';

const TYPE_OF: Readonly<Record<MatchOperator, MatchType>> = {
  '=': MatchType.MATCH_TYPE_EQUAL,
  '!=': MatchType.MATCH_TYPE_NOT_EQUAL,
  '=~': MatchType.MATCH_TYPE_REGEX,
  '!~': MatchType.MATCH_TYPE_NOT_REGEX,
};

/** Matchers as sent. */
export function toWireMatchers(matchers: readonly Matcher[]): WireMatcher[] {
  return matchers.map(({ name, operator, value }) => ({ type: TYPE_OF[operator], name, value }));
}

/**
 * Matchers as received.
 *
 * @throws AppError `bad_data` on an unknown type or an empty name.
 */
export function fromWireMatchers(matchers: readonly WireMatcher[]): Matcher[] {
  return matchers.map(({ type, name, value }) => {
    if (name === '') throw new AppError('bad_data', 'a matcher has an empty label name');
    return { name, operator: operatorOf(type), value };
  });
}

function operatorOf(type: MatchType): MatchOperator {
  switch (type) {
    case MatchType.MATCH_TYPE_EQUAL:
      return '=';
    case MatchType.MATCH_TYPE_NOT_EQUAL:
      return '!=';
    case MatchType.MATCH_TYPE_REGEX:
      return '=~';
    case MatchType.MATCH_TYPE_NOT_REGEX:
      return '!~';
    default:
      throw new AppError('bad_data', `unknown matcher type ${type}`);
  }
}
