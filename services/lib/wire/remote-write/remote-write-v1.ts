// Walks a remote write 1.0 request (prometheus.WriteRequest) in place: no object per series or sample. The raw bytes of a
// series' label fields are the cache's key; labels are looked at only when the key is new.
import { ByteWriter, decodeUtf8 } from '../../core/bytes.ts';
import { ProtobufCursor, WIRE_BYTES, WIRE_VARINT } from '../../core/protobuf-cursor.ts';
import type { RemoteWriteColumns } from './remote-write-columns.ts';
import {
  type DecodedWrite,
  dropSeries,
  finishSeries,
  hashLabels,
  nameRefusedHistogram,
  passMetadata,
  REQUEST_SUBJECT,
  type RemoteWriteContext,
  refuseLongLabels,
  SERIES_LABEL_BYTES_MAX,
  settleExtras,
} from './remote-write-context.ts';
import { readExemplarLabel } from './remote-write-extras.ts';
import { metadataTypeName } from './remote-write-metadata.ts';
import { putSample, tryPutUsualSample, USUAL_SAMPLE_BYTES } from './remote-write-sample.ts';

// WriteRequest
const TAG_TIMESERIES = (1 << 3) | WIRE_BYTES;
const TAG_METADATA = (3 << 3) | WIRE_BYTES;
// TimeSeries
const TAG_LABELS = (1 << 3) | WIRE_BYTES;
const TAG_SAMPLES = (2 << 3) | WIRE_BYTES;
const TAG_EXEMPLARS = (3 << 3) | WIRE_BYTES;
const TAG_HISTOGRAMS = (4 << 3) | WIRE_BYTES;

/** Bytes of a usual sample's field, with its tag and length. */
const USUAL_SAMPLE_FIELD_BYTES = USUAL_SAMPLE_BYTES + 2;

/** Decodes bytes[0, length). See RemoteWriteDecoder.decode. */
export function decodeRequestV1(
  context: RemoteWriteContext,
  bytes: Uint8Array,
  length: number,
  columns: RemoteWriteColumns,
  decoded: DecodedWrite,
): void {
  const cursor = new ProtobufCursor(REQUEST_SUBJECT, bytes, 0, length);
  context.missedAt = -1;
  context.remembered.begin(bytes, length);
  while (cursor.at < length) {
    cursor.at = takeKnownSeries(context, cursor, length, columns, decoded);
    cursor.end = length;
    if (cursor.at === length) break;
    const tag = cursor.tag();
    if (tag === TAG_TIMESERIES) {
      const end = cursor.lengthEnd();
      decodeSeries(context, cursor, end, columns, decoded);
      cursor.at = end;
    } else if (tag === TAG_METADATA) {
      const end = cursor.lengthEnd();
      decodeMetadata(context, cursor, end, decoded);
      cursor.at = end;
    } else {
      const field = tag >>> 3;
      if (field === 1 || field === 3) throw cursor.wrongWireType(tag, 'WriteRequest.timeseries or metadata');
      cursor.skip(tag);
    }
    cursor.end = length;
  }
}

/** Hot! Takes known series from cursor.at on, as long as there is one after another; returns where the first other field begins. */
function takeKnownSeries(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  length: number,
  columns: RemoteWriteColumns,
  decoded: DecodedWrite,
): number {
  const { bytes } = cursor;
  let at = cursor.at;
  for (;;) {
    at = context.remembered.take(at, length, columns, decoded);
    // A tag, and a length of one or two bytes.
    if (at + 3 > length || bytes[at] !== TAG_TIMESERIES) return at;
    let start = at + 2;
    let count = bytes[at + 1]!;
    if (count >= 128) {
      const high = bytes[start++]!;
      if (high >= 128) return at;
      count = (count & 127) | (high << 7);
    }
    const end = start + count;
    if (end > length || !tryKnownSeries(context, cursor, start, end, columns, decoded)) return at;
    at = end;
  }
}

/**
 * Takes a TimeSeries [start, end) that is a known series' label fields and then one sample of the usual size; false, with nothing
 * changed, when it is anything else. Keys of the cache are whole label fields, so bytes that hash to one are such fields too and need
 * no walk: what stands behind them is a sample by its tag and length.
 */
function tryKnownSeries(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  start: number,
  end: number,
  columns: RemoteWriteColumns,
  decoded: DecodedWrite,
): boolean {
  const { bytes, view } = cursor;
  const { cache } = context;
  const labelsEnd = end - USUAL_SAMPLE_FIELD_BYTES;
  if (labelsEnd <= start || labelsEnd - start > SERIES_LABEL_BYTES_MAX) return false;
  if (bytes[labelsEnd] !== TAG_SAMPLES || bytes[labelsEnd + 1] !== USUAL_SAMPLE_BYTES) return false;
  hashLabels(context, cursor, start, labelsEnd);
  const position = cache.find(context.hash);
  if (position < 0) {
    context.missedAt = start;
    context.missedEnd = labelsEnd;
    return false;
  }
  context.remembered.remember(position, start, labelsEnd);
  decoded.series++;
  decoded.samples++;
  const index = columns.count;
  if (index === columns.references.length) columns.grow();
  const reference = cache.referenceAt(position);
  if (tryPutUsualSample(bytes, view, labelsEnd + 2, columns)) {
    columns.references[index] = reference;
    return true;
  }
  cursor.at = labelsEnd + 2;
  cursor.end = end;
  putSample(cursor, end, end, columns);
  finishSeries(columns, index, reference, decoded);
  return true;
}

