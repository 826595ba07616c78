// Prometheus' template functions. Together with Go's builtins they are what a rule file may call.

import { isIP } from 'node:net';
import { RE2JS } from 're2js';
import { parseDuration } from '../../model/duration.ts';
import { REGEX_LENGTH_MAX } from '../../model/matcher.ts';
import { checkRegexCost } from '../../model/regex-program.ts';
import { BUILTINS, escapeQuery } from './builtins.ts';
import {
  humanize,
  humanize1024,
  humanizeDuration,
  humanizePercentage,
  humanizeTimestamp,
  toFloat,
  toTimeMs,
} from './humanize.ts';
import { quoteGo } from './quote.ts';
import type { ParameterType, TemplateFunction } from './template-function.ts';
import {
  TemplateDuration,
  TemplateList,
  TemplateMap,
  type TemplateStruct,
  TemplateTime,
  type Value,
} from './values.ts';

/** What the functions need from outside the template. */
export interface FunctionContext {
  /** Evaluation time, Unix milliseconds. */
  readonly nowMs: number;
  /** `--web.external-url`, without a slash at its end. */
  readonly externalUrl: string;
  /** Answers a query, or throws QueryNeeded, or throws the query's error. */
  readonly query: (query: string) => TemplateList;
}

/** Longest text that replacements may produce, UTF-16 code units. */
const REPLACED_LENGTH_MAX = 1 << 20;

const fixed = (params: readonly ParameterType[], call: (...values: never[]) => Value): TemplateFunction => ({
  params,
  rest: undefined,
  call: (values) => call(...(values as never[])),
});

const ofText = (call: (text: string) => Value) => fixed(['string'], call);
const ofNumber = (call: (value: number) => Value) => fixed(['any'], (value: Value) => call(toFloat(value)));

/** Functions that depend on nothing. */
const PURE: readonly (readonly [string, TemplateFunction])[] = [
  ['first', fixed(['result'], (result: TemplateList) => firstOf(result))],
  [
    'label',
    fixed(['string', 'sample'], (name: string, sample: TemplateStruct) => labelsOf(sample).get(name)),
  ],
  ['value', fixed(['sample'], (sample: TemplateStruct) => sample.fields.get('Value'))],
  ['strvalue', fixed(['sample'], (sample: TemplateStruct) => labelsOf(sample).get('__value__'))],
  ['args', { params: [], rest: 'any', call: argumentMap }],
  ['reReplaceAll', fixed(['string', 'string', 'string'], replaceAll)],
  ['safeHtml', ofText((text) => text)],
  [
    'match',
    fixed(['string', 'string'], (pattern: string, text: string) => compile(pattern).matcher(text).find()),
  ],
  ['title', ofText(title)],
  ['toUpper', ofText(upper)],
  ['toLower', ofText(lower)],
  ['graphLink', ofText((expr) => `/graph?g0.expr=${escapeQuery(expr)}&g0.tab=0`)],
  ['tableLink', ofText((expr) => tableLink(expr))],
  ['sortByLabel', fixed(['string', 'result'], sortByLabel)],
  ['stripPort', ofText((address) => splitHostPort(address)?.host ?? address)],
  ['stripDomain', ofText(stripDomain)],
  ['humanize', ofNumber(humanize)],
  ['humanize1024', ofNumber(humanize1024)],
  ['humanizeDuration', ofNumber(humanizeDuration)],
  ['humanizePercentage', ofNumber(humanizePercentage)],
  ['humanizeTimestamp', ofNumber(humanizeTimestamp)],
  ['toTime', ofNumber(toTime)],
  ['toDuration', ofNumber(toDuration)],
  ['parseDuration', ofText((text) => parseDuration(text) / 1000)],
  ['urlQueryEscape', ofText(escapeQuery)],
];

const CONTEXTUAL = ['query', 'now', 'pathPrefix', 'externalURL'];

/** Every name that a template may call. */
export const FUNCTION_NAMES: ReadonlySet<string> = new Set([
  ...BUILTINS.keys(),
  ...PURE.map(([name]) => name),
  ...CONTEXTUAL,
  'and',
  'or',
  'tmpl',
]);

/** The functions, bound to one evaluation. */
export function createFunctions(context: FunctionContext): ReadonlyMap<string, TemplateFunction> {
  return new Map<string, TemplateFunction>([
    ...BUILTINS,
    ...PURE,
    ['query', ofText(context.query)],
    ['now', fixed([], () => context.nowMs / 1000)],
    ['externalURL', fixed([], () => context.externalUrl)],
    ['pathPrefix', fixed([], () => pathOf(context.externalUrl))],
  ]);
}

/** The link to a query's table in the web page, as alerts carry it. */
export function tableLink(expr: string): string {
  return `/graph?g0.expr=${escapeQuery(expr)}&g0.tab=1`;
}

