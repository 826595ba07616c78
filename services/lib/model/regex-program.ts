// RE2 programs with a bound on their making: RE2 matches in linear time, but compiling takes as long as the program is
// large, and a few characters (`a{1000}`, `(?i)[B-𞤀]`) make a large one. What an expression costs is estimated from its
// text before anything is compiled.
import { RE2JS } from 're2js';
import { AppError } from '../core/errors.ts';
import { quoteLabel } from './labels.ts';

/**
 * Most units that an expression may cost. A unit is an instruction of the program, weighted by what compiling it takes: the
 * dearest expressions within the limit took 10 to 20 ms where 16 KiB of `a{1000}` took 570.
 */
export const REGEX_COST_MAX = 8192;

/** `[…]` and `\d`: tables of ranges. */
const CLASS_COST = 8;
/** `\pL`: hundreds of ranges. */
const PROPERTY_COST = 32;
/** The same, each range united with its other cases. */
const FOLDED_PROPERTY_COST = 256;
/** `(?i)[B-𞤀]`: every code point of the range is folded, one by one, 10 ms for the widest. */
const FOLDED_RANGE_COST = 4096;
/** A repetition with bounds is written out and then simplified, instruction by instruction. */
const REPEAT_COST = 3;

/** Expressions no longer than this are remembered, so many of them: what dashboards and rules ask again and again. */
const KNOWN_LENGTH_MAX = 256;
const KNOWN_COST_MAX = 512;
const KNOWN_MAX = 128;

/**
 * Programs by flags and text, oldest first. A query's expression is compiled by whoever plans, evaluates and selects, a millisecond each
 * time. State of the module, but nobody can tell: the same text is the same program.
 */
const known = new Map<string, RE2JS>();

/**
 * Compiles an RE2 expression, or finds it compiled.
 *
 * @param flags  Of RE2JS.
 * @throws AppError `bad_data` when it is malformed, or dearer than REGEX_COST_MAX; the message names it and the limit.
 */
export function compileProgram(source: string, flags = 0): RE2JS {
  const key = `${flags}:${source}`;
  const found = known.get(key);
  if (found !== undefined) {
    known.delete(key);
    known.set(key, found);
    return found;
  }
  checkRegexCost(source, flags);
  const program = compileAnew(source, flags);
  if (source.length > KNOWN_LENGTH_MAX || regexCost(source, flags) > KNOWN_COST_MAX) return program;
  if (known.size >= KNOWN_MAX) known.delete(known.keys().next().value!);
  known.set(key, program);
  return program;
}

function compileAnew(source: string, flags: number): RE2JS {
  try {
    return RE2JS.compile(source, flags);
  } catch (caught) {
    const reason = caught instanceof Error ? caught.message : String(caught);
    throw new AppError('bad_data', `invalid regular expression ${quoteLabel(source)}: ${reason}`, {
      cause: caught,
    });
  }
}

/** @throws AppError `bad_data` when the expression is dearer than REGEX_COST_MAX. */
export function checkRegexCost(source: string, flags = 0): void {
  const cost = regexCost(source, flags);
  if (cost <= REGEX_COST_MAX) return;
  const shown =
    source.length > 80
      ? `${quoteLabel(source.slice(0, 80))}… of ${source.length} characters`
      : quoteLabel(source);
  throw new AppError(
    'bad_data',
    `regular expression ${shown} makes a program of about ${cost} instructions, more than the limit of ${REGEX_COST_MAX}; use fewer or smaller repetitions, or fewer alternatives`,
  );
}

const FOLDING = /\(\?[a-zA-Z]*i/;
const BOUNDS = /\{(\d{1,9})(?:(,)(\d{0,9}))?\}/y;

/** What compiling takes, in units; never less for a longer expression. Of a malformed one any number. */
export function regexCost(source: string, flags = 0): number {
  const isFolded = (flags & RE2JS.CASE_INSENSITIVE) !== 0 || FOLDING.test(source);
  /** Costs of the sequences around the place, outermost first; the last is the one at hand. */
  const open: number[] = [0];
  let atom = 0;
  const add = (cost: number) => {
    atom = cost;
    open[open.length - 1]! += cost;
  };
  for (let i = 0; i < source.length; i++) {
    const c = source[i]!;
    if (c === '(') {
      open.push(1);
      atom = 0;
    } else if (c === ')' && open.length > 1) {
      add(open.pop()! + 1);
    } else if (c === '[') {
      const end = endOfClass(source, i);
      add(classCost(source.slice(i, end + 1), isFolded));
      i = end;
    } else if (c === '\\') {
      add(escapeCost(source[++i] ?? '', isFolded));
    } else if (c === '{') {
      BOUNDS.lastIndex = i;
      const bounds = BOUNDS.exec(source);
      const times = bounds === null ? 1 : repetitions(bounds);
      add(bounds === null ? 1 : atom * times * REPEAT_COST);
      if (bounds !== null) i += bounds[0].length - 1;
    } else {
      add(c === '|' ? 2 : 1);
    }
  }
  return open.reduce((sum, cost) => sum + cost, 0);
}

/** Copies that `{n}`, `{n,}` or `{n,m}` makes. */
function repetitions(bounds: RegExpExecArray): number {
  const least = Number(bounds[1]);
  if (bounds[2] === undefined) return least;
  return bounds[3] === '' ? least + 1 : Math.max(least, Number(bounds[3]));
}

function escapeCost(escaped: string, isFolded: boolean): number {
  if (escaped === 'p' || escaped === 'P') return isFolded ? FOLDED_PROPERTY_COST : PROPERTY_COST;
  return /[dDwWsS]/.test(escaped) ? CLASS_COST : 1;
}

function classCost(text: string, isFolded: boolean): number {
  const properties = text.match(/\\[pP]/g)?.length ?? 0;
  const own =
    CLASS_COST + (text.length >> 3) + properties * (isFolded ? FOLDED_PROPERTY_COST : PROPERTY_COST);
  const isWide = isFolded && text.includes('-') && /[\u0080-\uffff]|\\x/.test(text);
  return isWide ? own + FOLDED_RANGE_COST * (text.split('-').length - 1) : own;
}

/** Where the class that opens at `start` closes; the last character when it does not. */
export function endOfClass(source: string, start: number): number {
  let i = start + 1;
  if (source[i] === '^') i++;
  // A bracket that comes first stands for itself.
  if (source[i] === ']') i++;
  for (; i < source.length; i++) {
    if (source[i] === '\\') i++;
    else if (source[i] === '[' && source[i + 1] === ':') {
      const end = source.indexOf(':]', i + 2);
      if (end >= 0) i = end + 1;
    } else if (source[i] === ']') return i;
  }
  return source.length - 1;
}
