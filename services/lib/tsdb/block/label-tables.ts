// The label tables of an open index: names, values and postings, decoded when they are asked for. What stays in memory
// is the list of names and, per name that was used, the offset of each group of values.
import { type ByteReader, compareBytes, decodeUtf8, encodeUtf8 } from '../../core/bytes.ts';
import { EMPTY_POSTINGS } from '../postings/postings.ts';
import type { PostingsSource } from '../postings/select-postings.ts';
import { GROUP_SIZE, LABELS_BYTES_MAX } from './block-format.ts';
import { corruptBlock } from './page-codec.ts';
import { decodePostings } from './postings-codec.ts';
import type { SectionReader } from './section-reader.ts';

interface NameEntry {
  readonly valueCount: number;
  /** Groups stand in values[regionStart, regionStart + groupBytes), their sizes in the `tableBytes` behind. */
  readonly regionStart: number;
  readonly groupBytes: number;
  readonly tableBytes: number;
  /** Start of each group in `values`, and the end of the last; read at first use. */
  groupStarts: Float64Array | undefined;
}

/** A value of a group, while the group is walked. */
interface FoundValue {
  readonly bytes: Uint8Array;
  readonly postingsStart: number;
  readonly postingsBytes: number;
  readonly seriesCount: number;
}

export class LabelTables implements PostingsSource {
  readonly #names: SectionReader;
  readonly #values: SectionReader;
  readonly #postings: SectionReader;
  readonly #nameCount: number;
  readonly #seriesCount: number;
  #entries: ReadonlyMap<string, NameEntry> | undefined;
  /** The value that `labelValues` yielded last: its postings are mostly asked for next. */
  #yielded: { readonly name: string; readonly value: string; readonly found: FoundValue } | undefined;

  constructor(options: {
    readonly names: SectionReader;
    readonly values: SectionReader;
    readonly postings: SectionReader;
    readonly nameCount: number;
    readonly seriesCount: number;
  }) {
    this.#names = options.names;
    this.#values = options.values;
    this.#postings = options.postings;
    this.#nameCount = options.nameCount;
    this.#seriesCount = options.seriesCount;
  }

  /** All label names, ascending. */
  labelNames(): Iterable<string> {
    return this.#nameTable().keys();
  }

  /** Distinct values of a label that start with `prefix`, ascending. */
  *labelValues(name: string, prefix = ''): Generator<string> {
    const entry = this.#nameTable().get(name);
    if (entry === undefined) return;
    const wanted = encodeUtf8(prefix);
    const starts = this.#groupStarts(entry);
    const first = prefix === '' ? 0 : this.#groupOf(entry, wanted);
    for (let group = first; group < starts.length - 1; group++) {
      for (const found of this.#group(entry, group)) {
        const head = found.bytes.subarray(0, wanted.length);
        const order = compareBytes(head, wanted);
        if (order > 0) return;
        if (order < 0) continue;
        const value = decodeUtf8(found.bytes, 0, found.bytes.length);
        this.#yielded = { name, value, found };
        yield value;
      }
    }
  }

  postings(name: string, value: string): Uint32Array {
    const last = this.#yielded;
    if (last !== undefined && last.value === value && last.name === name) return this.#read(last.found);
    const entry = this.#nameTable().get(name);
    if (entry === undefined) return EMPTY_POSTINGS;
    const wanted = encodeUtf8(value);
    for (const found of this.#group(entry, this.#groupOf(entry, wanted))) {
      if (compareBytes(found.bytes, wanted) === 0) return this.#read(found);
    }
    return EMPTY_POSTINGS;
  }

  allPostings(): Uint32Array {
    const ids = new Uint32Array(this.#seriesCount);
    for (let i = 0; i < ids.length; i++) ids[i] = i;
    return ids;
  }

  #read(found: FoundValue): Uint32Array {
    return this.#postings.decode(found.postingsStart, found.postingsBytes, (reader) =>
      decodePostings(reader, found.seriesCount, this.#seriesCount, this.#postings.where),
    );
  }

  #nameTable(): ReadonlyMap<string, NameEntry> {
    this.#entries ??= this.#names.decode(0, this.#names.map.rawBytes, (reader) => {
      const entries = new Map<string, NameEntry>();
      for (let i = 0; i < this.#nameCount; i++) entries.set(reader.string(), readNameEntry(reader));
      return entries;
    });
    return this.#entries;
  }

  #groupStarts(entry: NameEntry): Float64Array {
    entry.groupStarts ??= this.#values.decode(
      entry.regionStart + entry.groupBytes,
      entry.tableBytes,
      (reader) => {
        const count = Math.ceil(entry.valueCount / GROUP_SIZE);
        if (count > reader.remaining)
          throw corruptBlock(this.#values.where, `${count} groups in ${reader.remaining} bytes`);
        const starts = new Float64Array(count + 1);
        starts[0] = entry.regionStart;
        for (let i = 0; i < count; i++) starts[i + 1] = starts[i]! + reader.varint();
        if (starts[count] !== entry.regionStart + entry.groupBytes) {
          throw corruptBlock(this.#values.where, `groups end at ${starts[count]}`);
        }
        return starts;
      },
    );
    return entry.groupStarts;
  }

  /** The last group whose first value is not above `wanted`, or the first group: where it stands, if it does. */
  #groupOf(entry: NameEntry, wanted: Uint8Array): number {
    const starts = this.#groupStarts(entry);
    let low = 0;
    let high = starts.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.#group(entry, middle, 1)[0]!.bytes, wanted) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The values of a group, at most `most` of them. */
  #group(entry: NameEntry, group: number, most = GROUP_SIZE): FoundValue[] {
    const starts = this.#groupStarts(entry);
    const start = starts[group]!;
    const inGroup = Math.min(GROUP_SIZE, entry.valueCount - group * GROUP_SIZE);
    return this.#values.decode(start, starts[group + 1]! - start, (reader) => {
      const found: FoundValue[] = [];
      let postingsStart = reader.varint();
      let previous: Uint8Array = new Uint8Array(0);
      for (let i = 0; i < Math.min(inGroup, most); i++) {
        const value = readValue(reader, previous, postingsStart);
        found.push(value);
        previous = value.bytes;
        postingsStart += value.postingsBytes;
      }
      if (most < inGroup) reader.raw(reader.remaining);
      return found;
    });
  }
}

function readNameEntry(reader: ByteReader): NameEntry {
  return {
    valueCount: reader.varint(),
    regionStart: reader.varint(),
    groupBytes: reader.varint(),
    tableBytes: reader.varint(),
    groupStarts: undefined,
  };
}

function readValue(reader: ByteReader, previous: Uint8Array, postingsStart: number): FoundValue {
  const shared = reader.varint();
  const rest = reader.raw(reader.varint());
  if (shared > previous.length || shared + rest.length > LABELS_BYTES_MAX) {
    throw corruptBlock('value table', `a value shares ${shared} of ${previous.length} bytes`);
  }
  const bytes = new Uint8Array(shared + rest.length);
  bytes.set(previous.subarray(0, shared));
  bytes.set(rest, shared);
  const seriesCount = reader.varint();
  return { bytes, seriesCount, postingsStart, postingsBytes: reader.varint() };
}
