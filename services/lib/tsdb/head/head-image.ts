// A head as bytes, piece by piece, while appends go on (docs/format/head-image.md): closed chunks, which never change and
// are written once, and slices of series, each with all that the head has of them at one moment. Which piece is written
// when, and to where, is the ingester's business.
import { type ByteReader, ByteWriter, unzigzag, zigzag } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { StartTimes } from '../chunk/start-times.ts';
import { xorStateBytes } from '../chunk/xor-appender.ts';
import type { ChunkChains } from './chunk-chains.ts';
import { NO_SLOT, slotOffsetOf, slotPageOf } from './chunk-slots.ts';
import { ABSENT } from './columns.ts';
import type { Head } from './head.ts';
import type { RangeChunks } from './range-chunks.ts';
import { LAST_SEGMENT, PAGE_MASK, PAGE_SHIFT, SLOT, STATE_WORDS } from './series-states.ts';

/** Words of a series' state that are kept: those of its open chunk. */
const CHUNK_STATE_WORDS = SLOT;
const FLAG_LOGGED = 1;
const FLAG_STATE = 2;
const FLAG_DETAILS = 4;
/** Series that are looked at for chunks in one go, at most: about a millisecond. */
const SERIES_PER_STEP = 8192;
/** No step goes on for long behind so many bytes. */
const SLICE_BYTES = 128 * 1024;
/** Most bytes of a chunk, a label set or a piece; a reader believes nothing above. */
const PIECE_BYTES_MAX = 1 << 20;

/** A range of a head, and how much of it other files of the image have. */
export interface ImagedRange {
  /** Names the range for good, unlike its start. */
  readonly key: number;
  readonly range: RangeChunks;
  /** Chunks below these numbers stand in chunk files. */
  readonly chunks: number;
  readonly histogramChunks: number;
}

/**
 * Appends the chunks numbered [from, to) of series from `id` on; stops after a while.
 *
 * @returns  The next series to go on with, `idEnd` when there is none, and how many chunks were appended.
 */
export function encodeImageChunks(
  dst: ByteWriter,
  chains: ChunkChains,
  id: number,
  idEnd: number,
  from: number,
  to: number,
): { readonly id: number; readonly chunks: number } {
  const limit = dst.length + SLICE_BYTES;
  const stop = Math.min(idEnd, id + SERIES_PER_STEP);
  const found: number[] = [];
  let next = id;
  let chunks = 0;
  for (; next < stop && dst.length < limit; next++) {
    found.length = 0;
    let chunk = chains.newestChunk(next);
    for (; chunk !== ABSENT && chunk >= from; chunk = chains.olderChunk(chunk)) {
      if (chunk < to) found.push(chunk);
    }
    if (found.length === 0) continue;
    dst.varint(next);
    putChunks(dst, chains, found);
    chunks += found.length;
  }
  return { id: next, chunks };
}

/** Reads what encodeImageChunks wrote. @returns how many chunks there were. @throws AppError `bad_data`. */
export function restoreImageChunks(reader: ByteReader, chains: ChunkChains): number {
  let chunks = 0;
  while (reader.remaining > 0) {
    const id = reader.varint();
    chunks += readChunks(reader, chains, id);
  }
  return chunks;
}

/** Writes slices of one head. */
export class ImageSlices {
  readonly #head: Head;
  readonly #labels = new ByteWriter(1024);
  readonly #details = new ByteWriter(4096);
  readonly #pieces = new ByteWriter(4096);
  readonly #columns = new SampleColumns();
  readonly #startTimes = new StartTimes();
  readonly #found: number[] = [];

  constructor(head: Head) {
    this.#head = head;
  }

  /**
   * Appends series from `from` on, each with all that the head has of it beside what `ranges` say to stand elsewhere.
   *
   * @param ranges     All ranges that count.
   * @param seriesMax  Series that are looked at, at most.
   * @returns          The first series that was not looked at.
   */
  encode(dst: ByteWriter, from: number, ranges: readonly ImagedRange[], seriesMax: number): number {
    const head = this.#head;
    const touched = ranges.filter(hasMore);
    const limit = dst.length + SLICE_BYTES;
    const stop = Math.min(head.idEnd, from + seriesMax);
    let id = from;
    for (; id < stop && dst.length < limit; id++) if (head.has(id)) this.#encodeSeries(dst, id, touched);
    return id;
  }

