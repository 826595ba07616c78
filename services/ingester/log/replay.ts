// Builds heads from log records again: the same operations in the same order as when they were written.
import { ByteReader } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { countHistograms, ExtraColumns } from '../../lib/model/extra-columns.ts';
import { ID_GAP_MAX } from '../../lib/tsdb/head/head.ts';
import { RECORD_HEAD_BYTES, type RecordView } from '../../lib/tsdb/log/record.ts';
import { isBefore, type LogPosition } from '../../lib/tsdb/log/replay.ts';
import type { Tenant, Tenants } from '../tenants.ts';
import { HeldTable } from '../writes/held-table.ts';
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
  RECORD_IMAGE_MARK,
  RECORD_METADATA,
  RECORD_SAMPLES,
  RECORD_SEALED,
  RECORD_STATE,
  RecordColumns,
} from './log-records.ts';
import { decodeWriteRecord, RECORD_WRITES } from './write-records.ts';

/** Series [from, to) of a tenant as a head image has them: with all records before `position` and none from there on. */
export interface ImagedSlice {
  readonly from: number;
  readonly to: number;
  readonly position: LogPosition;
}

/** What a head image has of a tenant: slices, ascending by series and by position. */
interface Imaged {
  readonly slices: readonly ImagedSlice[];
  /** Slices before this one are behind the record that is being replayed. */
  next: number;
}

export class Replayer {
  readonly #tenants: Tenants;
  readonly #held: HeldTable;
  /** Tenant number → what a head image has of it. */
  readonly #imaged: (Imaged | undefined)[] = [];
  #isFromImage = false;
  /** Series [from, to) have the record that is being replayed already. */
  #skipFrom = 0;
  #skipTo = 0;
  readonly #columns = new RecordColumns();
  readonly #logged = new ExtraColumns();
  readonly #known = new ExtraColumns();
  /** Tenant number → log id → head id + 1, or 0 while the log has not defined it. */
  readonly #headIds: Uint32Array[] = [];
  /** Samples of series whose definition was lost with a damaged record. */
  unknownSamples = 0;
  /** Series that have another id than their records in the log say. */
  renumbered = 0;
  samples = 0;
  /** Definitions of series. */
  definitions = 0;
  /** Segment that was being written when the checkpoint was begun. */
  checkpointSegment = 0;

  constructor(tenants: Tenants, held: HeldTable = new HeldTable()) {
    this.#tenants = tenants;
    this.#held = held;
  }

  /** Applies one record. @throws AppError `bad_data` when its payload is not understood. */
  apply(record: RecordView, bytes: Uint8Array, segment: number): void {
    const reader = new ByteReader(bytes, record.start, record.end);
    switch (record.type) {
      case RECORD_SAMPLES:
        this.#applySamples(reader, record, segment);
        return;
      case RECORD_EXTRAS:
        this.#applyExtras(reader, record, segment);
        return;
      case RECORD_WRITES:
        this.#applyWrites(record, bytes, segment);
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
      case RECORD_IMAGE_MARK:
        return;
      case RECORD_END:
        reader.varint();
        this.checkpointSegment = reader.varint();
        return;
      default:
        throw new AppError('bad_data', `record type ${record.type} is unknown to this version`);
    }
  }

  /** Heads were made from an image: says what of them is how old. Records from the image's begin on are to follow. */
  followImage(slicesOf: ReadonlyMap<Tenant, readonly ImagedSlice[]>): void {
    this.#isFromImage = true;
    for (const [tenant, slices] of slicesOf) {
      this.#imaged[tenant.number] = { slices, next: 0 };
      const { head } = tenant;
      for (let id = 0; id < head.idEnd; id++)
        if (head.has(id) && head.isLogged(id)) this.#define(tenant, id, id);
    }
  }

