// From matchers to postings, for the head and for blocks alike. Equality and literal alternations are looked up; other
// expressions are decided once per distinct value of their label. Conditions that an absent label satisfies subtract
// what they refuse; the others intersect, the cheap and selective ones first.
import { type CompiledRegex, compileRegex, type Matcher, type ValuePredicate } from '../../model/matcher.ts';
import { EMPTY_POSTINGS, intersectPostings, subtractPostings, unionPostings } from './postings.ts';

/** An index, as far as selection needs it. Series ids are the source's own. */
export interface PostingsSource {
  /**
   * Distinct values of a label, each once, in any order; none for an unknown name. With `prefix`, values that do not
   * start with it may be left out, and need not be. While the loop over it runs, `postings` is asked for the value
   * yielded last.
   */
  labelValues(name: string, prefix?: string): Iterable<string>;
  /** Ids of the series with that label, strictly ascending; empty for an unknown pair. Not changed by the caller. */
  postings(name: string, value: string): Uint32Array;
  /** Ids of all series, strictly ascending. */
  allPostings(): Uint32Array;
}

/** Values of a label that are looked at between two pauses of the stepped form: about a millisecond of RE2. */
const VALUES_PER_STEP = 512;

/**
 * Ids of the series that satisfy all matchers, strictly ascending. An absent label has the value ''.
 * No matchers: all series.
 *
 * @throws AppError `bad_data` when a regular expression is malformed.
 */
export function selectPostings(source: PostingsSource, matchers: readonly Matcher[]): Uint32Array {
  const steps = selectPostingsInSteps(source, matchers);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** The same with pauses: yields between pieces of work of about a millisecond, returns the ids. */
export function* selectPostingsInSteps(
  source: PostingsSource,
  matchers: readonly Matcher[],
): Generator<void, Uint32Array> {
  const conditions = matchers.map(toCondition);
  conditions.sort((a, b) => costOf(a) - costOf(b));
  let selected: Uint32Array | undefined;
  for (const condition of conditions) {
    if (condition.excludes) continue;
    const found = yield* postingsOf(source, condition);
    selected = selected === undefined ? found : intersectPostings(selected, found);
    if (selected.length === 0) return EMPTY_POSTINGS;
  }
  selected ??= source.allPostings();
  for (const condition of conditions) {
    if (!condition.excludes) continue;
    selected = subtractPostings(selected, yield* postingsOf(source, condition));
    if (selected.length === 0) return EMPTY_POSTINGS;
  }
  return selected;
}

/** A matcher as a set of values whose series are kept, or (`excludes`) dropped. The empty value is in neither. */
interface Condition {
  readonly name: string;
  readonly excludes: boolean;
  /** The values, when they are few and known. */
  readonly literals: readonly string[] | undefined;
  /** Else: decides whether a value that occurs belongs to the set. */
  readonly takes: ValuePredicate;
  /** Every value in the set starts with this. */
  readonly prefix: string;
}

function toCondition(matcher: Matcher): Condition {
  const { name, operator, value } = matcher;
  const negated = operator === '!=' || operator === '!~';
  const regex = operator === '=~' || operator === '!~' ? compileRegex(value) : equalTo(value);
  const accepts: ValuePredicate = negated ? (candidate) => !regex.matches(candidate) : regex.matches;
  // A series without the label passes: then the refused values are dropped, else the accepted ones are kept.
  const excludes = accepts('');
  const takes: ValuePredicate = excludes ? (candidate) => !accepts(candidate) : accepts;
  // `.*` accepts every value: nothing to drop, nothing to look at.
  if (operator === '=~' && value === '.*') return { name, excludes, literals: [], takes, prefix: '' };
  // The expression's literals and prefix describe the set only where the set is what the expression itself matches.
  const direct = excludes === negated;
  return {
    name,
    excludes,
    literals: direct ? regex.literals?.filter((literal) => literal !== '') : undefined,
    takes,
    prefix: direct ? regex.prefix : '',
  };
}

function equalTo(wanted: string): CompiledRegex {
  return { matches: (candidate) => candidate === wanted, literals: [wanted], prefix: wanted };
}

/** Lookups before scans, few values before many. */
function costOf(condition: Condition): number {
  if (condition.literals !== undefined) return Math.min(condition.literals.length, 1e6);
  return condition.prefix === '' ? 1e8 : 1e7;
}

function* postingsOf(source: PostingsSource, condition: Condition): Generator<void, Uint32Array> {
  const { name, literals, takes, prefix } = condition;
  const lists: Uint32Array[] = [];
  if (literals !== undefined) {
    for (const value of new Set(literals)) lists.push(source.postings(name, value));
    return unionPostings(lists);
  }
  let seen = 0;
  for (const value of source.labelValues(name, prefix)) {
    if (takes(value)) lists.push(source.postings(name, value));
    if (++seen % VALUES_PER_STEP === 0) yield;
  }
  return unionPostings(lists);
}