  #encodeSeries(dst: ByteWriter, id: number, ranges: readonly ImagedRange[]): void {
    const head = this.#head;
    const words = head.states.words[id >>> PAGE_SHIFT]!;
    const base = (id & PAGE_MASK) * STATE_WORDS;
    const hasState = head.states.lastMs(id) !== Number.NEGATIVE_INFINITY;
    this.#details.reset();
    for (const range of ranges) this.#putRange(id, range);
    this.#putStartTimes(id);
    dst.varint(id);
    dst.varint(head.partitionOf(id));
    dst.u8(
      (head.isLogged(id) ? FLAG_LOGGED : 0) |
        (hasState ? FLAG_STATE : 0) |
        (this.#details.length > 0 ? FLAG_DETAILS : 0),
    );
    dst.varint(words[base + LAST_SEGMENT]!);
    this.#labels.reset();
    head.index.writeLabels(id, this.#labels);
    putPiece(dst, this.#labels.bytes, 0, this.#labels.length);
    if (hasState) {
      for (let word = 0; word < CHUNK_STATE_WORDS; word++) dst.u32(words[base + word]!);
      const slot = words[base + SLOT]!;
      const start = slot === NO_SLOT ? 0 : slotOffsetOf(slot);
      const bytes = slot === NO_SLOT ? 0 : xorStateBytes(words, base);
      putPiece(
        dst,
        head.slots.pages[slot === NO_SLOT ? 0 : slotPageOf(slot)] ?? NOTHING,
        start,
        start + bytes,
      );
    }
    if (this.#details.length > 0) putPiece(dst, this.#details.bytes, 0, this.#details.length);
  }

  /** Appends what a range has of a series to the details, when that is something. */
  #putRange(id: number, { key, range, chunks, histogramChunks }: ImagedRange): void {
    const pieces = this.#pieces;
    pieces.reset();
    let count = this.#putNewChunks(range, id, chunks);
    count += this.#putLoose(range, id);
    const { extras } = range;
    if (extras !== undefined) {
      count += this.#putNewChunks(extras.histogramChunks, id, histogramChunks);
      const histograms = new ByteWriter(256);
      const exemplars = new ByteWriter(256);
      let histogramCount = 0;
      let exemplarCount = 0;
      extras.visitLoose(
        id,
        (timeMs, bytes, start, end) => {
          histogramCount++;
          histograms.varint(zigzag(timeMs));
          putPiece(histograms, bytes, start, end);
        },
        (timeMs, bytes, start, end) => {
          exemplarCount++;
          exemplars.varint(zigzag(timeMs));
          putPiece(exemplars, bytes, start, end);
        },
      );
      pieces.varint(histogramCount);
      pieces.raw(histograms.bytes, 0, histograms.length);
      pieces.varint(exemplarCount);
      pieces.raw(exemplars.bytes, 0, exemplars.length);
      count += histogramCount + exemplarCount;
    }
    if (count === 0) return;
    this.#details.varint(key * 2 + (extras === undefined ? 0 : 1));
    this.#details.raw(pieces.bytes, 0, pieces.length);
  }

  #putNewChunks(chains: ChunkChains, id: number, from: number): number {
    const found = this.#found;
    found.length = 0;
    let chunk = chains.newestChunk(id);
    for (; chunk !== ABSENT && chunk >= from; chunk = chains.olderChunk(chunk)) found.push(chunk);
    putChunks(this.#pieces, chains, found);
    return found.length;
  }

  #putLoose(range: RangeChunks, id: number): number {
    const columns = this.#columns;
    columns.count = 0;
    if (range.looseCount > 0) range.readLoose(id, columns);
    this.#pieces.varint(columns.count);
    for (let i = columns.count - 1; i >= 0; i--) {
      this.#pieces.varint(zigzag(columns.timestampsMs[i]!));
      this.#pieces.u32(columns.words[2 * i]!);
      this.#pieces.u32(columns.words[2 * i + 1]!);
    }
    return columns.count;
  }

  /** Start times stand behind the ranges, under a number that is no range's. */
  #putStartTimes(id: number): void {
    if (!this.#head.startTimes.has(id)) return;
    const { timestampsMs, startsMs } = this.#startTimes;
    timestampsMs.length = 0;
    startsMs.length = 0;
    this.#head.startTimes.read(id, this.#startTimes);
    this.#details.varint(START_TIMES_KEY);
    this.#details.varint(timestampsMs.length);
    for (let i = 0; i < timestampsMs.length; i++) {
      this.#details.varint(zigzag(timestampsMs[i]!));
      this.#details.varint(zigzag(startsMs[i]!));
    }
  }
}

/** Stands where a range's key would; keys are below 2^31. */
const START_TIMES_KEY = 2 ** 32;
const NOTHING = new Uint8Array(0);

function hasMore({ range, chunks, histogramChunks }: ImagedRange): boolean {
  const { extras } = range;
  return (
    range.floatChunkCount > chunks ||
    range.looseCount > 0 ||
    (extras !== undefined && (extras.histogramChunks.chunkCount > histogramChunks || extras.hasLoose))
  );
}

/** Reads what ImageSlices wrote into a head whose ranges are there already, with the chunks of chunk files. */
export class ImageSliceReader {
  readonly #state = new Uint32Array(CHUNK_STATE_WORDS);
  readonly #value = new Uint32Array(2);

