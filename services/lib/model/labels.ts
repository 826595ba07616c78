// A label set as Prometheus defines it: pairs of name and value, sorted by name in UTF-8 byte order, each name once,
// no empty values. Labels live in a flat array, so that names like `__proto__` are ordinary data.
import { ByteReader, ByteWriter, decodeLatin1, decodeUtf8 } from '../core/bytes.ts';
import { checkLabelBytes, compareLabelBytes } from './label-bytes.ts';

/** Name of the label that holds the metric name. */
export const METRIC_NAME = '__name__';

/** Orders strings as their UTF-8 bytes do. (JavaScript's own order differs above U+D7FF.) */
export function compareUtf8(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const surrogateX = (x & 0xf800) === 0xd800;
    const surrogateY = (y & 0xf800) === 0xd800;
    if (surrogateX !== surrogateY) return surrogateX ? 1 : -1;
    return x - y;
  }
  return a.length - b.length;
}

/** Canonical label bytes (encodeLabels) somewhere in a larger buffer. */
export interface LabelBytes {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** An immutable label set. What came as bytes is made strings when somebody asks for them. */
export class Labels {
  #pairs: readonly string[] | undefined;
  #key: string | undefined;
  /** The same as bytes, where it came as such. Invariant: this or #pairs is there. */
  readonly #source: Uint8Array | undefined;
  readonly #start: number;
  readonly #end: number;

  private constructor(pairs: readonly string[] | undefined, source?: Uint8Array, start = 0, end = 0) {
    this.#pairs = pairs;
    this.#source = source;
    this.#start = start;
    this.#end = end;
  }

  /** `[name0, value0, name1, value1, …]`. Law: names strictly ascending (compareUtf8), values not empty. */
  get pairs(): readonly string[] {
    this.#pairs ??= readPairs(this.#source!, this.#start, this.#end);
    return this.#pairs;
  }