function pathOf(url: string): string {
  const path = URL.canParse(url) ? new URL(url).pathname : '';
  return path === '/' && !url.endsWith('/') ? '' : path;
}

function labelsOf(sample: TemplateStruct): TemplateMap {
  return sample.fields.get('Labels') as TemplateMap;
}

function firstOf(result: TemplateList): Value {
  if (result.items.length === 0) throw new Error('first() called on vector with no elements');
  return result.items[0];
}

function argumentMap(values: readonly Value[]): TemplateMap {
  return new TemplateMap(new Map(values.map((value, i) => [`arg${i}`, value])), undefined);
}

function sortByLabel(name: string, result: TemplateList): TemplateList {
  const key = (item: Value) => Buffer.from(labelsOf(item as TemplateStruct).get(name) as string);
  return new TemplateList([...result.items].sort((a, b) => Buffer.compare(key(a), key(b))));
}

/** Upper-cases the first letter of each word as Go's strings.Title does: an apostrophe begins a word. */
function title(text: string): string {
  return text.replace(/(?<![A-Za-z0-9_]|[^\p{ASCII}\s])\p{L}/gu, upper);
}

/** Upper case letter by letter, as Go does: `ß` stays, for it has no capital of one character. */
function upper(text: string): string {
  return Array.from(text, (char) => oneCharacter(char.toUpperCase(), char)).join('');
}

function lower(text: string): string {
  return Array.from(text, (char) => oneCharacter(char.toLowerCase(), char)).join('');
}

function oneCharacter(mapped: string, char: string): string {
  return Array.from(mapped).length === 1 ? mapped : char;
}

function toTime(value: number): TemplateTime {
  if (!Number.isFinite(value)) throw new Error('value is NaN or Inf');
  return new TemplateTime(toTimeMs(value));
}

function toDuration(value: number): TemplateDuration {
  const nanoseconds = value * 1e9;
  if (Number.isNaN(nanoseconds) || Math.abs(nanoseconds) >= 2 ** 63) {
    return new TemplateDuration(-(1n << 63n));
  }
  return new TemplateDuration(BigInt(Math.trunc(nanoseconds)));
}

/** Host and port of an address, brackets of IPv6 removed; undefined where Go's net.SplitHostPort fails. */
function splitHostPort(address: string): { readonly host: string; readonly port: string } | undefined {
  const match = /^(?:\[([^[\]]*)\]|([^:[\]]*)):([^:[\]]*)$/.exec(address);
  return match === null ? undefined : { host: match[1] ?? match[2]!, port: match[3]! };
}

function stripDomain(address: string): string {
  const split = splitHostPort(address);
  const host = split?.host ?? address;
  if (isIP(host) !== 0) return address;
  const short = host.split('.')[0]!;
  const port = split?.port ?? '';
  return port === '' ? short : `${short.includes(':') ? `[${short}]` : short}:${port}`;
}

function compile(pattern: string): RE2JS {
  if (pattern.length > REGEX_LENGTH_MAX) {
    throw new Error(`regular expression of ${pattern.length} characters is longer than ${REGEX_LENGTH_MAX}`);
  }
  try {
    checkRegexCost(pattern);
    return RE2JS.compile(pattern);
  } catch (caught) {
    throw new Error(caught instanceof Error ? caught.message : String(caught), { cause: caught });
  }
}

/** As Go's regexp.MustCompile words its refusal. */
function mustCompile(pattern: string): RE2JS {
  try {
    return compile(pattern);
  } catch (caught) {
    const quoted = pattern.includes('`') ? quoteGo(pattern) : `\`${pattern}\``;
    throw new Error(`regexp: Compile(${quoted}): ${(caught as Error).message}`, { cause: caught });
  }
}

/** regexp.ReplaceAllString: `$1`, `${1}`, `$name` in the replacement. */
function replaceAll(pattern: string, replacement: string, text: string): string {
  const regex = mustCompile(pattern);
  const names = regex.namedGroups();
  const matcher = regex.matcher(text);
  let result = '';
  let end = 0;
  while (matcher.find()) {
    result += text.slice(end, matcher.start());
    result += expandReplacement(replacement, (group) => {
      const index = /^\d+$/.test(group) ? Number(group) : names[group];
      return index === undefined || index > matcher.groupCount() ? '' : (matcher.group(index) ?? '');
    });
    end = matcher.end();
    if (result.length > REPLACED_LENGTH_MAX) throw new Error(`result is longer than ${REPLACED_LENGTH_MAX}`);
  }
  return result + text.slice(end);
}

function expandReplacement(replacement: string, group: (name: string) => string): string {
  return replacement.replace(
    /\$(?:\$|\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))/gu,
    (whole, braced?: string, plain?: string) => (whole === '$$' ? '$' : group(braced ?? plain ?? '')),
  );
}
