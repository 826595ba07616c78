// Writers with a ledger, and the oracle: what was acknowledged must be in every answer that calls itself complete, what was never
// sent in none. A sample's value follows from its series and time, so that an answer says what it should be.
import { Labels } from '../../../services/lib/model/labels.ts';
import { DEFAULT_TENANT } from '../../../services/lib/model/tenant.ts';
import { LedgerDelete } from './ledger-deletes.ts';
import { WORLD_START_MS } from './world.ts';

/** Times of a writer's samples are so far apart at least. */
export const SLOT_MS = 20;
export const SIM_METRIC = 'sim';

/** What one writer sent and what was acknowledged, by slots: each is a time, for all series of the writer. */
export class Ledger {
  readonly writer: string;
  readonly series: number;
  readonly sent = new Set<number>();
  readonly acked = new Set<number>();
  readonly deletes: LedgerDelete[] = [];
  /** Slots of which an attempt is under way, or ended otherwise than well: something of it may still arrive. */
  readonly #unsettled = new Set<number>();

  constructor(writer: string, series: number) {
    this.writer = writer;
    this.series = series;
  }

  slotAt(worldMs: number): number {
    return Math.floor(worldMs / SLOT_MS);
  }

  /** A request with these slots is sent, not for the first time maybe. */
  sending(slots: readonly number[]): void {
    for (const slot of slots) {
      this.#unsettled.add(slot);
      for (const one of this.deletes) one.sending(slot);
    }
  }

  /** It was acknowledged, and nothing of them is on its way. */
  settled(slots: readonly number[]): void {
    for (const slot of slots) this.#unsettled.delete(slot);
  }

  /** A delete is asked for. */
  beginDelete(series: ReadonlySet<number>, minSlot: number, maxSlot: number): LedgerDelete {
    const settled = [...this.acked].filter(
      (slot) => slot >= minSlot && slot <= maxSlot && !this.#unsettled.has(slot),
    );
    const one = new LedgerDelete(series, minSlot, maxSlot, settled);
    this.deletes.push(one);
    return one;
  }

  /** Whether a delete could ever concern the sample. */
  isTouched(slot: number, series: number): boolean {
    return this.deletes.some((one) => one.touches(slot, series));
  }

  /** What must not be in answers to questions that are asked now, unless it is sent again or comes back by an undo meanwhile. */
  mustLack(): (slot: number, series: number) => boolean {
    const known = this.deletes.map((one) => ({ one, gone: new Set(one.gone) }));
    return (slot, series) =>
      known.some(({ one, gone }) => gone.has(slot) && one.statusOf(slot, series) === 'gone');
  }

  labelsOf(series: number): Labels {
    return Labels.from([
      ['__name__', SIM_METRIC],
      ['series', String(series)],
      ['writer', this.writer],
    ]);
  }
}

export const timeOf = (slot: number): number => WORLD_START_MS + slot * SLOT_MS;

/** Some are the values that formats get wrong. */
export function expectedValue(slot: number, series: number): number {
  switch ((slot * 31 + series) % 211) {
    case 0:
      return -0;
    case 1:
      return Number.NaN;
    case 2:
      return Number.POSITIVE_INFINITY;
    case 3:
      return Number.NEGATIVE_INFINITY;
    case 4:
      return 5e-324;
    default:
      return slot + series / 64;
  }
}

export const TENANT = DEFAULT_TENANT;

/** Times and values of a series, as an answer has them. */
export interface FoundSeries {
  readonly timesMs: readonly number[];
  readonly values: readonly number[];
}

export interface Verdict {
  /** Acknowledged samples that are not there. */
  readonly lost: string[];
  /** Samples that nobody sent, with another value, or twice. */
  readonly wrong: string[];
}

/**
 * Compares an answer with what must be in it.
 *
 * @param found       By series number.
 * @param mustHave    Slots acknowledged before the question.
 * @param mustLack    Samples that were deleted before the question.
 * @param isComplete  Whether the answer says that it is.
 */
export function judge(
  ledger: Ledger,
  found: ReadonlyMap<number, FoundSeries>,
  mustHave: Iterable<number>,
  mustLack: (slot: number, series: number) => boolean,
  isComplete: boolean,
): Verdict {
  const verdict: Verdict = { lost: [], wrong: [] };
  const present = Array.from({ length: ledger.series }, () => new Set<number>());
  for (const [series, { timesMs, values }] of found) {
    if (series >= ledger.series) {
      verdict.wrong.push(`${ledger.writer} has a series ${series}`);
      continue;
    }
    for (const [i, timeMs] of timesMs.entries()) {
      const slot = (timeMs - WORLD_START_MS) / SLOT_MS;
      const name = `${ledger.writer}/${series} slot ${slot}`;
      if (!ledger.sent.has(slot)) verdict.wrong.push(`${name}: never sent`);
      else if (!Object.is(values[i], expectedValue(slot, series)))
        verdict.wrong.push(`${name}: ${values[i]} instead of ${expectedValue(slot, series)}`);
      if (mustLack(slot, series)) verdict.wrong.push(`${name}: deleted, and seen again`);
      if (present[series]!.has(slot)) verdict.wrong.push(`${name}: twice`);
      present[series]!.add(slot);
    }
  }
  if (!isComplete) return verdict;
  for (const slot of mustHave) {
    for (let series = 0; series < ledger.series; series++) {
      if (present[series]!.has(slot)) continue;
      if (ledger.deletes.every((one) => one.statusOf(slot, series) === 'kept'))
        verdict.lost.push(`${ledger.writer}/${series} slot ${slot}`);
    }
  }
  return verdict;
}
