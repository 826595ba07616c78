// Deletes that came while a block was in object storage already: they concern all that it holds, whether or not it was said beside it there. Who
// merged the block says it beside the merged one, and may be gone before the bucket has that. In memory only: by order, as no clock tells it.
import { DONE_MAX, type DoneDelete } from '../../lib/tsdb/tombstones/done-deletes.ts';

export class LaterDeletes {
  #count = 0;
  /** `<tenant>/<id>` → the delete, and how many had come with it; oldest first. */
  readonly #noted = new Map<string, { readonly one: DoneDelete; readonly number: number }>();

  /** Deletes that came since the start: what is seen in the bucket now was there before all further ones. */
  get count(): number {
    return this.#count;
  }

  /** Notes a delete that was done. Asked for twice it counts as when it came first: what was brought to the bucket since may hold later samples. */
  note(one: DoneDelete): void {
    const key = `${one.tenant}/${one.id}`;
    if (this.#noted.has(key)) return;
    this.#noted.set(key, { one, number: ++this.#count });
    if (this.#noted.size > DONE_MAX) this.#noted.delete(this.#noted.keys().next().value!);
  }

  /** Those of a tenant after the first `count` that may have taken samples of the range. */
  after(
    count: number,
    block: { readonly tenant: string; readonly minTimeMs: number; readonly maxTimeMs: number },
  ): DoneDelete[] {
    return Array.from(this.#noted.values())
      .filter(({ one, number }) => {
        const overlaps = one.minTimeMs <= block.maxTimeMs && one.maxTimeMs >= block.minTimeMs;
        return number > count && one.tenant === block.tenant && overlaps;
      })
      .map(({ one }) => one);
  }
}
