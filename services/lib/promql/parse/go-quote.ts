// Strings between their written and their meant form, after Go's rules, which PromQL follows.

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
};

/** Letters, marks, numbers, punctuation, symbols and the ASCII space: what Go prints as it is. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** Whether Go prints the character as it is. */
export function isPrintable(char: string): boolean {
  return PRINTABLE.test(char);
}

function escapeCharacter(char: string, quote: string): string {
  if (char === quote) return `\\${quote}`;
  const short = SHORT_ESCAPES[char];
  if (short !== undefined) return short;
  if (isPrintable(char)) return char;
  const code = char.codePointAt(0)!;
  if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, '0')}`;
  if (code >= 0xd800 && code < 0xe000) return '\ufffd';
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, '0')}`;
  return `\\U${code.toString(16).padStart(8, '0')}`;
}

/** A string in double quotes, as Go's %q prints it. */
export function goQuote(text: string): string {
  let quoted = '"';
  for (const char of text) quoted += escapeCharacter(char, '"');
  return `${quoted}"`;
}

/** One character in single quotes, as Go's %q prints a rune; undefined stands for the end of input. */
export function goQuoteRune(char: string | undefined): string {
  return char === undefined ? "'\ufffd'" : `'${escapeCharacter(char, "'")}'`;
}

const SIMPLE: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  "'": 39,
  '"': 34,
};

const DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/** What a string token means. The lexer has checked its escapes; `\x` and octal escapes give bytes of UTF-8. */
export function unquote(written: string): string {
  const body = written.slice(1, -1);
  if (written[0] === '`' || !body.includes('\\')) return body;
  const pieces: Buffer[] = [];
  let at = 0;
  while (at < body.length) {
    const slash = body.indexOf('\\', at);
    if (slash < 0) break;
    pieces.push(Buffer.from(body.slice(at, slash)));
    const letter = body[slash + 1]!;
    const simple = SIMPLE[letter];
    const digits = DIGITS[letter];
    if (simple !== undefined) {
      pieces.push(Buffer.from([simple]));
      at = slash + 2;
    } else if (digits !== undefined) {
      at = slash + 2 + digits;
      const code = Number.parseInt(body.slice(slash + 2, at), 16);
      pieces.push(digits === 2 ? Buffer.from([code]) : Buffer.from(String.fromCodePoint(code)));
    } else {
      at = slash + 4;
      pieces.push(Buffer.from([Number.parseInt(body.slice(slash + 1, at), 8)]));
    }
  }
  pieces.push(Buffer.from(body.slice(at)));
  return Buffer.concat(pieces).toString('utf8');
}