/** One TimeSeries, [cursor.at, end). Fields come in any order; labels, then samples is what everybody sends. */
function decodeSeries(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  end: number,
  columns: RemoteWriteColumns,
  decoded: DecodedWrite,
): void {
  const bytes = cursor.bytes;
  const start = cursor.at;
  const first = columns.count;
  const { extras } = context;
  let labelsStart = -1;
  let labelsEnd = -1;
  let contiguous = true;
  let hasExtras = false;
  let at = start;
  cursor.end = end;
  decoded.series++;
  while (at < end) {
    let tag = bytes[at]!;
    let body = at + 1;
    if (tag >= 128) {
      cursor.at = at;
      tag = cursor.tag();
      body = cursor.at;
    }
    if (tag === TAG_LABELS) {
      if (labelsStart < 0) labelsStart = at;
      else if (labelsEnd !== at) contiguous = false;
      const count = body < end ? bytes[body]! : 128;
      if (count < 128 && body + 1 + count <= end) at = body + 1 + count;
      else {
        cursor.at = body;
        at = cursor.lengthEnd();
      }
      labelsEnd = at;
    } else if (tag === TAG_SAMPLES) {
      if (columns.count === columns.references.length) columns.grow();
      cursor.at = body;
      const sampleEnd = cursor.lengthEnd();
      putSample(cursor, sampleEnd, end, columns);
      at = sampleEnd;
    } else {
      cursor.at = body;
      if (tag === TAG_HISTOGRAMS || tag === TAG_EXEMPLARS) {
        if (!hasExtras) extras.begin(columns);
        hasExtras = true;
        if (tag === TAG_HISTOGRAMS) extras.addHistogram(cursor, cursor.lengthEnd(), columns);
        else extras.addExemplar(cursor, cursor.lengthEnd(), columns, readExemplarLabel);
      } else skipOther(cursor, tag);
      at = cursor.at;
    }
  }
  const samples = columns.count - first;
  if (samples === 0 && !hasExtras) return;
  decoded.samples += samples;
  const labels = contiguous ? cursor : gatherLabels(cursor, start, end);
  if (!contiguous) {
    labelsStart = 0;
    labelsEnd = labels.end;
  }
  const position = findSeries(context, labels, labelsStart, labelsEnd, decoded);
  if (position < 0) dropSeries(columns, first, decoded);
  else finishSeries(columns, first, context.cache.referenceAt(position), decoded);
  if (!hasExtras) return;
  if (extras.refusal !== undefined && position >= 0) {
    collectLabels(context, labels, labelsStart, labelsEnd);
    nameRefusedHistogram(context, labels.bytes, decoded);
  }
  settleExtras(context, columns, position, decoded);
}

/** A field of a TimeSeries that nobody here knows, whose tag has been read. */
function skipOther(cursor: ProtobufCursor, tag: number): void {
  const field = tag >>> 3;
  if (field === 0) throw cursor.malformed('field number 0', cursor.at - 1);
  if (field <= 4) throw cursor.wrongWireType(tag, 'a field of TimeSeries');
  cursor.skip(tag);
}

/** Position in the cache of the series whose label fields are [start, end); −1 when it is refused. */
function findSeries(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  start: number,
  end: number,
  decoded: DecodedWrite,
): number {
  if (refuseLongLabels(end - start, decoded)) return -1;
  if (start !== context.missedAt || end !== context.missedEnd) {
    hashLabels(context, cursor, Math.max(start, 0), Math.max(end, 0));
    const position = context.cache.find(context.hash);
    if (position >= 0) return position;
  }
  context.missedAt = -1;
  collectLabels(context, cursor, start, end);
  return context.resolve(cursor.bytes, decoded);
}

/** Reads the label fields [start, end) into the context's labels; both are −1 where there are none. */
function collectLabels(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  start: number,
  end: number,
): void {
  context.labels.clear();
  cursor.end = Math.max(end, 0);
  cursor.at = Math.max(start, 0);
  while (cursor.at < end) {
    cursor.tag();
    const labelEnd = cursor.lengthEnd();
    context.labels.addMessage(cursor, labelEnd);
  }
}

/** The label fields of a TimeSeries, [start, end), that other fields stand between, brought together. */
function gatherLabels(cursor: ProtobufCursor, start: number, end: number): ProtobufCursor {
  const gathered = new ByteWriter(512);
  cursor.at = start;
  cursor.end = end;
  while (cursor.at < end) {
    const fieldStart = cursor.at;
    const tag = cursor.tag();
    cursor.skip(tag);
    if (tag === TAG_LABELS) gathered.raw(cursor.bytes, fieldStart, cursor.at);
  }
  return new ProtobufCursor(REQUEST_SUBJECT, gathered.bytes, 0, gathered.length);
}

/** One MetricMetadata, [cursor.at, end). */
function decodeMetadata(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  end: number,
  decoded: DecodedWrite,
): void {
  let type = 0;
  let metric = '';
  let help = '';
  let unit = '';
  cursor.end = end;
  while (cursor.at < end) {
    const tag = cursor.tag();
    const field = tag >>> 3;
    if (field === 1) {
      if ((tag & 7) !== WIRE_VARINT) throw cursor.wrongWireType(tag, 'MetricMetadata.type');
      type = cursor.uint32();
    } else if (field === 2 || field === 4 || field === 5) {
      if ((tag & 7) !== WIRE_BYTES) throw cursor.wrongWireType(tag, 'a text of MetricMetadata');
      const textEnd = cursor.lengthEnd();
      const text = decodeUtf8(cursor.bytes, cursor.at, textEnd);
      cursor.at = textEnd;
      if (field === 2) metric = text;
      else if (field === 4) help = text;
      else unit = text;
    } else cursor.skip(tag);
  }
  if (metric === '') return;
  passMetadata(context, { metric, type: metadataTypeName(type), help, unit }, decoded);
}
