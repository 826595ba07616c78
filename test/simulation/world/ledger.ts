// Writers with a ledger, and the oracle: what was acknowledged must be in every answer that calls itself complete, what was never
// sent in none. A sample's value follows from its series and time, so that an answer says what it should be.
import { Labels } from '../../../services/lib/model/labels.ts';
import { DEFAULT_TENANT } from '../../../services/lib/model/tenant.ts';
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

  constructor(writer: string, series: number) {
    this.writer = writer;
    this.series = series;
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
 * @param isComplete  Whether the answer says that it is.
 */
export function judge(
  ledger: Ledger,
  found: ReadonlyMap<number, FoundSeries>,
  mustHave: Iterable<number>,
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
      if (present[series]!.has(slot)) verdict.wrong.push(`${name}: twice`);
      present[series]!.add(slot);
    }
  }
  if (!isComplete) return verdict;
  for (const slot of mustHave) {
    for (let series = 0; series < ledger.series; series++) {
      if (!present[series]!.has(slot)) verdict.lost.push(`${ledger.writer}/${series} slot ${slot}`);
    }
  }
  return verdict;
}
