// Cuts a query into tokens, one at a time, in the modes that PromQL has: plain, inside braces (words are label names)
// and inside brackets (durations). Characters that fit nowhere are errors at once, in Prometheus' words.
import { goQuote, goQuoteRune, isPrintable } from './go-quote.ts';
import { scanNumber } from './number-scanner.ts';
import { ParseError } from './parse-error.ts';
import { KEYWORDS, type Token, type TokenKind } from './token.ts';

const SPACES = ' \t\n\r';
const WORD = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const LABEL = /[a-zA-Z_][a-zA-Z0-9_]*/y;
const LETTERS = /[a-zA-Z_]*/y;
const DURATION_WORDS: ReadonlySet<string> = new Set(['step', 'range', 'min_of', 'max_of']);

export class Lexer {
  readonly #query: string;
  #at = 0;
  /** Depth of parentheses, over the whole query. */
  #parens = 0;
  #inBraces = false;
  #inBrackets = false;
  /** In brackets, before the first number: only what a duration consists of. */
  #durationOnly = false;
  /**
   * Any number in brackets so far: without one Prometheus takes no colon, `a[step():1m]` is an error; and it does not forget it
   * behind a bracket, `rate(a[1m]) + rate(a[step():1m])` is none.
   */
  #sawNumber = false;
  #sawColon = false;

  constructor(query: string) {
    this.#query = query;
  }

