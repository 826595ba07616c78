// Groups of an aggregation: which series belong together, and the label set of each group.
import { ByteReader, ByteWriter, decodeLatin1 } from '../../../core/bytes.ts';
import { encodeLabels, Labels, METRIC_NAME } from '../../../model/labels.ts';
import type { Aggregation } from '../../ast.ts';
import type { SeriesMeta } from '../operand.ts';

export interface Groups {
  /** Group of series i. */
  readonly groupOf: Int32Array;
  /** Label sets, by first member. */
  readonly labels: readonly Labels[];
}

/** Label set that a series has in `by (…)` or `without (…)`. */
export function groupLabels(labels: Labels, grouping: readonly string[], without: boolean): Labels {
  return without
    ? labels.filter((name) => name !== METRIC_NAME && !grouping.includes(name))
    : labels.filter((name) => grouping.includes(name));
}

/**
 * Groups series by what `by (…)` or `without (…)` leaves of their labels, as bytes: a group's label set is made once, and no
 * string for a series.
 */
export function groupSeries(expr: Aggregation, series: readonly SeriesMeta[]): Groups {
  const groupOf = new Int32Array(series.length);
  if (expr.grouping.length === 0 && !expr.without) {
    return { groupOf, labels: series.length > 0 ? [Labels.empty] : [] };
  }
  const table = new GroupTable(expr.grouping, expr.without);
  for (let i = 0; i < series.length; i++) groupOf[i] = table.groupOf(series[i]!.labels);
  return { groupOf, labels: table.labels };
}

/** What groupSeries writes into; it never pauses, so that one set serves all queries of a thread. */
const scratch = {
  input: new ByteWriter(256),
  kept: new ByteWriter(256),
  previous: new ByteWriter(256),
};

class GroupTable {
  readonly labels: Labels[] = [];
  readonly #grouping: readonly string[];
  readonly #without: boolean;
  /** The names that decide, each as it stands in label bytes. */
  readonly #names: readonly Uint8Array[];
  readonly #known = new Map<string, number>();
  readonly #input = scratch.input;
  /** What is left of the current series, and of the one before. */
  #kept = scratch.kept;
  #previous = scratch.previous;
  #previousGroup = -1;

  constructor(grouping: readonly string[], without: boolean) {
    this.#grouping = without ? [...grouping, METRIC_NAME] : grouping;
    this.#without = without;
    this.#names = this.#grouping.map((name) => {
      this.#input.reset();
      this.#input.string(name);
      return this.#input.take();
    });
  }

  groupOf(labels: Labels): number {
    this.#keep(labels);
    const kept = this.#kept;
    const previous = this.#previous;
    const length = kept.length;
    // Neighbours are often of one group.
    if (this.#previousGroup >= 0 && isEqualRun(kept.bytes, previous.bytes, length, previous.length)) {
      return this.#previousGroup;
    }
    this.#previousGroup = this.#find();
    this.#kept = previous;
    this.#previous = kept;
    return this.#previousGroup;
  }

  #find(): number {
    const key = decodeLatin1(this.#kept.bytes, 0, this.#kept.length);
    let group = this.#known.get(key);
    if (group === undefined) {
      group = this.labels.length;
      this.#known.set(key, group);
      this.labels.push(Labels.view(this.#kept.take(), 0, this.#kept.length));
    }
    return group;
  }

  /** Copies the pairs that the grouping leaves. */
  #keep(labels: Labels): void {
    let source = labels.labelBytes;
    if (source === undefined) {
      this.#input.reset();
      encodeLabels(labels, this.#input);
      source = { bytes: this.#input.bytes, start: 0, end: this.#input.length };
    }
    this.#kept.reset();
    const { bytes, end } = source;
    let at = source.start;
    while (at < end) {
      const nameEnd = endOfString(bytes, at);
      const next = endOfString(bytes, nameEnd);
      if (this.#isNamed(bytes, at, nameEnd) !== this.#without) this.#kept.raw(bytes, at, next);
      at = next;
    }
  }

  #isNamed(bytes: Uint8Array, at: number, end: number): boolean {
    for (const name of this.#names) {
      if (name.length !== end - at) continue;
      let i = name.length - 1;
      while (i >= 0 && name[i] === bytes[at + i]) i--;
      if (i < 0) return true;
    }
    return false;
  }
}

/** Where the string behind the varint length at `at` ends. The bytes were checked. */
function endOfString(bytes: Uint8Array, at: number): number {
  const length = bytes[at]!;
  if (length < 128) return at + 1 + length;
  const reader = new ByteReader(bytes, at);
  reader.skip(reader.varint());
  return reader.position;
}

function isEqualRun(a: Uint8Array, b: Uint8Array, length: number, otherLength: number): boolean {
  if (length !== otherLength) return false;
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Series of each group, ascending. */
export function membersOf(groups: Groups): number[][] {
  const members: number[][] = Array.from({ length: groups.labels.length }, () => []);
  for (let i = 0; i < groups.groupOf.length; i++) members[groups.groupOf[i]!]!.push(i);
  return members;
}
