// The label tables of the index: for each name its sorted values, for each value its postings.
import { ByteWriter } from '../../core/bytes.ts';
import { GROUP_SIZE, INDEX_PAGE_BYTES } from './block-format.ts';
import { compareRanges, sharedPrefixBytes } from './byte-ranges.ts';
import type { OutputFile } from './output-file.ts';
import { PagedWriter, type SectionTable } from './paged-writer.ts';
import type { PairTable } from './pair-table.ts';
import { encodePostings } from './postings-codec.ts';
import type { SeriesCollector } from './series-collector.ts';
import { nameEndOf, nameStartOf, type SeriesOrder, valueStartOf } from './series-order.ts';
import { UNITS_PER_PAGE, type WorkPacer } from './work-pacer.ts';

/** Postings of the pair of rank r: ids[starts[r], starts[r + 1]). */
export interface CollectedPostings {
  readonly ids: Uint32Array;
  readonly starts: Uint32Array;
}

/** Series of a block as runs of pairs; `seriesPairs` holds ranks by now (series-order.ts). */
export type LabelledSeries = Pick<SeriesCollector, 'pairs' | 'seriesPairs' | 'pairStarts'>;

/** Counts, then fills: two walks, no list per pair. Series ids are positions in `order.seriesOrder`. */
export async function collectPostings(
  collector: LabelledSeries,
  order: SeriesOrder,
  pacer: WorkPacer,
): Promise<CollectedPostings> {
  const { seriesPairs, pairStarts } = collector;
  const starts = new Uint32Array(order.pairOrder.length + 1);
  for (let at = 0; at < seriesPairs.length; ) {
    const stop = Math.min(seriesPairs.length, at + 65_536);
    for (; at < stop; at++) starts[seriesPairs.array[at]! + 1]!++;
    if (pacer.spend(512)) await pacer.pause();
  }
  for (let rank = 1; rank < starts.length; rank++) starts[rank]! += starts[rank - 1]!;
  const fill = starts.slice();
  const ids = new Uint32Array(seriesPairs.length);
  for (let id = 0; id < order.seriesOrder.length; id++) {
    const series = order.seriesOrder[id]!;
    const end = pairStarts.array[series + 1]!;
    for (let i = pairStarts.array[series]!; i < end; i++) ids[fill[seriesPairs.array[i]!]!++] = id;
    if (id % 4096 === 0 && pacer.spend(1024)) await pacer.pause();
  }
  return { ids, starts };
}

export interface LabelTables {
  readonly postings: SectionTable;
  readonly values: SectionTable;
  readonly names: SectionTable;
  readonly nameCount: number;
}

/** Writes postings, values and names behind what `index` holds already, in one walk over the sorted pairs. */
export async function writeLabelTables(
  pairs: PairTable,
  pairOrder: Uint32Array,
  postings: CollectedPostings,
  index: OutputFile,
  pacer: WorkPacer,
): Promise<LabelTables> {
  const writer = new LabelTableWriter(pairs, postings, index);
  for (let rank = 0; rank < pairOrder.length; rank++) {
    // A pair of a series that was left out has no postings.
    if (postings.starts[rank] === postings.starts[rank + 1]) continue;
    const pages = writer.add(rank, pairOrder[rank]!);
    if (pacer.spend(4 + pages * UNITS_PER_PAGE)) {
      await index.flushIfLarge();
      await pacer.pause();
    }
  }
  return writer.finish();
}

class LabelTableWriter {
  readonly #pairs: PairTable;
  readonly #postings: CollectedPostings;
  readonly #index: OutputFile;
  readonly #lists: PagedWriter;
  readonly #values: PagedWriter;
  readonly #names: PagedWriter;
  readonly #valuePages: Uint8Array<ArrayBuffer>[] = [];
  readonly #namePages: Uint8Array<ArrayBuffer>[] = [];
  /** Sizes of the closed groups of the current name, as varints. */
  readonly #groupSizes = new ByteWriter(256);
  #nameCount = 0;
  /** The pair written last; its name is the current one. */
  #previous = -1;
  #valueCount = 0;
  #regionStart = 0;
  #groupStart = 0;

