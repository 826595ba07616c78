// Regular expressions as alternatives that string functions decide: literals, and literals with `.*` or `.+` between or
// around them. Dashboards write little else: `a|b|c`, `10\.0\.0\.1:9100|…`, `(foo|bar)-.*`. What is none of these stays for
// the engine, alternative by alternative.
import { endOfClass } from './regex-program.ts';

/**
 * Literals with gaps of any text between them: a value matches when it begins with the first, ends with the last, and has
 * the others in between, in order. One literal: the value is that.
 */
export interface Glob {
  readonly literals: readonly string[];
  /** Least characters in the gap behind each literal but the last: 0 (`.*`) or 1 (`.+`). */
  readonly gaps: readonly number[];
}

/** An expression cut at its top-level `|`. */
export interface Alternatives {
  readonly globs: readonly Glob[];
  /** Alternatives that only the engine can decide, in their own text. */
  readonly rest: readonly string[];
}

/** Bounds of what groups multiply to; beyond them the engine is the cheaper one. */
const PRODUCT_MAX = 1024;
const CHARACTERS_MAX = 1 << 20;
const PIECES_MAX = 16;
/** Groups in groups; deeper ones are nobody's intention, and the engine refuses them with its own words. */
const DEPTH_MAX = 32;

/**
 * Cuts an expression, anchored at both ends and with a dot that matches a newline. Undefined when it cannot be cut: flags,
 * quotes and malformed ones are the engine's as a whole.
 */
export function tryAlternatives(source: string): Alternatives | undefined {
  if (source.includes('\\Q') || /\(\?(?!:)/.test(source)) return undefined;
  const parts = splitTopLevel(source);
  if (parts === undefined) return undefined;
  const globs: Glob[] = [];
  const rest: string[] = [];
  for (const part of parts) {
    const own = new GlobParser(part).tryParse();
    if (own === undefined) rest.push(part);
    else for (const glob of own) globs.push(glob);
  }
  return { globs, rest };
}

/** True when the whole of `value` is what the glob says. */
export function matchesGlob({ literals, gaps }: Glob, value: string): boolean {
  const last = literals.length - 1;
  const first = literals[0]!;
  if (last === 0) return value === first;
  const tail = literals[last]!;
  const end = value.length - tail.length;
  if (first.length > end || !value.startsWith(first) || !value.endsWith(tail)) return false;
  let at = first.length;
  for (let i = 1; i < last; i++) {
    const literal = literals[i]!;
    const found = value.indexOf(literal, at + gaps[i - 1]!);
    if (found < 0) return false;
    at = found + literal.length;
  }
  return end - at >= gaps[last - 1]!;
}

/** Undefined when groups or classes are not closed. */
function splitTopLevel(source: string): string[] | undefined {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i < source.length; i++) {
    const c = source[i]!;
    if (c === '\\') i++;
    else if (c === '[') {
      i = endOfClass(source, i);
      if (source[i] !== ']') return undefined;
    } else if (c === '(') depth++;
    else if (c === ')' && --depth < 0) return undefined;
    else if (c === '|' && depth === 0) {
      parts.push(source.slice(from, i));
      from = i + 1;
    }
  }
  parts.push(source.slice(from));
  return depth === 0 ? parts : undefined;
}

