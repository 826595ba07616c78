// Sums are added up in a loop without questions where all steps have finite ones: the bits are those of one addition after the other.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KahanSum } from '../kahan.ts';
import { ABSENT, FLOAT, StepColumn } from '../operand.ts';
import type { QuerySession } from '../session.ts';
import { accumulate, finish, makeCells } from './accumulators.ts';

const GROUPS = 2;
const session = { charge: () => undefined } as unknown as QuerySession;

interface Added {
  readonly group: number;
  /** By step; undefined: no value. */
  readonly values: readonly (number | undefined)[];
}

function columnOf({ values }: Added): StepColumn {
  const column = new StepColumn(values.length);
  for (const [k, value] of values.entries()) {
    column.kinds[k] = value === undefined ? ABSENT : FLOAT;
    column.values[k] = value ?? 7;
  }
  return column;
}

function sumsOf(added: readonly Added[], steps: number) {
  const cells = makeCells(session, 'sum', GROUPS, steps);
  for (const each of added) accumulate('sum', cells, each.group * steps, columnOf(each));
  finish('sum', cells);
  const sums = Array.from(cells.values, (value, i) => (cells.kinds[i] === FLOAT ? value : undefined));
  return { sums, dependsOnOrder: cells.dependsOnOrder };
}

/** Cell by cell, as kahan.ts defines it; the first value is taken as it is. */
function expectedSumsOf(added: readonly Added[], steps: number) {
  let dependsOnOrder = false;
  const sums = Array.from({ length: GROUPS * steps }, (_, at) => {
    const group = Math.floor(at / steps);
    const values = added
      .filter((each) => each.group === group)
      .map((each) => each.values[at % steps])
      .filter((value) => value !== undefined);
    if (values.length === 0) return undefined;
    const sum = new KahanSum();
    sum.sum = values[0]!;
    for (const value of values.slice(1)) {
      const areFinite = Number.isFinite(sum.sum) && Number.isFinite(value);
      sum.add(value);
      if (areFinite && !Number.isFinite(sum.sum)) dependsOnOrder = true;
    }
    return sum.total;
  });
  return { sums, dependsOnOrder };
}

const usual = fc.oneof(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), fc.constantFrom(0, -0, 1e16, -1e16));
const strange = fc.constantFrom(
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
);
const rarely = <Value>(value: fc.Arbitrary<Value>) => ({ arbitrary: value, weight: 1 });
const steps = 3;
const added: fc.Arbitrary<Added> = fc.record({
  group: fc.nat(GROUPS - 1),
  values: fc.array(
    fc.oneof({ arbitrary: usual, weight: 30 }, rarely(strange), rarely(fc.constant(undefined))),
    { minLength: steps, maxLength: steps },
  ),
});

test('sums have the bits of one addition after the other', () => {
  fc.assert(
    fc.property(fc.array(added, { maxLength: 24 }), (all) => {
      expect(sumsOf(all, steps)).toEqual(expectedSumsOf(all, steps));
    }),
    { numRuns: 2000 },
  );
});

test('a sum that overflows among regular ones is found, and those beside it stay exact', () => {
  const columns = [
    [1, Number.MAX_VALUE, 1e16],
    [2, 0, 1],
    [3, Number.MAX_VALUE, 1],
    [4, 1, -1e16],
  ];
  const all = columns.map((values) => ({ group: 0, values }));
  expect(sumsOf(all, steps)).toEqual({
    sums: [10, Number.POSITIVE_INFINITY, 2, undefined, undefined, undefined],
    dependsOnOrder: true,
  });
});

test('values that are infinite themselves do not depend on the order', () => {
  const columns = [
    [1, 1, 1],
    [1, Number.POSITIVE_INFINITY, 1],
    [1, 1, Number.NaN],
  ];
  const all = columns.map((values) => ({ group: 1, values }));
  expect(sumsOf(all, steps)).toEqual({
    sums: [undefined, undefined, undefined, 3, Number.POSITIVE_INFINITY, Number.NaN],
    dependsOnOrder: false,
  });
});
