// What nodes answer to the planned selects of a query before it is decided where that is evaluated.
import type { Transferable } from 'node:worker_threads';
import { sentBytes, type ToEvaluation } from './evaluation-messages.ts';
import type { MainThreadLimits } from './main-thread.ts';
import { isSmall, type QueryPlan } from './planned-selects.ts';

/** What nodes answered to a select, or a part of it. */
export type SelectAnswer = ToEvaluation & { readonly kind: 'frames' | 'select-failed' };

export class EarlyAnswers {
  readonly messages: SelectAnswer[] = [];
  /** Buffers that go with them, should they go to another thread. */
  readonly transfer: Transferable[] = [];
  #bytes = 0;
  #plan: QueryPlan | undefined;
  /** Selects that are not wholly answered. */
  #open = 0;
  #hasFailed = false;

  get plan(): QueryPlan | undefined {
    return this.#plan;
  }

  /** Bytes of frames and runs. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether all selects of the plan are answered. */
  get isWhole(): boolean {
    return this.#open === 0;
  }

  expect(plan: QueryPlan): void {
    this.#plan = plan;
    this.#open = plan.selects.length;
  }

  add(message: SelectAnswer, transfer: readonly Transferable[]): void {
    this.messages.push(message);
    for (const each of transfer) this.transfer.push(each);
    if (message.kind === 'select-failed') {
      this.#hasFailed = true;
      this.#open--;
      return;
    }
    for (const sent of message.frames) this.#bytes += sentBytes(sent);
    if (message.gaps !== undefined) this.#open--;
  }

  /** Whether evaluation has all that it is known to need, and little to do: see isSmall(). */
  isSmall(limits: MainThreadLimits): boolean {
    if (limits.msMax <= 0 || this.#plan === undefined || !this.isWhole || this.#hasFailed) return false;
    const frames = this.messages.flatMap((message) => (message.kind === 'frames' ? message.frames : []));
    return isSmall(frames, this.#plan.shape, limits);
  }
}
