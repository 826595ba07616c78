// Which samples of a log segment are in the head still: what was sealed and dropped is on the stores, and what a delete hides must not
// come back at another replica.
import { ByteWriter } from '../../lib/core/bytes.ts';
import type { RangeChunks } from '../../lib/tsdb/head/range-chunks.ts';
import { touchesAny } from '../../lib/tsdb/tombstones/deletion.ts';
import type { Tenant } from '../tenants.ts';

/** For one record: the head's ranges must not change while it is used. */
export class UnsealedFilter {
  readonly #tenant: Tenant;
  /** Start of a range → the newest range from there that can have samples of the segment. */
  readonly #ranges = new Map<number, RangeChunks>();
  readonly #labels = new ByteWriter(512);
  #last: RangeChunks | undefined;

  constructor(tenant: Tenant, segment: number) {
    this.#tenant = tenant;
    for (const range of tenant.head.ranges()) {
      if (range.firstSegment > segment) continue;
      const other = this.#ranges.get(range.startMs);
      // A delete begins a new segment, so that ranges before and after it never share one.
      if (other === undefined || other.firstSegment <= range.firstSegment)
        this.#ranges.set(range.startMs, range);
    }
  }

  keeps(id: number, timeMs: number): boolean {
    const range = this.#rangeOf(timeMs);
    if (range === undefined) return false;
    const { masks } = this.#tenant.deletes;
    return masks.length === 0 || range.generation === 0 || !this.#isHidden(id, timeMs, range);
  }

  #rangeOf(timeMs: number): RangeChunks | undefined {
    const last = this.#last;
    if (last !== undefined && timeMs >= last.startMs && timeMs < last.endMs) return last;
    const { rangeMs } = this.#tenant.head.options;
    const range = this.#ranges.get(Math.floor(timeMs / rangeMs) * rangeMs);
    if (range !== undefined) this.#last = range;
    return range;
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
