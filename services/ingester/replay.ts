// Builds heads from log records again: the same operations in the same order as when they were written.
import { ByteReader } from '../lib/core/bytes.ts';
import { AppError } from '../lib/core/errors.ts';
import { countHistograms, ExtraColumns } from '../lib/model/extra-columns.ts';
import type { RecordView } from '../lib/tsdb/log/record.ts';
import { decodeDelete, decodeUndelete, RECORD_DELETE, RECORD_UNDELETE } from './delete-records.ts';
import {
  decodeCut,
  decodeExtras,
  decodeMetadata,
  decodeSamples,
  decodeSealed,
  decodeState,
  RECORD_CUT,
  RECORD_END,
  RECORD_EXTRAS,
  RECORD_METADATA,
  RECORD_SAMPLES,
  RECORD_SEALED,
  RECORD_STATE,
  RecordColumns,
} from './log-records.ts';
import type { Tenant, Tenants } from './tenants.ts';

export class Replayer {
  readonly #tenants: Tenants;
  readonly #columns = new RecordColumns();
  readonly #logged = new ExtraColumns();
  readonly #known = new ExtraColumns();
  /** Tenant number → log id → head id + 1, or 0 while the log has not defined it. */
  readonly #headIds: Uint32Array[] = [];
  /** Samples of series whose definition was lost with a damaged record. */
  unknownSamples = 0;
  samples = 0;
  /** Segment that was being written when the checkpoint was begun. */
  checkpointSegment = 0;

  constructor(tenants: Tenants) {
    this.#tenants = tenants;
  }

  /** Applies one record. @throws AppError `bad_data` when its payload is not understood. */
  apply(record: RecordView, bytes: Uint8Array, segment: number): void {
    const reader = new ByteReader(bytes, record.start, record.end);
    switch (record.type) {
      case RECORD_SAMPLES:
        this.#applySamples(reader, segment);
        return;
      case RECORD_EXTRAS:
        this.#applyExtras(reader, segment);
        return;
      case RECORD_CUT: {
        const { tenant: name, startMs, generation } = decodeCut(reader);
        const tenant = this.#tenants.getOrMake(name);
        if (generation < 1 || tenant.head.frozenRanges().some((range) => range.generation === generation)) {
          throw new AppError('bad_data', `a cut of generation ${generation}, which is not new`);
        }
        tenant.head.freeze(startMs, generation);
        tenant.generationNext = Math.max(tenant.generationNext, generation + 1);
        return;
      }
      case RECORD_SEALED: {
        const mark = decodeSealed(reader);
        const tenant = this.#tenants.getOrMake(mark.tenant);
        tenant.head.drop(mark.generation);
        tenant.leftBeforeMs = Math.max(tenant.leftBeforeMs, mark.endMs);
        tenant.generationNext = Math.max(tenant.generationNext, mark.generation + 1);
        return;
      }
      case RECORD_DELETE: {
        const mark = decodeDelete(reader);
        this.#tenants.getOrMake(mark.tenant).deletes.add(mark);
        return;
      }
      case RECORD_UNDELETE: {
        const mark = decodeUndelete(reader);
        this.#tenants.getOrMake(mark.tenant).deletes.remove(mark.id);
        return;
      }
      case RECORD_METADATA:
        this.#tenants.getOrMake(reader.string()).metadata.update(decodeMetadata(reader));
        return;
      case RECORD_STATE: {
        const mark = decodeState(reader);
        const tenant = this.#tenants.getOrMake(mark.tenant);
        tenant.generationNext = Math.max(tenant.generationNext, mark.generationNext);
        tenant.leftBeforeMs = Math.max(tenant.leftBeforeMs, mark.leftBeforeMs);
        return;
      }
      case RECORD_END:
        reader.varint();
        this.checkpointSegment = reader.varint();
        return;
      default:
        throw new AppError('bad_data', `record type ${record.type} is unknown to this version`);
    }
  }

  /** To be called once after the last record, before anything is written. */
  finish(): void {
    for (const { head, number, deletes } of this.#tenants.all()) {
      head.settleIds();
      deletes.forget(head.frozenRanges().map(({ generation }) => generation));
      const headIds = this.#headIds[number] ?? new Uint32Array(0);
      // A series that the log knows under another id is defined again when it is written to.
      for (let id = 0; id < headIds.length; id++) if (headIds[id] === id + 1) head.setLogged(id, true);
    }
    this.#headIds.length = 0;
  }

  #applySamples(reader: ByteReader, segment: number): void {
    const tenant = this.#tenants.getOrMake(reader.string());
    const { head } = tenant;
    const columns = this.#columns;
    decodeSamples(
      reader,
      (id, partition, labels, start, end) => {
        this.#define(tenant, id, head.defineAs(id, labels, start, end, partition));
      },
      columns,
    );
    this.samples += columns.count;
    const known = this.#translate(tenant, columns);
    head.appendSamples(columns.ids, columns.timestampsMs, columns.values, 0, known, segment);
  }

  #applyExtras(reader: ByteReader, segment: number): void {
    const tenant = this.#tenants.getOrMake(reader.string());
    const logged = this.#logged;
    decodeExtras(
      reader,
      (id, partition, labels, start, end) => {
        this.#define(tenant, id, tenant.head.defineAs(id, labels, start, end, partition));
      },
      logged,
    );
    const headIds = this.#headIds[tenant.number] ?? new Uint32Array(0);
    const known = this.#known;
    known.reset();
    for (let i = 0; i < logged.count; i++) {
      const headId = headIds[logged.references[i]!] ?? 0;
      if (headId === 0) continue;
      const { timestampsMs, kinds, bytes, starts, ends } = logged;
      known.addRaw(headId - 1, timestampsMs[i]!, kinds[i]!, bytes, starts[i]!, ends[i]!);
    }
    this.unknownSamples += logged.count - known.count;
    this.samples += countHistograms(logged);
    tenant.head.appendExtras(known, segment);
  }

  #define(tenant: Tenant, logId: number, headId: number): void {
    let ids = this.#headIds[tenant.number] ?? new Uint32Array(1024);
    if (logId >= ids.length) {
      const grown = new Uint32Array(Math.max(logId + 1, ids.length * 2));
      grown.set(ids);
      ids = grown;
    }
    ids[logId] = headId + 1;
    this.#headIds[tenant.number] = ids;
  }

  /** Log ids to head ids in place; leaves out what is not defined. Returns how many samples remain. */
  #translate(tenant: Tenant, columns: RecordColumns): number {
    const headIds = this.#headIds[tenant.number] ?? new Uint32Array(0);
    const { ids, timestampsMs, values, count } = columns;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const headId = headIds[ids[i]!] ?? 0;
      if (headId === 0) continue;
      ids[kept] = headId - 1;
      if (kept !== i) {
        timestampsMs[kept] = timestampsMs[i]!;
        values.copyWithin(kept, i, i + 1);
      }
      kept++;
    }
    this.unknownSamples += count - kept;
    return kept;
  }
}
