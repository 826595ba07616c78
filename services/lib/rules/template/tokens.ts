// Tokens of Go's text/template. The lexer turns a whole text into an array that ends with `eof` or `error`; spaces inside
// actions are tokens, because `.a .b` and `.a.b` differ.

export type TokenKind =
  | 'error'
  | 'eof'
  | 'text'
  | 'left-delim'
  | 'right-delim'
  | 'space'
  | 'assign'
  | 'declare'
  | 'pipe'
  | 'left-paren'
  | 'right-paren'
  | 'char'
  | 'string'
  | 'raw-string'
  | 'char-constant'
  | 'number'
  | 'bool'
  | 'dot'
  | 'field'
  | 'variable'
  | 'identifier'
  | 'keyword';

export interface Token {
  readonly kind: TokenKind;
  /** Source text; for `error` the message. */
  readonly text: string;
  /** UTF-16 offset into the template. */
  readonly start: number;
}

const KEYWORDS: ReadonlySet<string> = new Set([
  'block',
  'break',
  'continue',
  'define',
  'else',
  'end',
  'if',
  'nil',
  'range',
  'template',
  'with',
]);

/** Longest template, UTF-16 code units. */
export const TEMPLATE_LENGTH_MAX = 1 << 18;

const isSpace = (char: string | undefined): boolean =>
  char === ' ' || char === '\t' || char === '\r' || char === '\n';
const isAlphanumeric = (char: string | undefined): boolean =>
  char !== undefined && /^[\p{L}\p{Nd}_]$/u.test(char);
const isDigit = (char: string | undefined): boolean => char !== undefined && char >= '0' && char <= '9';

/** Splits a template into tokens. Never throws: a lexical error is the last token. */
export function tokenize(source: string): readonly Token[] {
  const lexer = new Lexer(source);
  lexer.run();
  return lexer.tokens;
}

class Lexer {
  readonly tokens: Token[] = [];
  readonly #source: string;
  #at = 0;
  #parens = 0;

  constructor(source: string) {
    this.#source = source;
  }

  run(): void {
    if (this.#source.length > TEMPLATE_LENGTH_MAX) {
      this.#fail(`template of ${this.#source.length} characters is longer than ${TEMPLATE_LENGTH_MAX}`);
      return;
    }
    while (this.#lexText());
  }

  #emit(kind: TokenKind, start: number, text = this.#source.slice(start, this.#at)): void {
    this.tokens.push({ kind, text, start });
  }

