// The regular expressions of relabelling: RE2, anchored at both ends, the dot matches a newline; and the templates (`$1`,
// `${name}`) that are filled from a match, as Go's regexp.Expand fills them.

import { AppError } from '../core/errors.ts';
import { REGEX_LENGTH_MAX } from '../model/matcher.ts';
import { compileProgram } from '../model/regex-program.ts';

/** Matches everything: the default of relabelling. */
export const REGEX_ALL = '(.*)';

/** A compiled expression that gives what its groups matched. */
export interface GroupRegex {
  /** Groups of the match of the whole text, 0 first, empty where a group took no part; undefined without a match. */
  match(text: string): readonly string[] | undefined;
  /** Number of the named group, or -1. */
  groupNumber(name: string): number;
}

/** @throws AppError `bad_data` when the expression is malformed or too long. */
export function checkRelabelRegex(source: string): void {
  compileGroupRegex(source);
}

/** @throws AppError `bad_data` when the expression is malformed or too long. */
export function compileGroupRegex(source: string): GroupRegex {
  if (source === REGEX_ALL) return { match: (text) => [text, text], groupNumber: () => -1 };
  if (source.length > REGEX_LENGTH_MAX) {
    throw new AppError(
      'bad_data',
      `regular expression of ${source.length} characters is longer than the limit of ${REGEX_LENGTH_MAX}`,
    );
  }
  // Compiled alone first: `a)(b` would be well-formed inside the group below.
  compileProgram(source);
  const program = compileProgram(`^(?s:${source})$`);
  const names = program.namedGroups();
  return {
    match: (text) => {
      const matcher = program.matcher(text);
      if (!matcher.find()) return undefined;
      const groups: string[] = [];
      for (let i = 0; i <= matcher.groupCount(); i++) groups.push(matcher.group(i) ?? '');
      return groups;
    },
    groupNumber: (name) => (Object.hasOwn(names, name) ? names[name]! : -1),
  };
}

type TemplatePart = string | { readonly group: string };

/** A template cut into literals and references once, filled many times. */
export interface Template {
  /** True when it contains no reference. */
  readonly isLiteral: boolean;
  expand(groups: readonly string[], regex: GroupRegex): string;
}

/** `$name`, `${name}`, `$1`; `$$` is a dollar sign, and so is a dollar that introduces nothing. */
export function compileTemplate(text: string): Template {
  const parts = splitTemplate(text);
  const first = parts[0];
  if (parts.every((part) => typeof part === 'string')) {
    const literal = parts.join('');
    return { isLiteral: !text.includes('$'), expand: () => literal };
  }
  if (parts.length === 1 && typeof first === 'object' && first.group === '1') {
    return { isLiteral: false, expand: (groups) => groups[1] ?? '' };
  }
  return {
    isLiteral: false,
    expand: (groups, regex) => {
      let filled = '';
      for (const part of parts)
        filled += typeof part === 'string' ? part : groupValue(part.group, groups, regex);
      return filled;
    },
  };
}

function groupValue(name: string, groups: readonly string[], regex: GroupRegex): string {
  const isNumber = /^(?:0|[1-9]\d{0,7})$/.test(name);
  const number = isNumber ? Number(name) : regex.groupNumber(name);
  return groups[number] ?? '';
}

function splitTemplate(text: string): TemplatePart[] {
  const parts: TemplatePart[] = [];
  let literal = '';
  let at = 0;
  while (at < text.length) {
    const dollar = text.indexOf('$', at);
    if (dollar < 0) {
      literal += text.slice(at);
      break;
    }
    literal += text.slice(at, dollar);
    at = dollar + 1;
    if (text[at] === '$') {
      literal += '$';
      at++;
      continue;
    }
    const reference = readReference(text, at);
    if (reference === undefined) {
      literal += '$';
      continue;
    }
    if (literal !== '') parts.push(literal);
    literal = '';
    parts.push({ group: reference.name });
    at = reference.end;
  }
  if (literal !== '' || parts.length === 0) parts.push(literal);
  return parts;
}

function readReference(text: string, start: number): { name: string; end: number } | undefined {
  const braced = text[start] === '{';
  const from = braced ? start + 1 : start;
  let end = from;
  for (const char of text.slice(from)) {
    if (!/[\p{L}\p{Nd}_]/u.test(char)) break;
    end += char.length;
  }
  if (end === from) return undefined;
  const name = text.slice(from, end);
  if (!braced) return { name, end };
  return text[end] === '}' ? { name, end: end + 1 } : undefined;
}
