// Query results from frames to JSON text. Samples go from typed arrays straight to text: no object and no JSON.stringify
// per sample. The timestamps of a range query are the same for every series, so their text is made once.
import { ByteReader } from '../../lib/core/bytes.ts';
import { formatTimestamp } from '../../lib/model/number-format.ts';
import { ResultType } from '../../lib/wire/contracts.ts';
import { readResultFrame, type SampleHistograms } from '../../lib/wire/frames/result-frame.ts';
import { writeHistogram } from './histogram-json.ts';
import { JsonBytes } from './json-bytes.ts';
import { formatDecimal, formatSeconds } from './json-values.ts';
import {
  PAIRS_MAX,
  putPairs,
  SLOT_BYTES,
  SLOT_COMMON,
  SLOT_LENGTH,
  SLOT_TEXT_MAX,
  type TimeColumns,
} from './kernel/text-kernel.ts';
import type { Repeats } from './repeats.ts';
import { putTime } from './time-text.ts';

/** Range queries have at most 11,001 steps; instant queries over ranges may be longer, and are not cached beyond. */
const CACHED_TIMES_MAX = 11_001;

/** Between two samples, before the bracket of the second. */
const PAIR_END = '"],';
/** What stands before and behind the time of a sample. */
const TIME_BEGIN = Buffer.from(`${PAIR_END}[`);
const TIME_END = Buffer.from(',"');
const TIME_ROOM = SLOT_TEXT_MAX - TIME_BEGIN.length - TIME_END.length;

/** Fewer samples are written one by one. */
const PAIRS_MIN = 4;

/** A piece is handed over at this size. */
const PIECE_BYTES = 64 * 1024;

/** Where pieces of the text go, as UTF-8. */
export interface JsonSink {
  /** Whether it makes use of repeats; asked after every piece. */
  readonly wantsRepeats?: boolean;
  /** @param repeats  Runs of the piece that stand before; undefined where they are not wanted. Good until this returns. */
  writeBytes(piece: Buffer, repeats: Repeats | undefined): void;
}

/** A label set as a JSON object, from canonical label bytes[start, end). */
export function labelsToJson(bytes: Uint8Array, start: number, end: number): string {
  const reader = new ByteReader(bytes, start, end);
  let text = '{';
  while (reader.remaining > 0) {
    const name = reader.string();
    text += `${text === '{' ? '' : ','}${JSON.stringify(name)}:${JSON.stringify(reader.string())}`;
  }
  return `${text}}`;
}

/** Writes the `result` of one query, frame by frame. */
export class ResultJson {
  readonly #sink: JsonSink;
  readonly #type: ResultType;
  readonly #json = new JsonBytes();
  /** Times by position in the series, with their texts, each behind the end of the sample before: `"],[1435781430.781,"`. */
  #times: Float64Array<ArrayBuffer> = new Float64Array(0);
  #columns: TimeColumns = makeColumns(0);
  #timeCount = 0;
  /** Bytes that were handed over. */
  #handed = 0;
  #series = 0;

  constructor(sink: JsonSink, type: ResultType) {
    this.#sink = sink;
    this.#type = type;
    this.#json.notesRepeats = sink.wantsRepeats === true;
  }

  /** Series written so far. */
  get seriesCount(): number {
    return this.#series;
  }

  /** @throws AppError `bad_data` when the frame is malformed. */
  addFrame(frame: Uint8Array): void {
    const json = this.#json;
    readResultFrame(frame, (bytes, start, end, timestampsMs, values, count, histograms) => {
      if (this.#type === ResultType.RESULT_TYPE_SCALAR) {
        json.text(`[${formatSeconds(timestampsMs[0]!)},"${formatDecimal(values[0]!)}"]`);
        return;
      }
      json.text(this.#series++ === 0 ? '{"metric":' : ',{"metric":');
      json.labels(bytes, start, end);
      if (histograms !== undefined) this.#writeMixed(timestampsMs, values, count, histograms);
      else if (this.#type === ResultType.RESULT_TYPE_VECTOR) {
        json.text(',"value":');
        this.#writePairs(timestampsMs, values, 1);
        json.text('}');
      } else {
        json.text(',"values":[');
        this.#writePairs(timestampsMs, values, count);
        json.text(']}');
      }
      if (json.length >= PIECE_BYTES) this.#hand();
    });
    if (json.length > 0) this.#hand();
  }

  /** A series that has histograms: its floats and they stand under keys of their own. */
  #writeMixed(
    timestampsMs: Float64Array,
    values: Float64Array,
    count: number,
    histograms: SampleHistograms,
  ): void {
    const json = this.#json;
    const isVector = this.#type === ResultType.RESULT_TYPE_VECTOR;
    const open = (key: string): void => json.text(isVector ? `,"${key}":` : `,"${key}s":[`);
    let written = 0;
    for (let i = 0; i < count; i++) {
      if (histograms[i] !== undefined) continue;
      if (written++ === 0) open('value');
      else json.text(',');
      json.text(`[${formatTimestamp(timestampsMs[i]!)},"`);
      json.value(values[i]!);
      json.text('"]');
    }
    if (written > 0 && !isVector) json.text(']');
    written = 0;
    for (let i = 0; i < count; i++) {
      const histogram = histograms[i];
      if (histogram === undefined) continue;
      if (written++ === 0) open('histogram');
      else json.text(',');
      json.text(`[${formatTimestamp(timestampsMs[i]!)},`);
      writeHistogram(json, histogram);
      json.text(']');
      if (json.length >= PIECE_BYTES) this.#hand();
    }
    json.text(written > 0 && !isVector ? ']}' : '}');
  }

