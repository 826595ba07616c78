// The write path behind the streams: one append request at a time is checked, logged and applied to the head, in one
// turn of the event loop, so that the log and the head see the same order. Durability is awaited by the stream.
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { checkExtra, countHistograms, ExtraColumns } from '../../lib/model/extra-columns.ts';
import { ResidentMemory, WRITE_MEMORY_SHARE } from '../../lib/runtime/memory-limit.ts';
import type { Head } from '../../lib/tsdb/head/head.ts';
import type { SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import type { AppendBatch } from '../../lib/wire/append/append-batch.ts';
import { decodeAppendExtras } from '../../lib/wire/append/append-extras.ts';
import { BatchScratch } from '../../lib/wire/append/batch-scratch.ts';
import { isOrigin } from '../../lib/wire/append/held-writes.ts';
import { decodeBatch } from '../../lib/wire/append/packed-batch.ts';
import type { AppendRequest, MetricMetadata } from '../../lib/wire/contracts.ts';
import {
  encodeExtras,
  encodeMetadata,
  encodeSamples,
  putLogDefinition,
  RECORD_EXTRAS,
  RECORD_METADATA,
  RECORD_SAMPLES,
} from '../log/log-records.ts';
import { checkStep, putSamplesPayload, putWriteHead, RECORD_WRITES } from '../log/write-records.ts';
import { type Tenant, type Tenants, TIME_MS_MAX } from '../tenants.ts';
import type { HeldTable, WriteSections } from './held-table.ts';
import { PackingColumns } from './packing-columns.ts';
import type { WriterTable } from './writer-table.ts';

/** What became of a request that was applied. */
export interface Applied {
  /** Partitions that this ingester does not own. */
  readonly failedPartitions: number[];
  /** Samples that were kept. */
  readonly samples: number;
  /** Rejects with `unavailable` when the log could not be written. */
  readonly durable: Promise<void>;
}

export interface WritesDeps {
  readonly log: SegmentLog;
  readonly tenants: Tenants;
  readonly headBytesMax: number;
  /** Notes what was taken. */
  readonly held: HeldTable;
  /** False for partitions that a placement after `epoch` gives to others. */
  readonly ownsPartition: (partition: number, epoch: number) => boolean;
}

/** Head bytes are added up once for so many requests: the sum walks all ranges. */
const REQUESTS_PER_BUDGET_LOOK = 64;

export class Writes {
  readonly #deps: WritesDeps;
  readonly #columns = new PackingColumns();
  readonly #unpacked = new BatchScratch();
  readonly #definitions = new ByteWriter(64 * 1024);
  readonly #labels = new ByteWriter(1024);
  readonly #payload = new ByteWriter(64 * 1024);
  readonly #extras = new ExtraColumns();
  readonly #sections: number[] = [];
  #untilLook = 0;
  readonly #resident = new ResidentMemory(WRITE_MEMORY_SHARE, REQUESTS_PER_BUDGET_LOOK);
  #headBytes = 0;

  constructor(deps: WritesDeps) {
    this.#deps = deps;
  }

  /**
   * Logs and applies one request.
   *
   * @param writer  Number of the stream, for the log.
   * @throws AppError `unavailable` when nothing was taken and a resend may help; `bad_data` or `failed_precondition` when
   *         the request breaks the contract and its stream has to end.
   */
  apply(request: AppendRequest, table: WriterTable, writer: number): Applied {
    const { ownsPartition } = this.#deps;
    return this.#apply(request, table, writer, (partition) => ownsPartition(partition, request.epoch));
  }

  /** The same for a write out of another replica's log, whatever the placement says. */
  applyFetched(request: AppendRequest, table: WriterTable, writer: number): Applied {
    return this.#apply(request, table, writer, () => true);
  }

  /** Takes metadata that another replica has, of metrics that none is known of here. Resolves when it is durable. */
  async addMetadata(tenantName: string, entries: readonly MetricMetadata[], writer: number): Promise<void> {
    const tenant = this.#deps.tenants.getOrMake(tenantName);
    await this.#logMetadata(tenant, tenant.metadata.addMissing(entries), writer, 0);
  }

  #apply(
    request: AppendRequest,
    table: WriterTable,
    writer: number,
    isOwned: (partition: number) => boolean,
  ): Applied {
    const { log, tenants } = this.#deps;
    this.#checkBudget();
    // Before anything is made known: what the log cannot take must not fill the head with series.
    log.checkRoom(request.batch.length + (request.extras?.length ?? 0));
    const tenant = tenants.getOrMake(request.tenant);
    let durable = this.#logMetadata(
      tenant,
      tenant.metadata.update(request.metadata),
      writer,
      request.sequence,
    );
    const failedPartitions: number[] = [];
    const isTracked = request.origin !== undefined && request.write !== undefined;
    this.#sections.length = 0;
    this.#columns.count = 0;
    this.#columns.packedTimes = undefined;
    this.#columns.packedValues = undefined;
    if (request.batch.length > 0) {
      const batch = decodeBatch(request.batch, this.#unpacked);
      batch.forEachDefinition((reference, partition, bytes, start, end) => {
        if (this.#mayDefine(partition))
          table.define(reference, tenant, tenant.head.define(bytes, start, end, partition));
      });
      this.#gather(batch, tenant, table, isOwned, failedPartitions);
      if (!isTracked && this.#columns.count > 0)
        durable = this.#writeSamples(tenant, writer, request.sequence);
    }
    this.#extras.reset();
    if (request.extras !== undefined && request.extras.length > 0) {
      this.#gatherExtras(request.extras, tenant, table, isOwned, failedPartitions);
      if (!isTracked && this.#extras.count > 0) {
        const extrasDurable = this.#writeExtras(tenant, writer, request.sequence);
        // A later record is never durable before an earlier one of its segment, but they may stand in two.
        durable = Promise.all([durable, extrasDurable]).then(() => undefined);
      }
    }
    if (isTracked) {
      const sections = sectionsOf(request, this.#sections.sort(ascending), failedPartitions);
      if (sections.partitions.length > 0) {
        // It came from another replica already. Once more would show again what was deleted meanwhile.
        if (this.#deps.held.holdsAll(sections)) return { failedPartitions, samples: 0, durable: log.flush() };
        durable = this.#writeNumbered(tenant, writer, sections);
      }
    }
    const samples = this.#columns.count + countHistograms(this.#extras);
    return { failedPartitions, samples, durable: durable ?? Promise.resolve() };
  }

  /** Also where the writer's placement is too old: what it sends on the stream before it learns of that relies on it. */
  #mayDefine(partition: number): boolean {
    return this.#deps.ownsPartition(partition, Number.POSITIVE_INFINITY);
  }

  /** What came beside the batch into the columns, series ids for references; its partitions join those that were not kept. */
  #gatherExtras(
    bytes: Uint8Array,
    tenant: Tenant,
    table: WriterTable,
    isOwned: (partition: number) => boolean,
    failedPartitions: number[],
  ): void {
    const decoded = decodeAppendExtras(bytes);
    decoded.forEachDefinition((reference, partition, source, start, end) => {
      if (this.#mayDefine(partition))
        table.define(reference, tenant, tenant.head.define(source, start, end, partition));
    });
    const extras = this.#extras;
    for (const [index, { partition }] of decoded.sections.entries()) {
      if (!this.#sections.includes(partition)) this.#sections.push(partition);
      if (isOwned(partition)) decoded.readSection(index, extras);
      else if (!failedPartitions.includes(partition)) failedPartitions.push(partition);
    }
    // All are looked into before one is logged: a replay must not meet what the head cannot take.
    for (let i = 0; i < extras.count; i++) checkExtra(extras, i);
    table.translate(tenant, extras.references, 0, extras.count, extras.references, 0);
    tenant.changes.note(extras.timestampsMs, extras.count);
  }

  #writeExtras(tenant: Tenant, writer: number, sequence: number): Promise<void> {
    const extras = this.#extras;
    this.#deps.held.untrackedSegment = this.#deps.log.segment + 1;
    return this.#writeRecord(
      tenant,
      RECORD_EXTRAS,
      writer,
      sequence,
      [extras],
      (payload, definitions, defined) =>
        encodeExtras(payload, tenant.name, defined, definitions.bytes, definitions.length, extras),
      (segment) => tenant.head.appendExtras(extras, segment),
    );
  }

  /** Samples and extras of a numbered write, in one record. */
  #writeNumbered(tenant: Tenant, writer: number, sections: WriteSections): Promise<void> {
    const columns = this.#columns;
    const extras = this.#extras;
    return this.#writeRecord(
      tenant,
      RECORD_WRITES,
      writer,
      sections.write,
      [{ references: columns.ids, count: columns.count }, extras],
      (payload, definitions, defined) => {
        putWriteHead(payload, sections);
        putSamplesPayload(payload, () => {
          encodeSamples(payload, tenant.name, defined, definitions.bytes, definitions.length, columns);
        });
        if (extras.count > 0) encodeExtras(payload, tenant.name, 0, definitions.bytes, 0, extras);
      },
      (segment) => {
        const { ids, timestampsMs, values, count } = columns;
        tenant.head.appendSamples(ids, timestampsMs, values, 0, count, segment);
        tenant.head.appendExtras(extras, segment);
        this.#deps.held.take(sections, segment);
      },
    );
  }

  #checkBudget(): void {
    this.#resident.check();
    if (this.#untilLook-- <= 0) {
      this.#untilLook = REQUESTS_PER_BUDGET_LOOK;
      this.#headBytes = this.#deps.tenants.bytesHeld;
    }
    const { headBytesMax } = this.#deps;
    if (this.#headBytes > headBytesMax) {
      throw new AppError(
        'unavailable',
        `the heads hold ${this.#headBytes} bytes, over the budget of ${headBytesMax}; wait until blocks are sealed, or add ingesters`,
      );
    }
  }

  /** Samples of owned sections into the columns, references as series ids. */
  #gather(
    batch: AppendBatch,
    tenant: Tenant,
    table: WriterTable,
    isOwned: (partition: number) => boolean,
    failedPartitions: number[],
  ): void {
    const columns = this.#columns;
    columns.resize(batch.sampleCount);
    let from = 0;
    for (const partition of batch.sectionPartitions) this.#sections.push(partition);
    for (let s = 0; s < batch.sectionPartitions.length; ) {
      if (!isOwned(batch.sectionPartitions[s]!)) {
        failedPartitions.push(batch.sectionPartitions[s]!);
        from += batch.sectionSamples[s++]!;
        continue;
      }
      // Sections that are kept mostly stand side by side: one copy for all of them.
      let to = from;
      do to += batch.sectionSamples[s++]!;
      while (s < batch.sectionPartitions.length && isOwned(batch.sectionPartitions[s]!));
      const at = columns.count;
      table.translate(tenant, batch.references, from, to, columns.ids, at);
      columns.timestampsMs.set(batch.timestampsMs.subarray(from, to), at);
      columns.values.set(batch.values.subarray(from, to), at);
      columns.count += to - from;
      from = to;
    }
    const isWhole = failedPartitions.length === 0;
    columns.packedTimes = isWhole ? batch.packedTimes : undefined;
    columns.packedValues = isWhole ? batch.packedValues : undefined;
    if (batch.packedTimes === undefined) checkTimes(columns.timestampsMs, columns.count);
    tenant.changes.note(columns.timestampsMs, columns.count);
  }

  #writeSamples(tenant: Tenant, writer: number, sequence: number): Promise<void> {
    const columns = this.#columns;
    columns.pack();
    this.#deps.held.untrackedSegment = this.#deps.log.segment + 1;
    return this.#writeRecord(
      tenant,
      RECORD_SAMPLES,
      writer,
      sequence,
      [{ references: columns.ids, count: columns.count }],
      (payload, definitions, defined) =>
        encodeSamples(payload, tenant.name, defined, definitions.bytes, definitions.length, columns),
      (segment) =>
        tenant.head.appendSamples(
          columns.ids,
          columns.timestampsMs,
          columns.values,
          0,
          columns.count,
          segment,
        ),
    );
  }

  /** Logs a record of series ids, with the definitions that the log does not have yet, and applies it. */
  #writeRecord(
    tenant: Tenant,
    type: number,
    writer: number,
    sequence: number,
    columns: readonly { readonly references: Uint32Array; readonly count: number }[],
    encode: (payload: ByteWriter, definitions: ByteWriter, definitionCount: number) => void,
    apply: (segment: number) => void,
  ): Promise<void> {
    const { head } = tenant;
    const definitions = this.#definitions;
    definitions.reset();
    const defined: number[] = [];
    for (const { references, count } of columns) {
      for (let i = 0; i < count; i++) {
        const id = references[i]!;
        if (!head.isLogged(id)) this.#define(head, id, defined);
      }
    }
    const payload = this.#payload;
    payload.reset();
    encode(payload, definitions, defined.length);
    try {
      const { bytes, length } = payload;
      const { segment, durable } = this.#deps.log.append(type, writer, sequence, bytes, 0, length);
      apply(segment);
      return durable;
    } catch (caught) {
      for (const id of defined) head.setLogged(id, false);
      throw caught;
    }
  }

  #define(head: Head, id: number, defined: number[]): void {
    head.setLogged(id, true);
    defined.push(id);
    this.#labels.reset();
    head.index.writeLabels(id, this.#labels);
    const { bytes, length } = this.#labels;
    putLogDefinition(this.#definitions, id, head.partitionOf(id), bytes, 0, length);
  }

  #logMetadata(
    tenant: Tenant,
    changed: readonly MetricMetadata[],
    writer: number,
    sequence: number,
  ): Promise<void> | undefined {
    if (changed.length === 0) return undefined;
    const payload = this.#payload;
    payload.reset();
    encodeMetadata(payload, tenant.name, changed);
    return this.#deps.log.append(RECORD_METADATA, writer, sequence, payload.bytes, 0, payload.length).durable;
  }
}

