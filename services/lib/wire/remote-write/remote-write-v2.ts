// Walks a remote write 2.0 request (io.prometheus.write.v2.Request) in place: first the symbol table, wherever it stands,
// then the series. A series' cache key is mixed from the hashes of the symbols that it refers to.
import { decodeUtf8 } from '../../core/bytes.ts';
import { ProtobufCursor, WIRE_BYTES, WIRE_VARINT } from '../../core/protobuf-cursor.ts';
import { METRIC_NAME } from '../../model/labels.ts';
import type { RemoteWriteColumns } from './remote-write-columns.ts';
import {
  type DecodedWrite,
  dropSeries,
  finishSeries,
  nameRefusedHistogram,
  passMetadata,
  REQUEST_SUBJECT,
  type RemoteWriteContext,
  refuseLongLabels,
  SERIES_LABEL_BYTES_MAX,
  settleExtras,
} from './remote-write-context.ts';
import { metadataTypeName, metricFamilyOf } from './remote-write-metadata.ts';
import { putSample } from './remote-write-sample.ts';

// Request
const TAG_SYMBOLS = (4 << 3) | WIRE_BYTES;
const TAG_TIMESERIES = (5 << 3) | WIRE_BYTES;
// TimeSeries
const TAG_LABELS_REFS = (1 << 3) | WIRE_BYTES;
const TAG_LABELS_REFS_UNPACKED = (1 << 3) | WIRE_VARINT;
const TAG_SAMPLES = (2 << 3) | WIRE_BYTES;
const TAG_HISTOGRAMS = (3 << 3) | WIRE_BYTES;
const TAG_EXEMPLARS = (4 << 3) | WIRE_BYTES;
const TAG_METADATA = (5 << 3) | WIRE_BYTES;
// Metadata
const TAG_TYPE = (1 << 3) | WIRE_VARINT;
const TAG_HELP_REF = (3 << 3) | WIRE_VARINT;
const TAG_UNIT_REF = (4 << 3) | WIRE_VARINT;

/** Most label references of one series: a series of more than SERIES_LABEL_BYTES_MAX / 2 labels is refused anyway. */
const LABEL_REFERENCES_MAX = SERIES_LABEL_BYTES_MAX;

/** Decodes bytes[0, length). See RemoteWriteDecoder.decode. */
export function decodeRequestV2(
  context: RemoteWriteContext,
  bytes: Uint8Array,
  length: number,
  columns: RemoteWriteColumns,
  decoded: DecodedWrite,
): void {
  const cursor = new ProtobufCursor(REQUEST_SUBJECT, bytes, 0, length);
  readSymbols(context, cursor, length);
  cursor.at = 0;
  while (cursor.at < length) {
    const tag = cursor.tag();
    if (tag === TAG_TIMESERIES) {
      const end = cursor.lengthEnd();
      decodeSeries(context, cursor, end, columns, decoded);
      cursor.at = end;
      cursor.end = length;
    } else cursor.skip(tag);
  }
}

/** Collects the symbols and checks the fields of the request around them. */
function readSymbols(context: RemoteWriteContext, cursor: ProtobufCursor, length: number): void {
  const symbols = context.symbols;
  let series = 0;
  symbols.clear();
  while (cursor.at < length) {
    const tag = cursor.tag();
    if (tag === TAG_SYMBOLS) {
      const end = cursor.lengthEnd();
      symbols.add(cursor.at, end);
      cursor.at = end;
      continue;
    }
    const field = tag >>> 3;
    if (tag === TAG_TIMESERIES) series++;
    else if (field === 4 || field === 5) throw cursor.wrongWireType(tag, 'Request.symbols or timeseries');
    cursor.skip(tag);
  }
  if (symbols.count === 0) {
    if (series > 0) throw cursor.malformed('there is no symbol table', 0);
  } else if (symbols.starts[0] !== symbols.ends[0]) {
    throw cursor.malformed('the first symbol is not the empty string', symbols.starts[0]!);
  }
}