  #hand(): void {
    const json = this.#json;
    this.#handed += json.length;
    this.#sink.writeBytes(json.take(), json.repeats);
    json.clearRepeats();
    json.notesRepeats = this.#sink.wantsRepeats === true;
  }

  /** `[1435781430.781,"1"]`, with commas between. */
  #writePairs(timestampsMs: Float64Array, values: Float64Array, count: number): void {
    const json = this.#json;
    this.#learnTimes(timestampsMs, count);
    for (let i = 0; i < count; ) {
      const known = this.#knownTimes(timestampsMs, i, count);
      const written = known < PAIRS_MIN ? 0 : this.#writeKnown(values, i, i + known);
      i += written;
      // A value with an exponent, a time that is not of the grid, or too few samples to be worth a call.
      if (written < known || known === 0) {
        this.#writeTime(i, timestampsMs[i]!, values[i]!);
        json.value(values[i]!);
        i++;
      }
      if (json.length >= PIECE_BYTES) this.#hand();
    }
    if (count > 0) json.text('"]');
  }

  /** Keeps the texts of times by which a series is longer than all before it. */
  #learnTimes(timestampsMs: Float64Array, count: number): void {
    const end = Math.min(count, CACHED_TIMES_MAX);
    this.#growTimes(end);
    while (this.#timeCount < end && this.#keepTime(this.#timeCount, timestampsMs[this.#timeCount]!)) {
      this.#timeCount++;
    }
  }

  /** How many samples from `from` on have the times whose texts are kept, PAIRS_MAX at most. */
  #knownTimes(timestampsMs: Float64Array, from: number, count: number): number {
    const times = this.#times;
    const end = Math.min(count, this.#timeCount, from + PAIRS_MAX);
    let i = from;
    while (i < end && times[i] === timestampsMs[i]) i++;
    return i - from;
  }

  #writeKnown(values: Float64Array, from: number, end: number): number {
    const json = this.#json;
    const at = this.#handed + json.length;
    const skip = from === 0 ? PAIR_END.length : 0;
    const pairs = putPairs(this.#columns, values, from, end, skip, at, json.repeats, json.length);
    json.copy(pairs.text, 0, pairs.text.length);
    return pairs.samples;
  }

  /** Writes the time of one sample. */
  #writeTime(index: number, timeMs: number, value: number): void {
    const json = this.#json;
    if (index < this.#timeCount && this.#times[index] === timeMs) {
      const { slots, places, values } = this.#columns;
      const slot = SLOT_BYTES * index;
      places[index] = this.#handed + json.length;
      values[index] = value;
      json.copy(slots, index === 0 ? slot + PAIR_END.length : slot, slot + slots[slot + SLOT_LENGTH]!);
    } else {
      json.text(`${index === 0 ? '' : PAIR_END}[${formatTimestamp(timeMs)},"`);
    }
  }

  /** Makes the text of the time at a place of the grid; false where a slot has no room for it. */
  #keepTime(index: number, timeMs: number): boolean {
    const { slots } = this.#columns;
    const slot = SLOT_BYTES * index;
    const at = slot + TIME_BEGIN.length;
    const end = putTime(slots, at, TIME_ROOM, timeMs);
    if (end === at) return false;
    for (let i = 0; i < TIME_BEGIN.length; i++) slots[slot + i] = TIME_BEGIN[i]!;
    for (let i = 0; i < TIME_END.length; i++) slots[end + i] = TIME_END[i]!;
    const length = end + TIME_END.length - slot;
    let common = 0;
    // The first of a series begins otherwise than all that follow.
    if (index > 1)
      while (common < length && slots[slot + common] === slots[slot + common - SLOT_BYTES]) common++;
    slots[slot + SLOT_LENGTH] = length;
    slots[slot + SLOT_COMMON] = common;
    this.#times[index] = timeMs;
    return true;
  }

  #growTimes(needed: number): void {
    if (needed <= this.#times.length) return;
    const grown = Math.max(2 * this.#times.length, needed);
    const times = new Float64Array(grown);
    times.set(this.#times);
    this.#times = times;
    const { slots, places, values } = this.#columns;
    const columns = makeColumns(grown);
    columns.slots.set(slots);
    columns.places.set(places);
    columns.values.set(values);
    this.#columns = columns;
  }
}

function makeColumns(count: number): TimeColumns {
  return {
    slots: new Uint8Array(SLOT_BYTES * count),
    places: new Float64Array(count).fill(Number.NEGATIVE_INFINITY),
    values: new Float64Array(count),
  };
}
