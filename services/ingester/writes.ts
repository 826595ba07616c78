// The write path behind the streams: one append request at a time is checked, logged and applied to the head, in one
// turn of the event loop, so that the log and the head see the same order. Durability is awaited by the stream.
import { ByteWriter } from '../lib/core/bytes.ts';
import { AppError } from '../lib/core/errors.ts';
import { checkExtra, ExtraColumns } from '../lib/model/extra-columns.ts';
import type { SegmentLog } from '../lib/tsdb/log/segment-log.ts';
import type { AppendBatch } from '../lib/wire/append-batch.ts';
import { decodeAppendExtras } from '../lib/wire/append-extras.ts';
import type { AppendRequest, MetricMetadata } from '../lib/wire/contracts.ts';
import { BatchScratch, decodeBatch } from '../lib/wire/packed-batch.ts';
import {
  encodeExtras,
  encodeMetadata,
  encodeSamples,
  putLogDefinition,
  RECORD_EXTRAS,
  RECORD_METADATA,
  RECORD_SAMPLES,
  RecordColumns,
} from './log-records.ts';
import { type Tenant, type Tenants, TIME_MS_MAX } from './tenants.ts';
import type { WriterTable } from './writer-table.ts';

/** What became of a request that was applied. */
export interface Applied {
  /** Partitions that this ingester does not own. */
  readonly failedPartitions: number[];
  /** Rejects with `unavailable` when the log could not be written. */
  readonly durable: Promise<void>;
}

export interface WritesDeps {
  readonly log: SegmentLog;
  readonly tenants: Tenants;
  readonly headBytesMax: number;
  /** False for partitions that the placement gives to others. */
  readonly ownsPartition: (partition: number) => boolean;
}

/** Head bytes are added up once for so many requests: the sum walks all ranges. */
const REQUESTS_PER_BUDGET_LOOK = 64;

export class Writes {
  readonly #deps: WritesDeps;
  readonly #columns = new RecordColumns();
  readonly #unpacked = new BatchScratch();
  readonly #definitions = new ByteWriter(64 * 1024);
  readonly #labels = new ByteWriter(1024);
  readonly #payload = new ByteWriter(64 * 1024);
  readonly #extras = new ExtraColumns();
  #untilLook = 0;
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
    const { log, tenants } = this.#deps;
    this.#checkBudget();
    // Before anything is made known: what the log cannot take must not fill the head with series.
    log.checkRoom(request.batch.length + (request.extras?.length ?? 0));
    const tenant = tenants.getOrMake(request.tenant);
    let durable = this.#writeMetadata(tenant, request.metadata, writer, request.sequence);
    const failedPartitions: number[] = [];
    if (request.batch.length > 0) {
      const batch = decodeBatch(request.batch, this.#unpacked);
      const isOwned = (partition: number) => this.#deps.ownsPartition(partition);
      batch.forEachDefinition((reference, partition, bytes, start, end) => {
        if (isOwned(partition))
          table.define(reference, tenant, tenant.head.define(bytes, start, end, partition));
      });
      this.#gather(batch, tenant, table, failedPartitions);
      if (this.#columns.count > 0) durable = this.#writeSamples(tenant, writer, request.sequence);
    }
    if (request.extras !== undefined && request.extras.length > 0) {
      const extrasDurable = this.#applyExtras(
        request.extras,
        tenant,
        table,
        request,
        writer,
        failedPartitions,
      );
      // A later record is never durable before an earlier one of its segment, but they may stand in two.
      durable = Promise.all([durable, extrasDurable]).then(() => undefined);
    }
    return { failedPartitions, durable: durable ?? Promise.resolve() };
  }