/** Hot! One TimeSeries, [cursor.at, end). */
function decodeSeries(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  end: number,
  columns: RemoteWriteColumns,
  decoded: DecodedWrite,
): void {
  const start = cursor.at;
  const first = columns.count;
  const { extras } = context;
  let references = 0;
  let metadataStart = -1;
  let metadataEnd = -1;
  let hasExtras = false;
  cursor.end = end;
  decoded.series++;
  while (cursor.at < end) {
    const tag = cursor.tag();
    if (tag === TAG_SAMPLES) {
      if (columns.count === columns.references.length) columns.grow();
      const sampleEnd = cursor.lengthEnd();
      const startMs = putSample(cursor, sampleEnd, end, columns);
      cursor.at = sampleEnd;
      if (startMs === 0 && !hasExtras) continue;
      if (!hasExtras) extras.begin(columns);
      hasExtras = true;
      extras.addStart(columns.timestampsMs[columns.count - 1]!, startMs);
    } else if (tag === TAG_LABELS_REFS) {
      const packedEnd = cursor.lengthEnd();
      cursor.end = packedEnd;
      while (cursor.at < packedEnd) putLabelReference(context, cursor, references++);
      cursor.end = end;
    } else if (tag === TAG_LABELS_REFS_UNPACKED) {
      putLabelReference(context, cursor, references++);
    } else if (tag === TAG_METADATA) {
      metadataEnd = cursor.lengthEnd();
      metadataStart = cursor.at;
      cursor.at = metadataEnd;
    } else if (tag === TAG_HISTOGRAMS || tag === TAG_EXEMPLARS) {
      if (!hasExtras) extras.begin(columns);
      hasExtras = true;
      if (tag === TAG_HISTOGRAMS) extras.addHistogram(cursor, cursor.lengthEnd(), columns);
      else extras.addExemplar(cursor, cursor.lengthEnd(), columns, context.readExemplarReferences);
    } else if (tag >>> 3 <= 5) throw cursor.wrongWireType(tag, 'a field of TimeSeries');
    else cursor.skip(tag);
  }
  if (references % 2 !== 0)
    throw cursor.malformed(`a series has ${references} label references, an odd number`, start);
  const samples = columns.count - first;
  decoded.samples += samples;
  if (samples === 0 && !hasExtras) {
    refuseEmptySeries(start, decoded);
    return;
  }
  const position = findSeries(context, cursor.bytes, references, decoded);
  if (position < 0) dropSeries(columns, first, decoded);
  else finishSeries(columns, first, context.cache.referenceAt(position), decoded);
  if (hasExtras) {
    if (extras.refusal !== undefined && position >= 0) {
      collectLabels(context, references);
      nameRefusedHistogram(context, cursor.bytes, decoded);
    }
    settleExtras(context, columns, position, decoded);
  }
  if (position < 0 || metadataStart < 0) return;
  cursor.at = metadataStart;
  cursor.end = metadataEnd;
  decodeMetadata(context, cursor, position, references, decoded);
}

function refuseEmptySeries(offset: number, decoded: DecodedWrite): void {
  decoded.refusedSeries++;
  decoded.firstRefusal ??= `the series at offset ${offset} has neither samples nor histograms nor exemplars`;
}

/** Reads one reference and keeps it as the series' `index`-th. */
function putLabelReference(context: RemoteWriteContext, cursor: ProtobufCursor, index: number): void {
  const at = cursor.at;
  const byte = cursor.bytes[at]!;
  let reference = byte;
  if (byte < 128 && at < cursor.end) cursor.at = at + 1;
  else reference = cursor.uint32();
  context.symbols.check(reference, cursor, at);
  if (index === context.labelReferences.length) {
    if (index >= LABEL_REFERENCES_MAX) {
      throw cursor.malformed(`a series has more than ${LABEL_REFERENCES_MAX} label references`, at);
    }
    context.growLabelReferences();
  }
  context.labelReferences[index] = reference;
}