  #fail(message: string): false {
    this.tokens.push({ kind: 'error', text: message, start: this.#at });
    return false;
  }

  /** Text up to the next action, and the action. False at the end. */
  #lexText(): boolean {
    const start = this.#at;
    const open = this.#source.indexOf('{{', start);
    if (open < 0) {
      this.#at = this.#source.length;
      if (this.#at > start) this.#emit('text', start);
      this.#emit('eof', this.#at, '');
      return false;
    }
    const trims = this.#source[open + 2] === '-' && isSpace(this.#source[open + 3]);
    let text = this.#source.slice(start, open);
    if (trims) text = text.replace(/[ \t\r\n]+$/, '');
    if (text !== '') this.#emit('text', start, text);
    this.#at = open + (trims ? 4 : 2);
    // After a trim marker the comment may stand behind exactly one space, which the marker needs.
    if (this.#source.startsWith('/*', this.#at)) return this.#lexComment();
    this.tokens.push({ kind: 'left-delim', text: '{{', start: open });
    this.#parens = 0;
    return this.#lexAction();
  }

  #lexComment(): boolean {
    const close = this.#source.indexOf('*/', this.#at + 2);
    if (close < 0) return this.#fail('unclosed comment');
    this.#at = close + 2;
    const delimiter = this.#rightDelimiter();
    if (delimiter === 0) return this.#fail('comment ends before closing delimiter');
    this.#skipRightDelimiter(delimiter);
    return true;
  }

  /** Length of the closing delimiter that stands here: 2, 4 with a trim marker, or 0. */
  #rightDelimiter(): number {
    const { length } = '}}';
    if (isSpace(this.#source[this.#at]) && this.#source.startsWith('-}}', this.#at + 1)) return length + 2;
    return this.#source.startsWith('}}', this.#at) ? length : 0;
  }

  #skipRightDelimiter(delimiter: number): void {
    this.#at += delimiter;
    if (delimiter === 2) return;
    while (isSpace(this.#source[this.#at])) this.#at++;
  }

  #lexAction(): boolean {
    for (;;) {
      const delimiter = this.#rightDelimiter();
      if (delimiter > 0) {
        if (this.#parens > 0) return this.#fail('unclosed left paren');
        const start = this.#at;
        this.#skipRightDelimiter(delimiter);
        this.#emit('right-delim', start, '}}');
        return true;
      }
      if (this.#at >= this.#source.length) return this.#fail('unclosed action');
      if (!this.#lexItem()) return false;
    }
  }

  #lexItem(): boolean {
    const start = this.#at;
    const char = String.fromCodePoint(this.#source.codePointAt(start)!);
    if (isSpace(char)) return this.#lexSpace();
    if (char === '"') return this.#lexQuoted('"', 'string', 'unterminated quoted string');
    if (char === "'") return this.#lexQuoted("'", 'char-constant', 'unterminated character constant');
    if (char === '`') return this.#lexRaw();
    if (char === '$') return this.#lexFieldOrVariable('variable');
    if (char === '.' && !isDigit(this.#source[start + 1])) return this.#lexFieldOrVariable('field');
    if (char === '.' || char === '+' || char === '-' || isDigit(char)) return this.#lexNumber();
    if (isAlphanumeric(char)) return this.#lexIdentifier();
    if (char === ':') {
      if (this.#source[start + 1] !== '=') return this.#fail('expected :=');
      this.#at += 2;
      this.#emit('declare', start);
      return true;
    }
    this.#at += char.length;
    return this.#lexPunctuation(char, start);
  }

  #lexPunctuation(char: string, start: number): boolean {
    switch (char) {
      case '=':
        this.#emit('assign', start);
        return true;
      case '|':
        this.#emit('pipe', start);
        return true;
      case '(':
        this.#parens++;
        this.#emit('left-paren', start);
        return true;
      case ')':
        this.#parens--;
        this.#emit('right-paren', start);
        return this.#parens < 0 ? this.#fail('unexpected right paren') : true;
    }
    if (char > ' ' && char <= '~') {
      this.#emit('char', start);
      return true;
    }
    return this.#fail(`unrecognized character in action: ${unicodeName(char)}`);
  }

  /** One run of spaces, leaving the one that a closing trim marker needs. */
  #lexSpace(): boolean {
    const start = this.#at;
    while (isSpace(this.#source[this.#at])) {
      if (this.#rightDelimiter() > 0) break;
      this.#at++;
    }
    if (this.#at > start) this.#emit('space', start);
    return true;
  }

  #lexQuoted(quote: string, kind: TokenKind, message: string): boolean {
    const start = this.#at++;
    for (;;) {
      const char = this.#source[this.#at++];
      if (char === '\\' && this.#source[this.#at] !== '\n' && this.#at < this.#source.length) {
        this.#at++;
      } else if (char === undefined || char === '\n' || char === '\\') {
        return this.#fail(message);
      } else if (char === quote) {
        this.#emit(kind, start);
        return true;
      }
    }
  }

  #lexRaw(): boolean {
    const close = this.#source.indexOf('`', this.#at + 1);
    if (close < 0) return this.#fail('unterminated raw quoted string');
    const start = this.#at;
    this.#at = close + 1;
    this.#emit('raw-string', start);
    return true;
  }

  #lexFieldOrVariable(kind: 'field' | 'variable'): boolean {
    const start = this.#at++;
    this.#skipWord();
    if (!this.#atTerminator()) return this.#badCharacter();
    this.#emit(kind === 'field' && this.#at === start + 1 ? 'dot' : kind, start);
    return true;
  }

  #lexIdentifier(): boolean {
    const start = this.#at;
    this.#skipWord();
    if (!this.#atTerminator()) return this.#badCharacter();
    const word = this.#source.slice(start, this.#at);
    if (KEYWORDS.has(word)) this.#emit('keyword', start);
    else this.#emit(word === 'true' || word === 'false' ? 'bool' : 'identifier', start);
    return true;
  }

  #lexNumber(): boolean {
    const start = this.#at;
    const pattern =
      /[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*|0[bB][01_]*|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)/y;
    pattern.lastIndex = start;
    this.#at = start + pattern.exec(this.#source)![0].length;
    if (isAlphanumeric(this.#source[this.#at])) {
      return this.#fail(`bad number syntax: ${JSON.stringify(this.#source.slice(start, this.#at + 1))}`);
    }
    this.#emit('number', start);
    return true;
  }

  #skipWord(): void {
    while (this.#at < this.#source.length) {
      const char = String.fromCodePoint(this.#source.codePointAt(this.#at)!);
      if (!isAlphanumeric(char)) return;
      this.#at += char.length;
    }
  }

  #atTerminator(): boolean {
    const char = this.#source[this.#at];
    if (char === undefined || isSpace(char) || '.,|:()'.includes(char)) return true;
    return this.#source.startsWith('}}', this.#at);
  }

  #badCharacter(): false {
    const char = String.fromCodePoint(this.#source.codePointAt(this.#at)!);
    return this.#fail(`bad character ${unicodeName(char)}`);
  }
}

/** `U+002D '-'` as Go prints a character in messages. */
function unicodeName(char: string): string {
  const code = char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
  return `U+${code} '${char}'`;
}
