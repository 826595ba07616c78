// fmt.Sprintf, Sprint and Sprintln over template values: verbs, flags, width, precision, explicit argument indexes, and
// Go's own marks for what does not fit (`%!d(string=hi)`).
import { formatFloat, printFloat } from './format-float.ts';
import { quoteGo } from './quote.ts';
import {
  stringerText,
  TemplateDuration,
  TemplateList,
  TemplateMap,
  type TemplateStruct,
  TemplateTime,
  typeName,
  type Value,
} from './values.ts';

/** Widest field and largest precision: enough for any text, too little to fill the memory. */
const WIDTH_MAX = 10_000;

interface Flags {
  minus: boolean;
  plus: boolean;
  sharp: boolean;
  space: boolean;
  zero: boolean;
  /** -1 when absent. */
  width: number;
  /** -1 when absent. */
  precision: number;
}

const PLAIN: Flags = {
  minus: false,
  plus: false,
  sharp: false,
  space: false,
  zero: false,
  width: -1,
  precision: -1,
};

/** A value as `{{ x }}` and print show it. */
export function printValue(value: Value): string {
  if (typeof value === 'string') return value;
  return formatVerb(value, 'v', PLAIN, 0);
}

/** fmt.Sprint: a space between operands when neither is a string. */
export function sprint(values: readonly Value[]): string {
  let text = '';
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (i > 0 && typeof value !== 'string' && typeof values[i - 1] !== 'string') text += ' ';
    text += printValue(value);
  }
  return text;
}

/** fmt.Sprintln. */
export function sprintln(values: readonly Value[]): string {
  return `${values.map(printValue).join(' ')}\n`;
}

/** fmt.Sprintf. */
export function sprintf(format: string, values: readonly Value[]): string {
  return new Formatter(format, values).run();
}

class Formatter {
  readonly #format: string;
  readonly #values: readonly Value[];
  #at = 0;
  #argument = 0;
  #reordered = false;
  #goodIndex = true;

  constructor(format: string, values: readonly Value[]) {
    this.#format = format;
    this.#values = values;
  }

  run(): string {
    let text = '';
    while (this.#at < this.#format.length) {
      const percent = this.#format.indexOf('%', this.#at);
      if (percent < 0) {
        text += this.#format.slice(this.#at);
        break;
      }
      text += this.#format.slice(this.#at, percent);
      this.#at = percent + 1;
      text += this.#directive();
    }
    return text + this.#extra();
  }

