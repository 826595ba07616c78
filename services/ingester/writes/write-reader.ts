// Gives other replicas the writes that they lack: reads them out of the log and sends them as their distributor did. The log has all
// that is on no store; what is not in memory any more was sealed, and is left out.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import { EXTRA_START_TIME, ExtraColumns } from '../../lib/model/extra-columns.ts';
import { WriteSet } from '../../lib/model/write-set.ts';
import { SEGMENT_HEAD_BYTES } from '../../lib/tsdb/log/record.ts';
import { type LogPosition, listSegments } from '../../lib/tsdb/log/replay.ts';
import type { SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import { readSegment, recordsOf, type SegmentBytes } from '../../lib/tsdb/log/segment-reader.ts';
import { encodeHeldWrites } from '../../lib/wire/append/held-writes.ts';
import type { AppendRequest, FetchWritesResponse } from '../../lib/wire/contracts.ts';
import { decodeCut, decodeExtras, decodeSamples, RECORD_CUT, RecordColumns } from '../log/log-records.ts';
import { decodeWriteRecord, type LoggedWrite, RECORD_WRITES } from '../log/write-records.ts';
import {
  isShared,
  type LoggedCut,
  type RangesThen,
  rangesNow,
  type SegmentRanges,
  UnsealedFilter,
} from '../sealing/unsealed-filter.ts';
import type { Tenant, Tenants } from '../tenants.ts';
import type { HeldTable } from './held-table.ts';
import { SentWrites } from './sent-writes.ts';

export interface WriteReaderDeps {
  readonly log: SegmentLog;
  readonly logFolder: string;
  readonly tenants: Tenants;
  readonly held: HeldTable;
  readonly disk: Disk;
  readonly clock: Clock;
  /** First segment whose series ids are those of the heads: earlier ones were numbered anew by a replay after damage. */
  readonly firstKnownSegment: number;
}

/** Calls at once; each has a segment in memory. */
const CALLS_MAX = 2;
const SLICE_MS = 8;

/** One call. */
interface Scan {
  readonly wanted: WriteSet;
  readonly sent: SentWrites;
  /** What is before it is on the disk, and is read; what is behind it is not wanted. */
  readonly end: LogPosition;
  /** Of when the log ended there. */
  readonly ranges: RangesThen;
  /** Sections that were read. */
  readonly found: WriteSet;
  isDamaged: boolean;
}

/** Newest and oldest number of each origin's writes in a segment. */
type SegmentContents = ReadonlyMap<string, readonly [first: number, last: number]>;

export class WriteReader {
  readonly #deps: WriteReaderDeps;
  /** Of segments that were read once and are not written to any more. */
  readonly #contents = new Map<number, SegmentContents>();
  readonly #calls = new Set<SentWrites>();

  constructor(deps: WriteReaderDeps) {
    this.#deps = deps;
  }

  /** Series left a head: others may get their ids. */
  seriesLeft(): void {
    for (const sent of this.#calls) sent.forgetSeries();
  }

  /**
   * The wanted writes that are held here.
   *
   * @throws AppError `resource_exhausted` when others are being served, `failed_precondition` when the log cannot be read
   *         with the ids of the heads.
   */
  async *fetch(wanted: WriteSet, signal: AbortSignal): AsyncGenerator<FetchWritesResponse> {
    const { log, firstKnownSegment } = this.#deps;
    if (this.#calls.size >= CALLS_MAX) {
      throw new AppError(
        'resource_exhausted',
        `${CALLS_MAX} replicas are being sent writes; ask again later`,
      );
    }
    if (log.firstSegment < firstKnownSegment) {
      throw new AppError(
        'failed_precondition',
        `segments ${log.firstSegment} to ${firstKnownSegment - 1} of the log were damaged; ask another replica`,
      );
    }
    const sent = new SentWrites();
    this.#calls.add(sent);
    try {
      // What is held by now is in the log, and on the disk after the flush.
      const held = wanted.within(this.#deps.held.held);
      const scan: Scan = {
        ...{ wanted: held, sent, found: new WriteSet(), isDamaged: false },
        ...{ end: log.position, ranges: rangesNow(this.#deps.tenants) },
      };
      await log.flush();
      yield* this.#send(scan, signal);
      const bytes = new ByteWriter(1024);
      // What was not found was sealed, unless it stood where the log cannot be read.
      encodeHeldWrites(bytes, scan.isDamaged ? scan.found : held);
      yield { part: { $case: 'done', value: { accounted: Buffer.from(bytes.take()) } } };
    } finally {
      this.#calls.delete(sent);
    }
  }

  async *#send(scan: Scan, signal: AbortSignal): AsyncGenerator<FetchWritesResponse> {
    const { log, logFolder, disk } = this.#deps;
    for (const known of this.#contents.keys()) if (known < log.firstSegment) this.#contents.delete(known);
    const { segment: last, offset } = scan.end;
    const segments = (await listSegments(disk, logFolder)).filter(
      (segment) =>
        (segment < last || (segment === last && offset > SEGMENT_HEAD_BYTES)) &&
        this.#mayHold(segment, scan.wanted),
    );
    for (const [done, segment] of segments.entries()) {
      throwIfAborted(signal);
      yield { part: { $case: 'progress', value: { readBytes: done, totalBytes: segments.length } } };
      const loaded = await readSegment(disk, logFolder, segment);
      if (loaded !== undefined) yield* this.#sendSegment(loaded, scan, signal);
      // Whoever deletes the log's files beside us must not make others believe that they are on the stores.
      else if (segment >= log.firstSegment) scan.isDamaged = true;
    }
  }

  #mayHold(segment: number, wanted: WriteSet): boolean {
    const contents = this.#contents.get(segment);
    if (contents === undefined) return true;
    for (const [origin, [first, last]] of contents) if (wanted.touches(origin, first, last)) return true;
    return false;
  }

  async *#sendSegment(
    loaded: SegmentBytes,
    scan: Scan,
    signal: AbortSignal,
  ): AsyncGenerator<FetchWritesResponse> {
    const { log, clock } = this.#deps;
    const { segment, bytes } = loaded;
    // The flush before was of all that stands in it.
    const isFinal = segment < scan.end.segment;
    let isDamaged = !isFinal && loaded.length < scan.end.offset;
    const contents = new Map<string, [number, number]>();
    const cuts = isShared(scan.ranges, segment) ? await this.#cutsOf(loaded, scan, signal) : [];
    const picker = new RecordPicker(this.#deps.tenants, { segment, ranges: scan.ranges, cuts });
    let sliceEndsMs = clock.monotonicMs() + SLICE_MS;
    const records = recordsOf(loaded, (from, to) => {
      if (isFinal || to < loaded.length || from === 0) isDamaged = true;
    });
    for (const record of records) {
      if (!isFinal && record.start >= scan.end.offset) break;
      if (clock.monotonicMs() >= sliceEndsMs) {
        await nextTurn();
        throwIfAborted(signal);
        sliceEndsMs = clock.monotonicMs() + SLICE_MS;
      }
      // Its samples are on the stores now, and ids of its series may be others'.
      if (segment < log.firstSegment) return;
      if (record.type !== RECORD_WRITES) continue;
      const logged = decodeWriteRecord(bytes, record.start, record.end);
      if ('writes' in logged) continue;
      const { origin, write } = logged;
      const numbers = contents.get(origin);
      contents.set(origin, [Math.min(write, numbers?.[0] ?? write), Math.max(write, numbers?.[1] ?? write)]);
      for (const [i, partition] of logged.partitions.entries())
        if (scan.wanted.has(origin, partition, write))
          scan.found.add(origin, partition, write - logged.steps[i]!, write);
      const message = picker.pick(logged, record.start, scan);
      if (message === undefined) continue;
      yield { part: { $case: 'write', value: message } };
      // Whoever reads may have taken a while.
      sliceEndsMs = clock.monotonicMs() + SLICE_MS;
    }
    if (isDamaged) scan.isDamaged = true;
    else if (isFinal) this.#contents.set(segment, contents);
  }

  async #cutsOf(loaded: SegmentBytes, { end: until }: Scan, signal: AbortSignal): Promise<LoggedCut[]> {
    const { clock } = this.#deps;
    const { segment, bytes } = loaded;
    const cuts: LoggedCut[] = [];
    let sliceEndsMs = clock.monotonicMs() + SLICE_MS;
    // Damage is looked at when the segment is read for its writes.
    for (const { type, start, end } of recordsOf(loaded, () => undefined)) {
      if (segment === until.segment && start >= until.offset) break;
      if (type === RECORD_CUT) cuts.push({ ...decodeCut(new ByteReader(bytes, start, end)), at: start });
      if (clock.monotonicMs() < sliceEndsMs) continue;
      await nextTurn();
      throwIfAborted(signal);
      sliceEndsMs = clock.monotonicMs() + SLICE_MS;
    }
    return cuts;
  }
}

/** Takes the wanted sections out of logged writes; scratch of one segment. */
class RecordPicker {
  readonly #tenants: Tenants;
  readonly #ranges: SegmentRanges;
  readonly #columns = new RecordColumns();
  readonly #logged = new ExtraColumns();
  readonly #extras = new ExtraColumns();

  constructor(tenants: Tenants, ranges: SegmentRanges) {
    this.#tenants = tenants;
    this.#ranges = ranges;
  }

  /** @param at  Byte of the segment that the record begins at. */
  pick(logged: LoggedWrite, at: number, { wanted, sent }: Scan): AppendRequest | undefined {
    const { origin, write, partitions } = logged;
    const chosen = new Set(partitions.filter((partition) => wanted.has(origin, partition, write)));
    if (chosen.size === 0) return undefined;
    const tenant = this.#tenants.get(logged.samples.string());
    if (tenant === undefined) return undefined;
    const filter = new UnsealedFilter(tenant, this.#ranges, at);
    decodeSamples(logged.samples, () => undefined, this.#columns);
    this.#keepSamples(tenant, chosen, filter);
    this.#extras.reset();
    if (logged.extras !== undefined) this.#readExtras(logged.extras, tenant, chosen, filter);
    return sent.messageOf(tenant, logged, this.#columns, this.#extras);
  }

  #keepSamples({ head }: Tenant, chosen: ReadonlySet<number>, filter: UnsealedFilter): void {
    const { ids, timestampsMs, values, count } = this.#columns;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const id = ids[i]!;
      if (!head.has(id) || !chosen.has(head.partitionOf(id)) || !filter.keeps(id, timestampsMs[i]!)) continue;
      ids[kept] = id;
      timestampsMs[kept] = timestampsMs[i]!;
      values.copyWithin(kept, i, i + 1);
      kept++;
    }
    this.#columns.count = kept;
  }

  #readExtras(
    reader: ByteReader,
    { head }: Tenant,
    chosen: ReadonlySet<number>,
    filter: UnsealedFilter,
  ): void {
    const logged = this.#logged;
    reader.string();
    decodeExtras(reader, () => undefined, logged);
    const { references, timestampsMs, kinds, bytes, starts, ends } = logged;
    for (let i = 0; i < logged.count; i++) {
      const id = references[i]!;
      if (!head.has(id) || !chosen.has(head.partitionOf(id))) continue;
      if (kinds[i] !== EXTRA_START_TIME && !filter.keeps(id, timestampsMs[i]!)) continue;
      this.#extras.addRaw(id, timestampsMs[i]!, kinds[i]!, bytes, starts[i]!, ends[i]!);
    }
  }
}