  constructor(pairs: PairTable, postings: CollectedPostings, index: OutputFile) {
    this.#pairs = pairs;
    this.#postings = postings;
    this.#index = index;
    this.#lists = new PagedWriter(INDEX_PAGE_BYTES, (page) => index.append(page));
    this.#values = new PagedWriter(INDEX_PAGE_BYTES, (page) => this.#valuePages.push(page));
    this.#names = new PagedWriter(INDEX_PAGE_BYTES, (page) => this.#namePages.push(page));
  }

  /** Adds the pair with its postings; returns the pages that became full. */
  add(rank: number, pair: number): number {
    if (this.#previous < 0 || !this.#sameName(this.#previous, pair)) {
      this.#endName();
      this.#regionStart = this.#values.position;
    }
    const { raw } = this.#values;
    const restart = this.#valueCount % GROUP_SIZE === 0;
    if (restart) {
      this.#endGroup();
      this.#groupStart = this.#values.position;
      raw.varint(this.#lists.position);
    }
    this.#writeValue(pair, restart);
    const start = this.#postings.starts[rank]!;
    const end = this.#postings.starts[rank + 1]!;
    const listStart = this.#lists.position;
    encodePostings(this.#postings.ids, start, end, this.#lists.raw);
    raw.varint(end - start);
    raw.varint(this.#lists.position - listStart);
    this.#previous = pair;
    this.#valueCount++;
    return this.#lists.cut() + this.#values.cut() + this.#names.cut();
  }

  finish(): LabelTables {
    this.#endName();
    const postings = this.#lists.finish();
    const values = this.#values.finish();
    const names = this.#names.finish();
    for (const page of this.#valuePages) this.#index.append(page);
    for (const page of this.#namePages) this.#index.append(page);
    return { postings, values, names, nameCount: this.#nameCount };
  }

  #sameName(a: number, b: number): boolean {
    const pairs = this.#pairs;
    const { bytes } = pairs;
    const aEnd = nameEndOf(pairs, a);
    const bEnd = nameEndOf(pairs, b);
    return compareRanges(bytes, nameStartOf(pairs, a), aEnd, bytes, nameStartOf(pairs, b), bEnd) === 0;
  }

  #writeValue(pair: number, restart: boolean): void {
    const pairs = this.#pairs;
    const { bytes } = pairs;
    const start = valueStartOf(pairs, pair);
    const end = pairs.endOf(pair);
    const { raw } = this.#values;
    let shared = 0;
    if (!restart) {
      const before = this.#previous;
      shared = sharedPrefixBytes(bytes, start, end, bytes, valueStartOf(pairs, before), pairs.endOf(before));
    }
    raw.varint(shared);
    raw.varint(end - start - shared);
    raw.raw(bytes, start + shared, end);
  }

  #endGroup(): void {
    if (this.#valueCount > 0) this.#groupSizes.varint(this.#values.position - this.#groupStart);
  }

  #endName(): void {
    if (this.#valueCount === 0) return;
    this.#endGroup();
    const pairs = this.#pairs;
    const groupsEnd = this.#values.position;
    this.#values.raw.raw(this.#groupSizes.bytes, 0, this.#groupSizes.length);
    const nameStart = nameStartOf(pairs, this.#previous);
    const nameEnd = nameEndOf(pairs, this.#previous);
    const { raw } = this.#names;
    raw.varint(nameEnd - nameStart);
    raw.raw(pairs.bytes, nameStart, nameEnd);
    raw.varint(this.#valueCount);
    raw.varint(this.#regionStart);
    raw.varint(groupsEnd - this.#regionStart);
    raw.varint(this.#groupSizes.length);
    this.#groupSizes.reset();
    this.#valueCount = 0;
    this.#nameCount++;
  }
}
