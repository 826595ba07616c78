// Go's own template functions: comparison, logic, indexing, printing, escaping. `and` and `or` are in execute.ts, because
// they do not evaluate all their arguments.

import { printValue, sprint, sprintf, sprintln } from './printf.ts';
import type { TemplateFunction } from './template-function.ts';
import {
  isTruthy,
  TemplateDuration,
  TemplateList,
  TemplateMap,
  TemplateTime,
  typeName,
  type Value,
} from './values.ts';

const variadic = (
  params: TemplateFunction['params'],
  call: (values: readonly Value[]) => Value,
): TemplateFunction => ({ params, rest: 'any', call });

/** The builtin functions by name. */
export const BUILTINS: ReadonlyMap<string, TemplateFunction> = new Map<string, TemplateFunction>([
  ['not', { params: ['any'], rest: undefined, call: ([value]) => !isTruthy(value) }],
  ['eq', variadic(['any'], equalsAny)],
  ['ne', { params: ['any', 'any'], rest: undefined, call: (values) => !equalsAny(values) }],
  ['lt', ordering((order) => order < 0)],
  ['le', ordering((order) => order <= 0)],
  ['gt', ordering((order) => order > 0)],
  ['ge', ordering((order) => order >= 0)],
  ['len', { params: ['any'], rest: undefined, call: ([value]) => lengthOf(value) }],
  ['index', variadic(['any'], ([item, ...keys]) => keys.reduce(elementAt, item))],
  ['slice', variadic(['any'], ([item, ...bounds]) => sliceOf(item, bounds))],
  ['print', variadic([], sprint)],
  [
    'printf',
    { params: ['string'], rest: 'any', call: ([format, ...rest]) => sprintf(format as string, rest) },
  ],
  ['println', variadic([], sprintln)],
  ['html', variadic([], (values) => escapeHtml(sprint(values)))],
  ['js', variadic([], (values) => escapeJs(sprint(values)))],
  ['urlquery', variadic([], (values) => escapeQuery(sprint(values)))],
  ['call', variadic(['any'], ([value]) => failCall(value))],
]);

function failCall(value: Value): never {
  if (value === undefined) throw new Error('call of nil');
  throw new Error(`non-function of type ${typeName(value)}`);
}

/** First argument equal to one of the others. */
function equalsAny([first, ...others]: readonly Value[]): boolean {
  if (others.length === 0) throw new Error('missing argument for comparison');
  for (const other of others) if (equals(first, other)) return true;
  return false;
}

type BasicKind = 'bool' | 'string' | 'float' | 'int';

/** Go's kind of what eq and lt compare by value. */
function basicKind(value: Value): BasicKind | undefined {
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'string':
      return 'string';
    case 'number':
      return 'float';
    case 'bigint':
      return 'int';
    default:
      return value instanceof TemplateDuration ? 'int' : undefined;
  }
}

function comparable(value: Value): boolean | string | number | bigint {
  return value instanceof TemplateDuration
    ? value.nanoseconds
    : (value as boolean | string | number | bigint);
}

function equals(a: Value, b: Value): boolean {
  const kindA = basicKind(a);
  const kindB = basicKind(b);
  if (kindA !== undefined && kindA === kindB) return comparable(a) === comparable(b);
  if (a === undefined || b === undefined) return a === b;
  if (kindA !== kindB) throw new Error('incompatible types for comparison');
  if (a instanceof TemplateMap || a instanceof TemplateList) {
    throw new Error(`non-comparable type ${printValue(a)}: ${typeName(a)}`);
  }
  if (a instanceof TemplateTime && b instanceof TemplateTime) return a.timeMs === b.timeMs;
  return a === b;
}