  /** The set as bytes, when it is made of them: for those that need no strings. */
  get labelBytes(): LabelBytes | undefined {
    const bytes = this.#source;
    return bytes === undefined ? undefined : { bytes, start: this.#start, end: this.#end };
  }

  /** Bytes in front of `whole` that this set lacks, where it is the rest of the same bytes; else -1. */
  bytesBehind(whole: Labels): number {
    if (this.#source === undefined || this.#source !== whole.#source || this.#end !== whole.#end) return -1;
    return this.#start - whole.#start;
  }

  /** A set over label bytes[start, end) that checkLabelBytes let pass; they are retained and must not change. */
  static view(bytes: Uint8Array, start: number, end: number): Labels {
    return new Labels(undefined, bytes, start, end);
  }

  static readonly empty: Labels = new Labels([]);

  /** Takes pairs that already satisfy the invariant; the array is retained. */
  static fromSortedPairs(pairs: readonly string[]): Labels {
    return new Labels(pairs);
  }

  /** Sorts, drops empty values; the last of several values of a name stays. */
  static from(entries: Iterable<readonly [string, string]>): Labels {
    const byName = new Map<string, string>();
    for (const [name, value] of entries) byName.set(name, value);
    const names: string[] = [];
    for (const [name, value] of byName) if (value !== '') names.push(name);
    names.sort(compareUtf8);
    const pairs: string[] = [];
    for (const name of names) pairs.push(name, byName.get(name)!);
    return new Labels(pairs);
  }

  /** Pair by pair; tests that compare sets compare these. */
  [Symbol.iterator](): Iterator<[string, string]> {
    return this.entries();
  }

  /** Number of pairs. */
  get size(): number {
    return this.pairs.length / 2;
  }

  /** The value, or the empty string: Prometheus makes no difference between empty and absent. */
  get(name: string): string {
    if (this.#pairs === undefined) return findValue(this.#source!, this.#start, this.#end, name);
    const pairs = this.#pairs;
    for (let i = 0; i < pairs.length; i += 2) if (pairs[i] === name) return pairs[i + 1]!;
    return '';
  }

  has(name: string): boolean {
    return this.get(name) !== '';
  }

  /** A set with `name` = `value`; an empty value removes the label. */
  with(name: string, value: string): Labels {
    const pairs: string[] = [];
    let placed = value === '';
    for (let i = 0; i < this.pairs.length; i += 2) {
      const own = this.pairs[i]!;
      if (own === name) continue;
      if (!placed && compareUtf8(name, own) < 0) {
        pairs.push(name, value);
        placed = true;
      }
      pairs.push(own, this.pairs[i + 1]!);
    }
    if (!placed) pairs.push(name, value);
    return new Labels(pairs);
  }

  /**
   * A set without `names`, all of which begin with two underscores: on bytes this costs next to nothing, since such names
   * stand together.
   */
  withoutReserved(names: ReadonlySet<string>): Labels {
    if (this.#pairs === undefined) {
      const source = this.#source!;
      const cut = cutReserved(source, this.#start, this.#end, names);
      if (cut >= 0) return cut === this.#start ? this : new Labels(undefined, source, cut, this.#end);
    }
    return this.filter((name) => !names.has(name));
  }

  /** A set with only the names for which `keep` holds. */
  filter(keep: (name: string) => boolean): Labels {
    const pairs: string[] = [];
    for (let i = 0; i < this.pairs.length; i += 2) {
      if (keep(this.pairs[i]!)) pairs.push(this.pairs[i]!, this.pairs[i + 1]!);
    }
    return pairs.length === this.pairs.length ? this : new Labels(pairs);
  }

  without(...names: readonly string[]): Labels {
    return this.filter((name) => !names.includes(name));
  }

  *entries(): Generator<[string, string]> {
    for (let i = 0; i < this.pairs.length; i += 2) yield [this.pairs[i]!, this.pairs[i + 1]!];
  }

  /** Unambiguous identity for use as a Map key. Not for people, not for storage. */
  get key(): string {
    this.#key ??= this.#makeKey();
    return this.#key;
  }

  /** The canonical bytes, each as a character. */
  #makeKey(): string {
    if (this.#source !== undefined) return decodeLatin1(this.#source, this.#start, this.#end);
    let key = '';
    for (const text of this.#pairs!) {
      if (text.length > 127 || !isAscii(text)) {
        const writer = new ByteWriter(256);
        encodeLabels(this, writer);
        return decodeLatin1(writer.bytes, 0, writer.length);
      }
      key += String.fromCharCode(text.length) + text;
    }
    return key;
  }

  /** Prometheus' order: pair by pair, names before values, a shorter set first. */
  compareTo(other: Labels): number {
    if (this.#source !== undefined && other.#source !== undefined) {
      return compareLabelBytes(this.#source, this.#start, this.#end, other.#source, other.#start, other.#end);
    }
    const shared = Math.min(this.pairs.length, other.pairs.length);
    for (let i = 0; i < shared; i++) {
      if (this.pairs[i] === other.pairs[i]) continue;
      return compareUtf8(this.pairs[i]!, other.pairs[i]!);
    }
    return this.pairs.length - other.pairs.length;
  }

  /** As a selector of it is written: `metric{a="b", c="d"}`. */
  toString(): string {
    const metric = this.get(METRIC_NAME);
    const legacyMetric = isLegacyMetricName(metric);
    const parts: string[] = [];
    if (metric !== '' && !legacyMetric) parts.push(quoteLabel(metric));
    for (let i = 0; i < this.pairs.length; i += 2) {
      const name = this.pairs[i]!;
      if (name === METRIC_NAME) continue;
      parts.push(`${isLegacyLabelName(name) ? name : quoteLabel(name)}=${quoteLabel(this.pairs[i + 1]!)}`);
    }
    if (legacyMetric) return parts.length === 0 ? metric : `${metric}{${parts.join(', ')}}`;
    return `{${parts.join(', ')}}`;
  }
}

/** A label set as Prometheus' messages print it: `{__name__="metric", a="b"}`. */
export function printLabelSet(labels: Labels): string {
  const parts = [...labels.entries()].map(
    ([name, value]) => `${isLegacyLabelName(name) ? name : quoteLabel(name)}=${quoteLabel(value)}`,
  );
  return `{${parts.join(', ')}}`;
}

/** A Go-style double-quoted string: what Prometheus prints for label values. */
export function quoteLabel(text: string): string {
  let quoted = '"';
  for (const char of text) {
    const code = char.codePointAt(0)!;
    if (char === '"' || char === '\\') quoted += `\\${char}`;
    else if (char === '\n') quoted += '\\n';
    else if (char === '\t') quoted += '\\t';
    else if (char === '\r') quoted += '\\r';
    else if (code < 0x20 || code === 0x7f) quoted += `\\x${code.toString(16).padStart(2, '0')}`;
    else quoted += char;
  }
  return `${quoted}"`;
}

/** Metric name of the classic character set: `[a-zA-Z_:][a-zA-Z0-9_:]*`. */
export function isLegacyMetricName(name: string): boolean {
  return isName(name, true);
}

/** Label name of the classic character set: `[a-zA-Z_][a-zA-Z0-9_]*`. */
export function isLegacyLabelName(name: string): boolean {
  return isName(name, false);
}

function isName(name: string, colon: boolean): boolean {
  if (name === '') return false;
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    const letter = (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || (colon && c === 58);
    if (!letter && !(i > 0 && c >= 48 && c <= 57)) return false;
  }
  return true;
}

/**
 * Writes the canonical label bytes: for each pair in order, name and value, each as varint length and UTF-8.
 * Equal sets have equal bytes; these bytes are what is hashed, sent and stored.
 */
export function encodeLabels(labels: Labels, dst: ByteWriter): void {
  const source = labels.labelBytes;
  if (source !== undefined) dst.raw(source.bytes, source.start, source.end);
  else for (const text of labels.pairs) dst.string(text);
}

/**
 * Reads canonical label bytes[start, end), which are not retained.
 *
 * @throws AppError `bad_data` on truncation, unsorted or repeated names, or empty values.
 */
export function decodeLabels(bytes: Uint8Array, start: number, end: number): Labels {
  checkLabelBytes(bytes, start, end);
  return Labels.fromSortedPairs(readPairs(bytes, start, end));
}

/** The strings of label bytes that were checked. */
function readPairs(bytes: Uint8Array, start: number, end: number): readonly string[] {
  const reader = new ByteReader(bytes, start, end);
  const pairs: string[] = [];
  while (reader.remaining > 0) pairs.push(reader.string());
  return pairs;
}

/** The value of a label in checked bytes, or the empty string. */
function findValue(bytes: Uint8Array, start: number, end: number, name: string): string {
  const reader = new ByteReader(bytes, start, end);
  while (reader.remaining > 0) {
    const nameBytes = reader.varint();
    const at = reader.position;
    reader.skip(nameBytes);
    if (isText(bytes, at, nameBytes, name)) return reader.string();
    reader.skip(reader.varint());
  }
  return '';
}

/** Whether bytes[at, at + length) are the UTF-8 of `text`. */
function isText(bytes: Uint8Array, at: number, length: number, text: string): boolean {
  if (length !== text.length) return length > text.length && decodeUtf8(bytes, at, at + length) === text;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127 || bytes[at + i] !== code) return false;
  }
  return true;
}

/**
 * Where checked bytes go on when `names` in front of them are left out; -1 when what is left would not be one piece.
 */
function cutReserved(bytes: Uint8Array, start: number, end: number, names: ReadonlySet<string>): number {
  const reader = new ByteReader(bytes, start, end);
  let cut = start;
  while (reader.remaining > 0) {
    const pairAt = reader.position;
    const nameBytes = reader.varint();
    const at = reader.position;
    reader.skip(nameBytes);
    reader.skip(reader.varint());
    // Behind the underscores come small letters; capitals before them.
    if (bytes[at]! > UNDERSCORE) break;
    if (bytes[at] !== UNDERSCORE || bytes[at + 1] !== UNDERSCORE) continue;
    if (!names.has(decodeUtf8(bytes, at, at + nameBytes))) continue;
    if (cut !== pairAt) return -1;
    cut = reader.position;
  }
  return cut;
}

const UNDERSCORE = 95;

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) return false;
  return true;
}
