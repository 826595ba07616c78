// One writer's series references on one append stream, as columns: reference → tenant and series id. Lives and ends with
// the stream.

import { ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { LeftSeries } from '../../lib/tsdb/head/head.ts';
import type { Tenant } from '../tenants.ts';

/** References are given 0, 1, 2 …; one this far above the others is refused: it would cost memory. */
const REFERENCE_GAP_MAX = 1 << 20;
/** Series that left the head and are still known by their labels; with more the writer has to begin a new stream. */
const LEFT_SERIES_MAX = 100_000;

interface LeftSeriesLabels {
  /** The label bytes, a character each: a typed array of its own would take several times as much. */
  readonly labels: string;
  readonly partition: number;
}

export class WriterTable {
  /** Series id + 1; 0 where the reference is not defined, or its series left the head. */
  #ids = new Uint32Array(1024);
  #tenants = new Uint32Array(1024);
  #end = 0;
  /** References whose series left the head: their labels, should they come back. */
  readonly #left = new Map<number, LeftSeriesLabels>();
  #overflown = false;

  define(reference: number, tenant: Tenant, id: number): void {
    if (reference > this.#end + REFERENCE_GAP_MAX) {
      throw new AppError(
        'bad_data',
        `series reference ${reference} after ${this.#end} references; number them 0, 1, 2 …`,
      );
    }
    if (reference >= this.#ids.length) this.#grow(reference + 1);
    this.#ids[reference] = id + 1;
    this.#tenants[reference] = tenant.number;
    this.#end = Math.max(this.#end, reference + 1);
    this.#left.delete(reference);
  }

  /**
   * Ids of references [from, to) into out[at, …).
   *
   * @throws AppError `failed_precondition` when one is not defined on this stream for this tenant.
   */
  translate(
    tenant: Tenant,
    references: Uint32Array,
    from: number,
    to: number,
    out: Uint32Array,
    at: number,
  ): void {
    const ids = this.#ids;
    const tenants = this.#tenants;
    const { number } = tenant;
    for (let i = from; i < to; i++) {
      const reference = references[i]!;
      const stored = reference < this.#end ? ids[reference]! : 0;
      out[at + i - from] =
        stored !== 0 && tenants[reference] === number ? stored - 1 : this.#bringBack(tenant, reference);
    }
  }

  /** Notes that series left a head: their references keep the labels instead. */
  forget(tenant: Tenant, left: LeftSeries): void {
    if (left.ids.length === 0) return;
    const gone = new Set(left.ids);
    const labels = new ByteWriter(512);
    for (let reference = 0; reference < this.#end; reference++) {
      const stored = this.#ids[reference]!;
      if (stored === 0 || this.#tenants[reference] !== tenant.number || !gone.has(stored - 1)) continue;
      this.#ids[reference] = 0;
      if (this.#left.size >= LEFT_SERIES_MAX) {
        this.#overflown = true;
        continue;
      }
      labels.reset();
      left.index.writeLabels(stored - 1, labels);
      const text = Buffer.from(labels.bytes.buffer, 0, labels.length).toString('latin1');
      this.#left.set(reference, { labels: text, partition: tenant.head.partitionOf(stored - 1) });
    }
  }

  #bringBack(tenant: Tenant, reference: number): number {
    const left = this.#left.get(reference);
    if (left === undefined || this.#tenants[reference] !== tenant.number) {
      const why = this.#overflown ? 'too many idle series were forgotten' : 'it was never defined';
      throw new AppError(
        'failed_precondition',
        `series reference ${reference} is unknown on this stream for tenant ${tenant.name}: ${why}; open a new stream and define series again`,
      );
    }
    const labels = Buffer.from(left.labels, 'latin1');
    const id = tenant.head.define(labels, 0, labels.length, left.partition);
    this.define(reference, tenant, id);
    return id;
  }

  #grow(needed: number): void {
    const length = Math.max(needed, this.#ids.length * 2);
    const ids = new Uint32Array(length);
    ids.set(this.#ids);
    this.#ids = ids;
    const tenants = new Uint32Array(length);
    tenants.set(this.#tenants);
    this.#tenants = tenants;
  }
}