function ordering(decide: (order: number) => boolean): TemplateFunction {
  return {
    params: ['any', 'any'],
    rest: undefined,
    call: ([a, b]) => {
      const kind = basicKind(a);
      if (kind !== basicKind(b)) throw new Error('incompatible types for comparison');
      if (kind === undefined || kind === 'bool') throw new Error('invalid type for comparison');
      if (kind === 'string') return decide(compareText(a as string, b as string));
      const x = comparable(a);
      const y = comparable(b);
      // NaN is not below, equal to or above anything.
      if (Number.isNaN(x) || Number.isNaN(y)) return false;
      return decide(x < y ? -1 : x > y ? 1 : 0);
    },
  };
}

function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function lengthOf(value: Value): bigint {
  if (value === undefined) throw new Error('len of nil pointer');
  if (typeof value === 'string') return BigInt(Buffer.byteLength(value));
  if (value instanceof TemplateList) return BigInt(value.items.length);
  if (value instanceof TemplateMap) return BigInt(value.entries.size);
  throw new Error(`len of type ${typeName(value)}`);
}

function elementAt(item: Value, key: Value): Value {
  if (item === undefined) throw new Error('index of untyped nil');
  if (item instanceof TemplateMap) {
    if (typeof key !== 'string') throw new Error(`value has type ${typeName(key)}; should be string`);
    return item.get(key);
  }
  if (item instanceof TemplateList) return item.items[positionOf(key, item.items.length)];
  if (typeof item === 'string') {
    const bytes = Buffer.from(item);
    return BigInt(bytes[positionOf(key, bytes.length)]!);
  }
  throw new Error(`can't index item of type ${typeName(item)}`);
}

/** An index below `size`. */
function positionOf(key: Value, size: number): number {
  if (key === undefined) throw new Error('cannot index slice/array with nil');
  if (typeof key !== 'bigint') throw new Error(`cannot index slice/array with type ${typeName(key)}`);
  if (key < 0n || key >= BigInt(size)) throw new Error(`index out of range: ${key}`);
  return Number(key);
}

function sliceOf(item: Value, bounds: readonly Value[]): Value {
  if (item === undefined) throw new Error('slice of untyped nil');
  if (bounds.length > 3) throw new Error(`too many slice indexes: ${bounds.length}`);
  const isText = typeof item === 'string';
  if (!isText && !(item instanceof TemplateList))
    throw new Error(`can't slice item of type ${typeName(item)}`);
  if (isText && bounds.length === 3) throw new Error('cannot 3-index slice a string');
  const bytes = isText ? Buffer.from(item) : undefined;
  const size = bytes?.length ?? (item as TemplateList).items.length;
  const from = bounds.length > 0 ? positionOf(bounds[0], size + 1) : 0;
  const to = bounds.length > 1 ? positionOf(bounds[1], size + 1) : size;
  if (from > to) throw new Error(`invalid slice index: ${from} > ${to}`);
  return bytes === undefined
    ? new TemplateList((item as TemplateList).items.slice(from, to))
    : bytes.subarray(from, to).toString();
}

const HTML: Readonly<Record<string, string>> = {
  '\0': '\ufffd',
  '"': '&#34;',
  "'": '&#39;',
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
};

/** Text for HTML. */
export function escapeHtml(text: string): string {
  return text.replace(/[\0"'&<>]/g, (char) => HTML[char]!);
}

const JS: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  "'": "\\'",
  '"': '\\"',
  '<': '\\u003C',
  '>': '\\u003E',
  '&': '\\u0026',
  '=': '\\u003D',
};

function escapeJs(text: string): string {
  let escaped = '';
  for (const char of text) {
    if (Object.hasOwn(JS, char)) escaped += JS[char];
    else if (char < ' ') escaped += `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
    else escaped += char;
  }
  return escaped;
}

/** url.QueryEscape: everything but letters, digits, `-_.~`; a space is a plus. */
export function escapeQuery(text: string): string {
  let escaped = '';
  for (const byte of Buffer.from(text)) {
    const char = String.fromCharCode(byte);
    if (/[A-Za-z0-9\-_.~]/.test(char)) escaped += char;
    else if (char === ' ') escaped += '+';
    else escaped += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return escaped;
}
