// Codec of docs/partial-result.md: what a part of a query answers, on its way between threads and processes.
import { ByteReader, ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { decodeLabels } from '../../model/labels.ts';
import type { AnnotationRecord, PartialResult, PartialRow } from '../../promql/engine/parts/partial.ts';
import { ResultFrameWriter, readResultFrame } from './result-frame.ts';

const VERSION = 2;
const DROP_NAME = 128;

/** The head first, then frames of rows. All are the caller's. */
export function encodePartialResult(partial: PartialResult): Uint8Array<ArrayBuffer>[] {
  const frames = [encodeHead(partial)];
  if (partial.rows.length === 0) return frames;
  const writer = new ResultFrameWriter();
  for (const { labels, order, timestampsMs, values, count, histograms, columns, ...row } of partial.rows) {
    const frame = writer.add(labels, timestampsMs, values, count, histograms, {
      tag: row.tag | (row.dropName ? DROP_NAME : 0),
      columns,
      order: order === labels || order.key === labels.key ? undefined : order,
    });
    if (frame !== undefined) frames.push(frame);
  }
  const last = writer.finish();
  if (last !== undefined) frames.push(last);
  return frames;
}

function encodeHead(partial: PartialResult): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(256);
  out.u32(VERSION);
  out.varint(partial.part);
  out.string(partial.declined);
  out.varint(partial.samplesUsed);
  out.varint(partial.samplesFetched);
  out.varint(partial.samplesHeld);
  out.varint(partial.samplesPeak);
  out.varint(partial.storageWarnings.length);
  for (const warning of partial.storageWarnings) out.string(warning);
  out.varint(partial.annotations.length);
  for (const { isWarning, words, position } of partial.annotations) {
    out.u8(isWarning ? 1 : 0);
    out.varint(position.start);
    out.varint(position.end);
    out.string(words);
  }
  return out.take();
}

/**
 * Decodes what encodePartialResult() made. Nothing of the frames is retained.
 *
 * @throws AppError `bad_data` when anything in it is malformed; what is allocated is bounded by the bytes.
 */
export function decodePartialResult(frames: readonly Uint8Array[]): PartialResult {
  const [head, ...rest] = frames;
  if (head === undefined) throw new AppError('bad_data', 'partial result without a head');
  const partial = decodeHead(head);
  const rows: PartialRow[] = [];
  for (const frame of rest) readRows(frame, rows);
  return { ...partial, rows };
}

function decodeHead(head: Uint8Array): Omit<PartialResult, 'rows'> {
  const reader = new ByteReader(head);
  const version = reader.u32();
  if (version !== VERSION) throw new AppError('bad_data', `partial result of unknown version ${version}`);
  const part = reader.varint();
  const declined = reader.string();
  const samplesUsed = reader.varint();
  const samplesFetched = reader.varint();
  const samplesHeld = reader.varint();
  const samplesPeak = reader.varint();
  if (samplesPeak < samplesHeld) {
    throw new AppError('bad_data', `partial result: peak of ${samplesPeak} samples below ${samplesHeld}`);
  }
  const storageWarnings: string[] = [];
  for (let left = reader.varint(); left > 0; left--) storageWarnings.push(reader.string());
  const annotations: AnnotationRecord[] = [];
  for (let left = reader.varint(); left > 0; left--) annotations.push(readAnnotation(reader));
  if (reader.remaining !== 0) {
    throw new AppError('bad_data', `partial result: ${reader.remaining} bytes behind its head`);
  }
  const samples = { samplesUsed, samplesFetched, samplesHeld, samplesPeak };
  return { part, declined, ...samples, storageWarnings, annotations };
}

function readAnnotation(reader: ByteReader): AnnotationRecord {
  const kind = reader.u8();
  const start = reader.varint();
  const end = reader.varint();
  if (kind > 1 || start > end) {
    throw new AppError('bad_data', `partial result: annotation of kind ${kind} at [${start}, ${end})`);
  }
  return { isWarning: kind === 1, words: reader.string(), position: { start, end } };
}

function readRows(frame: Uint8Array, into: PartialRow[]): void {
  readResultFrame(frame, (bytes, start, end, timestampsMs, values, count, histograms, extras) => {
    if (extras === undefined) throw new AppError('bad_data', 'partial result: a row without tag and columns');
    const labels = decodeLabels(bytes, start, end);
    const { tag, columns, orderStart, orderEnd } = extras;
    into.push({
      labels,
      order: orderStart < 0 ? labels : decodeLabels(bytes, orderStart, orderEnd),
      dropName: (tag & DROP_NAME) !== 0,
      tag: tag & ~DROP_NAME,
      timestampsMs: timestampsMs.slice(0, count),
      values: values.slice(0, count),
      count,
      histograms,
      columns,
    });
  });
}
