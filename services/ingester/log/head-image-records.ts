// Records of head images, as bytes (lib/tsdb/docs/format/head-image.md). Their numbers go on from those of the log.
import { type ByteReader, type ByteWriter, unzigzag, zigzag } from '../../lib/core/bytes.ts';
import type { RecordFileMark } from '../../lib/tsdb/log/record-file.ts';
import type { LogPosition } from '../../lib/tsdb/log/replay.ts';

export const RECORD_IMAGE_RANGE = 9;
export const RECORD_IMAGE_FILES = 10;
export const RECORD_IMAGE_SERIES = 11;
export const RECORD_IMAGE_CHUNKS = 12;

export const CHUNKS_OF_FLOATS = 0;
export const CHUNKS_OF_HISTOGRAMS = 1;

/** A chunk file as the image names it. */
export interface ChunkFileMark extends RecordFileMark {
  readonly number: number;
}

export interface ImageFilesMark {
  /** The log from here on is to be replayed. */
  readonly position: LogPosition;
  readonly rangeMs: number;
  /** Numbers for ranges and files that nothing bears yet. */
  readonly keyNext: number;
  readonly fileNext: number;
  readonly files: readonly ChunkFileMark[];
}

export interface ImageRangeMark {
  readonly tenant: string;
  readonly key: number;
  readonly startMs: number;
  readonly firstSegment: number;
  readonly generation: number;
  /** Chunks that the chunk files have of it. */
  readonly chunks: number;
  readonly histogramChunks: number;
}

export function encodeImageFiles(dst: ByteWriter, mark: ImageFilesMark): void {
  putPosition(dst, mark.position);
  dst.varint(mark.rangeMs);
  dst.varint(mark.keyNext);
  dst.varint(mark.fileNext);
  dst.varint(mark.files.length);
  for (const { number, salt, records } of mark.files) {
    dst.varint(number);
    dst.u32(salt);
    dst.varint(records);
  }
}

/** @throws AppError `bad_data` when it breaks a rule of the format, as all of these. */
export function decodeImageFiles(reader: ByteReader): ImageFilesMark {
  const position = readPosition(reader);
  const rangeMs = reader.varint();
  const keyNext = reader.varint();
  const fileNext = reader.varint();
  const files: ChunkFileMark[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const number = reader.varint();
    const salt = reader.u32();
    files.push({ number, salt, records: reader.varint() });
  }
  return { position, rangeMs, keyNext, fileNext, files };
}

export function encodeImageRange(dst: ByteWriter, mark: ImageRangeMark): void {
  dst.string(mark.tenant);
  dst.varint(mark.key);
  dst.varint(zigzag(mark.startMs));
  dst.varint(mark.firstSegment);
  dst.varint(mark.generation);
  dst.varint(mark.chunks);
  dst.varint(mark.histogramChunks);
}

export function decodeImageRange(reader: ByteReader): ImageRangeMark {
  return {
    tenant: reader.string(),
    key: reader.varint(),
    startMs: unzigzag(reader.varint()),
    firstSegment: reader.varint(),
    generation: reader.varint(),
    chunks: reader.varint(),
    histogramChunks: reader.varint(),
  };
}

/** What stands in front of the series of a slice. */
export interface ImageSliceMark {
  readonly tenant: string;
  /** The slice has all records of the log before it and none from there on. */
  readonly position: LogPosition;
  /** Series from … below `to` were looked at. */
  readonly from: number;
  readonly to: number;
}

export function encodeImageSlice(
  dst: ByteWriter,
  { tenant, position, from, to }: ImageSliceMark,
  series: Uint8Array,
  seriesBytes: number,
): void {
  dst.string(tenant);
  putPosition(dst, position);
  dst.varint(from);
  dst.varint(to);
  dst.raw(series, 0, seriesBytes);
}

export function decodeImageSlice(reader: ByteReader): ImageSliceMark {
  return {
    tenant: reader.string(),
    position: readPosition(reader),
    from: reader.varint(),
    to: reader.varint(),
  };
}

function putPosition(dst: ByteWriter, { segment, offset }: LogPosition): void {
  dst.varint(segment);
  dst.varint(offset);
}

function readPosition(reader: ByteReader): LogPosition {
  return { segment: reader.varint(), offset: reader.varint() };
}
