// The answer on its way out of a worker thread: parts are collected into messages, and no more messages are under way than
// the consumer keeps up with.
import type { Transferable } from 'node:worker_threads';
import { throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import type { ResultSeries } from '../../lib/promql/engine/query.ts';
import type { LastMessage } from '../../lib/runtime/worker-tasks.ts';
import { ResultFrameWriter } from '../../lib/wire/frames/result-frame.ts';
import type { FromEvaluation, QueryPart } from './evaluation-messages.ts';

/** Messages, of one frame each, that may wait for the consumer. */
const AHEAD_MAX = 4;
/** Series between two looks at the clock of the thread's other work. */
const SERIES_PER_LOOK = 64;
/** How long encoding may hold the thread, whose other queries wait. */
const SLICE_MS = 15;

export class ResultSender {
  readonly #send: (parts: readonly QueryPart[], transfer: readonly Transferable[]) => void;
  readonly #signal: AbortSignal;
  #parts: QueryPart[] = [];
  #transfer: Transferable[] = [];
  #ahead = 0;
  #wake: (() => void) | undefined;

  constructor(
    send: (parts: readonly QueryPart[], transfer: readonly Transferable[]) => void,
    signal: AbortSignal,
  ) {
    this.#send = send;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
  }

  /** Adds a part to the next message. */
  add(part: QueryPart): void {
    this.#parts.push(part);
    if (part.kind === 'frame') this.#transfer.push(part.frame.buffer);
  }

  /** Adds series as frames; waits while the consumer is behind. */
  async addSeries(series: readonly ResultSeries[]): Promise<void> {
    const writer = new ResultFrameWriter();
    let sliceStartMs = performance.now();
    for (const [i, { labels, timestampsMs, values, count, histograms }] of series.entries()) {
      const frame = writer.add(labels, timestampsMs, values, count, histograms);
      if (frame !== undefined) await this.#sendFrame(frame);
      if (i % SERIES_PER_LOOK !== 0 || performance.now() - sliceStartMs < SLICE_MS) continue;
      await new Promise<void>((resolve) => setImmediate(resolve));
      throwIfAborted(this.#signal);
      sliceStartMs = performance.now();
    }
    const last = writer.finish();
    if (last !== undefined) this.add({ kind: 'frame', frame: last });
  }

  /** What was added and not sent. */
  last(): LastMessage<FromEvaluation> {
    return { message: { kind: 'parts', parts: this.#parts }, transfer: this.#transfer };
  }

  /** The consumer took a message. */
  taken(): void {
    this.#ahead--;
    this.#wake?.();
  }

  async #sendFrame(frame: Uint8Array<ArrayBuffer>): Promise<void> {
    this.add({ kind: 'frame', frame });
    const parts = this.#parts;
    const transfer = this.#transfer;
    this.#parts = [];
    this.#transfer = [];
    this.#ahead++;
    this.#send(parts, transfer);
    while (this.#ahead >= AHEAD_MAX && !this.#signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#signal.aborted) throw toAppError(this.#signal.reason);
  }
}
