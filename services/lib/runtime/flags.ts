// Flags as data: one table per service gives parsing, environment twins, `--help` and the reference page.
import { AppError } from '../core/errors.ts';
import { formatDuration, parseDuration } from '../model/duration.ts';

type FlagType = 'string' | 'number' | 'boolean' | 'duration' | 'bytes' | 'list';

interface FlagBase {
  /** A sentence for --help. */
  readonly desc: string;
  /** Other spellings that mean the same: `data.dir`. */
  readonly aliases?: readonly string[];
  /** Accepted for Prometheus' sake, without effect; its use logs one line. */
  readonly ignored?: boolean;
  /** For strings: the values that are allowed. */
  readonly choices?: readonly string[];
}

/** A flag without its dashes → what it takes. Durations are milliseconds, sizes are bytes. */
export type FlagSpec = FlagBase &
  (
    | { readonly type: 'string'; readonly default: string }
    | { readonly type: 'number'; readonly default: number; readonly min?: number; readonly max?: number }
    | { readonly type: 'boolean'; readonly default: boolean }
    | { readonly type: 'duration'; readonly default: number }
    | { readonly type: 'bytes'; readonly default: number }
    | { readonly type: 'list'; readonly default: readonly string[] }
  );

export type FlagTable = Readonly<Record<string, FlagSpec>>;

type ValueOf<T extends FlagType> = T extends 'string'
  ? string
  : T extends 'boolean'
    ? boolean
    : T extends 'list'
      ? readonly string[]
      : number;

export type FlagValues<T extends FlagTable> = { readonly [K in keyof T]: ValueOf<T[K]['type']> };

export interface ParsedFlags<T extends FlagTable> {
  readonly values: FlagValues<T>;
  /** Flags that were given and have no effect, for the log line. */
  readonly ignored: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
}

/** `TIDEMARK_DATA_DIR` for `data.dir`. */
export function environmentNameOf(flag: string): string {
  return `TIDEMARK_${flag.replace(/[.-]/g, '_').toUpperCase()}`;
}

/**
 * Parses `--name value`, `--name=value`, `--name` and `--no-name` for booleans; then the environment for what was not given.
 *
 * @throws AppError `bad_data` naming the flag, the value and what is expected.
 */
export function parseFlags<T extends FlagTable>(
  table: T,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): ParsedFlags<T> {
  const names = new Map<string, string>();
  for (const [name, spec] of Object.entries(table)) {
    names.set(name, name);
    for (const alias of spec.aliases ?? []) names.set(alias, name);
  }
  const values = new Map<string, unknown>();
  const ignored: string[] = [];
  let help = false;
  let version = false;
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i]!;
    if (argument === '--help' || argument === '-h') {
      help = true;
      continue;
    }
    if (argument === '--version') {
      version = true;
      continue;
    }
    const given = splitArgument(argument, names, table);
    const spec = table[given.name]!;
    let text = given.text;
    if (text === undefined) {
      if (spec.type === 'boolean') text = given.negated ? 'false' : 'true';
      else if (++i < argv.length) text = argv[i]!;
      else throw new AppError('bad_data', `flag --${given.name} needs a value: ${spec.desc}`);
    }
    if (spec.ignored) ignored.push(given.name);
    store(values, given.name, spec, text, `flag --${given.name}`);
  }
  for (const [name, spec] of Object.entries(table)) {
    if (values.has(name)) continue;
    for (const spelling of [name, ...(spec.aliases ?? [])]) {
      const text = environment[environmentNameOf(spelling)];
      if (text !== undefined && text !== '') store(values, name, spec, text, environmentNameOf(spelling));
    }
    if (!values.has(name)) values.set(name, spec.default);
  }
  return {
    values: Object.freeze(Object.fromEntries(values)) as FlagValues<T>,
    ignored,
    help,
    version,
  };
}

function splitArgument(
  argument: string,
  names: ReadonlyMap<string, string>,
  table: FlagTable,
): { name: string; text: string | undefined; negated: boolean } {
  if (!argument.startsWith('--')) {
    throw new AppError(
      'bad_data',
      `unexpected argument ${JSON.stringify(argument)}; flags start with -- (see --help)`,
    );
  }
  const equals = argument.indexOf('=');
  const spelled = equals < 0 ? argument.slice(2) : argument.slice(2, equals);
  const text = equals < 0 ? undefined : argument.slice(equals + 1);
  const direct = names.get(spelled);
  if (direct !== undefined) return { name: direct, text, negated: false };
  if (spelled.startsWith('no-')) {
    const positive = names.get(spelled.slice(3));
    if (positive !== undefined && table[positive]!.type === 'boolean')
      return { name: positive, text, negated: true };
  }
  throw new AppError('bad_data', `unknown flag --${spelled}${suggest(spelled, names)} (see --help)`);
}

