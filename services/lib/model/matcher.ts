// Label matchers and how they decide. Regular expressions have RE2 semantics, are anchored at both ends and let the
// dot match a newline; literals, alternations of literals, prefixes, suffixes and infixes never reach the engine.
import { RE2JS, RE2JSException } from 're2js';
import { AppError } from '../core/errors.ts';
import { isLegacyLabelName, quoteLabel } from './labels.ts';

export type MatchOperator = '=' | '!=' | '=~' | '!~';

/** One condition on one label. */
export interface Matcher {
  readonly name: string;
  readonly operator: MatchOperator;
  /** Value or regular expression. */
  readonly value: string;
}

/** Longest regular expression accepted, in UTF-16 code units: RE2's cost grows with the program. */
export const REGEX_LENGTH_MAX = 16_384;

/** Says whether a label value satisfies a matcher; the empty string stands for an absent label. */
export type ValuePredicate = (value: string) => boolean;

/**
 * Compiles a matcher.
 *
 * @throws AppError `bad_data` when the regular expression is malformed or too long; the message names both.
 */
export function compileMatcher(matcher: Matcher): ValuePredicate {
  const wanted = matcher.value;
  switch (matcher.operator) {
    case '=':
      return (value) => value === wanted;
    case '!=':
      return (value) => value !== wanted;
    case '=~':
      return compileRegex(wanted).matches;
    case '!~': {
      const { matches } = compileRegex(wanted);
      return (value) => !matches(value);
    }
  }
}

/** True when a series without the label satisfies the matcher. */
export function matchesEmpty(matcher: Matcher): boolean {
  return compileMatcher(matcher)('');
}

/** As PromQL prints it. */
export function printMatcher(matcher: Matcher): string {
  const name = isLegacyLabelName(matcher.name) ? matcher.name : quoteLabel(matcher.name);
  return `${name}${matcher.operator}${quoteLabel(matcher.value)}`;
}

export interface CompiledRegex {
  readonly matches: ValuePredicate;
  /** All values that can match, when they are a finite set of literals: look these up instead of scanning. */
  readonly literals: readonly string[] | undefined;
  /** Every match starts with this (may be empty). */
  readonly prefix: string;
}

const META = /[\\.+*?()|[\]{}^$]/;

/**
 * Compiles an anchored RE2 expression, with fast paths for what people write most.
 *
 * @throws AppError `bad_data` as for compileMatcher.
 */
export function compileRegex(source: string): CompiledRegex {
  if (source.length > REGEX_LENGTH_MAX) {
    throw new AppError(
      'bad_data',
      `regular expression of ${source.length} characters is longer than the limit of ${REGEX_LENGTH_MAX}`,
    );
  }
  const literals = literalAlternatives(source);
  if (literals !== undefined) {
    if (literals.length === 1) {
      const only = literals[0]!;
      return { matches: (value) => value === only, literals, prefix: only };
    }
    const set = new Set(literals);
    return { matches: (value) => set.has(value), literals, prefix: '' };
  }
  return affixRegex(source) ?? engineRegex(source);
}

/** `a|b|c` or `(a|b|c)`, all literal. */
function literalAlternatives(source: string): string[] | undefined {
  let body = source;
  if (body.startsWith('(?:') && body.endsWith(')')) body = body.slice(3, -1);
  else if (body.startsWith('(') && body.endsWith(')')) body = body.slice(1, -1);
  const alternatives = body.split('|');
  return alternatives.some((alternative) => META.test(alternative)) ? undefined : alternatives;
}

/** `.*`, `.+`, `lit.*`, `lit.+`, `.*lit`, `.+lit`, `.*lit.*`, `.+lit.+` and mixtures of these. */
function affixRegex(source: string): CompiledRegex | undefined {
  const head = source.startsWith('.*') ? 0 : source.startsWith('.+') ? 1 : -1;
  const rest = head >= 0 ? source.slice(2) : source;
  const tail = rest.endsWith('.*') ? 0 : rest.endsWith('.+') ? 1 : -1;
  const literal = tail >= 0 ? rest.slice(0, -2) : rest;
  if ((head < 0 && tail < 0) || META.test(literal)) return undefined;
  const extra = Math.max(head, 0) + Math.max(tail, 0);
  if (tail < 0) {
    const least = literal.length + extra;
    return { matches: (v) => v.length >= least && v.endsWith(literal), literals: undefined, prefix: '' };
  }
  if (head < 0) {
    const least = literal.length + extra;
    return {
      matches: (v) => v.length >= least && v.startsWith(literal),
      literals: undefined,
      prefix: literal,
    };
  }
  if (literal === '') {
    return {
      matches: extra === 0 ? () => true : (v) => hasCharacters(v, extra),
      literals: undefined,
      prefix: '',
    };
  }
  const from = Math.max(head, 0);
  const behind = Math.max(tail, 0);
  return {
    matches: (v) => {
      const at = behind === 0 ? v.indexOf(literal, from) : v.slice(0, v.length - 1).indexOf(literal, from);
      return at >= 0;
    },
    literals: undefined,
    prefix: '',
  };
}

/** At least `count` characters; a surrogate pair is one. */
function hasCharacters(value: string, count: number): boolean {
  if (count <= 1) return value.length >= count;
  let seen = 0;
  for (const _ of value) if (++seen >= count) return true;
  return false;
}

function engineRegex(source: string): CompiledRegex {
  let program: RE2JS;
  try {
    program = RE2JS.compile(source, RE2JS.DOTALL);
  } catch (caught) {
    const reason =
      caught instanceof RE2JSException || caught instanceof Error ? caught.message : String(caught);
    throw new AppError('bad_data', `invalid regular expression ${quoteLabel(source)}: ${reason}`, {
      cause: caught,
    });
  }
  const stop = source.search(META);
  const alternates = source.includes('|');
  const quantified = stop > 0 && /[*?+{]/.test(source[stop]!);
  const prefix = alternates || stop < 0 ? '' : source.slice(0, quantified ? stop - 1 : stop);
  return {
    matches: (value) => value.startsWith(prefix) && program.matches(value),
    literals: undefined,
    prefix,
  };
}
