// Runs of one node on their way into a union: the pages that they refer to become frames of it, labels are put together in pages of
// the union's own.
import type { ChunkSink } from '../../lib/model/chunk-sink.ts';
import type { SeriesRun } from '../../lib/model/series-run.ts';
import { type RunSink, SeriesRunReader } from '../../lib/tsdb/head/series-run-reader.ts';

const LABEL_PAGE_BYTES = 256 * 1024;

/** A union as its intake sees it: `beginSeries` and `chunk` are about the frame that `turnTo` named. */
export interface RunUnion extends ChunkSink {
  /** @param isNext  The node said none of these labels before, and all that it said are before them, in label order. */
  beginSeries(bytes: Uint8Array, start: number, end: number, isNext?: boolean): void;
  /** Takes a frame, charged when it is not `isShared`, and answers its number. */
  pushFrame(frame: Uint8Array, isShared: boolean): number;
  /** @param view  Over its bytes. */
  turnTo(frame: number, view: DataView): void;
  /** Whether some series has its labels in the newest frame's bytes from a place on. */
  hasLabelsBehind(frame: number, start: number): boolean;
}

const NOTHING = new Uint8Array(0);
const NO_VIEW = new DataView(NOTHING.buffer);

export class RunIntake implements RunSink {
  readonly #union: RunUnion;
  readonly #reader: SeriesRunReader;
  readonly #frames: Uint8Array[] = [];
  #labels: Uint8Array<ArrayBuffer> = NOTHING;
  #labelFrame = -1;
  #used = 0;
  labelView: DataView = NO_VIEW;

  constructor(union: RunUnion) {
    this.#union = union;
    this.#reader = new SeriesRunReader(this);
  }

  add(run: SeriesRun): void {
    this.#reader.read(run);
  }

  addPages(pages: readonly Uint8Array[]): number {
    let first = -1;
    for (const page of pages) {
      const frame = this.#union.pushFrame(page, page.buffer instanceof SharedArrayBuffer);
      this.#frames[frame] = page;
      if (first < 0) first = frame;
    }
    return first;
  }

  labelRoom(bytes: number): number {
    if (this.#used + bytes > this.#labels.length) {
      this.#labels = new Uint8Array(Math.max(LABEL_PAGE_BYTES, bytes));
      this.labelView = new DataView(this.#labels.buffer);
      this.#labelFrame = this.#union.pushFrame(this.#labels, false);
      this.#used = 0;
    }
    return this.#used;
  }

  beginSeries(labelBytes: number, isNext: boolean): void {
    const start = this.#used;
    this.#union.turnTo(this.#labelFrame, this.labelView);
    this.#union.beginSeries(this.#labels, start, start + labelBytes, isNext);
    // What another node said already is written over.
    if (this.#union.hasLabelsBehind(this.#labelFrame, start)) this.#used = start + labelBytes;
  }

  chunk(
    page: number,
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    start: number,
    end: number,
  ): void {
    this.#union.turnTo(page, this.labelView);
    this.#union.chunk(encoding, minTimeMs, maxTimeMs, this.#frames[page]!, start, end);
  }
}