  /** Finds out which series need nothing of a record any more. */
  #aim(tenant: Tenant, record: RecordView, segment: number): void {
    this.#skipFrom = 0;
    this.#skipTo = 0;
    const imaged = this.#imaged[tenant.number];
    if (imaged === undefined) return;
    const { slices } = imaged;
    const position = { segment, offset: record.start - RECORD_HEAD_BYTES };
    while (imaged.next < slices.length && !isBefore(position, slices[imaged.next]!.position)) imaged.next++;
    if (imaged.next === slices.length) return;
    this.#skipFrom = slices[imaged.next]!.from;
    this.#skipTo = slices[slices.length - 1]!.to;
  }

  /** To be called once after the last record, before anything is written. */
  finish(): void {
    for (const { head, number, deletes } of this.#tenants.all()) {
      head.settleIds(this.#isFromImage);
      deletes.forget(head.frozenRanges().map(({ generation }) => generation));
      const headIds = this.#headIds[number] ?? new Uint32Array(0);
      // A series that the log knows under another id is defined again when it is written to.
      for (let id = 0; id < headIds.length; id++) {
        if (headIds[id] === id + 1) head.setLogged(id, true);
        else if (headIds[id] !== 0) this.renumbered++;
      }
    }
    this.#headIds.length = 0;
  }

  /** A numbered write, or what was held at that place of the log (segment 0: in a checkpoint or an image). */
  #applyWrites(record: RecordView, bytes: Uint8Array, segment: number): void {
    const logged = decodeWriteRecord(bytes, record.start, record.end);
    if ('writes' in logged) {
      this.#held.replace(logged.writes, logged.isRecovering, segment);
      return;
    }
    const unknownBefore = this.unknownSamples;
    this.#applySamples(logged.samples, record, segment);
    if (logged.extras !== undefined) this.#applyExtras(logged.extras, record, segment);
    if (this.unknownSamples === unknownBefore) this.#held.take(logged, segment);
  }

  #applySamples(reader: ByteReader, record: RecordView, segment: number): void {
    const tenant = this.#tenants.getOrMake(reader.string());
    this.#aim(tenant, record, segment);
    const { head } = tenant;
    const columns = this.#columns;
    decodeSamples(
      reader,
      (id, partition, labels, start, end) => {
        this.definitions++;
        this.#define(tenant, id, head.defineAs(id, labels, start, end, partition));
      },
      columns,
    );
    this.samples += columns.count;
    this.#noteUntracked(record, columns.count, segment);
    const known = this.#translate(tenant, columns);
    head.appendSamples(columns.ids, columns.timestampsMs, columns.values, 0, known, segment);
  }

  #applyExtras(reader: ByteReader, record: RecordView, segment: number): void {
    const tenant = this.#tenants.getOrMake(reader.string());
    this.#aim(tenant, record, segment);
    const logged = this.#logged;
    this.#noteUntracked(record, 1, segment);
    decodeExtras(
      reader,
      (id, partition, labels, start, end) => {
        this.definitions++;
        this.#define(tenant, id, tenant.head.defineAs(id, labels, start, end, partition));
      },
      logged,
    );
    const headIds = this.#headIds[tenant.number] ?? new Uint32Array(0);
    const known = this.#known;
    known.reset();
    let unknown = 0;
    for (let i = 0; i < logged.count; i++) {
      const logId = logged.references[i]!;
      if (logId >= this.#skipFrom && logId < this.#skipTo) continue;
      const headId = headIds[logId] ?? 0;
      if (headId === 0) {
        unknown++;
        continue;
      }
      const { timestampsMs, kinds, bytes, starts, ends } = logged;
      known.addRaw(headId - 1, timestampsMs[i]!, kinds[i]!, bytes, starts[i]!, ends[i]!);
    }
    this.unknownSamples += unknown;
    this.samples += countHistograms(logged);
    tenant.head.appendExtras(known, segment);
  }

  /** Samples outside of numbered writes; definitions and start times of a checkpoint are none. */
  #noteUntracked(record: RecordView, count: number, segment: number): void {
    if (record.type !== RECORD_WRITES && count > 0 && segment > 0) this.#held.untrackedSegment = segment;
  }

  #define(tenant: Tenant, logId: number, headId: number): void {
    let ids = this.#headIds[tenant.number] ?? new Uint32Array(1024);
    if (logId >= ids.length) {
      if (logId - Math.max(ids.length, tenant.head.idEnd) > ID_GAP_MAX) {
        throw new AppError('bad_data', `series id ${logId} is far above all others, ${tenant.head.idEnd}`);
      }
      const grown = new Uint32Array(Math.max(logId + 1, ids.length * 2));
      grown.set(ids);
      ids = grown;
    }
    ids[logId] = headId + 1;
    this.#headIds[tenant.number] = ids;
  }

  /** Log ids to head ids in place; leaves out what is not defined and what is there already. Returns how many samples remain. */
  #translate(tenant: Tenant, columns: RecordColumns): number {
    const headIds = this.#headIds[tenant.number] ?? new Uint32Array(0);
    const { ids, timestampsMs, values, count } = columns;
    const skipFrom = this.#skipFrom;
    const skipTo = this.#skipTo;
    let kept = 0;
    let unknown = 0;
    for (let i = 0; i < count; i++) {
      const logId = ids[i]!;
      if (logId >= skipFrom && logId < skipTo) continue;
      const headId = headIds[logId] ?? 0;
      if (headId === 0) {
        unknown++;
        continue;
      }
      ids[kept] = headId - 1;
      if (kept !== i) {
        timestampsMs[kept] = timestampsMs[i]!;
        values.copyWithin(kept, i, i + 1);
      }
      kept++;
    }
    this.unknownSamples += unknown;
    return kept;
  }
}
