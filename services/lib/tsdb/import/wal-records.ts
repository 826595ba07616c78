// Records of Prometheus' write-ahead log (docs/format/prometheus.md): series, float samples, native histograms, exemplars,
// deletes, metadata. One walk per record, nothing made per sample.
import { AppError } from '../../core/errors.ts';
import { CUSTOM_BUCKETS_SCHEMA } from '../../model/float-histogram.ts';
import { COUNTER_RESET_HINTS, HISTOGRAM_BUCKETS_MAX } from '../../model/histogram-codec.ts';
import { HistogramParts, type HistogramSide, type NumberColumn } from '../../model/histogram-parts.ts';
import { isStaleAt, wordsOf } from '../../model/sample-columns.ts';
import { GoReader } from './go-reader.ts';

const SERIES = 1;
const SAMPLES = 2;
const TOMBSTONES = 3;
const EXEMPLARS = 4;
/** Says which chunks were mapped to disk: nothing for us. */
const MMAP_MARKERS = 5;
const METADATA = 6;
const HISTOGRAMS = 7;
const FLOAT_HISTOGRAMS = 8;
const CUSTOM_HISTOGRAMS = 9;
const CUSTOM_FLOAT_HISTOGRAMS = 10;
/** The same as 2, 7 and 8 with start times. */
const SAMPLES_2 = 11;
const HISTOGRAMS_2 = 12;
const FLOAT_HISTOGRAMS_2 = 13;
/** In checkpoints: what the log was truncated at. */
const MIN_VALID_TIME = 14;

const START_UNKNOWN = 0;
const START_REPEATED = 1;

/** Labels of one series: Prometheus' own limits are far below. */
const LABELS_MAX = 16_384;

/** Receives what a record says. Bytes are valid during the call. `reference` is the series' number in the log. */
export interface WalSink {
  /** @param labels  `[name, value, …]` in UTF-8, sorted by name. */
  series(reference: number, labels: readonly Uint8Array[]): void;
  /** @param startMs  When the counter began to count; 0 where that is not known. */
  sample(reference: number, timestampMs: number, high: number, low: number, startMs: number): void;
  /** @param parts  Valid during the call; of a staleness marker only the sum is. */
  histogram(
    reference: number,
    timestampMs: number,
    parts: HistogramParts,
    isStale: boolean,
    startMs: number,
  ): void;
  exemplar(reference: number, timestampMs: number, value: number, labels: readonly Uint8Array[]): void;
  tombstone(reference: number, minTimeMs: number, maxTimeMs: number): void;
  /** @param type  As in remote write 1.0. */
  metadata(reference: number, type: number, unit: Uint8Array, help: Uint8Array): void;
}

/** What a reader of the log wants to hear of; what it does not want is not decoded. */
export type WalInterest = 'series' | 'samples';

/**
 * Reads one record.
 *
 * @param interest  `series`: series, deletes, metadata. `samples`: samples, histograms, exemplars.
 * @throws AppError `bad_data` when it is not whole or of an unknown type; what was handed over before stays.
 */
export function readWalRecord(record: Uint8Array, interest: WalInterest, sink: WalSink): void {
  const reader = new GoReader(record);
  const type = reader.u8();
  const wantsSeries = interest === 'series';
  switch (type) {
    case SERIES:
      while (wantsSeries && reader.remaining > 0) sink.series(reader.be64(), readLabels(reader));
      return;
    case TOMBSTONES:
      while (wantsSeries && reader.remaining > 0)
        sink.tombstone(reader.be64(), reader.signedVarint(), reader.signedVarint());
      return;
    case METADATA:
      while (wantsSeries && reader.remaining > 0) readMetadata(reader, sink);
      return;
    case SAMPLES:
      if (!wantsSeries) readSamples(reader, sink);
      return;
    case EXEMPLARS:
      if (!wantsSeries) readExemplars(reader, sink);
      return;
    case HISTOGRAMS:
    case CUSTOM_HISTOGRAMS:
      if (!wantsSeries) readHistograms(reader, false, sink);
      return;
    case FLOAT_HISTOGRAMS:
    case CUSTOM_FLOAT_HISTOGRAMS:
      if (!wantsSeries) readHistograms(reader, true, sink);
      return;
    case SAMPLES_2:
      if (!wantsSeries) readStartedSamples(reader, sink);
      return;
    case HISTOGRAMS_2:
    case FLOAT_HISTOGRAMS_2:
      if (!wantsSeries) readStartedHistograms(reader, type === FLOAT_HISTOGRAMS_2, sink);
      return;
    case MMAP_MARKERS:
    case MIN_VALID_TIME:
      return;
    default:
      // Both passes meet it; one report is enough.
      if (wantsSeries) return;
      throw new AppError('bad_data', `a record of the unknown type ${type}`);
  }
}

function readLabels(reader: GoReader): Uint8Array[] {
  const count = reader.varint();
  if (count > LABELS_MAX) throw new AppError('bad_data', `${count} labels; at most ${LABELS_MAX}`);
  const labels: Uint8Array[] = [];
  for (let left = count * 2; left > 0; left--) labels.push(reader.raw(reader.varint()));
  return labels;
}