/** Position in the cache of the series of `labelReferences[0, count)`; −1 when it is refused. */
function findSeries(
  context: RemoteWriteContext,
  bytes: Uint8Array,
  count: number,
  decoded: DecodedWrite,
): number {
  const { symbols, labelReferences } = context;
  symbols.mix(bytes, labelReferences, count, context.hash);
  const position = context.cache.find(context.hash);
  if (position >= 0) return position;
  const labelBytes = collectLabels(context, count);
  return refuseLongLabels(labelBytes, decoded) ? -1 : context.resolve(bytes, decoded);
}

/** Puts the pairs of `labelReferences[0, count)` into the context's labels; returns their bytes. */
function collectLabels({ symbols, labelReferences, labels }: RemoteWriteContext, count: number): number {
  let labelBytes = 0;
  labels.clear();
  for (let i = 0; i < count; i += 2) {
    const name = labelReferences[i]!;
    const value = labelReferences[i + 1]!;
    labelBytes += symbols.ends[name]! - symbols.starts[name]! + symbols.ends[value]! - symbols.starts[value]!;
    labels.add(symbols.starts[name]!, symbols.ends[name]!, symbols.starts[value]!, symbols.ends[value]!);
  }
  return labelBytes;
}

/**
 * The series' metadata, [cursor.at, cursor.end). Unchanged metadata costs a comparison of the fingerprint that the cache
 * holds with the series.
 */
function decodeMetadata(
  context: RemoteWriteContext,
  cursor: ProtobufCursor,
  position: number,
  references: number,
  decoded: DecodedWrite,
): void {
  const { bytes } = cursor;
  const { symbols } = context;
  let type = 0;
  let help = 0;
  let unit = 0;
  while (cursor.at < cursor.end) {
    const tag = cursor.tag();
    if (tag === TAG_TYPE) type = cursor.uint32();
    else if (tag === TAG_HELP_REF || tag === TAG_UNIT_REF) {
      const at = cursor.at;
      const reference = cursor.uint32();
      context.symbols.check(reference, cursor, at);
      if (tag === TAG_HELP_REF) help = reference;
      else unit = reference;
    } else if (tag >>> 3 === 1 || tag >>> 3 === 3 || tag >>> 3 === 4) {
      throw cursor.wrongWireType(tag, 'a field of Metadata');
    } else cursor.skip(tag);
  }
  if (type === 0 && help === 0 && unit === 0) return;
  const fingerprint =
    (Math.imul(symbols.hashWord(bytes, help, 0), 31) ^
      Math.imul(symbols.hashWord(bytes, unit, 1), 17) ^
      Math.imul(type + 1, 0x9e3779b1) ^
      Math.imul(context.metadataEpoch, 0x85ebca6b)) >>>
    0;
  if (context.cache.fingerprintAt(position) === fingerprint) return;
  context.cache.setFingerprint(position, fingerprint);
  passOnMetadata(context, bytes, references, metadataTypeName(type), help, unit, decoded);
}

function passOnMetadata(
  context: RemoteWriteContext,
  bytes: Uint8Array,
  references: number,
  type: string,
  help: number,
  unit: number,
  decoded: DecodedWrite,
): void {
  const { symbols, labelReferences } = context;
  const textOf = (symbol: number): string =>
    decodeUtf8(bytes, symbols.starts[symbol]!, symbols.ends[symbol]!);
  for (let i = 0; i < references; i += 2) {
    if (textOf(labelReferences[i]!) !== METRIC_NAME) continue;
    const metric = metricFamilyOf(textOf(labelReferences[i + 1]!), type);
    passMetadata(context, { metric, type, help: textOf(help), unit: textOf(unit) }, decoded);
    return;
  }
}
