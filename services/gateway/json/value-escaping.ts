// Prometheus' "values" escaping of names that do not fit a URL: `U__` in front, `__` for an underscore, `_2e_` for a
// character by its code point. Source: prometheus/proposals, "UTF-8 characters in metric and label names".

const PREFIX = 'U__';
const CODE_DIGITS_MAX = 6;

/** The name that was meant. A name without the prefix, or with a malformed escape, stands as it is. */
export function unescapeLabelName(name: string): string {
  if (!name.startsWith(PREFIX)) return name;
  const escaped = name.slice(PREFIX.length);
  let plain = '';
  for (let i = 0; i < escaped.length; ) {
    if (escaped[i] !== '_') {
      plain += escaped[i++];
    } else if (escaped[i + 1] === '_') {
      plain += '_';
      i += 2;
    } else {
      const close = escaped.indexOf('_', i + 1);
      const char = close < 0 ? undefined : characterOf(escaped.slice(i + 1, close));
      if (char === undefined) return name;
      plain += char;
      i = close + 1;
    }
  }
  return plain;
}

function characterOf(digits: string): string | undefined {
  if (digits.length > CODE_DIGITS_MAX || !/^[0-9a-fA-F]+$/.test(digits)) return undefined;
  const code = Number.parseInt(digits, 16);
  return code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? undefined : String.fromCodePoint(code);
}