function suggest(spelled: string, names: ReadonlyMap<string, string>): string {
  let best = '';
  let bestDistance = Math.max(3, Math.floor(spelled.length / 4)) + 1;
  for (const name of names.keys()) {
    const distance = editDistance(spelled, name);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best === '' ? '' : `; did you mean --${best}?`;
}

/** Levenshtein distance; both strings are flag names, so short. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

function store(
  values: Map<string, unknown>,
  name: string,
  spec: FlagSpec,
  text: string,
  where: string,
): void {
  if (spec.type === 'list') {
    const before = (values.get(name) as string[] | undefined) ?? [];
    values.set(name, [...before, ...text.split(',').filter((part) => part !== '')]);
    return;
  }
  values.set(name, parseFlagValue(spec, text, where));
}

function parseFlagValue(spec: FlagSpec, text: string, where: string): unknown {
  const fail = (expected: string): AppError =>
    new AppError('bad_data', `${where}: ${JSON.stringify(text)} is not ${expected}`);
  switch (spec.type) {
    case 'list':
      return text.split(',');
    case 'string':
      if (spec.choices !== undefined && !spec.choices.includes(text))
        throw fail(`one of ${spec.choices.join(', ')}`);
      return text;
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw fail('true or false');
      return text === 'true';
    case 'number': {
      const value = Number(text);
      if (text.trim() === '' || !Number.isFinite(value)) throw fail('a number');
      if (spec.min !== undefined && value < spec.min) throw fail(`at least ${spec.min}`);
      if (spec.max !== undefined && value > spec.max) throw fail(`at most ${spec.max}`);
      return value;
    }
    case 'duration':
      try {
        return parseDuration(text);
      } catch {
        throw fail('a duration, like 30s, 15d or 1h30m');
      }
    case 'bytes': {
      const bytes = parseBytes(text);
      if (bytes === undefined) throw fail('a size, like 512MB or 2GB');
      return bytes;
    }
  }
}

const BYTE_UNITS: Readonly<Record<string, number>> = { B: 0, KB: 1, MB: 2, GB: 3, TB: 4, PB: 5, EB: 6 };

/** `512MB` → bytes, in powers of 1024 as Prometheus does. Undefined when malformed. */
export function parseBytes(text: string): number | undefined {
  if (text === '0') return 0;
  const match = /^(\d+(?:\.\d+)?)([KMGTPE]?)(i?)B$/.exec(text);
  if (match === null) return undefined;
  return Math.round(Number(match[1]) * 1024 ** BYTE_UNITS[`${match[2]}B`]!);
}

/** The text of `--help`. */
export function describeFlags(usage: string, table: FlagTable): string {
  const lines = [usage, '', 'Flags (each has an environment twin: --data.dir is TIDEMARK_DATA_DIR):', ''];
  lines.push('  --help', '      Shows this text.', '  --version', '      Shows the version.');
  for (const [name, spec] of Object.entries(table)) {
    if (spec.ignored) continue;
    const value = spec.type === 'boolean' ? '' : `=<${spec.choices?.join('|') ?? spec.type}>`;
    const aliases = (spec.aliases ?? []).map((alias) => `, --${alias}`).join('');
    lines.push(`  --${name}${value}${aliases}`, `      ${spec.desc}${describeDefault(spec)}`);
  }
  const ignored = Object.entries(table).filter(([, spec]) => spec.ignored);
  if (ignored.length > 0) {
    lines.push('', 'Flags of Prometheus that are accepted and not needed:', '');
    for (const [name, spec] of ignored) lines.push(`  --${name}`, `      ${spec.desc}`);
  }
  return `${lines.join('\n')}\n`;
}

function describeDefault(spec: FlagSpec): string {
  switch (spec.type) {
    case 'list':
      return spec.default.length === 0 ? '' : ` Default: ${spec.default.join(',')}.`;
    case 'duration':
      return ` Default: ${formatDuration(spec.default)}.`;
    default:
      return spec.default === '' ? '' : ` Default: ${spec.default}.`;
  }
}
