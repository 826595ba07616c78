// Go's string literals: reading them out of templates, writing them with %q.

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
};

/** The value of a literal in double or single quotes, or undefined when it is malformed. */
export function unquoteGo(literal: string): string | undefined {
  const quote = literal[0]!;
  const bytes: number[] = [];
  let plain = '';
  const flush = () => {
    if (plain !== '') bytes.push(...new TextEncoder().encode(plain));
    plain = '';
  };
  for (let i = 1; i < literal.length - 1; i++) {
    const char = literal[i]!;
    if (char !== '\\') {
      plain += char;
      continue;
    }
    const letter = literal[++i]!;
    const simple = Object.hasOwn(SIMPLE_ESCAPES, letter) ? SIMPLE_ESCAPES[letter] : undefined;
    if (simple !== undefined) {
      if ((letter === "'" || letter === '"') && letter !== quote) return undefined;
      plain += simple;
      continue;
    }
    const coded = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))/.exec(
      literal.slice(i, -1),
    );
    if (coded === null) return undefined;
    i += coded[0].length - 1;
    const byte = coded[1] ?? undefined;
    if (byte !== undefined || coded[4] !== undefined) {
      const value = byte === undefined ? Number.parseInt(coded[4]!, 8) : Number.parseInt(byte, 16);
      if (value > 255) return undefined;
      flush();
      bytes.push(value);
      continue;
    }
    const point = Number.parseInt((coded[2] ?? coded[3])!, 16);
    if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return undefined;
    plain += String.fromCodePoint(point);
  }
  if (bytes.length === 0) return plain;
  flush();
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

const QUOTE_ESCAPES: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
};

/** A string as Go's %q prints it, in `quote` (default: double quotes). */
export function quoteGo(text: string, quote = '"'): string {
  let quoted = quote;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    if (char === quote) quoted += `\\${char}`;
    else if (Object.hasOwn(QUOTE_ESCAPES, char)) quoted += QUOTE_ESCAPES[char];
    else if (code < 0x20 || code === 0x7f) quoted += `\\x${code.toString(16).padStart(2, '0')}`;
    else if (char === ' ' || /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(char)) quoted += char;
    else if (code < 0x10000) quoted += `\\u${code.toString(16).padStart(4, '0')}`;
    else quoted += `\\U${code.toString(16).padStart(8, '0')}`;
  }
  return quoted + quote;
}
