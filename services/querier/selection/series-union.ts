// Unites the series frames of many nodes: the same label set becomes one series with the chunks of all. Frames are kept
// as they came; series (series-table.ts) and chunks are numbers into them, in typed arrays, so that a million of them cost no object.
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import {
  CHUNK_COLUMNS,
  CHUNK_HISTOGRAMS,
  CHUNK_START_TIMES,
  isKnownEncoding,
} from '../../lib/model/chunk-sink.ts';
import { checkLabelBytes } from '../../lib/model/label-bytes.ts';
import { ReplicaLabels } from '../../lib/model/replica-labels.ts';
import type { SampleColumns } from '../../lib/model/sample-columns.ts';
import type { RunHold, SeriesRun } from '../../lib/model/series-run.ts';
import type { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { decodeInOrder } from '../../lib/tsdb/chunk/kernel/chunk-kernel.ts';
import type { StartTimes } from '../../lib/tsdb/chunk/start-times.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import type { MemoryBudget } from '../evaluation/memory-budget.ts';
import { SharedArena } from '../evaluation/shared-buffers.ts';
import { CHUNK_BYTES, ChunkTable } from './chunk-table.ts';
import { growUint32 } from './grown-columns.ts';
import { RunIntake, type RunUnion } from './run-intake.ts';
import { type FrameList, NONE, SeriesTable } from './series-table.ts';
import type { SharedUnion } from './shared-union.ts';

/** Bytes of a series in the arrays below and in the hash table, room for growth included. */
const SERIES_BYTES = 64;
/** Whoever reads the set makes strings of the label bytes: about this many bytes for each of them. */
const LABEL_STRING_FACTOR = 4;

/** Labels without those of replicas are kept in pages of so many bytes. */
const PAGE_BYTES = 64 * 1024;
/** Replicas that one query may find: the servers of a few pairs, and those that took their place. */
const REPLICAS_MAX = 4096;

export interface UnionLimits {
  readonly seriesMax: number;
  readonly hashSeed: number;
  /** Labels that tell the servers of a highly available pair apart: series that differ in nothing else are one. */
  readonly replicaLabels?: readonly string[];
  /** Such series are known to exist: what decides between them is asked for from the start. */
  readonly expectsReplicas?: boolean;
}

/** Frames and runs of several answers, united. Fill with `addFrame` and `addRun`, then `sort`; read by series index. */
export class SeriesUnion implements RunUnion {
  readonly #limits: UnionLimits;
  readonly #budget: Pick<MemoryBudget, 'charge'>;
  readonly #frames: FrameList = { list: [] };
  /** Who sent each frame, as a number. */
  readonly #frameNodes: number[] = [];
  readonly #nodes = new Map<string, number>();
  /** The newest frame: what its series and chunks refer to. */
  #frame = NONE;
  /** Over the newest frame. */
  #view: DataView = new DataView(new ArrayBuffer(0));
  #chargedBytes = 0;

  #series: SeriesTable;

  /** The chunks of a series are a list in it. */
  #chunks: ChunkTable;

  // Replicas. Labels without those that name one are written into frames of their own.
  readonly #replicaLabels: ReplicaLabels | undefined;
  /** Numbers by the replica's name, from 1; 0 is a series without. Once sorted, ranks in the order of the names. */
  readonly #replicas = new Map<string, number>();
  #replica = 0;
  readonly #stripped = new ByteWriter(1024);
  /** The newest frame of labels, and how full it is. */
  #page = NONE;
  #pageUsed = 0;
  /** Set: chunks of other replicas are passed over. */
  #only: number | undefined;

  /** Chunks that are read one behind the other. */
  #inOrder: Uint32Array = new Uint32Array(16);

  /** By the node. */
  readonly #intakes = new Map<number, RunIntake>();
  readonly #holds = new Set<RunHold>();
  /** Who sent what is taken in. */
  #node = NONE;

  /**
   * The node that said all series so far, one behind the other in label order: each is another one, and they are sorted. NONE: there are
   * none; undefined: several nodes did, or in another order.
   */
  #onlyNode: number | undefined = NONE;

  #current = NONE;
  #hasExtras = false;
  #coarsestMs = 0;
  #shared: SharedUnion | undefined;
  #isReleased = false;

  constructor(limits: UnionLimits, budget: Pick<MemoryBudget, 'charge'>) {
    this.#limits = limits;
    this.#budget = budget;
    this.#series = new SeriesTable(this.#frames, limits.hashSeed);
    this.#chunks = new ChunkTable(this.#frames);
    const names = limits.replicaLabels ?? [];
    this.#replicaLabels = names.length > 0 ? new ReplicaLabels(names) : undefined;
  }

  get size(): number {
    return this.#series.count;
  }

  /** Whether some series holds more than floats. */
  get hasExtras(): boolean {
    return this.#hasExtras;
  }

  /** Resolution of the coarsest aggregates, ms; 0 when all chunks are of samples. */
  get coarsestMs(): number {
    return this.#coarsestMs;
  }

  /** Whether some series is of one of several replicas. */
  get hasReplicas(): boolean {
    return this.#chunks.replica !== undefined;
  }

  get chunkCount(): number {
    return this.#chunks.count;
  }

  /**
   * Takes a frame, which stays referenced until `release`.
   *
   * @param from  Who sent it, for the error.
   * @throws AppError `execution` over a limit, `internal` when the frame is malformed.
   */
  addFrame(frame: Uint8Array, from: string): void {
    this.#take(from, () => {
      this.#charge(frame.length);
      const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
      this.turnTo(this.#pushFrame(frame, this.#node), view);
      // No series takes less than three bytes: the frame bounds what it announces.
      if (frame.length >= 8) this.#series.reserve(Math.min(view.getUint32(4, true), frame.length / 3));
      readSeriesFrame(frame, this);
    });
  }

  /**
   * Takes a run of series, whose pages stay referenced until `release`. Runs of one node come in order.
   *
   * @param hold  Released with the union.
   * @throws AppError as addFrame.
   */
  addRun(run: SeriesRun, from: string, hold?: RunHold): void {
    this.#take(from, () => {
      if (hold !== undefined) this.#holds.add(hold);
      this.#charge(run.words.byteLength + run.openTimesMs.byteLength);
      let intake = this.#intakes.get(this.#node);
      if (intake === undefined) this.#intakes.set(this.#node, (intake = new RunIntake(this)));
      this.#series.reserve(run.seriesCount);
      intake.add(run);
    });
  }

  #take(from: string, read: () => void): void {
    if (this.#isReleased) throw new AppError('canceled', `${from} answered after the query was over`);
    this.#node = this.#nodeOf(from);
    const chunksBefore = this.#chunks.count;
    try {
      read();
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code !== 'bad_data') throw error;
      this.#dropChunks(chunksBefore);
      throw new AppError('internal', `malformed answer from ${from}: ${error.message}`, { cause: error });
    }
  }

  pushFrame(frame: Uint8Array, isShared: boolean): number {
    if (!isShared) this.#charge(frame.length);
    return this.#pushFrame(frame, this.#node);
  }

  turnTo(frame: number, view: DataView): void {
    this.#frame = frame;
    this.#view = view;
  }

  hasLabelsBehind(frame: number, start: number): boolean {
    const last = this.#series.count - 1;
    return last >= 0 && this.#series.frame[last] === frame && this.#series.labelStart[last]! >= start;
  }

  #pushFrame(frame: Uint8Array, node: number): number {
    this.#frameNodes.push(node);
    return this.#frames.list.push(frame) - 1;
  }

  #nodeOf(from: string): number {
    let node = this.#nodes.get(from);
    if (node === undefined) this.#nodes.set(from, (node = this.#nodes.size));
    return node;
  }

  beginSeries(bytes: Uint8Array, start: number, end: number, isNext = false): void {
    const isReplica = this.#replicaLabels?.isIn(bytes, start, end) === true;
    if (!isNext || isReplica || (this.#onlyNode !== this.#node && this.#onlyNode !== NONE))
      this.#onlyNode = undefined;
    if (isReplica) {
      this.#beginReplica(this.#replicaLabels!, bytes, start, end);
      return;
    }
    this.#replica = 0;
    if (this.#onlyNode !== undefined) {
      this.#onlyNode = this.#node;
      this.#current = this.#addSeries(this.#frame, start, end);
      return;
    }
    this.#current = this.#series.find(bytes, this.#view, start, end);
    if (this.#current !== NONE) return;
    checkLabelBytes(bytes, start, end);
    this.#current = this.#addSeries(this.#frame, start, end);
  }

  /** Begins the series that is left without the labels of the replica. */
  #beginReplica(replicaLabels: ReplicaLabels, bytes: Uint8Array, start: number, end: number): void {
    checkLabelBytes(bytes, start, end);
    const stripped = this.#stripped;
    stripped.reset();
    this.#replica = this.#replicaOf(replicaLabels.strip(bytes, start, end, stripped));
    const { length } = stripped;
    this.#current = this.#series.find(stripped.bytes, stripped.view, 0, length);
    if (this.#current !== NONE) return;
    const at = this.#keepLabels(stripped.bytes, length);
    this.#current = this.#addSeries(this.#page, at, at + length);
  }

  /** Copies labels into a page, a frame of our own, and answers where they stand in it. */
  #keepLabels(bytes: Uint8Array, length: number): number {
    if (this.#page === NONE || this.#pageUsed + length > this.#frames.list[this.#page]!.length) {
      this.#page = this.#pushFrame(new Uint8Array(Math.max(PAGE_BYTES, length)), NONE);
      this.#pageUsed = 0;
    }
    const at = this.#pageUsed;
    this.#frames.list[this.#page]!.set(bytes.subarray(0, length), at);
    this.#pageUsed += length;
    return at;
  }

  #replicaOf(name: string): number {
    const known = this.#replicas.get(name);
    if (known !== undefined) return known;
    if (this.#replicas.size >= REPLICAS_MAX) {
      throw new AppError(
        'execution',
        `selector matches series of more than ${REPLICAS_MAX} replicas: a label of --query.replica-labels has other values than servers; select fewer series, or take it out`,
      );
    }
    const replica = this.#replicas.size + 1;
    this.#replicas.set(name, replica);
    return replica;
  }

  chunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    if (!isKnownEncoding(encoding)) throw new AppError('bad_data', `unknown chunk encoding ${encoding}`);
    if (encoding > CHUNK_COLUMNS) this.#hasExtras = true;
    this.#charge(CHUNK_BYTES);
    const chunk = this.#chunks.add(this.#frame, start, end, encoding, minTimeMs, maxTimeMs, this.#replica);
    if (this.#chunks.isAggregate(chunk)) {
      this.#coarsestMs = Math.max(this.#coarsestMs, new ByteReader(bytes, start, end).varint());
    }
    const last = this.#series.lastChunk[this.#current]!;
    if (last === NONE) this.#series.firstChunk[this.#current] = chunk;
    else this.#chunks.next[last] = chunk;
    this.#series.lastChunk[this.#current] = chunk;
  }

  /**
   * Whether a node sent samples where another sent aggregates of the same series. The samples may be some that the aggregates lack: late
   * ones, or those of a store that has more of them.
   */
  hasSamplesBesideAggregates(): boolean {
    if (this.#coarsestMs === 0 || this.#nodes.size < 2) return false;
    for (let series = 0; series < this.#series.count; series++) {
      if (this.#isDisputed(this.#series.firstChunk[series]!)) return true;
    }
    return false;
  }

  #isDisputed(first: number): boolean {
    const chunks = this.#chunks;
    for (let chunk = first; chunk !== NONE; chunk = chunks.next[chunk]!) {
      if (chunks.encoding[chunk]! > CHUNK_HISTOGRAMS) continue;
      const node = this.#frameNodes[chunks.frame[chunk]!];
      let isOthers = false;
      let isOwn = false;
      for (let other = first; other !== NONE; other = chunks.next[other]!) {
        if (!chunks.isAggregate(other)) continue;
        if (!chunks.touches(other, chunks.minMs[chunk]!, chunks.maxMs[chunk]!)) continue;
        // Staleness markers, and samples of which there are few, stand beside a node's own aggregates.
        if (this.#frameNodes[chunks.frame[other]!] === node) isOwn = true;
        else isOthers = true;
      }
      if (isOthers && !isOwn) return true;
    }
    return false;
  }

  /** Brings the series into Prometheus' label order. */
  async sort(pacer: WorkPacer): Promise<void> {
    this.#rankReplicas();
    this.#charge(this.#series.count * 4);
    await this.#series.sort(pacer, this.#onlyNode !== undefined);
  }

  /** Numbers become ranks: which replica is followed must not depend on who answered first. */
  #rankReplicas(): void {
    const { replica, count } = this.#chunks;
    if (replica === undefined) return;
    const ranks = new Uint16Array(this.#replicas.size + 1);
    const names = [...this.#replicas.keys()].sort();
    for (const [i, name] of names.entries()) ranks[this.#replicas.get(name)!] = i + 1;
    for (let chunk = 0; chunk < count; chunk++) replica[chunk] = ranks[replica[chunk]!]!;
  }

  /** Makes a union of what another thread shares: its series [from, to) in label order. Nothing can be added to it. */
  static ofShared(shared: SharedUnion, from: number, to: number): SeriesUnion {
    const union = new SeriesUnion({ seriesMax: 0, hashSeed: 0 }, { charge: () => undefined });
    const { series, chunks } = shared;
    union.#frames.list = [...shared.frames];
    union.#series = SeriesTable.ofColumns(union.#frames, series, shared.order.subarray(from, to));
    union.#chunks = ChunkTable.ofShared(union.#frames, chunks);
    union.#hasExtras = shared.hasExtras;
    union.#coarsestMs = shared.coarsestMs;
    return union;
  }

  /**
   * Copies all into shared memory that is not there, once sorted. The union itself goes on with the shared frames, whose copies take the
   * place of what it got. Asked again, it answers the same.
   *
   * @param take  Makes the buffer; whatever is in it is overwritten.
   *
   * Cost: a copy of the frames that nodes sent and of labels, 40 bytes per chunk and 20 per series.
   */
  share(take: (bytes: number) => SharedArrayBuffer): SharedUnion {
    return (this.#shared ??= this.#copyToShared(take));
  }

  #copyToShared(take: (bytes: number) => SharedArrayBuffer): SharedUnion {
    const series = this.#series;
    const chunks = this.#chunks;
    const sizeOf = (bytes: number) => SharedArena.sizeOf(bytes);
    const columnBytes = 5 * sizeOf(series.count * 4) + chunks.bytesShared(sizeOf);
    this.#charge(columnBytes);
    const frameBytes = this.#frames.list.reduce(
      (sum, frame) => (isShared(frame) ? sum : sum + sizeOf(frame.length)),
      0,
    );
    const arena = new SharedArena(take(columnBytes + frameBytes));
    const frames = this.#frames.list.map((frame) => (isShared(frame) ? frame : arena.bytes(frame)));
    this.#frames.list = frames;
    return {
      frames,
      order: arena.uint32(series.order, series.count),
      series: {
        frame: arena.uint32(series.frame, series.count),
        labelStart: arena.uint32(series.labelStart, series.count),
        labelEnd: arena.uint32(series.labelEnd, series.count),
        firstChunk: arena.int32(series.firstChunk, series.count),
      },
      chunks: chunks.copyTo(arena),
      hasExtras: this.#hasExtras,
      coarsestMs: this.#coarsestMs,
    };
  }

  /** Ends of `parts` ranges of series in label order, with about the same number of chunks in each. */
  rangeEnds(parts: number): number[] {
    const ends: number[] = [];
    const { next, count } = this.#chunks;
    let chunks = 0;
    for (let index = 0; index < this.#series.count; index++) {
      const first = this.#series.firstChunk[this.#series.order[index]!]!;
      for (let chunk = first; chunk !== NONE; chunk = next[chunk]!) chunks++;
      while (ends.length < parts - 1 && chunks * parts >= count * (ends.length + 1)) {
        ends.push(index + 1);
      }
    }
    while (ends.length < parts) ends.push(this.#series.count);
    return ends;
  }

  /** Calls back with the canonical label bytes of the series at `index` in label order. */
  labelsOf<T>(index: number, use: (bytes: Uint8Array, start: number, end: number) => T): T {
    return this.#series.labelsOf(this.#series.order[index]!, use);
  }

  /**
   * Appends the samples of series `index` within [minTimeMs, maxTimeMs], and perhaps some beyond, when its chunks lie one behind the other, as
   * those of one node do: then nothing is to be merged.
   *
   * @param into  Empty.
   * @returns     False when they do not; `into` holds some of them then.
   * @throws AppError `internal` when a chunk is corrupt.
   */
  decodeInOrder(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): boolean {
    const series = this.#series.order[index]!;
    const count = this.#findInOrder(series, minTimeMs, maxTimeMs);
    return count >= 0 && decodeInOrder(this.#chunks, this.#inOrder, count, minTimeMs, maxTimeMs, into);
  }

  /** How many of chunks[from, …) are of floats and lie one behind the other, by their bounds. */
  countInOrder(chunks: Uint32Array, from: number): number {
    const { minMs, maxMs, encoding } = this.#chunks;
    let to = from;
    for (; to < chunks.length && encoding[chunks[to]!]! <= CHUNK_COLUMNS; to++) {
      if (to > from && minMs[chunks[to]!]! <= maxMs[chunks[to - 1]!]!) break;
    }
    return to - from;
  }

  /** Appends the samples of such chunks as decodeInOrder() does; false when they are not in order. @throws as decodeInOrder. */
  decodeChunks(chunks: Uint32Array, minTimeMs: number, maxTimeMs: number, into: SampleColumns): boolean {
    return decodeInOrder(this.#chunks, chunks, chunks.length, minTimeMs, maxTimeMs, into);
  }

  /** Puts the chunks of floats into #inOrder and answers how many; -1 where they overlap, by their bounds, or there are others. */
  #findInOrder(series: number, minTimeMs: number, maxTimeMs: number): number {
    const chunks = this.#chunks;
    let count = 0;
    let previousMs = Number.NEGATIVE_INFINITY;
    for (let chunk = this.#series.firstChunk[series]!; chunk !== NONE; chunk = chunks.next[chunk]!) {
      if (!chunks.touches(chunk, minTimeMs, maxTimeMs)) continue;
      const encoding = chunks.encoding[chunk]!;
      if (encoding === CHUNK_START_TIMES || this.#isOther(chunk)) continue;
      if (chunks.minMs[chunk]! <= previousMs || encoding > CHUNK_COLUMNS) return -1;
      previousMs = chunks.maxMs[chunk]!;
      if (count === this.#inOrder.length) this.#inOrder = growUint32(this.#inOrder);
      this.#inOrder[count++] = chunk;
    }
    return count;
  }

  /**
   * Numbers of the chunks of series `index` that touch [minTimeMs, maxTimeMs], ascending by their first sample; of
   * several with the same bytes only one.
   *
   * @param into  Grown when too small.
   * @returns     The chunks' numbers, a part of `into` or of what took its place.
   */
  chunksOf(index: number, minTimeMs: number, maxTimeMs: number, into: Uint32Array): Uint32Array {
    const table = this.#chunks;
    let found = into;
    let count = 0;
    let isSorted = true;
    let previousMs = Number.NEGATIVE_INFINITY;
    const series = this.#series.order[index]!;
    for (let chunk = this.#series.firstChunk[series]!; chunk !== NONE; chunk = table.next[chunk]!) {
      if (!table.touches(chunk, minTimeMs, maxTimeMs) || this.#isOther(chunk)) continue;
      if (count === found.length) found = growUint32(found);
      found[count++] = chunk;
      const startMs = table.minMs[chunk]!;
      if (startMs <= previousMs) isSorted = false;
      previousMs = startMs;
    }
    const chunks = found.subarray(0, count);
    if (isSorted) return chunks;
    chunks.sort((a, b) => table.compare(a, b));
    return chunks.subarray(0, table.dropEqual(chunks));
  }

  /**
   * Adds the start times of series `index` that may hold in [minTimeMs, maxTimeMs].
   *
   * @throws AppError `internal` as decodeInOrder.
   */
  readStartTimes(index: number, minTimeMs: number, maxTimeMs: number, into: StartTimes): void {
    const chunks = this.#chunks;
    const series = this.#series.order[index]!;
    for (let chunk = this.#series.firstChunk[series]!; chunk !== NONE; chunk = chunks.next[chunk]!) {
      if (chunks.encoding[chunk] !== CHUNK_START_TIMES || this.#isOther(chunk)) continue;
      if (!chunks.touches(chunk, minTimeMs, maxTimeMs)) continue;
      into.addChunk(chunks.bytesOf(chunk), chunks.start[chunk]!, chunks.end[chunk]!);
    }
  }

  /** Whether series `index` has chunks of several replicas. */
  isReplicated(index: number): boolean {
    const { replica, next } = this.#chunks;
    if (replica === undefined) return false;
    const first = this.#series.firstChunk[this.#series.order[index]!]!;
    for (let chunk = first; chunk !== NONE; chunk = next[chunk]!) {
      if (replica[chunk] !== replica[first]) return true;
    }
    return false;
  }

  /** Calls back for each replica of series `index`, in an order that never changes; only its chunks are seen meanwhile. */
  forEachReplica(index: number, use: () => void): void {
    const { replica, next } = this.#chunks;
    const ranks = new Set<number>();
    const first = this.#series.firstChunk[this.#series.order[index]!]!;
    for (let chunk = first; chunk !== NONE; chunk = next[chunk]!) ranks.add(replica![chunk]!);
    try {
      for (const rank of [...ranks].sort((a, b) => a - b)) {
        this.#only = rank;
        use();
      }
    } finally {
      this.#only = undefined;
    }
  }

  #isOther(chunk: number): boolean {
    return this.#only !== undefined && this.#chunks.replica![chunk] !== this.#only;
  }

  /** Whether a chunk stands for samples that are not there. */
  isAggregate(chunk: number): boolean {
    return this.#chunks.isAggregate(chunk);
  }

  /** Calls back with a chunk's bytes and their encoding. */
  chunkBytes(
    chunk: number,
    use: (bytes: Uint8Array, start: number, end: number, encoding: number) => void,
  ): void {
    const { start, end, encoding } = this.#chunks;
    use(this.#chunks.bytesOf(chunk), start[chunk]!, end[chunk]!, encoding[chunk]!);
  }

  /** Lets go of the frames and gives back what was charged. Safe to call twice. */
  release(): void {
    this.#isReleased = true;
    this.#frames.list = [];
    this.#shared = undefined;
    this.#intakes.clear();
    for (const hold of this.#holds) hold.release();
    this.#holds.clear();
    this.#series.clear();
    this.#budget.charge(-this.#chargedBytes);
    this.#chargedBytes = 0;
  }

  #charge(bytes: number): void {
    this.#budget.charge(bytes);
    this.#chargedBytes += bytes;
  }

  #addSeries(frame: number, start: number, end: number): number {
    if (this.#series.count >= this.#limits.seriesMax) {
      throw new AppError(
        'execution',
        `selector matches more than ${this.#limits.seriesMax} series, the limit of one selector (--query.max-series); add matchers`,
      );
    }
    this.#charge(SERIES_BYTES + (end - start) * LABEL_STRING_FACTOR);
    return this.#onlyNode === undefined
      ? this.#series.addLast(frame, start, end)
      : this.#series.addOther(frame, start, end);
  }

  /** Takes back the chunks from number `from` on. Series that came with them stay, without samples. */
  #dropChunks(from: number): void {
    this.#chunks.count = from;
    const { next } = this.#chunks;
    for (let series = 0; series < this.#series.count; series++) {
      if (this.#series.lastChunk[series]! < from) continue;
      let last = NONE;
      let chunk = this.#series.firstChunk[series]!;
      while (chunk !== NONE && chunk < from) {
        last = chunk;
        chunk = next[chunk]!;
      }
      this.#series.lastChunk[series] = last;
      if (last === NONE) this.#series.firstChunk[series] = NONE;
      else next[last] = NONE;
    }
  }
}

function isShared(frame: Uint8Array): frame is Uint8Array<SharedArrayBuffer> {
  return frame.buffer instanceof SharedArrayBuffer;
}
