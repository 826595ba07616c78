// What the oracle demands of deleted samples: its verdicts are worth what this is.
import { expect, test } from 'vitest';
import { expectedValue, judge, Ledger, timeOf } from './world/ledger.ts';

const SERIES = 2;

/** A ledger with slots 1 to 9 acknowledged. */
function written(): Ledger {
  const ledger = new Ledger('w', SERIES);
  const slots = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  for (const slot of slots) ledger.sent.add(slot);
  ledger.sending(slots);
  ledger.settled(slots);
  for (const slot of slots) ledger.acked.add(slot);
  return ledger;
}

/** The verdict on an answer with these slots of series 0, and all of series 1. */
function verdictOn(ledger: Ledger, slots: readonly number[], mustLack = ledger.mustLack()) {
  const rowOf = (series: number, own: readonly number[]) => ({
    timesMs: own.map(timeOf),
    values: own.map((slot) => expectedValue(slot, series)),
  });
  const found = new Map([
    [0, rowOf(0, slots)],
    [1, rowOf(1, [...ledger.sent])],
  ]);
  return judge(ledger, found, ledger.acked, mustLack, true);
}

const ALL = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const OUTSIDE = [1, 2, 7, 8, 9];

test('once it is acknowledged, what is in the range is gone, what is outside is there', () => {
  const ledger = written();
  const one = ledger.beginDelete(new Set([0]), 3, 6);
  // Asked for: it may be done, or not.
  expect(verdictOn(ledger, ALL)).toEqual({ lost: [], wrong: [] });
  expect(verdictOn(ledger, OUTSIDE)).toEqual({ lost: [], wrong: [] });
  one.acknowledge(ledger.sent);
  expect(verdictOn(ledger, OUTSIDE)).toEqual({ lost: [], wrong: [] });
  expect(verdictOn(ledger, [...OUTSIDE, 4])).toEqual({
    ...{ lost: [], wrong: ['w/0 slot 4: deleted, and seen again'] },
  });
  expect(verdictOn(ledger, [2, 7, 8, 9]).lost).toEqual(['w/0 slot 1']);
});

test('an answer to a question from before it is judged by what was known then', () => {
  const ledger = written();
  const before = ledger.mustLack();
  ledger.beginDelete(new Set([0]), 3, 6).acknowledge(ledger.sent);
  expect(verdictOn(ledger, ALL, before)).toEqual({ lost: [], wrong: [] });
});

test('what was on its way, or is sent again, may be there; what is first sent afterwards must', () => {
  const ledger = written();
  ledger.sent.add(10);
  ledger.sending([10]);
  const one = ledger.beginDelete(new Set([0]), 3, 12);
  ledger.sending([5]);
  one.acknowledge(ledger.sent);
  ledger.sending([6]);
  for (const slot of [10, 11]) {
    ledger.sent.add(slot);
    ledger.sending([slot]);
    ledger.settled([slot]);
    ledger.acked.add(slot);
  }
  expect(verdictOn(ledger, [1, 2, 5, 6, 10, 11])).toEqual({ lost: [], wrong: [] });
  expect(verdictOn(ledger, [1, 2, 11])).toEqual({ lost: [], wrong: [] });
  expect(verdictOn(ledger, [1, 2]).lost).toEqual(['w/0 slot 11']);
  expect(verdictOn(ledger, [1, 2, 4, 11]).wrong).toEqual(['w/0 slot 4: deleted, and seen again']);
});

test('an undo frees what was deleted, and only that', () => {
  const ledger = written();
  const one = ledger.beginDelete(new Set([0]), 3, 6);
  one.acknowledge(ledger.sent);
  const before = ledger.mustLack();
  one.takeBack();
  expect(verdictOn(ledger, ALL, before)).toEqual({ lost: [], wrong: [] });
  expect(verdictOn(ledger, OUTSIDE)).toEqual({ lost: [], wrong: [] });
  expect(verdictOn(ledger, [3, 4, 5, 6]).lost).toHaveLength(OUTSIDE.length);
});