  #extra(): string {
    if (this.#reordered || this.#argument >= this.#values.length) return '';
    const rest = this.#values
      .slice(this.#argument)
      .map((value) => (value === undefined ? '<nil>' : `${typeName(value)}=${printValue(value)}`));
    return `%!(EXTRA ${rest.join(', ')})`;
  }

  #directive(): string {
    const flags = this.#flags();
    this.#goodIndex = true;
    this.#index();
    let marks = '';
    if (this.#format[this.#at] === '*') {
      this.#at++;
      const width = this.#star();
      if (width === undefined) marks += '%!(BADWIDTH)';
      else {
        flags.width = Math.abs(width);
        if (width < 0) flags.minus = true;
      }
    } else {
      flags.width = this.#number();
    }
    if (this.#format[this.#at] === '.') {
      this.#at++;
      this.#index();
      if (this.#format[this.#at] === '*') {
        this.#at++;
        const precision = this.#star();
        if (precision === undefined) marks += '%!(BADPREC)';
        else flags.precision = precision < 0 ? -1 : precision;
      } else {
        flags.precision = Math.max(this.#number(), 0);
      }
    }
    this.#index();
    return marks + this.#verb(flags);
  }

  #verb(flags: Flags): string {
    if (this.#at >= this.#format.length) return '%!(NOVERB)';
    const verb = String.fromCodePoint(this.#format.codePointAt(this.#at)!);
    this.#at += verb.length;
    if (verb === '%') return '%';
    if (!this.#goodIndex) return `%!${verb}(BADINDEX)`;
    if (this.#argument >= this.#values.length) return `%!${verb}(MISSING)`;
    return formatVerb(this.#values[this.#argument++], verb, flags, 0);
  }

  #flags(): Flags {
    const flags = { ...PLAIN };
    for (; ; this.#at++) {
      switch (this.#format[this.#at]) {
        case '-':
          flags.minus = true;
          continue;
        case '+':
          flags.plus = true;
          continue;
        case '#':
          flags.sharp = true;
          continue;
        case ' ':
          flags.space = true;
          continue;
        case '0':
          flags.zero = true;
          continue;
      }
      return flags;
    }
  }

  /** Digits here, or -1; never more than the limit. */
  #number(): number {
    const digits = /^\d+/.exec(this.#format.slice(this.#at, this.#at + 20));
    if (digits === null) return -1;
    this.#at += digits[0].length;
    return Math.min(Number(digits[0]), WIDTH_MAX);
  }

  #star(): number | undefined {
    const value = this.#values[this.#argument++];
    if (typeof value !== 'bigint' || value > BigInt(WIDTH_MAX) || value < -BigInt(WIDTH_MAX))
      return undefined;
    return Number(value);
  }

  /** `[2]`: the next argument is the second. */
  #index(): void {
    if (this.#format[this.#at] !== '[') return;
    this.#reordered = true;
    const close = this.#format.indexOf(']', this.#at);
    if (close < 0) {
      this.#goodIndex = false;
      this.#at++;
      return;
    }
    const inside = this.#format.slice(this.#at + 1, close);
    this.#at = close + 1;
    const index = /^\d{1,6}$/.test(inside) ? Number(inside) : 0;
    if (index >= 1 && index <= this.#values.length) this.#argument = index - 1;
    else this.#goodIndex = false;
  }
}

/** One value under one verb. `depth` > 0 inside a list, map or struct. */
function formatVerb(value: Value, verb: string, flags: Flags, depth: number): string {
  if (verb === 'T') return pad(typeName(value), flags);
  switch (typeof value) {
    case 'undefined':
      return verb === 'v' ? pad('<nil>', flags) : `%!${verb}(<nil>)`;
    case 'boolean':
      return verb === 't' || verb === 'v' ? pad(String(value), flags) : badVerb(value, verb);
    case 'string':
      return formatString(value, verb, flags);
    case 'number':
      return formatNumber(value, verb, flags);
    case 'bigint':
      return formatInteger(value, verb, flags);
    default:
      return formatObject(value, verb, flags, depth);
  }
}

function formatObject(
  value: Exclude<Value, undefined | boolean | string | number | bigint>,
  verb: string,
  flags: Flags,
  depth: number,
): string {
  if (value instanceof TemplateTime || value instanceof TemplateDuration) {
    if (value instanceof TemplateDuration && verb === 'd')
      return formatInteger(value.nanoseconds, verb, flags);
    return formatString(stringerText(value)!, verb, flags);
  }
  return formatComposite(value, verb, flags, depth);
}

function formatComposite(
  value: TemplateList | TemplateMap | TemplateStruct,
  verb: string,
  flags: Flags,
  depth: number,
): string {
  const part = (item: Value) => formatVerb(item, verb, flags, depth + 1);
  if (value instanceof TemplateList) return `[${value.items.map(part).join(' ')}]`;
  if (value instanceof TemplateMap) {
    const pairs = value.sortedKeys().map((key) => `${part(key)}:${part(value.get(key))}`);
    return `map[${pairs.join(' ')}]`;
  }
  // Go prints the address of a pointer inside something else; nobody can depend on which.
  if (value.isPointer && depth > 0) return '0xc000000000';
  return `${value.isPointer ? '&' : ''}{${[...value.fields.values()].map(part).join(' ')}}`;
}

function badVerb(value: Value, verb: string): string {
  return `%!${verb}(${typeName(value)}=${printValue(value)})`;
}

function formatString(text: string, verb: string, flags: Flags): string {
  const cut = flags.precision >= 0 ? Array.from(text).slice(0, flags.precision).join('') : text;
  switch (verb) {
    case 'v':
      return flags.sharp ? pad(quoteGo(text), flags) : pad(cut, flags);
    case 's':
      return pad(cut, flags);
    case 'q':
      return pad(flags.sharp && !cut.includes('`') ? `\`${cut}\`` : quoteGo(cut), flags);
    case 'x':
    case 'X':
      return pad(hexOfText(text, verb, flags), flags);
    default:
      return badVerb(text, verb);
  }
}

function hexOfText(text: string, verb: string, flags: Flags): string {
  const bytes = Buffer.from(text, 'utf8');
  const limited = flags.precision >= 0 ? bytes.subarray(0, flags.precision) : bytes;
  const hex = [...limited].map((byte) => byte.toString(16).padStart(2, '0'));
  const prefix = flags.sharp && hex.length > 0 ? '0x' : '';
  const joined = prefix + hex.join(flags.space ? ` ${prefix}` : '');
  return verb === 'X' ? joined.toUpperCase() : joined;
}

function formatInteger(value: bigint, verb: string, flags: Flags): string {
  switch (verb) {
    case 'v':
    case 'd':
      return signedDigits(value, 10, '', flags);
    case 'b':
      return signedDigits(value, 2, flags.sharp ? '0b' : '', flags);
    case 'o':
      return signedDigits(value, 8, flags.sharp ? '0' : '', flags);
    case 'O':
      return signedDigits(value, 8, '0o', flags);
    case 'x':
      return signedDigits(value, 16, flags.sharp ? '0x' : '', flags);
    case 'X':
      return signedDigits(value, 16, flags.sharp ? '0x' : '', flags).toUpperCase();
    case 'c':
      return pad(runeOf(value), flags);
    case 'q':
      return pad(quoteGo(runeOf(value), "'"), flags);
    case 'U':
      return pad(`U+${value.toString(16).toUpperCase().padStart(4, '0')}`, flags);
    default:
      return badVerb(value, verb);
  }
}

function runeOf(value: bigint): string {
  return value >= 0n && value <= 0x10ffffn && !(value >= 0xd800n && value < 0xe000n)
    ? String.fromCodePoint(Number(value))
    : '\ufffd';
}

function signedDigits(value: bigint, base: number, prefix: string, flags: Flags): string {
  const negative = value < 0n;
  let digits = (negative ? -value : value).toString(base);
  if (flags.precision >= 0) {
    if (flags.precision === 0 && value === 0n) return pad('', { ...flags, zero: false });
    digits = digits.padStart(flags.precision, '0');
  }
  const sign = negative ? '-' : flags.plus ? '+' : flags.space ? ' ' : '';
  if (flags.zero && !flags.minus && flags.precision < 0 && flags.width > 0) {
    digits = digits.padStart(flags.width - sign.length - prefix.length, '0');
  }
  return pad(sign + prefix + digits, { ...flags, zero: false });
}

function formatNumber(value: number, verb: string, flags: Flags): string {
  let text: string;
  switch (verb) {
    case 'v':
      text = flags.precision < 0 ? printFloat(value) : formatFloat(value, 'g', flags.precision);
      break;
    case 'g':
    case 'G':
      text = formatFloat(value, verb, flags.precision);
      break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
      text = formatFloat(value, verb, flags.precision < 0 ? 6 : flags.precision);
      break;
    default:
      return badVerb(value, verb);
  }
  return padNumber(text, value, flags);
}

function padNumber(text: string, value: number, flags: Flags): string {
  let sign = '';
  let body = text;
  if (body[0] === '-' || body[0] === '+') {
    sign = body[0];
    body = body.slice(1);
  }
  if (sign !== '-')
    sign = flags.plus ? '+' : flags.space ? ' ' : value === Number.POSITIVE_INFINITY ? '+' : '';
  const padsWithZeros = flags.zero && !flags.minus && Number.isFinite(value);
  if (padsWithZeros && flags.width > 0) body = body.padStart(flags.width - sign.length, '0');
  return pad(sign + body, { ...flags, zero: false });
}

/** Pads to the width in characters; Go pads strings with zeros too when told so. */
function pad(text: string, flags: Flags): string {
  if (flags.width <= 0) return text;
  let length = 0;
  for (const _ of text) length++;
  if (length >= flags.width) return text;
  const filling = (flags.zero && !flags.minus ? '0' : ' ').repeat(flags.width - length);
  return flags.minus ? text + filling : filling + text;
}
