// Unites the series frames of many nodes: the same label set becomes one series with the chunks of all. Frames are kept
// as they came; series (series-table.ts) and chunks are numbers into them, in typed arrays, so that a million of them cost no object.
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import {
  CHUNK_AGGREGATES,
  CHUNK_COLUMNS,
  CHUNK_HISTOGRAMS,
  CHUNK_START_TIMES,
  CHUNK_WEIGHTS,
  type ChunkSink,
  isKnownEncoding,
} from '../../lib/model/chunk-sink.ts';
import { checkLabelBytes } from '../../lib/model/label-bytes.ts';
import { ReplicaLabels } from '../../lib/model/replica-labels.ts';
import type { SampleColumns } from '../../lib/model/sample-columns.ts';
import { compareRanges } from '../../lib/tsdb/block/byte-ranges.ts';
import type { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { decodeChunk } from '../../lib/tsdb/chunk/decode-chunk.ts';
import type { StartTimes } from '../../lib/tsdb/chunk/start-times.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import type { MemoryBudget } from '../evaluation/memory-budget.ts';
import { SharedArena } from '../evaluation/shared-buffers.ts';
import { growFloat64, growInt32, growUint8, growUint32 } from './grown-columns.ts';
import { type FrameList, NONE, SeriesTable } from './series-table.ts';
import type { SharedUnion } from './shared-union.ts';

/** Bytes of a series in the arrays below and in the hash table, room for growth included. */
const SERIES_BYTES = 64;
/** Bytes of a chunk in the arrays below, room for growth included. */
const CHUNK_BYTES = 64;
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

/** Frames of several answers, united. Fill with `addFrame`, then `sort`; read by series index. */
export class SeriesUnion implements ChunkSink {
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

  // One element per chunk; the chunks of a series are a list.
  #chunkCount = 0;
  #chunkFrame: Uint32Array = new Uint32Array(64);
  #chunkStart: Uint32Array = new Uint32Array(64);
  #chunkEnd: Uint32Array = new Uint32Array(64);
  #chunkMinMs: Float64Array = new Float64Array(64);
  #chunkMaxMs: Float64Array = new Float64Array(64);
  #chunkEncoding: Uint8Array = new Uint8Array(64);
  #nextChunk: Int32Array = new Int32Array(64);

  // Replicas. Labels without those that name one are written into frames of their own.
  readonly #replicaLabels: ReplicaLabels | undefined;
  /** Numbers by the replica's name, from 1; 0 is a series without. Once sorted, ranks in the order of the names. */
  readonly #replicas = new Map<string, number>();
  #chunkReplica: Uint16Array | undefined;
  #replica = 0;
  readonly #stripped = new ByteWriter(1024);
  /** The newest frame of labels, and how full it is. */
  #page = NONE;
  #pageUsed = 0;
  /** Set: chunks of other replicas are passed over. */
  #only: number | undefined;

  #current = NONE;
  #hasExtras = false;
  #coarsestMs = 0;
  #shared: SharedUnion | undefined;
  #isReleased = false;

  constructor(limits: UnionLimits, budget: Pick<MemoryBudget, 'charge'>) {
    this.#limits = limits;
    this.#budget = budget;
    this.#series = new SeriesTable(this.#frames, limits.hashSeed);
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
    return this.#chunkReplica !== undefined;
  }

  get chunkCount(): number {
    return this.#chunkCount;
  }

  /**
   * Takes a frame, which stays referenced until `release`.
   *
   * @param from  Who sent it, for the error.
   * @throws AppError `execution` over a limit, `internal` when the frame is malformed.
   */
  addFrame(frame: Uint8Array, from: string): void {
    if (this.#isReleased) throw new AppError('canceled', `${from} answered after the query was over`);
    this.#charge(frame.length);
    this.#frame = this.#pushFrame(frame, this.#nodeOf(from));
    this.#view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    const chunksBefore = this.#chunkCount;
    try {
      readSeriesFrame(frame, this);
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code !== 'bad_data') throw error;
      this.#dropChunks(chunksBefore);
      throw new AppError('internal', `malformed answer from ${from}: ${error.message}`, { cause: error });
    }
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

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    if (this.#replicaLabels?.isIn(bytes, start, end)) {
      this.#beginReplica(this.#replicaLabels, bytes, start, end);
      return;
    }
    this.#replica = 0;
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
    this.#chunkReplica ??= new Uint16Array(this.#chunkFrame.length);
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
    if (isAggregate(encoding)) {
      this.#coarsestMs = Math.max(this.#coarsestMs, new ByteReader(bytes, start, end).varint());
    }
    const chunk = this.#chunkCount;
    if (chunk === this.#chunkFrame.length) this.#growChunks();
    this.#charge(CHUNK_BYTES);
    this.#chunkCount++;
    this.#chunkFrame[chunk] = this.#frame;
    if (this.#chunkReplica !== undefined) this.#chunkReplica[chunk] = this.#replica;
    this.#chunkStart[chunk] = start;
    this.#chunkEnd[chunk] = end;
    this.#chunkMinMs[chunk] = minTimeMs;
    this.#chunkMaxMs[chunk] = maxTimeMs;
    this.#chunkEncoding[chunk] = encoding;
    this.#nextChunk[chunk] = NONE;
    const last = this.#series.lastChunk[this.#current]!;
    if (last === NONE) this.#series.firstChunk[this.#current] = chunk;
    else this.#nextChunk[last] = chunk;
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
    for (let chunk = first; chunk !== NONE; chunk = this.#nextChunk[chunk]!) {
      const encoding = this.#chunkEncoding[chunk]!;
      if (encoding > CHUNK_HISTOGRAMS) continue;
      const node = this.#frameNodes[this.#chunkFrame[chunk]!];
      let isOthers = false;
      let isOwn = false;
      for (let other = first; other !== NONE; other = this.#nextChunk[other]!) {
        if (!isAggregate(this.#chunkEncoding[other]!)) continue;
        if (this.#chunkMinMs[other]! > this.#chunkMaxMs[chunk]!) continue;
        if (this.#chunkMaxMs[other]! < this.#chunkMinMs[chunk]!) continue;
        // Staleness markers, and samples of which there are few, stand beside a node's own aggregates.
        if (this.#frameNodes[this.#chunkFrame[other]!] === node) isOwn = true;
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
    await this.#series.sort(pacer);
  }

  /** Numbers become ranks: which replica is followed must not depend on who answered first. */
  #rankReplicas(): void {
    const chunkReplica = this.#chunkReplica;
    if (chunkReplica === undefined) return;
    const ranks = new Uint16Array(this.#replicas.size + 1);
    const names = [...this.#replicas.keys()].sort();
    for (const [i, name] of names.entries()) ranks[this.#replicas.get(name)!] = i + 1;
    for (let chunk = 0; chunk < this.#chunkCount; chunk++) chunkReplica[chunk] = ranks[chunkReplica[chunk]!]!;
  }

  /** Makes a union of what another thread shares: its series [from, to) in label order. Nothing can be added to it. */
  static ofShared(shared: SharedUnion, from: number, to: number): SeriesUnion {
    const union = new SeriesUnion({ seriesMax: 0, hashSeed: 0 }, { charge: () => undefined });
    const { series, chunks } = shared;
    union.#frames.list = [...shared.frames];
    union.#series = SeriesTable.ofColumns(union.#frames, series, shared.order.subarray(from, to));
    union.#chunkFrame = chunks.frame;
    union.#chunkStart = chunks.start;
    union.#chunkEnd = chunks.end;
    union.#chunkMinMs = chunks.minMs;
    union.#chunkMaxMs = chunks.maxMs;
    union.#chunkEncoding = chunks.encoding;
    union.#nextChunk = chunks.next;
    union.#hasExtras = shared.hasExtras;
    union.#coarsestMs = shared.coarsestMs;
    union.#chunkReplica = shared.replica;
    return union;
  }

  /**
   * Copies all into shared memory, once sorted. The union itself goes on with the shared frames, whose copies take the place
   * of what it got. Asked again, it answers the same.
   *
   * @param take  Makes the buffer; whatever is in it is overwritten.
   *
   * Cost: a copy of the frames, 40 bytes per chunk and 20 per series.
   */
  share(take: (bytes: number) => SharedArrayBuffer): SharedUnion {
    return (this.#shared ??= this.#copyToShared(take));
  }

  #copyToShared(take: (bytes: number) => SharedArrayBuffer): SharedUnion {
    const series = this.#series;
    const chunks = this.#chunkCount;
    const sizeOf = (bytes: number) => SharedArena.sizeOf(bytes);
    const chunkReplica = this.#chunkReplica;
    const replicaBytes = chunkReplica === undefined ? 0 : sizeOf(chunks * 2);
    const columnBytes =
      5 * sizeOf(series.count * 4) +
      4 * sizeOf(chunks * 4) +
      2 * sizeOf(chunks * 8) +
      sizeOf(chunks) +
      replicaBytes;
    this.#charge(columnBytes);
    const frameBytes = this.#frames.list.reduce((sum, { length }) => sum + sizeOf(length), 0);
    const arena = new SharedArena(take(columnBytes + frameBytes));
    const frames = this.#frames.list.map((frame) => arena.bytes(frame));
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
      chunks: {
        frame: arena.uint32(this.#chunkFrame, chunks),
        start: arena.uint32(this.#chunkStart, chunks),
        end: arena.uint32(this.#chunkEnd, chunks),
        minMs: arena.float64(this.#chunkMinMs, chunks),
        maxMs: arena.float64(this.#chunkMaxMs, chunks),
        encoding: arena.bytes(this.#chunkEncoding.subarray(0, chunks)),
        next: arena.int32(this.#nextChunk, chunks),
      },
      hasExtras: this.#hasExtras,
      coarsestMs: this.#coarsestMs,
      ...(chunkReplica === undefined ? {} : { replica: arena.uint16(chunkReplica, chunks) }),
    };
  }

  /** Ends of `parts` ranges of series in label order, with about the same number of chunks in each. */
  rangeEnds(parts: number): number[] {
    const ends: number[] = [];
    let chunks = 0;
    for (let index = 0; index < this.#series.count; index++) {
      const first = this.#series.firstChunk[this.#series.order[index]!]!;
      for (let chunk = first; chunk !== NONE; chunk = this.#nextChunk[chunk]!) chunks++;
      while (ends.length < parts - 1 && chunks * parts >= this.#chunkCount * (ends.length + 1)) {
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
   * Appends the samples of the chunks of series `index` that touch [minTimeMs, maxTimeMs], when these lie one behind the
   * other, as those of one node do: then nothing is to be merged.
   *
   * @returns False when they do not; `into` holds some of them then.
   * @throws AppError `internal` when a chunk is corrupt.
   */
  decodeInOrder(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): boolean {
    const series = this.#series.order[index]!;
    if (!this.#areInOrder(series, minTimeMs, maxTimeMs)) return false;
    for (let chunk = this.#series.firstChunk[series]!; chunk !== NONE; chunk = this.#nextChunk[chunk]!) {
      if (this.#chunkMinMs[chunk]! > maxTimeMs || this.#chunkMaxMs[chunk]! < minTimeMs) continue;
      const encoding = this.#chunkEncoding[chunk]!;
      if (encoding === CHUNK_START_TIMES || this.#isOther(chunk)) continue;
      const at = into.count;
      const frame = this.#frames.list[this.#chunkFrame[chunk]!]!;
      decodeChunk(encoding, frame, this.#chunkStart[chunk]!, this.#chunkEnd[chunk]!, into);
      // Bounds are what a node says; the samples decide.
      if (at > 0 && into.count > at && !(into.timestampsMs[at]! > into.timestampsMs[at - 1]!)) return false;
    }
    return true;
  }

  /** Whether the chunks of floats lie one behind the other, by their bounds, and there are no others. */
  #areInOrder(series: number, minTimeMs: number, maxTimeMs: number): boolean {
    let previousMs = Number.NEGATIVE_INFINITY;
    for (let chunk = this.#series.firstChunk[series]!; chunk !== NONE; chunk = this.#nextChunk[chunk]!) {
      const startMs = this.#chunkMinMs[chunk]!;
      const endMs = this.#chunkMaxMs[chunk]!;
      if (startMs > maxTimeMs || endMs < minTimeMs) continue;
      const encoding = this.#chunkEncoding[chunk]!;
      if (encoding === CHUNK_START_TIMES || this.#isOther(chunk)) continue;
      if (startMs <= previousMs || encoding > CHUNK_COLUMNS) return false;
      previousMs = endMs;
    }
    return true;
  }

  /**
   * Numbers of the chunks of series `index` that touch [minTimeMs, maxTimeMs], ascending by their first sample; of
   * several with the same bytes only one.
   *
   * @param into  Grown when too small.
   * @returns     The chunks' numbers, a part of `into` or of what took its place.
   */
  chunksOf(index: number, minTimeMs: number, maxTimeMs: number, into: Uint32Array): Uint32Array {
    let found = into;
    let count = 0;
    let isSorted = true;
    let previousMs = Number.NEGATIVE_INFINITY;
    const series = this.#series.order[index]!;
    for (let chunk = this.#series.firstChunk[series]!; chunk !== NONE; chunk = this.#nextChunk[chunk]!) {
      const startMs = this.#chunkMinMs[chunk]!;
      if (startMs > maxTimeMs || this.#chunkMaxMs[chunk]! < minTimeMs || this.#isOther(chunk)) continue;
      if (count === found.length) found = growUint32(found);
      found[count++] = chunk;
      if (startMs <= previousMs) isSorted = false;
      previousMs = startMs;
    }
    const chunks = found.subarray(0, count);
    if (isSorted) return chunks;
    chunks.sort((a, b) => this.#compareChunks(a, b));
    return chunks.subarray(0, this.#dropEqualChunks(chunks));
  }

  /**
   * Adds the start times of series `index` that may hold in [minTimeMs, maxTimeMs].
   *
   * @throws AppError `internal` as decodeInOrder.
   */
  readStartTimes(index: number, minTimeMs: number, maxTimeMs: number, into: StartTimes): void {
    const series = this.#series.order[index]!;
    for (let chunk = this.#series.firstChunk[series]!; chunk !== NONE; chunk = this.#nextChunk[chunk]!) {
      if (this.#chunkEncoding[chunk] !== CHUNK_START_TIMES || this.#isOther(chunk)) continue;
      if (this.#chunkMinMs[chunk]! > maxTimeMs || this.#chunkMaxMs[chunk]! < minTimeMs) continue;
      const frame = this.#frames.list[this.#chunkFrame[chunk]!]!;
      into.addChunk(frame, this.#chunkStart[chunk]!, this.#chunkEnd[chunk]!);
    }
  }

  /** Whether series `index` has chunks of several replicas. */
  isReplicated(index: number): boolean {
    const replicas = this.#chunkReplica;
    if (replicas === undefined) return false;
    const first = this.#series.firstChunk[this.#series.order[index]!]!;
    for (let chunk = first; chunk !== NONE; chunk = this.#nextChunk[chunk]!) {
      if (replicas[chunk] !== replicas[first]) return true;
    }
    return false;
  }

  /** Calls back for each replica of series `index`, in an order that never changes; only its chunks are seen meanwhile. */
  forEachReplica(index: number, use: () => void): void {
    const ranks = new Set<number>();
    const first = this.#series.firstChunk[this.#series.order[index]!]!;
    for (let chunk = first; chunk !== NONE; chunk = this.#nextChunk[chunk]!) {
      ranks.add(this.#chunkReplica![chunk]!);
    }
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
    return this.#only !== undefined && this.#chunkReplica![chunk] !== this.#only;
  }

  /** Whether a chunk stands for samples that are not there. */
  isAggregate(chunk: number): boolean {
    return isAggregate(this.#chunkEncoding[chunk]!);
  }

  /** Calls back with a chunk's bytes and their encoding. */
  chunkBytes(
    chunk: number,
    use: (bytes: Uint8Array, start: number, end: number, encoding: number) => void,
  ): void {
    const frame = this.#frames.list[this.#chunkFrame[chunk]!]!;
    use(frame, this.#chunkStart[chunk]!, this.#chunkEnd[chunk]!, this.#chunkEncoding[chunk]!);
  }

  /** Lets go of the frames and gives back what was charged. Safe to call twice. */
  release(): void {
    this.#isReleased = true;
    this.#frames.list = [];
    this.#shared = undefined;
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
    return this.#series.addLast(frame, start, end);
  }

  #compareChunks(a: number, b: number): number {
    return (
      this.#chunkMinMs[a]! - this.#chunkMinMs[b]! ||
      this.#chunkMaxMs[a]! - this.#chunkMaxMs[b]! ||
      this.#chunkEnd[a]! - this.#chunkStart[a]! - (this.#chunkEnd[b]! - this.#chunkStart[b]!) ||
      a - b
    );
  }

  /** Keeps the first of neighbours with equal bytes: replicas of a series often hold the same chunks. */
  #dropEqualChunks(chunks: Uint32Array): number {
    let kept = 0;
    for (const chunk of chunks) {
      if (kept > 0 && this.#isEqualChunk(chunks[kept - 1]!, chunk)) continue;
      chunks[kept++] = chunk;
    }
    return kept;
  }

  #isEqualChunk(a: number, b: number): boolean {
    if (this.#chunkMinMs[a] !== this.#chunkMinMs[b] || this.#chunkMaxMs[a] !== this.#chunkMaxMs[b]) {
      return false;
    }
    if (this.#chunkEncoding[a] !== this.#chunkEncoding[b]) return false;
    const bytesOfA = this.#frames.list[this.#chunkFrame[a]!]!;
    const bytesOfB = this.#frames.list[this.#chunkFrame[b]!]!;
    return (
      compareRanges(
        bytesOfA,
        this.#chunkStart[a]!,
        this.#chunkEnd[a]!,
        bytesOfB,
        this.#chunkStart[b]!,
        this.#chunkEnd[b]!,
      ) === 0
    );
  }

  /** Takes back the chunks from number `from` on. Series that came with them stay, without samples. */
  #dropChunks(from: number): void {
    this.#chunkCount = from;
    for (let series = 0; series < this.#series.count; series++) {
      if (this.#series.lastChunk[series]! < from) continue;
      let last = NONE;
      let chunk = this.#series.firstChunk[series]!;
      while (chunk !== NONE && chunk < from) {
        last = chunk;
        chunk = this.#nextChunk[chunk]!;
      }
      this.#series.lastChunk[series] = last;
      if (last === NONE) this.#series.firstChunk[series] = NONE;
      else this.#nextChunk[last] = NONE;
    }
  }

  #growChunks(): void {
    this.#chunkFrame = growUint32(this.#chunkFrame);
    this.#chunkStart = growUint32(this.#chunkStart);
    this.#chunkEnd = growUint32(this.#chunkEnd);
    this.#chunkMinMs = growFloat64(this.#chunkMinMs);
    this.#chunkMaxMs = growFloat64(this.#chunkMaxMs);
    this.#chunkEncoding = growUint8(this.#chunkEncoding);
    this.#nextChunk = growInt32(this.#nextChunk);
    if (this.#chunkReplica !== undefined) {
      const grown = new Uint16Array(this.#chunkFrame.length);
      grown.set(this.#chunkReplica);
      this.#chunkReplica = grown;
    }
  }
}

function isAggregate(encoding: number): boolean {
  return encoding === CHUNK_AGGREGATES || encoding === CHUNK_WEIGHTS;
}
