// Which samples of a log segment are in the head still: what was sealed and dropped is on the stores, and what a delete hides must not
// come back at another replica. A record's place in the log says of which range its samples are: those of a range stand before the
// record that cuts it, those of the next one from the same start behind it.
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { RangeChunks } from '../../lib/tsdb/head/range-chunks.ts';
import { touchesAny } from '../../lib/tsdb/tombstones/deletion.ts';
import type { CutMark } from '../log/log-records.ts';
import type { Tenant, Tenants } from '../tenants.ts';

/** The ranges of all heads at one moment: a sample that the log had by then is of one of them, or not in the head any more. */
export type RangesThen = ReadonlyMap<Tenant, readonly RangeChunks[]>;

export function rangesNow(tenants: Tenants): RangesThen {
  return new Map(tenants.all().map((tenant) => [tenant, [...tenant.head.ranges()]]));
}

/** Whether a range begins in the segment: another one from the same start may end there then. */
export function isShared(ranges: RangesThen, segment: number): boolean {
  return ranges.values().some((each) => each.some(({ firstSegment }) => firstSegment === segment));
}

/** A cut in a segment of the log. */
export interface LoggedCut extends CutMark {
  /** Byte of the segment that its record begins at. */
  readonly at: number;
}

/** What is known of a segment while it is read. */
export interface SegmentRanges {
  readonly segment: number;
  /** Of a moment when the log had all records that are asked about. */
  readonly ranges: RangesThen;
  /** In their order; none need be known where no range begins in the segment. */
  readonly cuts: readonly LoggedCut[];
}

/** For one record: the head's ranges must not change while it is used. */
export class UnsealedFilter {
  readonly #tenant: Tenant;
  readonly #place: SegmentRanges;
  /** Byte of the segment that the record begins at. */
  readonly #at: number;
  readonly #held: ReadonlySet<RangeChunks>;
  /** Start of a range → the one from there that the record's samples are of, while it is in the head. */
  readonly #ranges = new Map<number, RangeChunks | undefined>();
  readonly #labels = new ByteWriter(512);
  #lastStartMs = Number.NaN;
  #last: RangeChunks | undefined;

  constructor(tenant: Tenant, place: SegmentRanges, at: number) {
    this.#tenant = tenant;
    this.#place = place;
    this.#at = at;
    this.#held = new Set(tenant.head.ranges());
  }

  keeps(id: number, timeMs: number): boolean {
    const range = this.#rangeOf(timeMs);
    if (range === undefined) return false;
    const { masks } = this.#tenant.deletes;
    return masks.length === 0 || range.generation === 0 || !this.#isHidden(id, timeMs, range);
  }

  #rangeOf(timeMs: number): RangeChunks | undefined {
    const { rangeMs } = this.#tenant.head.options;
    const startMs = Math.floor(timeMs / rangeMs) * rangeMs;
    if (startMs === this.#lastStartMs) return this.#last;
    if (!this.#ranges.has(startMs)) {
      const found = this.#find(startMs);
      this.#ranges.set(startMs, found !== undefined && this.#held.has(found) ? found : undefined);
    }
    this.#lastStartMs = startMs;
    this.#last = this.#ranges.get(startMs);
    return this.#last;
  }

  #find(startMs: number): RangeChunks | undefined {
    const { segment, ranges, cuts } = this.#place;
    const those = (ranges.get(this.#tenant) ?? []).filter((range) => range.startMs === startMs);
    const ends = cuts.filter((cut) => cut.tenant === this.#tenant.name && cut.startMs === startMs);
    const next = ends.find(({ at }) => at > this.#at);
    if (next !== undefined) return those.find(({ generation }) => generation === next.generation);
    // No range ends between the record and the end of its segment: it is the newest that had begun by then, unless that is gone.
    const before = ends.at(-1)?.generation ?? 0;
    return those
      .filter(
        ({ firstSegment, generation }) =>
          firstSegment <= segment && (generation === 0 || generation > before),
      )
      .sort((a, b) => ageOf(a) - ageOf(b))
      .at(-1);
  }

  #isHidden(id: number, timeMs: number, range: RangeChunks): boolean {
    const { head, deletes } = this.#tenant;
    const labels = this.#labels;
    labels.reset();
    head.index.writeLabels(id, labels);
    return deletes.masks.some(
      ({ mask, generationMax }) =>
        range.generation <= generationMax &&
        touchesAny(mask.rangesOf(labels.bytes, 0, labels.length), timeMs, timeMs),
    );
  }
}

/** Greater for newer ranges from the same start. */
const ageOf = ({ generation }: RangeChunks): number =>
  generation === 0 ? Number.POSITIVE_INFINITY : generation;
