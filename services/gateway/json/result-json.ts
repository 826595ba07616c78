// Query results from frames to JSON text. Samples go from typed arrays straight to text: no object and no JSON.stringify
// per sample. The timestamps of a range query are the same for every series, so their text is made once.
import { ByteReader } from '../../lib/core/bytes.ts';
import { formatTimestamp } from '../../lib/model/number-format.ts';
import { ResultType } from '../../lib/wire/contracts.ts';
import { readResultFrame, type SampleHistograms } from '../../lib/wire/frames/result-frame.ts';
import { writeHistogram } from './histogram-json.ts';
import { JsonBytes } from './json-bytes.ts';
import { formatDecimal, formatSeconds } from './json-values.ts';
import { DISTANCE_MAX, type Repeats } from './repeats.ts';

/** Range queries have at most 11,001 steps; instant queries over ranges may be longer, and are not cached beyond. */
const CACHED_TIMES_MAX = 11_001;

/** Between two samples, before the bracket of the second. */
const PAIR_END = '"],';

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
  // Texts of times by position in the series, each behind the end of the sample before: `"],[1435781430.781,"`. That of times[i] stands in
  // timeBytes[timeEnds[i - 1], timeEnds[i]).
  #times: Float64Array<ArrayBuffer> = new Float64Array(256);
  #timeEnds: Uint32Array<ArrayBuffer> = new Uint32Array(256);
  readonly #timeBytes = new JsonBytes();
  #timeCount = 0;
  /** Where the text of times[i] was written last: bytes since the beginning. */
  #timeAt: Float64Array<ArrayBuffer> = new Float64Array(256);
  /** How many of its first bytes are those of the one before it. */
  #timeCommon: Uint8Array<ArrayBuffer> = new Uint8Array(256);
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
    for (let i = 0; i < count; i++) {
      this.#writeTime(i, timestampsMs[i]!);
      json.value(values[i]!);
      if (json.length >= PIECE_BYTES) this.#hand();
    }
    json.alikeDistance = 0;
    if (count > 0) json.text('"]');
  }

  #writeTime(index: number, timeMs: number): void {
    const at = this.#handed + this.#json.length;
    if (index < this.#timeCount && this.#times[index] === timeMs) {
      this.#copyTime(index, at);
      this.#timeAt[index] = at;
      return;
    }
    this.#json.alikeDistance = 0;
    const text = `[${formatTimestamp(timeMs)},"`;
    this.#json.text(index === 0 ? text : PAIR_END + text);
    if (index !== this.#timeCount || index >= CACHED_TIMES_MAX) return;
    this.#growTimes(index + 1);
    this.#timeBytes.text(PAIR_END + text);
    this.#times[index] = timeMs;
    this.#timeEnds[index] = this.#timeBytes.length;
    this.#timeAt[index] = at;
    this.#timeCommon[index] = index === 0 ? 0 : this.#commonWithLast(index);
    this.#timeCount = index + 1;
  }

  /** Writes a time that was written before: in the series before, or else most of it in the sample before. */
  #copyTime(index: number, at: number): void {
    const from = index === 0 ? PAIR_END.length : this.#timeEnds[index - 1]!;
    const end = this.#timeEnds[index]!;
    const { bytes } = this.#timeBytes;
    const distance = at - this.#timeAt[index]!;
    if (!this.#json.notesRepeats) {
      this.#json.copy(bytes, from, end);
      return;
    }
    if (distance <= DISTANCE_MAX) {
      this.#json.alikeDistance = distance;
      this.#json.copy(bytes, from, end, end - from, distance);
      return;
    }
    this.#json.alikeDistance = 0;
    // The first of a series begins otherwise than all that follow.
    const common = index > 1 ? this.#timeCommon[index]! : 0;
    this.#json.copy(bytes, from, end, common, at - this.#timeAt[index - 1]!);
  }

  #commonWithLast(index: number): number {
    const { bytes } = this.#timeBytes;
    const from = this.#timeEnds[index - 1]!;
    const before = index === 1 ? 0 : this.#timeEnds[index - 2]!;
    let common = 0;
    while (before + common < from && bytes[before + common] === bytes[from + common]) common++;
    return common;
  }

  #growTimes(needed: number): void {
    if (needed <= this.#times.length) return;
    const times = new Float64Array(this.#times.length * 2);
    times.set(this.#times);
    this.#times = times;
    const ends = new Uint32Array(times.length);
    ends.set(this.#timeEnds);
    this.#timeEnds = ends;
    const places = new Float64Array(times.length);
    places.set(this.#timeAt);
    this.#timeAt = places;
    const common = new Uint8Array(times.length);
    common.set(this.#timeCommon);
    this.#timeCommon = common;
  }
}
