// Admission and split of one write: which samples go on, and in which order, so that the samples of a partition stand side by
// side. A counting sort over the caller's columns; the result lives in scratch that the next write overwrites.
import { PackedColumns } from '../wire/append/packed-batch.ts';
import type { WriteColumns } from './appender.ts';
import { PAGE_REFERENCES, type SeriesPage, WITHHELD } from './series-table.ts';

/** Partition of a sample that is not admitted. */
const REFUSED = 0xffff;
/** Partitions are numbered below this: 16 bits, one value taken. */
export const PARTITIONS_MAX = REFUSED;

/** Scratch for this many samples stays for the next write. */
const CAPACITY_KEPT = 1 << 17;

/** Outcomes of `admit` per write; a sample's own outcome is not stored. */
export interface Admission {
  /** Samples that go on. */
  admitted: number;
  tooOld: number;
  tooNew: number;
  /** Index of the first sample refused for its timestamp; −1 when there is none. */
  firstRefused: number;
  /** Samples of series that are withheld: their tenant has too many. */
  withheld: number;
  /** Index of the first of them; −1 when there is none. */
  firstWithheld: number;
  /** Index of the first sample whose reference is not known; −1 when all are. Nothing may be sent then. */
  firstForgotten: number;
}

/** Scratch of the distributor, used by one write at a time. */
export class SampleSorter {
  /** Samples of each partition, by the last `admit`. */
  readonly counts: Uint32Array<ArrayBuffer>;
  /** Position behind each partition's samples in the sorted columns, after `sort`. */
  readonly ends: Uint32Array<ArrayBuffer>;
  references = new Uint32Array(0);
  timestampsMs = new Float64Array(0);
  values = new Float64Array(0);
  readonly #packed = new PackedColumns();
  /** Whether `#packed` holds what was sorted last; undefined until somebody asks. */
  #canBePacked: boolean | undefined;
  #partitions = new Uint16Array(0);
  readonly #admission: Admission = {
    admitted: 0,
    tooOld: 0,
    tooNew: 0,
    firstRefused: -1,
    withheld: 0,
    firstWithheld: -1,
    firstForgotten: -1,
  };

  constructor(partitionCount: number) {
    this.counts = new Uint32Array(partitionCount);
    this.ends = new Uint32Array(partitionCount);
  }

  /**
   * Decides on every sample of `columns` and counts those of each partition; marks their series as used at `tick`.
   *
   * @returns Valid until the next call.
   */
  admit(
    columns: WriteColumns,
    pages: readonly (SeriesPage | undefined)[],
    tenant: number,
    tick: number,
    minTimeMs: number,
    maxTimeMs: number,
  ): Admission {
    if (this.#partitions.length < columns.count || this.#partitions.length > CAPACITY_KEPT) {
      this.#resize(Math.max(columns.count, 4096));
    }
    this.counts.fill(0);
    const admission = this.#admission;
    admission.admitted = 0;
    admission.tooOld = 0;
    admission.tooNew = 0;
    admission.firstRefused = -1;
    admission.withheld = 0;
    admission.firstWithheld = -1;
    admission.firstForgotten = -1;
    admitSamples(
      columns,
      pages,
      tenant,
      tick,
      minTimeMs,
      maxTimeMs,
      this.#partitions,
      this.counts,
      admission,
    );
    return admission;
  }

  /** Times and values as bytes, packed when first asked for; undefined where that cannot be. Valid until the next `sort`. */
  packed(): PackedColumns | undefined {
    this.#canBePacked ??= this.#packed.pack(this);
    return this.#canBePacked ? this.#packed : undefined;
  }

  /** Puts the admitted samples of the last `admit` in order of partition. `columns` is the same as there. */
  sort(columns: WriteColumns): void {
    this.#canBePacked = undefined;
    let position = 0;
    for (let partition = 0; partition < this.counts.length; partition++) {
      this.ends[partition] = position;
      position += this.counts[partition]!;
    }
    // From here on `ends` runs from each partition's start to its end.
    sortSamples(columns, this.#partitions, this.ends, this.references, this.timestampsMs, this.values);
  }

  #resize(capacity: number): void {
    this.#partitions = new Uint16Array(capacity);
    this.references = new Uint32Array(capacity);
    this.timestampsMs = new Float64Array(capacity);
    this.values = new Float64Array(capacity);
  }
}

/** Hot! Four words to a slot, as series-table.ts lays them out: the third is tenant and partition, the fourth the last use. */
function admitSamples(
  columns: WriteColumns,
  pages: readonly (SeriesPage | undefined)[],
  tenant: number,
  tick: number,
  minTimeMs: number,
  maxTimeMs: number,
  partitions: Uint16Array,
  counts: Uint32Array,
  admission: Admission,
): void {
  const references = columns.references;
  const timestampsMs = columns.timestampsMs;
  const count = columns.count;
  let pageIndex = -1;
  let slots: Uint32Array | undefined;
  let admitted = 0;
  for (let i = 0; i < count; i++) {
    const reference = references[i]!;
    const index = reference >>> 12;
    if (index !== pageIndex) {
      pageIndex = index;
      slots = pages[index]?.slots;
    }
    const at = (reference & (PAGE_REFERENCES - 1)) << 2;
    const owner = slots === undefined ? 0 : slots[at + 2]!;
    if (owner >>> 16 !== tenant) {
      if (owner >>> 16 !== WITHHELD || (owner & 0xffff) !== tenant) {
        admission.firstForgotten = i;
        return;
      }
      slots![at + 3] = tick;
      partitions[i] = REFUSED;
      if (admission.firstWithheld < 0) admission.firstWithheld = i;
      admission.withheld++;
      continue;
    }
    slots![at + 3] = tick;
    const timestampMs = timestampsMs[i]!;
    if (timestampMs >= minTimeMs && timestampMs <= maxTimeMs) {
      const partition = owner & 0xffff;
      partitions[i] = partition;
      counts[partition]!++;
      admitted++;
      continue;
    }
    partitions[i] = REFUSED;
    if (admission.firstRefused < 0) admission.firstRefused = i;
    if (timestampMs < minTimeMs) admission.tooOld++;
    else admission.tooNew++;
  }
  admission.admitted = admitted;
}

/** Hot! Values move between typed arrays only, which keeps NaN payloads. */
function sortSamples(
  columns: WriteColumns,
  partitions: Uint16Array,
  cursors: Uint32Array,
  references: Uint32Array,
  timestampsMs: Float64Array,
  values: Float64Array,
): void {
  const fromReferences = columns.references;
  const fromTimestampsMs = columns.timestampsMs;
  const fromValues = columns.values;
  const count = columns.count;
  for (let i = 0; i < count; i++) {
    const partition = partitions[i]!;
    if (partition === REFUSED) continue;
    const to = cursors[partition]!++;
    references[to] = fromReferences[i]!;
    timestampsMs[to] = fromTimestampsMs[i]!;
    values[to] = fromValues[i]!;
  }
}