  /** @throws ParseError on characters that begin no token. */
  next(): Token {
    this.#skipBlank();
    if (this.#inBraces) return this.#insideBraces();
    return this.#inBrackets && this.#durationOnly ? this.#insideDuration() : this.#plain();
  }

  #skipBlank(): void {
    const query = this.#query;
    for (;;) {
      while (this.#at < query.length && SPACES.includes(query[this.#at]!)) this.#at++;
      if (query[this.#at] !== '#' || (this.#inBrackets && this.#durationOnly)) return;
      while (this.#at < query.length && query[this.#at] !== '\n' && query[this.#at] !== '\r') this.#at++;
    }
  }

  #plain(): Token {
    const query = this.#query;
    const start = this.#at;
    const char = query[start];
    if (char === undefined) return this.#end();
    if (isDigit(char) || (char === '.' && isDigit(query[start + 1]))) return this.#numberOrDuration();
    if (isLetter(char) || char === ':') return this.#inBrackets ? this.#bracketWord() : this.#word();
    const following = query[start + 1];
    switch (char) {
      case ',':
        return this.#emit('sign', 1);
      case '*':
      case '/':
      case '%':
      case '+':
      case '-':
      case '^':
      case '@':
        return this.#emit('operator', 1);
      case '=':
        if (following === '~') this.#fail(start, `unexpected character after '=': '~'`);
        return following === '=' ? this.#emit('operator', 2) : this.#emit('sign', 1);
      case '!':
        if (following !== '=') {
          this.#fail(start, `unexpected character after '!': ${goQuoteRune(this.#charAt(start + 1))}`);
        }
        return this.#emit('operator', 2);
      case '<':
      case '>':
        return this.#emit('operator', following === '=' || following === '/' ? 2 : 1);
      case '"':
      case "'":
      case '`':
        return this.#string();
      case '(':
      case ')':
        return this.#paren(char);
      case '{':
        this.#inBraces = true;
        return this.#emit('sign', 1);
      case '[':
        return this.#openBracket();
      case ']':
        if (!this.#inBrackets) this.#fail(start, `unexpected right bracket ']'`);
        this.#inBrackets = false;
        return this.#emit('sign', 1);
      default:
        return this.#fail(start, `unexpected character: ${goQuoteRune(this.#charAt(start))}`);
    }
  }

  #end(): Token {
    if (this.#parens !== 0) this.#fail(this.#at, 'unclosed left parenthesis');
    if (this.#inBrackets) this.#fail(this.#at, 'unclosed left bracket');
    return this.#emit('end', 0);
  }

  #paren(char: string): Token {
    this.#parens += char === '(' ? 1 : -1;
    const token = this.#emit('sign', 1);
    if (this.#parens < 0) this.#fail(this.#at, `unexpected right parenthesis ')'`);
    return token;
  }

  #openBracket(): Token {
    if (this.#inBrackets) this.#fail(this.#at, `unexpected left bracket '['`);
    this.#inBrackets = true;
    this.#durationOnly = true;
    this.#sawColon = false;
    return this.#emit('sign', 1);
  }

  /** A letter or colon in brackets, behind the first number. */
  #bracketWord(): Token {
    const start = this.#at;
    if (this.#query[start] === ':') {
      if (this.#sawColon) this.#fail(start, `unexpected colon ':'`);
      this.#sawColon = true;
      return this.#emit('sign', 1);
    }
    const word = this.#durationWord();
    if (word !== undefined) return word;
    return this.#fail(start, `unexpected character: ${goQuoteRune(this.#charAt(start))}, expected ':'`);
  }

  #durationWord(): Token | undefined {
    const letters = this.#match(LETTERS)!;
    return DURATION_WORDS.has(letters.toLowerCase()) ? this.#emit('word', letters.length) : undefined;
  }

  #insideDuration(): Token {
    const start = this.#at;
    const char = this.#query[start];
    if (char === undefined) return this.#fail(start, 'unexpected end of input in duration expression');
    if (isDigit(char) || (char === '.' && isDigit(this.#query[start + 1]))) {
      this.#sawNumber = true;
      this.#durationOnly = false;
      return this.#numberOrDuration();
    }
    switch (char) {
      case ']':
        this.#inBrackets = false;
        return this.#emit('sign', 1);
      case ':':
        if (!this.#sawNumber) {
          this.#fail(start + 1, 'unexpected colon before duration in duration expression');
        }
        if (this.#sawColon) {
          this.#fail(start + 1, 'unexpected repeated colon in duration expression');
        }
        this.#sawColon = true;
        return this.#emit('sign', 1);
      case '(':
      case ')':
        return this.#paren(char);
      case '+':
      case '-':
      case '*':
      case '/':
      case '%':
      case '^':
        return this.#emit('operator', 1);
      case ',':
        return this.#emit('sign', 1);
    }
    const word = isLetter(char) ? this.#durationWord() : undefined;
    if (word !== undefined) return word;
    return this.#fail(
      start,
      `unexpected character in duration expression: ${goQuoteRune(this.#charAt(start))}`,
    );
  }

  #insideBraces(): Token {
    const query = this.#query;
    const start = this.#at;
    const char = query[start];
    const following = query[start + 1];
    if (char === undefined) return this.#fail(start, 'unexpected end of input inside braces');
    if (isLetter(char)) return this.#emit('identifier', this.#match(LABEL)!.length);
    switch (char) {
      case ',':
        return this.#emit('sign', 1);
      case '"':
      case "'":
      case '`':
        return this.#string();
      case '=':
        return following === '~' ? this.#emit('operator', 2) : this.#emit('sign', 1);
      case '!':
        if (following === '~' || following === '=') return this.#emit('operator', 2);
        return this.#fail(
          start,
          `unexpected character after '!' inside braces: ${goQuoteRune(this.#charAt(start + 1))}`,
        );
      case '{':
        return this.#fail(start, `unexpected left brace '{'`);
      case '}':
        this.#inBraces = false;
        return this.#emit('sign', 1);
      default:
        return this.#fail(start, `unexpected character inside braces: ${goQuoteRune(this.#charAt(start))}`);
    }
  }

  #word(): Token {
    const word = this.#match(WORD)!;
    const kind = KEYWORDS.get(word.toLowerCase());
    if (kind === undefined)
      return this.#emit(word.includes(':') ? 'metric-identifier' : 'identifier', word.length);
    // fill and its like are keywords only before a parenthesis: metrics of that name stay usable.
    const isFill = word.toLowerCase().startsWith('fill');
    if (isFill && !this.#parenFollows(this.#at + word.length)) return this.#emit('identifier', word.length);
    return this.#emit(kind, word.length);
  }

  #parenFollows(from: number): boolean {
    let at = from;
    while (at < this.#query.length && SPACES.includes(this.#query[at]!)) at++;
    return this.#query[at] === '(';
  }

  #numberOrDuration(): Token {
    const start = this.#at;
    const { kind, end } = scanNumber(this.#query, start);
    if (kind !== 'bad') return this.#emit(kind, end - start);
    return this.#fail(start, `bad number or duration syntax: ${goQuote(this.#query.slice(start, end))}`);
  }

  #string(): Token {
    const query = this.#query;
    const start = this.#at;
    const quote = query[start]!;
    if (quote === '`') {
      const close = query.indexOf('`', start + 1);
      if (close < 0) this.#fail(start, 'unterminated raw string');
      return this.#emit('string', close + 1 - start);
    }
    let at = start + 1;
    for (;;) {
      const char = query[at];
      if (char === undefined || char === '\n') this.#fail(start, 'unterminated quoted string');
      if (char === quote) return this.#emit('string', at + 1 - start);
      at = char === '\\' ? this.#escape(start, at + 1, quote) : at + 1;
    }
  }

  /** Checks the escape whose letter stands at `at`; answers where it ends. */
  #escape(start: number, at: number, quote: string): number {
    const letter = this.#charAt(at);
    if (letter === undefined) return this.#fail(start, 'escape sequence not terminated');
    if ('abfnrtv\\'.includes(letter) || letter === quote) return at + 1;
    const form = escapeForm(letter);
    if (form === undefined) this.#fail(start, `unknown escape sequence ${describeRune(letter)}`);
    const from = at + form.skip;
    let code = 0;
    for (let i = 0; i < form.digits; i++) {
      const char = this.#charAt(from + i);
      if (char === undefined) return this.#fail(start, 'escape sequence not terminated');
      const digit = /^[0-9a-fA-F]$/.test(char) ? Number.parseInt(char, 16) : 16;
      if (digit >= form.base) this.#fail(start, `illegal character ${describeRune(char)} in escape sequence`);
      code = code * form.base + digit;
    }
    if (code > form.max || (code >= 0xd800 && code < 0xe000)) {
      this.#fail(start, 'escape sequence is an invalid Unicode code point');
    }
    return from + form.digits;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#query)?.[0];
  }

