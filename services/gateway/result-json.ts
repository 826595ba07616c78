// Query results from frames to JSON text. Samples go from typed arrays straight to text: no object and no JSON.stringify
// per sample. The timestamps of a range query are the same for every series, so their text is made once.
import { ByteReader } from '../lib/core/bytes.ts';
import { formatTimestamp, formatValue } from '../lib/model/number-format.ts';
import { ResultType } from '../lib/wire/contracts.ts';
import { readResultFrame } from '../lib/wire/result-frame.ts';
import { formatDecimal, formatSeconds } from './json-values.ts';

/** Range queries have at most 11,001 steps; instant queries over ranges may be longer, and are not cached beyond. */
const CACHED_TIMES_MAX = 11_001;

/** Where text goes. */
export interface TextSink {
  write(text: string): void;
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
  readonly #sink: TextSink;
  readonly #type: ResultType;
  readonly #times: number[] = [];
  readonly #timeTexts: string[] = [];
  #series = 0;

  constructor(sink: TextSink, type: ResultType) {
    this.#sink = sink;
    this.#type = type;
  }

  /** Series written so far. */
  get seriesCount(): number {
    return this.#series;
  }

  /** @throws AppError `bad_data` when the frame is malformed. */
  addFrame(frame: Uint8Array): void {
    readResultFrame(frame, (bytes, start, end, timestampsMs, values, count) => {
      const separator = this.#series++ === 0 ? '' : ',';
      switch (this.#type) {
        case ResultType.RESULT_TYPE_SCALAR:
          this.#sink.write(`[${formatSeconds(timestampsMs[0]!)},"${formatDecimal(values[0]!)}"]`);
          return;
        case ResultType.RESULT_TYPE_VECTOR:
          this.#sink.write(
            `${separator}{"metric":${labelsToJson(bytes, start, end)},"value":${this.#pair(0, timestampsMs[0]!, values[0]!)}}`,
          );
          return;
        default:
          this.#sink.write(`${separator}{"metric":${labelsToJson(bytes, start, end)},"values":[`);
          this.#writePairs(timestampsMs, values, count);
          this.#sink.write(']}');
      }
    });
  }

  #writePairs(timestampsMs: Float64Array, values: Float64Array, count: number): void {
    let text = '';
    for (let i = 0; i < count; i++) {
      const pair = this.#pair(i, timestampsMs[i]!, values[i]!);
      text += i === 0 ? pair : `,${pair}`;
      if (text.length >= 8192) {
        this.#sink.write(text);
        text = '';
      }
    }
    this.#sink.write(text);
  }

  /** `[1435781430.781,"1"]` */
  #pair(index: number, timeMs: number, value: number): string {
    return `${this.#timeText(index, timeMs)}${formatValue(value)}"]`;
  }

  #timeText(index: number, timeMs: number): string {
    if (this.#times[index] === timeMs) return this.#timeTexts[index]!;
    const text = `[${formatTimestamp(timeMs)},"`;
    if (index < CACHED_TIMES_MAX && index <= this.#times.length) {
      this.#times[index] = timeMs;
      this.#timeTexts[index] = text;
    }
    return text;
  }
}
