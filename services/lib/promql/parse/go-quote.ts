// Strings between their written and their meant form, after Go's rules, which PromQL follows.
import { isUtf8 } from 'node:buffer';

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
  const byte = byteOf(code);
  if (byte !== undefined) return `\\x${byte.toString(16)}`;
  if (code >= 0xd800 && code < 0xe000) return '\ufffd';
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, '0')}`;
  return `\\U${code.toString(16).padStart(8, '0')}`;
}

/** ASCII that Go prints as it is between double quotes: nearly every name. */
const PLAIN = /^[ !#-[\]-~]*$/;

/** A string in double quotes, as Go's %q prints it. */
export function goQuote(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`;
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

/** Go's strings are bytes. One that is no part of a character in UTF-8 is a half of a surrogate pair here, which nothing else makes. */
const BYTES_FROM = 0xdc00;

/** The byte that a code unit stands for, 128 to 255; undefined for what is text. */
function byteOf(code: number): number | undefined {
  return code >= BYTES_FROM + 0x80 && code <= BYTES_FROM + 0xff ? code - BYTES_FROM : undefined;
}

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
  return textOf(Buffer.concat(pieces));
}

/** Bytes of UTF-8 as text, those that are no part of a character one by one. */
function textOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = [1, 2, 3, 4].find((count) => isUtf8(bytes.subarray(at, at + count)));
    if (length === undefined) text += String.fromCharCode(BYTES_FROM + bytes[at]!);
    else text += bytes.toString('utf8', at, at + length);
    at += length ?? 1;
  }
  return text;
}