function readMetadata(reader: GoReader, sink: WalSink): void {
  const reference = reader.varint();
  const type = reader.u8();
  let unit: Uint8Array = new Uint8Array(0);
  let help = unit;
  for (let left = reader.varint(); left > 0; left--) {
    const name = reader.string();
    const text = reader.raw(reader.varint());
    if (name === 'UNIT') unit = text;
    else if (name === 'HELP') help = text;
  }
  sink.metadata(reference, type, unit, help);
}

// Hot!
function readSamples(reader: GoReader, sink: WalSink): void {
  if (reader.remaining === 0) return;
  const baseReference = reader.be64();
  const baseMs = reader.signedBe64();
  while (reader.remaining > 0) {
    const reference = baseReference + reader.signedVarint();
    const timestampMs = baseMs + reader.signedVarint();
    const high = reader.be32();
    sink.sample(reference, timestampMs, high, reader.be32(), 0);
  }
}

function readExemplars(reader: GoReader, sink: WalSink): void {
  if (reader.remaining === 0) return;
  const baseReference = reader.be64();
  const baseMs = reader.signedBe64();
  while (reader.remaining > 0) {
    const reference = baseReference + reader.signedVarint();
    const timestampMs = baseMs + reader.signedVarint();
    sink.exemplar(reference, timestampMs, reader.beDouble(), readLabels(reader));
  }
}

function readHistograms(reader: GoReader, isFloat: boolean, sink: WalSink): void {
  if (reader.remaining === 0) return;
  const baseReference = reader.be64();
  const baseMs = reader.signedBe64();
  const scratch = new HistogramScratch();
  while (reader.remaining > 0) {
    const reference = baseReference + reader.signedVarint();
    const timestampMs = baseMs + reader.signedVarint();
    scratch.read(reader, isFloat);
    sink.histogram(reference, timestampMs, scratch.parts, scratch.isStale, 0);
  }
}

/** References as differences to the one before, times and start times as differences to the first. */
class StartedHeads {
  reference = 0;
  timestampMs = 0;
  startMs = 0;
  #firstMs = 0;
  #firstStartMs = 0;
  #isFirst = true;

  next(reader: GoReader): void {
    this.reference += reader.signedVarint();
    this.timestampMs = this.#firstMs + reader.signedVarint();
    if (this.#isFirst) {
      this.#isFirst = false;
      this.#firstMs = this.timestampMs;
      this.startMs = this.#firstStartMs = reader.signedVarint();
      return;
    }
    const marker = reader.u8();
    if (marker === START_UNKNOWN) this.startMs = 0;
    else if (marker !== START_REPEATED) this.startMs = this.#firstStartMs + reader.signedVarint();
  }
}

function readStartedSamples(reader: GoReader, sink: WalSink): void {
  const head = new StartedHeads();
  while (reader.remaining > 0) {
    head.next(reader);
    const high = reader.be32();
    sink.sample(head.reference, head.timestampMs, high, reader.be32(), head.startMs);
  }
}

function readStartedHistograms(reader: GoReader, isFloat: boolean, sink: WalSink): void {
  const head = new StartedHeads();
  const scratch = new HistogramScratch();
  while (reader.remaining > 0) {
    head.next(reader);
    scratch.read(reader, isFloat);
    sink.histogram(head.reference, head.timestampMs, scratch.parts, scratch.isStale, head.startMs);
  }
}

/** Reused from histogram to histogram of a record. */
class HistogramScratch {
  readonly parts = new HistogramParts();
  isStale = false;
  readonly #sum = new Float64Array(1);
  readonly #sumWords = wordsOf(this.#sum);

  read(reader: GoReader, isFloat: boolean): void {
    const { parts } = this;
    parts.clear();
    parts.isFloat = isFloat;
    parts.hint = COUNTER_RESET_HINTS[reader.u8()] ?? 'unknown';
    parts.schema = reader.signedVarint();
    parts.zeroThreshold = reader.beDouble();
    parts.zeroCount = isFloat ? reader.beDouble() : reader.varint();
    parts.count = isFloat ? reader.beDouble() : reader.varint();
    this.#sumWords[1] = reader.be32();
    this.#sumWords[0] = reader.be32();
    parts.sum = this.#sum[0]!;
    this.isStale = isStaleAt(this.#sumWords, 0);
    readSpans(reader, parts.positive);
    readSpans(reader, parts.negative);
    readCounts(reader, isFloat, parts.positive);
    readCounts(reader, isFloat, parts.negative);
    if (parts.schema === CUSTOM_BUCKETS_SCHEMA) readDoubles(reader, parts.customBounds);
  }
}

function readSpans(reader: GoReader, side: HistogramSide): void {
  for (let left = bounded(reader.varint()); left > 0; left--)
    side.addSpan(reader.signedVarint(), reader.varint());
}

function readCounts(reader: GoReader, isFloat: boolean, side: HistogramSide): void {
  if (isFloat) readDoubles(reader, side.counts);
  else for (let left = bounded(reader.varint()); left > 0; left--) side.addDelta(reader.signedVarint());
}

function readDoubles(reader: GoReader, into: NumberColumn): void {
  for (let left = bounded(reader.varint()); left > 0; left--) into.push(reader.beDouble());
}

function bounded(count: number): number {
  if (count > HISTOGRAM_BUCKETS_MAX)
    throw new AppError('bad_data', `${count} buckets, spans or bounds; at most ${HISTOGRAM_BUCKETS_MAX}`);
  return count;
}
