// Puts pieces of an answer together, and cuts an answer into pieces: rows of result frames by label bytes, columns by time. Nothing is
// computed from values, which keep their bits.
import { decodeLatin1 } from '../../lib/core/bytes.ts';
import type { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { Labels } from '../../lib/model/labels.ts';
import {
  ResultFrameWriter,
  readResultFrame,
  type SampleHistograms,
} from '../../lib/wire/frames/result-frame.ts';
import type { StepRun } from './piece-grid.ts';

/** Frames of some steps of a query. */
export interface Segment extends StepRun {
  readonly frames: readonly Uint8Array[];
}

/** Lets others run when it is time to, and else answers undefined. */
export type Pause = () => Promise<void> | undefined;

/** A series of the whole answer, while it is put together. */
interface Row {
  readonly labels: Labels;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly values: Float64Array;
  /** By sample its step, once a step is missing in between. */
  steps: Int32Array | undefined;
  firstStep: number;
  count: number;
  histograms: (FloatHistogram | undefined)[] | undefined;
}

/**
 * Joins segments into one answer.
 *
 * @param segments  In the order of time, without overlap; of each, values outside of its steps are left out.
 * @param charge    Told of bytes that are held until the end.
 * @returns         Rows in label order.
 */
export async function stitch(
  grid: { readonly startMs: number; readonly endMs: number; readonly stepMs: number },
  segments: readonly Segment[],
  charge: (bytes: number) => void,
  pause: Pause,
): Promise<StitchedRows> {
  const steps = Math.floor((grid.endMs - grid.startMs) / grid.stepMs) + 1;
  const timesMs = Float64Array.from({ length: steps }, (_, i) => grid.startMs + i * grid.stepMs);
  const rows = new RowTable(timesMs, grid.stepMs, charge);
  for (const segment of segments) {
    rows.beginSegment();
    for (const frame of segment.frames) {
      readResultFrame(frame, (bytes, start, end, timestampsMs, values, count, histograms) => {
        const from = firstAtOrAfter(timestampsMs, count, segment.startMs);
        const to = firstAtOrAfter(timestampsMs, count, segment.endMs + 1);
        if (from < to) rows.add(bytes, start, end, timestampsMs, values, from, to, histograms);
      });
      const turn = pause();
      if (turn !== undefined) await turn;
    }
  }
  return new StitchedRows(rows.all(), timesMs);
}

export class StitchedRows {
  readonly #rows: readonly Row[];
  readonly #timesMs: Float64Array<ArrayBuffer>;

  constructor(rows: readonly Row[], timesMs: Float64Array<ArrayBuffer>) {
    this.#rows = rows;
    this.#timesMs = timesMs;
  }

  get size(): number {
    return this.#rows.length;
  }

  /** Frames of the first `limit` rows. */
  async *frames(limit: number, pause: Pause): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const writer = new ResultFrameWriter();
    const times = new Float64Array(this.#timesMs.length);
    for (const { labels, values, steps, firstStep, count, histograms } of this.#rows.slice(0, limit)) {
      let own = this.#timesMs.subarray(firstStep, firstStep + count);
      if (steps !== undefined) {
        for (let i = 0; i < count; i++) times[i] = this.#timesMs[steps[i]!]!;
        own = times;
      }
      const frame = writer.add(labels, own, values, count, histograms);
      if (frame !== undefined) yield frame;
      const turn = pause();
      if (turn !== undefined) await turn;
    }
    const last = writer.finish();
    if (last !== undefined) yield last;
  }
}

class RowTable {
  readonly #timesMs: Float64Array;
  readonly #stepMs: number;
  readonly #charge: (bytes: number) => void;
  readonly #byLabels = new Map<string, Row>();
  /** The rows that the segment before had, in its order: the next one has mostly the same. */
  #before: Row[] = [];
  #now: Row[] = [];
  #at = 0;

  constructor(timesMs: Float64Array, stepMs: number, charge: (bytes: number) => void) {
    this.#timesMs = timesMs;
    this.#stepMs = stepMs;
    this.#charge = charge;
  }

  beginSegment(): void {
    this.#before = this.#now;
    this.#now = [];
    this.#at = 0;
  }

  /** Adds samples [from, to) to the row of a label set. */
  add(
    bytes: Uint8Array,
    start: number,
    end: number,
    timestampsMs: Float64Array,
    values: Float64Array,
    from: number,
    to: number,
    histograms: SampleHistograms | undefined,
  ): void {
    const row = this.#rowOf(bytes, start, end);
    this.#now.push(row);
    const firstStep = this.#stepOf(timestampsMs[from]!);
    const isGapless = this.#stepOf(timestampsMs[to - 1]!) - firstStep === to - 1 - from;
    if (row.count === 0) row.firstStep = firstStep;
    if (row.steps === undefined && !(isGapless && firstStep === row.firstStep + row.count)) {
      this.#charge(this.#timesMs.length * 4);
      row.steps = new Int32Array(this.#timesMs.length);
      for (let i = 0; i < row.count; i++) row.steps[i] = row.firstStep + i;
    }
    if (row.steps !== undefined)
      for (let i = from; i < to; i++) row.steps[row.count + i - from] = this.#stepOf(timestampsMs[i]!);
    row.values.set(values.subarray(from, to), row.count);
    if (histograms !== undefined) {
      row.histograms ??= [];
      for (let i = from; i < to; i++) {
        if (histograms[i] !== undefined) row.histograms[row.count + i - from] = histograms[i];
      }
    }
    row.count += to - from;
  }

  /** In label order. */
  all(): Row[] {
    return [...this.#byLabels.values()].sort((a, b) => a.labels.compareTo(b.labels));
  }

  #stepOf(timeMs: number): number {
    return (timeMs - this.#timesMs[0]!) / this.#stepMs;
  }

  #rowOf(bytes: Uint8Array, start: number, end: number): Row {
    const expected = this.#before[this.#at];
    if (expected !== undefined && isSame(expected, bytes, start, end)) {
      this.#at++;
      return expected;
    }
    const key = decodeLatin1(bytes, start, end);
    let row = this.#byLabels.get(key);
    if (row === undefined) {
      const values = new Float64Array(this.#timesMs.length);
      this.#charge(values.byteLength + 2 * key.length + ROW_BYTES);
      const labels = Labels.view(bytes, start, end);
      row = {
        labels,
        bytes,
        start,
        end,
        values,
        steps: undefined,
        firstStep: 0,
        count: 0,
        histograms: undefined,
      };
      this.#byLabels.set(key, row);
    }
    // Rows that went are passed over.
    const until = Math.min(this.#before.length, this.#at + LOOK_AHEAD);
    for (let at = this.#at; at < until; at++) if (this.#before[at] === row) this.#at = at + 1;
    return row;
  }
}

/** A row's objects. */
const ROW_BYTES = 256;
/** Rows that may have ended since the segment before; behind more of them every row is looked up. */
const LOOK_AHEAD = 64;

function isSame(row: Row, bytes: Uint8Array, start: number, end: number): boolean {
  if (row.end - row.start !== end - start) return false;
  for (let i = start, j = row.start; i < end; i++, j++) if (bytes[i] !== row.bytes[j]) return false;
  return true;
}

/** Index of the first time that is not before `timeMs`. */
function firstAtOrAfter(timestampsMs: Float64Array, count: number, timeMs: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (timestampsMs[middle]! < timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Cuts an answer at the bounds of pieces.
 *
 * @param frames  Of all steps that the pieces have; rows in label order.
 * @returns       By piece its frames, which may be none.
 */
export async function slice(
  frames: readonly Uint8Array[],
  pieces: readonly StepRun[],
  pause: Pause,
): Promise<Uint8Array[][]> {
  const writers = pieces.map(() => new ResultFrameWriter());
  const sliced: Uint8Array[][] = pieces.map(() => []);
  for (const frame of frames) {
    readResultFrame(frame, (bytes, start, end, timestampsMs, values, count, histograms) => {
      const labels = Labels.view(bytes, start, end);
      for (const [i, piece] of pieces.entries()) {
        const from = firstAtOrAfter(timestampsMs, count, piece.startMs);
        const to = firstAtOrAfter(timestampsMs, count, piece.endMs + 1);
        if (from === to) continue;
        const times = timestampsMs.subarray(from, to) as Float64Array<ArrayBuffer>;
        const own = values.subarray(from, to) as Float64Array<ArrayBuffer>;
        const full = writers[i]!.add(labels, times, own, to - from, histograms?.slice(from, to));
        if (full !== undefined) sliced[i]!.push(full);
      }
    });
    const turn = pause();
    if (turn !== undefined) await turn;
  }
  for (const [i, writer] of writers.entries()) {
    const last = writer.finish();
    if (last !== undefined) sliced[i]!.push(last);
  }
  return sliced;
}