const EMPTY: Glob = { literals: [''], gaps: [] };
/** Characters that mean something in an expression, and so end a run of plain ones. */
const PLAIN = /[^\\.+*?()|[\]{}^$]+/y;
/** RE2 lets ASCII punctuation stand for itself behind a backslash, and nothing else. */
const ESCAPED = /\\[!-/:-@[-`{-~]/y;

/** Reads one alternative of the top level. */
class GlobParser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  tryParse(): readonly Glob[] | undefined {
    if (this.#text[0] === '^') this.#at++;
    const globs = this.#sequence(true);
    return this.#at === this.#text.length ? globs : undefined;
  }

  /** Ends at `|`, `)` or the end. Undefined at what is no glob. */
  #sequence(isTop: boolean): Glob[] | undefined {
    let globs: Glob[] | undefined = [EMPTY];
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined || c === '|' || c === ')') return globs;
      if (c === '$' && isTop && this.#at === this.#text.length - 1) {
        this.#at++;
        return globs;
      }
      const next = c === '(' ? this.#group() : c === '.' ? this.#wildcard() : this.#literal();
      if (next === undefined || this.#isQuantified()) return undefined;
      globs = multiply(globs, next);
      if (globs === undefined) return undefined;
    }
  }

  #group(): Glob[] | undefined {
    if (++this.#depth > DEPTH_MAX) return undefined;
    this.#at += this.#text.startsWith('(?:', this.#at) ? 3 : 1;
    const all: Glob[] = [];
    for (;;) {
      const own = this.#sequence(false);
      if (own === undefined) return undefined;
      for (const glob of own) all.push(glob);
      const c = this.#text[this.#at++];
      if (c === ')') {
        this.#depth--;
        return all;
      }
      if (c !== '|') return undefined;
    }
  }

  /** A dot alone is one character, and the engine's. */
  #wildcard(): Glob[] | undefined {
    const quantifier = this.#text[this.#at + 1];
    if (quantifier !== '*' && quantifier !== '+') return undefined;
    this.#at += 2;
    return [{ literals: ['', ''], gaps: [quantifier === '*' ? 0 : 1] }];
  }

  #literal(): Glob[] | undefined {
    let text = '';
    for (;;) {
      const isEscaped = this.#text[this.#at] === '\\';
      const pattern = isEscaped ? ESCAPED : PLAIN;
      pattern.lastIndex = this.#at;
      const run = pattern.exec(this.#text)?.[0];
      if (run === undefined) break;
      this.#at += run.length;
      text += isEscaped ? run.slice(1) : run;
    }
    return text === '' ? undefined : [{ literals: [text], gaps: [] }];
  }

  #isQuantified(): boolean {
    const c = this.#text[this.#at];
    return c === '*' || c === '+' || c === '?' || c === '{';
  }
}

/** Every one of `a` followed by every one of `b`; undefined where that is too much, or no glob. */
function multiply(a: readonly Glob[], b: readonly Glob[]): Glob[] | undefined {
  if (a.length > 1 && b.length > 1 && a.length * b.length > PRODUCT_MAX) return undefined;
  const product: Glob[] = [];
  let characters = 0;
  for (const left of a) {
    for (const right of b) {
      const glob = concatenate(left, right);
      if (glob === undefined || glob.literals.length > PIECES_MAX) return undefined;
      for (const literal of glob.literals) characters += literal.length;
      if (characters > CHARACTERS_MAX) return undefined;
      product.push(glob);
    }
  }
  return product;
}

/** Two gaps in a row are one: `.*.+` is `.+`. `.+.+` would be two characters, which strings do not count. */
function concatenate(a: Glob, b: Glob): Glob | undefined {
  const seam = a.literals.at(-1)! + b.literals[0]!;
  if (seam !== '' || a.gaps.length === 0 || b.gaps.length === 0) {
    const literals = [...a.literals.slice(0, -1), seam, ...b.literals.slice(1)];
    return { literals, gaps: [...a.gaps, ...b.gaps] };
  }
  const least = a.gaps.at(-1)! + b.gaps[0]!;
  if (least > 1) return undefined;
  return {
    literals: [...a.literals.slice(0, -1), ...b.literals.slice(1)],
    gaps: [...a.gaps.slice(0, -1), least, ...b.gaps.slice(1)],
  };
}

/** Many globs at once: those that begin with a literal are looked up by it, the others tried in turn. */
export class GlobTable {
  /** By the length of the first literal, then by the literal. */
  readonly #byPrefix = new Map<number, Map<string, Glob[]>>();
  readonly #others: Glob[] = [];

  constructor(globs: readonly Glob[]) {
    for (const glob of globs) {
      const first = glob.literals[0]!;
      if (first === '') this.#others.push(glob);
      else this.#bucket(first).push(glob);
    }
  }

  matches(value: string): boolean {
    for (const [length, globs] of this.#byPrefix) {
      if (length > value.length) continue;
      const candidates = globs.get(value.slice(0, length));
      if (candidates?.some((glob) => matchesGlob(glob, value))) return true;
    }
    return this.#others.some((glob) => matchesGlob(glob, value));
  }

  #bucket(first: string): Glob[] {
    const ofLength = this.#byPrefix.get(first.length) ?? new Map<string, Glob[]>();
    this.#byPrefix.set(first.length, ofLength);
    const bucket = ofLength.get(first) ?? [];
    ofLength.set(first, bucket);
    return bucket;
  }
}
