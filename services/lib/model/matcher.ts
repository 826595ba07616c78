// Label matchers and how they decide. Regular expressions have RE2 semantics, are anchored at both ends and let the
// dot match a newline; literals, prefixes, suffixes, infixes and alternations of these never reach the engine.
import { RE2JS } from 're2js';
import { AppError } from '../core/errors.ts';
import { isLegacyLabelName, quoteLabel } from './labels.ts';
import { type Glob, GlobTable, matchesGlob, tryAlternatives } from './regex-alternatives.ts';
import { compileProgram } from './regex-program.ts';

export type MatchOperator = '=' | '!=' | '=~' | '!~';

/** One condition on one label. */
export interface Matcher {
  readonly name: string;
  readonly operator: MatchOperator;
  /** Value or regular expression. */
  readonly value: string;
}

/**
 * Longest regular expression accepted, in UTF-16 code units. A dashboard that selects all of a thousand pods writes 40 KiB of
 * literals; what reaches the engine is bounded by REGEX_COST_MAX besides.
 */
export const REGEX_LENGTH_MAX = 65_536;

/** Says whether a label value satisfies a matcher; the empty string stands for an absent label. */
export type ValuePredicate = (value: string) => boolean;

/**
 * Compiles a matcher.
 *
 * @throws AppError `bad_data` when the regular expression is malformed, too long or too dear; the message says which.
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

/** Characters that mean something in an expression. */
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
  const alternatives = tryAlternatives(source);
  if (alternatives === undefined || alternatives.globs.length === 0) return engineRegex(source);
  const { globs, rest } = alternatives;
  const exact = new Set<string>();
  const patterns: Glob[] = [];
  for (const glob of globs) {
    if (glob.gaps.length === 0) exact.add(glob.literals[0]!);
    else patterns.push(glob);
  }
  const engine = rest.length === 0 ? undefined : engineRegex(rest.join('|'));
  if (engine === undefined && patterns.length === 0) return literalsRegex([...exact], exact);
  return {
    matches: decideBy(exact, patterns, engine?.matches),
    literals: undefined,
    prefix: engine === undefined ? commonPrefix(globs) : '',
  };
}

function literalsRegex(literals: readonly string[], set: ReadonlySet<string>): CompiledRegex {
  if (literals.length > 1) {
    return { matches: (value) => set.has(value), literals, prefix: commonPrefixOf(literals) };
  }
  const only = literals[0]!;
  return { matches: (value) => value === only, literals, prefix: only };
}

/** Cheapest first. */
function decideBy(
  exact: ReadonlySet<string>,
  patterns: readonly Glob[],
  engine: ValuePredicate | undefined,
): ValuePredicate {
  const [only] = patterns;
  if (exact.size === 0 && patterns.length === 1 && engine === undefined) {
    const isAnything = only!.literals.length === 2 && only!.literals.join('') === '' && only!.gaps[0] === 0;
    return isAnything ? () => true : (value) => matchesGlob(only!, value);
  }
  const table = new GlobTable(patterns);
  return (value) => exact.has(value) || table.matches(value) || (engine?.(value) ?? false);
}

function commonPrefix(globs: readonly Glob[]): string {
  return commonPrefixOf(globs.map(({ literals }) => literals[0]!));
}

function commonPrefixOf(texts: readonly string[]): string {
  let prefix = texts[0]!;
  for (const text of texts) {
    let length = 0;
    while (length < prefix.length && prefix[length] === text[length]) length++;
    prefix = prefix.slice(0, length);
  }
  return prefix;
}

function engineRegex(source: string): CompiledRegex {
  const program = compileProgram(source, RE2JS.DOTALL);
  const prefix = prefixOf(source);
  return {
    matches: (value) => value.startsWith(prefix) && program.matches(value),
    literals: undefined,
    prefix,
  };
}

/** The plain characters that every match of a well-formed expression begins with. */
function prefixOf(source: string): string {
  const stop = source.search(META);
  // Flags may stand between a character and its repetition, and so may an empty quotation: `a(?i)*`, `a\Q\E*`.
  if (stop < 0 || /\||\(\?|\\Q/.test(source)) return '';
  if (stop === 0 || !/[*?+{]/.test(source[stop]!)) return source.slice(0, stop);
  // The last character is repeated, perhaps not at all. It may be a pair of code units.
  const isPair = /[\udc00-\udfff]/.test(source[stop - 1]!);
  return source.slice(0, stop - (isPair ? 2 : 1));
}