function ascending(a: number, b: number): number {
  return a - b;
}

/**
 * The sections of a numbered write that were kept.
 *
 * @param partitions  Of all sections, ascending.
 * @throws AppError `bad_data` when its numbers are not as the contract says.
 */
function sectionsOf(
  request: AppendRequest,
  partitions: readonly number[],
  failed: readonly number[],
): WriteSections {
  const { origin = '', write = 0, steps: bytes = NO_STEPS } = request;
  if (!isOrigin(origin)) throw new AppError('bad_data', `${JSON.stringify(origin)} is no origin of writes`);
  const reader = new ByteReader(bytes);
  const kept: number[] = [];
  const steps: number[] = [];
  for (const partition of partitions) {
    const step = checkStep(reader.varint(), write);
    if (failed.includes(partition)) continue;
    kept.push(partition);
    steps.push(step);
  }
  if (reader.remaining !== 0) {
    throw new AppError(
      'bad_data',
      `write ${write} has steps for more than its ${partitions.length} sections`,
    );
  }
  return { origin, write, partitions: kept, steps };
}

const NO_STEPS = new Uint8Array(0);

function checkTimes(timestampsMs: Float64Array, count: number): void {
  for (let i = 0; i < count; i++) {
    const timeMs = timestampsMs[i]!;
    if (!(timeMs >= -TIME_MS_MAX && timeMs <= TIME_MS_MAX) || Math.trunc(timeMs) !== timeMs) {
      throw new AppError(
        'bad_data',
        `timestamp ${timeMs} of sample ${i} is not a whole number of ms within ±2^51`,
      );
    }
  }
}
