// Values of the template language. Go's kinds that templates can tell apart map to JavaScript's: float64 is a number, int
// a bigint, nil and Go's "invalid" undefined. Label maps are Maps, so that a label `__proto__` is data.
import { printDuration, printTime } from './go-time.ts';

export type Value =
  | undefined
  | boolean
  | string
  | number
  | bigint
  | TemplateList
  | TemplateMap
  | TemplateStruct
  | TemplateTime
  | TemplateDuration;

/** A query's result: Go's `template.queryResult`. */
export class TemplateList {
  readonly items: readonly Value[];

  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** A map with string keys. */
export class TemplateMap {
  readonly entries: ReadonlyMap<string, Value>;
  /** What an absent key gives (Prometheus sets missingkey=zero). */
  readonly zero: Value;

  constructor(entries: ReadonlyMap<string, Value>, zero: Value) {
    this.entries = entries;
    this.zero = zero;
  }

  get(key: string): Value {
    return this.entries.has(key) ? this.entries.get(key) : this.zero;
  }

  sortedKeys(): string[] {
    return [...this.entries.keys()].sort();
  }
}

/** Something with named fields: a sample, or the root of the data. */
export class TemplateStruct {
  /** Go's name of the type, for messages. */
  readonly typeName: string;
  readonly isPointer: boolean;
  readonly fields: ReadonlyMap<string, Value>;

  constructor(typeName: string, isPointer: boolean, fields: ReadonlyMap<string, Value>) {
    this.typeName = typeName;
    this.isPointer = isPointer;
    this.fields = fields;
  }
}

/** A time.Time in UTC. */
export class TemplateTime {
  /** Unix milliseconds. */
  readonly timeMs: number;

  constructor(timeMs: number) {
    this.timeMs = timeMs;
  }
}

/** A time.Duration. */
export class TemplateDuration {
  readonly nanoseconds: bigint;

  constructor(nanoseconds: bigint) {
    this.nanoseconds = nanoseconds;
  }
}

export const SAMPLE_TYPE = 'template.sample';

/** A sample of a query's result. */
export function createSample(labels: TemplateMap, value: number): TemplateStruct {
  return new TemplateStruct(
    SAMPLE_TYPE,
    true,
    new Map<string, Value>([
      ['Labels', labels],
      ['Value', value],
    ]),
  );
}

/** Labels as templates see them: an absent one is the empty string. */
export function createLabelMap(entries: Iterable<readonly [string, string]>): TemplateMap {
  return new TemplateMap(new Map(entries), '');
}

/** Go's name of the value's type, as %T prints it. */
export function typeName(value: Value): string {
  switch (typeof value) {
    case 'undefined':
      return '<nil>';
    case 'boolean':
      return 'bool';
    case 'string':
      return 'string';
    case 'number':
      return 'float64';
    case 'bigint':
      return 'int';
    default:
      return objectTypeName(value);
  }
}

function objectTypeName(value: Exclude<Value, undefined | boolean | string | number | bigint>): string {
  if (value instanceof TemplateList) return 'template.queryResult';
  if (value instanceof TemplateMap)
    return value.zero === undefined ? 'map[string]interface {}' : 'map[string]string';
  if (value instanceof TemplateTime) return '*time.Time';
  if (value instanceof TemplateDuration) return 'time.Duration';
  return `${value.isPointer ? '*' : ''}${value.typeName}`;
}

/** What `if`, `and`, `or` and `not` make of a value: zero values and empty collections are false. */
export function isTruthy(value: Value): boolean {
  switch (typeof value) {
    case 'undefined':
      return false;
    case 'boolean':
      return value;
    case 'string':
      return value !== '';
    case 'number':
      return value !== 0;
    case 'bigint':
      return value !== 0n;
    default:
      return isTruthyObject(value);
  }
}

function isTruthyObject(value: Exclude<Value, undefined | boolean | string | number | bigint>): boolean {
  if (value instanceof TemplateList) return value.items.length > 0;
  if (value instanceof TemplateMap) return value.entries.size > 0;
  if (value instanceof TemplateDuration) return value.nanoseconds !== 0n;
  return true;
}

/** Go's text of values that print themselves (time and duration), else undefined. */
export function stringerText(value: Value): string | undefined {
  if (value instanceof TemplateTime) return printTime(value.timeMs);
  if (value instanceof TemplateDuration) return printDuration(value.nanoseconds);
  return undefined;
}
