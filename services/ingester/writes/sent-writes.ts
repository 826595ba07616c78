// Makes append requests out of what the log has, for one call of another replica: series travel by references of the call, defined
// with their first use, as on any append stream.
import { ByteWriter } from '../../lib/core/bytes.ts';
import { ExtraColumns } from '../../lib/model/extra-columns.ts';
import { StartTimes } from '../../lib/tsdb/chunk/start-times.ts';
import { draftAppendBatch, putDefinition } from '../../lib/wire/append/append-batch.ts';
import { type ExtrasSection, encodeAppendExtras, putExtra } from '../../lib/wire/append/append-extras.ts';
import type { AppendRequest } from '../../lib/wire/contracts.ts';
import type { RecordColumns } from '../log/log-records.ts';
import type { Tenant } from '../tenants.ts';
import type { WriteSections } from './held-table.ts';

/** `writer_id` of such requests: they come on a call that has one writer. */
const WRITER_ID = 'log';

export class SentWrites {
  /** Tenant → series id → reference + 1; 0 where it is not defined. */
  readonly #references = new Map<Tenant, Uint32Array>();
  readonly #definitions = new ByteWriter(4096);
  readonly #labels = new ByteWriter(512);
  readonly #encoded = new ByteWriter(4096);
  readonly #starts = new StartTimes();
  readonly #added = new ExtraColumns();
  #definedCount = 0;
  #next = 0;
  #sequence = 0;

  /** Ids may mean other series from now on: all are defined anew. */
  forgetSeries(): void {
    this.#references.clear();
  }

  /**
   * The request for what is left of a logged write; undefined when nothing is.
   *
   * @param columns  Series ids, ascending by partition.
   * @param extras   Likewise. Start times of series that are defined with it are added: their records may be gone from the log.
   */
  messageOf(
    tenant: Tenant,
    logged: WriteSections,
    columns: RecordColumns,
    extras: ExtraColumns,
  ): AppendRequest | undefined {
    if (columns.count + extras.count === 0) return undefined;
    const present = new Set<number>();
    this.#added.reset();
    const batch = this.#encodeBatch(tenant, columns, present);
    const encoded = this.#encodeExtras(tenant, extras, present);
    return {
      tenant: tenant.name,
      writerId: WRITER_ID,
      sequence: ++this.#sequence,
      epoch: 0,
      batch,
      metadata: [],
      extras: encoded,
      origin: logged.origin,
      write: logged.write,
      steps: stepsOf(logged, present),
    };
  }

  #encodeBatch(tenant: Tenant, columns: RecordColumns, present: Set<number>): Buffer<ArrayBuffer> {
    const { ids, timestampsMs, values, count } = columns;
    if (count === 0) return Buffer.alloc(0);
    this.#beginDefinitions();
    const sections: { readonly partition: number; samples: number }[] = [];
    const references = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const partition = tenant.head.partitionOf(ids[i]!);
      references[i] = this.#referenceOf(tenant, ids[i]!);
      const last = sections[sections.length - 1];
      if (last?.partition === partition) last.samples++;
      else sections.push({ partition, samples: 1 });
      present.add(partition);
    }
    const { bytes, length } = this.#definitions;
    const draft = draftAppendBatch(sections, count, this.#definedCount, bytes, length);
    draft.references.set(references);
    draft.timestampsMs.set(timestampsMs.subarray(0, count));
    draft.values.set(values.subarray(0, count));
    return draft.bytes;
  }

  /** The extras and the start times of series that were defined, by partition. */
  #encodeExtras(tenant: Tenant, extras: ExtraColumns, present: Set<number>): Buffer | undefined {
    this.#beginDefinitions();
    const added = this.#added;
    const references: number[] = [];
    for (let i = 0; i < extras.count; i++) references.push(this.#referenceOf(tenant, extras.references[i]!));
    for (let i = 0; i < added.count; i++) references.push(this.#referenceOf(tenant, added.references[i]!));
    if (references.length === 0) return undefined;
    const idAt = (at: number) =>
      at < extras.count ? extras.references[at]! : added.references[at - extras.count]!;
    const partitions = references.map((_, at) => tenant.head.partitionOf(idAt(at)));
    const order = references.map((_, at) => at).sort((a, b) => partitions[a]! - partitions[b]! || a - b);
    const encoded = this.#encoded;
    encoded.reset();
    const sections: { readonly partition: number; count: number; bytes: number }[] = [];
    for (const at of order) {
      const from = at < extras.count ? extras : added;
      const i = at < extras.count ? at : at - extras.count;
      const partition = partitions[at]!;
      const before = encoded.length;
      const { kinds, timestampsMs, bytes, starts, ends } = from;
      putExtra(encoded, references[at]!, kinds[i]!, timestampsMs[i]!, bytes, starts[i]!, ends[i]!);
      const last = sections[sections.length - 1];
      if (last?.partition === partition) {
        last.count++;
        last.bytes += encoded.length - before;
      } else sections.push({ partition, count: 1, bytes: encoded.length - before });
      present.add(partition);
    }
    return this.#packExtras(sections);
  }

  #packExtras(sections: readonly ExtrasSection[]): Buffer {
    const out = new ByteWriter(this.#encoded.length + this.#definitions.length + 64 + sections.length * 12);
    encodeAppendExtras(out, sections, this.#definedCount, this.#definitions, this.#encoded);
    return Buffer.from(out.bytes.buffer, 0, out.length);
  }

  #beginDefinitions(): void {
    this.#definitions.reset();
    this.#definedCount = 0;
  }

  /** The reference of a series; one that is new is defined. */
  #referenceOf(tenant: Tenant, id: number): number {
    const known = this.#referencesOf(tenant, id);
    if (known[id] !== 0) return known[id]! - 1;
    const { head } = tenant;
    const reference = this.#next++;
    known[id] = reference + 1;
    this.#labels.reset();
    head.index.writeLabels(id, this.#labels);
    putDefinition(
      this.#definitions,
      reference,
      head.partitionOf(id),
      this.#labels.bytes,
      0,
      this.#labels.length,
    );
    this.#definedCount++;
    this.#starts.clear();
    head.startTimes.read(id, this.#starts);
    for (let i = 0; i < this.#starts.count; i++)
      this.#added.addStartTime(id, this.#starts.timestampsMs[i]!, this.#starts.startsMs[i]!);
    return reference;
  }

  #referencesOf(tenant: Tenant, id: number): Uint32Array {
    const known = this.#references.get(tenant);
    if (known !== undefined && id < known.length) return known;
    const grown = new Uint32Array(Math.max(1024, id + 1, (known?.length ?? 0) * 2));
    if (known !== undefined) grown.set(known);
    this.#references.set(tenant, grown);
    return grown;
  }
}

function stepsOf({ partitions, steps }: WriteSections, present: ReadonlySet<number>): Uint8Array {
  const out = new ByteWriter(partitions.length * 2);
  for (const [i, partition] of partitions.entries()) if (present.has(partition)) out.varint(steps[i]!);
  return out.take();
}