  /** Logs and applies what came beside the batch; its partitions join those that were not kept. */
  #applyExtras(
    bytes: Uint8Array,
    tenant: Tenant,
    table: WriterTable,
    { sequence }: AppendRequest,
    writer: number,
    failedPartitions: number[],
  ): Promise<void> | undefined {
    const decoded = decodeAppendExtras(bytes);
    decoded.forEachDefinition((reference, partition, source, start, end) => {
      if (this.#deps.ownsPartition(partition))
        table.define(reference, tenant, tenant.head.define(source, start, end, partition));
    });
    const extras = this.#extras;
    extras.reset();
    for (const [index, { partition }] of decoded.sections.entries()) {
      if (this.#deps.ownsPartition(partition)) decoded.readSection(index, extras);
      else if (!failedPartitions.includes(partition)) failedPartitions.push(partition);
    }
    if (extras.count === 0) return undefined;
    // All are looked into before one is logged: a replay must not meet what the head cannot take.
    for (let i = 0; i < extras.count; i++) checkExtra(extras, i);
    table.translate(tenant, extras.references, 0, extras.count, extras.references, 0);
    return this.#writeRecord(
      tenant,
      RECORD_EXTRAS,
      writer,
      sequence,
      extras.references,
      extras.count,
      (payload, definitions, defined) =>
        encodeExtras(payload, tenant.name, defined, definitions.bytes, definitions.length, extras),
      (segment) => tenant.head.appendExtras(extras, segment),
    );
  }

  #checkBudget(): void {
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
  #gather(batch: AppendBatch, tenant: Tenant, table: WriterTable, failedPartitions: number[]): void {
    const columns = this.#columns;
    columns.resize(batch.sampleCount);
    columns.count = 0;
    let from = 0;
    for (let s = 0; s < batch.sectionPartitions.length; ) {
      if (!this.#deps.ownsPartition(batch.sectionPartitions[s]!)) {
        failedPartitions.push(batch.sectionPartitions[s]!);
        from += batch.sectionSamples[s++]!;
        continue;
      }
      // Sections that are kept mostly stand side by side: one copy for all of them.
      let to = from;
      do to += batch.sectionSamples[s++]!;
      while (s < batch.sectionPartitions.length && this.#deps.ownsPartition(batch.sectionPartitions[s]!));
      const at = columns.count;
      table.translate(tenant, batch.references, from, to, columns.ids, at);
      columns.timestampsMs.set(batch.timestampsMs.subarray(from, to), at);
      columns.values.set(batch.values.subarray(from, to), at);
      columns.count += to - from;
      from = to;
    }
    columns.packedValues = failedPartitions.length === 0 ? batch.packedValues : undefined;
    checkTimes(columns.timestampsMs, columns.count);
  }

  #writeSamples(tenant: Tenant, writer: number, sequence: number): Promise<void> {
    const columns = this.#columns;
    return this.#writeRecord(
      tenant,
      RECORD_SAMPLES,
      writer,
      sequence,
      columns.ids,
      columns.count,
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

  /** Logs a record of the first `count` ids, with the definitions that the log does not have yet, and applies it. */
  #writeRecord(
    tenant: Tenant,
    type: number,
    writer: number,
    sequence: number,
    ids: Uint32Array,
    count: number,
    encode: (payload: ByteWriter, definitions: ByteWriter, definitionCount: number) => void,
    apply: (segment: number) => void,
  ): Promise<void> {
    const { head } = tenant;
    const definitions = this.#definitions;
    definitions.reset();
    const defined: number[] = [];
    for (let i = 0; i < count; i++) {
      const id = ids[i]!;
      if (head.isLogged(id)) continue;
      head.setLogged(id, true);
      defined.push(id);
      this.#labels.reset();
      head.index.writeLabels(id, this.#labels);
      putLogDefinition(definitions, id, head.partitionOf(id), this.#labels.bytes, 0, this.#labels.length);
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

  #writeMetadata(
    tenant: Tenant,
    entries: readonly MetricMetadata[],
    writer: number,
    sequence: number,
  ): Promise<void> | undefined {
    if (entries.length === 0) return undefined;
    const changed = tenant.metadata.update(entries);
    if (changed.length === 0) return undefined;
    const payload = this.#payload;
    payload.reset();
    encodeMetadata(payload, tenant.name, changed);
    return this.#deps.log.append(RECORD_METADATA, writer, sequence, payload.bytes, 0, payload.length).durable;
  }
}

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
