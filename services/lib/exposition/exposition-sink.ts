// What the parsers of exposition formats report, and to whom. Samples come with the bytes of their series as written, so
// that a caller who has seen these bytes before needs no labels.
import { AppError } from '../core/errors.ts';
import type { HistogramParts } from '../model/histogram-parts.ts';

/** Which line a piece of metadata came from. */
export type MetadataKind = 'help' | 'type' | 'unit';

/** Receives the samples and the metadata of one exposition, in its order. Offsets point into the bytes being parsed. */
export interface ExpositionSink {
  /**
   * How many bytes at `start` are the text of a series that the sink knows, or 0 when it would rather have the text scanned.
   * A sink that returns more than 0 guarantees that `isSeriesEnd` holds behind them; the call of `sample` that follows has
   * exactly these bytes. Lets a repeated scrape skip the tokens of every series.
   */
  recognise(bytes: Uint8Array, start: number, end: number): number;
  /**
   * One sample.
   *
   * @param seriesStart, seriesEnd  Metric name and braces as written; `readSeriesText` takes them apart.
   * @param value        Correctly rounded. NaN has no particular payload.
   * @param timestampMs  Unix milliseconds, NaN when the line has none.
   */
  sample(bytes: Uint8Array, seriesStart: number, seriesEnd: number, value: number, timestampMs: number): void;
  /**
   * One native histogram, as `sample`.
   *
   * @param parts  Valid during the call; not checked yet.
   */
  histogram(
    bytes: Uint8Array,
    seriesStart: number,
    seriesEnd: number,
    parts: HistogramParts,
    timestampMs: number,
  ): void;
  /**
   * An exemplar of the sample or histogram that was reported last.
   *
   * @param labelsStart, labelsEnd  Braces and what is in them, as in a series' text.
   * @param timestampMs  Unix milliseconds, NaN when the exemplar has none.
   */
  exemplar(
    bytes: Uint8Array,
    labelsStart: number,
    labelsEnd: number,
    value: number,
    timestampMs: number,
  ): void;
  /** When the counter began to count whose sample or histogram is reported next; Unix milliseconds. */
  startTime(timestampMs: number): void;
  /**
   * One line of metadata: `bytes[nameStart, nameEnd)` is the metric family's name (quoted when it is not a classic name),
   * `bytes[textStart, textEnd)` the escaped text behind it.
   */
  metadata(
    kind: MetadataKind,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    textStart: number,
    textEnd: number,
  ): void;
}

/** Malformed exposition: `bad_data`, with the line (from 1) and the reason. */
export class ExpositionError extends AppError {
  readonly line: number;

  constructor(bytes: Uint8Array, at: number, reason: string) {
    const line = lineOf(bytes, at);
    super('bad_data', `line ${line}: ${reason}`);
    this.name = 'ExpositionError';
    this.line = line;
  }
}

function lineOf(bytes: Uint8Array, at: number): number {
  let line = 1;
  const last = Math.min(at, bytes.length);
  for (let i = 0; i < last; i++) if (bytes[i] === 10) line++;
  return line;
}

/** The text from `start` to the end of its line, for messages; cut after 60 bytes. */
export function excerpt(bytes: Uint8Array, start: number, end: number): string {
  let stop = start;
  while (stop < end && stop < start + 60 && bytes[stop] !== 10) stop++;
  return JSON.stringify(Buffer.from(bytes.subarray(start, stop)).toString());
}