  /** The whole character at an offset, both halves of a surrogate pair. */
  #charAt(at: number): string | undefined {
    const code = this.#query.codePointAt(at);
    return code === undefined ? undefined : String.fromCodePoint(code);
  }

  #emit(kind: TokenKind, length: number): Token {
    const start = this.#at;
    const end = start + length;
    const text = this.#query.slice(start, end);
    this.#at = end;
    const named = kind === 'operator' || kind === 'aggregator' || kind === 'keyword' || kind === 'word';
    return { kind, id: named || kind === 'sign' ? text.toLowerCase() : '', text, start, end };
  }

  #fail(at: number, reason: string): never {
    throw new ParseError(this.#query, at, reason);
  }
}

function isDigit(char: string | undefined): boolean {
  return char !== undefined && char >= '0' && char <= '9';
}

function isLetter(char: string): boolean {
  return (char >= 'a' && char <= 'z') || (char >= 'A' && char <= 'Z') || char === '_';
}

interface EscapeForm {
  /** Characters of the letter itself: octal escapes have none. */
  readonly skip: number;
  readonly digits: number;
  readonly base: number;
  readonly max: number;
}

function escapeForm(letter: string): EscapeForm | undefined {
  switch (letter) {
    case 'x':
      return { skip: 1, digits: 2, base: 16, max: 255 };
    case 'u':
      return { skip: 1, digits: 4, base: 16, max: 0x10ffff };
    case 'U':
      return { skip: 1, digits: 8, base: 16, max: 0x10ffff };
    default:
      return letter >= '0' && letter <= '7' ? { skip: 0, digits: 3, base: 8, max: 255 } : undefined;
  }
}

/** `U+0078 'x'`, without the character itself where it does not print. */
function describeRune(char: string): string {
  const code = `U+${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;
  return isPrintable(char) ? `${code} '${char}'` : code;
}
