// A label set as Prometheus defines it: pairs of name and value, sorted by name in UTF-8 byte order, each name once,
// no empty values. Labels live in a flat array, so that names like `__proto__` are ordinary data.
import { ByteReader, type ByteWriter } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';

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

/** An immutable label set. */
export class Labels {
  /** `[name0, value0, name1, value1, …]`. Invariant: names strictly ascending (compareUtf8), values not empty. */
  readonly pairs: readonly string[];
  #key: string | undefined;

  private constructor(pairs: readonly string[]) {
    this.pairs = pairs;
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

  /** Number of pairs. */
  get size(): number {
    return this.pairs.length / 2;
  }

  /** The value, or the empty string: Prometheus makes no difference between empty and absent. */
  get(name: string): string {
    const pairs = this.pairs;
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
    if (this.#key === undefined) {
      let key = '';
      for (const text of this.pairs) key += `${text.length}:${text}`;
      this.#key = key;
    }
    return this.#key;
  }

  /** Prometheus' order: pair by pair, names before values, a shorter set first. */
  compareTo(other: Labels): number {
    const shared = Math.min(this.pairs.length, other.pairs.length);
    for (let i = 0; i < shared; i++) {
      if (this.pairs[i] === other.pairs[i]) continue;
      return compareUtf8(this.pairs[i]!, other.pairs[i]!);
    }
    return this.pairs.length - other.pairs.length;
  }

  /** As Prometheus prints it: `metric{a="b", c="d"}`. */
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
  for (const text of labels.pairs) dst.string(text);
}

/**
 * Reads canonical label bytes[start, end).
 *
 * @throws AppError `bad_data` on truncation, unsorted or repeated names, or empty values.
 */
export function decodeLabels(bytes: Uint8Array, start: number, end: number): Labels {
  const reader = new ByteReader(bytes, start, end);
  const pairs: string[] = [];
  let previous: string | undefined;
  while (reader.remaining > 0) {
    const name = reader.string();
    const value = reader.string();
    if (value === '' || (previous !== undefined && compareUtf8(previous, name) >= 0)) {
      throw new AppError('bad_data', `label bytes are not canonical at label ${quoteLabel(name)}`);
    }
    pairs.push(name, value);
    previous = name;
  }
  return Labels.fromSortedPairs(pairs);
}
