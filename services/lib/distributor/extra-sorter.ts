// Admission and split of a write's extras (model/extra-columns.ts), as sample-sorter.ts does it for float samples.
import {
  EXEMPLAR_BYTES_MAX,
  EXTRA_EXEMPLAR,
  EXTRA_HISTOGRAM,
  EXTRA_START_TIME,
  type Extras,
} from '../model/extra-columns.ts';
import { PAGE_REFERENCES, type SeriesPage, WITHHELD } from './series-table.ts';

/** Partition of an extra that is not admitted. */
const REFUSED = 0xffff;

/** Outcomes of `admit` per write. */
export interface ExtraAdmission {
  /** Extras that go on, of any kind. */
  admitted: number;
  histograms: number;
  histogramsTooOld: number;
  histogramsTooNew: number;
  exemplars: number;
  exemplarsRefused: number;
  /** Index of the first histogram refused for its timestamp; −1 when there is none. */
  firstRefused: number;
  /** Histograms of series that are withheld: their tenant has too many. */
  histogramsWithheld: number;
  /** Index of the first of them; −1 when there is none. */
  firstWithheld: number;
  /** Index of the first extra whose reference is not known; −1 when all are. Nothing may be sent then. */
  firstForgotten: number;
}

/** Scratch of the distributor, used by one write at a time. */
export class ExtraSorter {
  /** Extras of each partition, by the last `admit`. */
  readonly counts: Uint32Array<ArrayBuffer>;
  /** Position behind each partition's extras in `order`, after `sort`. */
  readonly ends: Uint32Array<ArrayBuffer>;
  /** Indexes of the admitted extras, by partition. */
  order = new Uint32Array(0);
  extras: Extras | undefined;
  admission: ExtraAdmission = noAdmission();
  #partitions = new Uint16Array(0);

  constructor(partitionCount: number) {
    this.counts = new Uint32Array(partitionCount);
    this.ends = new Uint32Array(partitionCount);
  }

  /** Decides on every extra and counts those of each partition; marks their series as used at `tick`. */
  admit(
    extras: Extras | undefined,
    pages: readonly (SeriesPage | undefined)[],
    tenant: number,
    tick: number,
    minTimeMs: number,
    maxTimeMs: number,
  ): ExtraAdmission {
    // A write without extras, which nearly all are, finds everything as the last such left it.
    if (extras === undefined && this.extras === undefined) return this.admission;
    this.extras = extras;
    this.admission = noAdmission();
    this.counts.fill(0);
    if (extras === undefined) return this.admission;
    this.#partitions = new Uint16Array(extras.count).fill(REFUSED);
    for (let i = 0; i < extras.count; i++) {
      const reference = extras.references[i]!;
      const slots = pages[reference >>> 12]?.slots;
      const at = (reference & (PAGE_REFERENCES - 1)) << 2;
      const owner = slots === undefined ? 0 : slots[at + 2]!;
      if (owner >>> 16 !== tenant && (owner >>> 16 !== WITHHELD || (owner & 0xffff) !== tenant)) {
        this.admission.firstForgotten = i;
        return this.admission;
      }
      slots![at + 3] = tick;
      if (owner >>> 16 === WITHHELD) {
        this.#withhold(extras.kinds[i]!, i);
        continue;
      }
      if (!this.#isAdmitted(extras, i, minTimeMs, maxTimeMs)) continue;
      const partition = owner & 0xffff;
      this.#partitions[i] = partition;
      this.counts[partition]!++;
      this.admission.admitted++;
    }
    return this.admission;
  }

  /** Puts the admitted extras of the last `admit` in order of partition. */
  sort(): void {
    if (this.extras === undefined) return;
    let position = 0;
    for (let partition = 0; partition < this.counts.length; partition++) {
      this.ends[partition] = position;
      position += this.counts[partition]!;
    }
    if (this.order.length < position) this.order = new Uint32Array(position);
    for (let i = 0; i < this.extras.count; i++) {
      const partition = this.#partitions[i]!;
      if (partition !== REFUSED) this.order[this.ends[partition]!++] = i;
    }
  }

  /** Start times say nothing without samples: they are left out silently. */
  #withhold(kind: number, i: number): void {
    const { admission } = this;
    if (kind === EXTRA_EXEMPLAR) admission.exemplarsRefused++;
    if (kind !== EXTRA_HISTOGRAM) return;
    if (admission.firstWithheld < 0) admission.firstWithheld = i;
    admission.histogramsWithheld++;
  }

  #isAdmitted(extras: Extras, i: number, minTimeMs: number, maxTimeMs: number): boolean {
    const timestampMs = extras.timestampsMs[i]!;
    const isInside = timestampMs >= minTimeMs && timestampMs <= maxTimeMs;
    const { admission } = this;
    switch (extras.kinds[i]) {
      case EXTRA_HISTOGRAM:
        if (isInside) admission.histograms++;
        else {
          if (admission.firstRefused < 0) admission.firstRefused = i;
          if (timestampMs < minTimeMs) admission.histogramsTooOld++;
          else admission.histogramsTooNew++;
        }
        return isInside;
      case EXTRA_EXEMPLAR: {
        const isTaken = isInside && extras.ends[i]! - extras.starts[i]! <= EXEMPLAR_BYTES_MAX;
        if (isTaken) admission.exemplars++;
        else admission.exemplarsRefused++;
        return isTaken;
      }
      default:
        return isInside;
    }
  }
}

/** Index of the first extra of a kind that nobody knows; −1 when there is none. */
export function firstUnknownKind({ kinds, count }: Extras): number {
  for (let i = 0; i < count; i++) {
    const kind = kinds[i];
    if (kind !== EXTRA_HISTOGRAM && kind !== EXTRA_EXEMPLAR && kind !== EXTRA_START_TIME) return i;
  }
  return -1;
}

function noAdmission(): ExtraAdmission {
  return {
    admitted: 0,
    histograms: 0,
    histogramsTooOld: 0,
    histogramsTooNew: 0,
    exemplars: 0,
    exemplarsRefused: 0,
    firstRefused: -1,
    histogramsWithheld: 0,
    firstWithheld: -1,
    firstForgotten: -1,
  };
}