  /** @throws AppError `bad_data` when it breaks a rule of the format. */
  restore(reader: ByteReader, head: Head, ranges: ReadonlyMap<number, RangeChunks>): void {
    while (reader.remaining > 0) {
      const id = reader.varint();
      const partition = reader.varint();
      const flags = reader.u8();
      const lastSegment = reader.varint();
      const labels = readPiece(reader);
      const hasState = (flags & FLAG_STATE) !== 0;
      if (hasState) for (let i = 0; i < CHUNK_STATE_WORDS; i++) this.#state[i] = reader.u32();
      const open = hasState ? readPiece(reader) : NOTHING;
      head.restoreSeries(
        id,
        labels,
        partition,
        lastSegment,
        hasState ? this.#state : undefined,
        open.length > 0 ? open : undefined,
      );
      head.setLogged(id, (flags & FLAG_LOGGED) !== 0);
      if ((flags & FLAG_DETAILS) !== 0) this.#restoreDetails(reader, head, id, ranges);
    }
  }

  #restoreDetails(
    reader: ByteReader,
    head: Head,
    id: number,
    ranges: ReadonlyMap<number, RangeChunks>,
  ): void {
    const stop = reader.varint() + reader.position;
    while (reader.position < stop) {
      const code = reader.varint();
      if (code === START_TIMES_KEY) {
        for (let left = reader.varint(); left > 0; left--) {
          const timeMs = unzigzag(reader.varint());
          head.startTimes.add(id, timeMs, unzigzag(reader.varint()));
        }
        continue;
      }
      const range = ranges.get(Math.floor(code / 2));
      if (range === undefined)
        throw new AppError('bad_data', `series ${id} is in range ${code}, which is not there`);
      readChunks(reader, range, id);
      this.#restoreLoose(reader, range, id);
      if (code % 2 === 1) restoreExtras(reader, head, range, id);
    }
  }

  #restoreLoose(reader: ByteReader, range: RangeChunks, id: number): void {
    for (let left = reader.varint(); left > 0; left--) {
      const timeMs = unzigzag(reader.varint());
      const value = this.#value;
      value[0] = reader.u32();
      value[1] = reader.u32();
      range.addLoose(id, timeMs, value[0]!, value[1]!);
    }
  }
}

function restoreExtras(reader: ByteReader, head: Head, range: RangeChunks, id: number): void {
  const extras = head.extrasIn(range);
  readChunks(reader, extras.histogramChunks, id);
  for (let left = reader.varint(); left > 0; left--) {
    const timeMs = unzigzag(reader.varint());
    const piece = readPiece(reader);
    extras.addHistogram(id, timeMs, piece, 0, piece.length);
  }
  for (let left = reader.varint(); left > 0; left--) {
    const timeMs = unzigzag(reader.varint());
    const piece = readPiece(reader);
    extras.addExemplar(id, timeMs, piece, 0, piece.length);
  }
}

/** @param newestFirst  Chunks of one series; the oldest is written first, as they were added. */
function putChunks(dst: ByteWriter, chains: ChunkChains, newestFirst: readonly number[]): void {
  dst.varint(newestFirst.length);
  for (let i = newestFirst.length - 1; i >= 0; i--) {
    const chunk = newestFirst[i]!;
    const firstMs = chains.chunkFirstMs(chunk);
    const start = chains.chunkOffset(chunk);
    dst.varint(firstMs - chains.startMs);
    dst.varint(chains.chunkLastMs(chunk) - firstMs);
    putPiece(dst, chains.chunkPage(chunk), start, start + chains.chunkBytes(chunk));
  }
}

function readChunks(reader: ByteReader, chains: ChunkChains, id: number): number {
  const count = reader.varint();
  for (let left = count; left > 0; left--) {
    const firstMs = chains.startMs + reader.varint();
    const lastMs = firstMs + reader.varint();
    if (lastMs >= chains.endMs) throw new AppError('bad_data', `a chunk to ${lastMs} is not in its range`);
    const bytes = readLength(reader);
    const start = reader.position;
    reader.skip(bytes);
    chains.addChunk(id, firstMs, lastMs, reader.bytes, start, start + bytes);
  }
  return count;
}

function putPiece(dst: ByteWriter, bytes: Uint8Array, start: number, end: number): void {
  dst.varint(end - start);
  dst.raw(bytes, start, end);
}

function readPiece(reader: ByteReader): Uint8Array {
  return reader.raw(readLength(reader));
}

function readLength(reader: ByteReader): number {
  const bytes = reader.varint();
  if (bytes > PIECE_BYTES_MAX)
    throw new AppError('bad_data', `a piece of ${bytes} bytes, above ${PIECE_BYTES_MAX}`);
  return bytes;
}
