import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fairShares, fewestMoves, loadsOf, movedBetween } from '../../../test/support/placement-bounds.ts';
import { SLOTS_MIN, type StoreMember, slotOwners, withSlots } from './store-slots.ts';

type Weights = (index: number) => number;

const storeOf = (index: number, zones: number, weights: Weights = () => 1): StoreMember => ({
  instance: `store-${index}`,
  zone: zones === 0 ? '' : `zone-${index % zones}`,
  weight: weights(index),
});

const EQUAL: Weights = () => 1;
const FIRST_TWICE: Weights = (index) => (index === 0 ? 2 : 1);
const MIXED: Weights = (index) => 1 + (index % 3) / 2;

/** Lists of stores that follow one another: 2 to 12 one by one, down to 3 whichever goes, up to 8 by names never seen. */
function* walk(zones: number, weights: Weights): Generator<StoreMember[]> {
  let stores = [storeOf(0, zones, weights), storeOf(1, zones, weights)];
  yield stores;
  for (let next = 2; next < 12; next++) yield (stores = [...stores, storeOf(next, zones, weights)]);
  for (let pick = 7; stores.length > 3; pick = (pick * 5 + 3) % 97)
    yield (stores = stores.toSpliced(pick % stores.length, 1));
  for (let next = 12; stores.length < 8; next++) yield (stores = [...stores, storeOf(next, zones, weights)]);
}

const stepsOf = (zones: number, weights: Weights, copies: number) => {
  let before: readonly StoreMember[] = [];
  const steps = [];
  for (const list of walk(zones, weights)) {
    const had = new Map(before.map(({ instance, slots }) => [instance, slots!]));
    const joined = list.map((store) => ({ ...store, ...slotsOf(had.get(store.instance)) }));
    // Those that are gone are not in the list any more, as after `forget`.
    const placed = withSlots(joined, copies);
    if (before.length >= copies) steps.push(stepOf(before, placed, copies));
    before = placed;
  }
  return steps;
};

const slotsOf = (slots: readonly number[] | undefined) => (slots === undefined ? {} : { slots });

function stepOf(before: readonly StoreMember[], after: readonly StoreMember[], copies: number) {
  const owners = slotOwners(after, copies);
  const former = slotOwners(before, copies);
  const previous = owners.map((_, slot) => former[slot % former.length]!);
  const loads = loadsOf(owners, after);
  const shares = fairShares(after, copies);
  const skew = Math.max(
    ...after.map(({ instance }) => loads.get(instance)! / (shares.get(instance)! * owners.length)),
  );
  const name = `${before.length} to ${after.length}`;
  return { name, skew, moved: movedBetween(previous, owners), optimum: fewestMoves(previous, owners, after) };
}

const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

describe.each([
  [1, 0],
  [2, 0],
  [3, 0],
  [1, 3],
  [2, 2],
  [2, 3],
  [3, 2],
  [3, 3],
])('%i copies, %i zones, 2 to 12 stores, down by any and up again', (copies, zones) => {
  test.each<[string, Weights, number]>([
    // A single copy more than the fewest is allowed where a twentieth is less than one.
    ['equal weights', EQUAL, 1.05],
    ['one of twice the weight', FIRST_TWICE, 1.07],
    ['weights of 1, 1.5 and 2', MIXED, 1.13],
  ])(
    '%s: no store has a tenth more than its share; within a twentieth of the fewest moves',
    (name, weights, stepMax) => {
      const steps = stepsOf(zones, weights, copies);
      const total = sumOf(steps.map(({ moved }) => moved)) / sumOf(steps.map(({ optimum }) => optimum));
      const skew = Math.max(...steps.map((step) => step.skew));
      console.log(
        `blocks on stores: ${copies} copies, ${zones} zones, ${name}: skew ${skew.toFixed(3)}, moved ${total.toFixed(3)} of the fewest`,
      );
      expect(steps.filter((step) => step.skew >= 1.1)).toEqual([]);
      expect(total).toBeLessThanOrEqual(1.05);
      expect(steps.filter(({ moved, optimum }) => moved > Math.max(optimum * stepMax, optimum + 1))).toEqual(
        [],
      );
    },
  );
});

describe('laws', () => {
  const cluster = fc.record({
    count: fc.integer({ min: 1, max: 9 }),
    zones: fc.integer({ min: 0, max: 4 }),
    copies: fc.integer({ min: 1, max: 4 }),
  });
  const listOf = (count: number, zones: number) =>
    Array.from({ length: count }, (_, index) => storeOf(index, zones));

  test('a list with its slots gives them again, in any order, and with them the owners of before', () => {
    fc.assert(
      fc.property(cluster, ({ count, zones, copies }) => {
        const stores = listOf(count, zones);
        const placed = withSlots(stores, copies);
        expect(slotOwners(placed, copies)).toEqual(slotOwners(stores, copies));
        expect(slotOwners(placed.toReversed(), copies)).toEqual(slotOwners(placed, copies));
        expect(withSlots(placed, copies)).toEqual(placed);
      }),
      { numRuns: 50 },
    );
  });

  test('a store that is left out, or says that it leaves, or is forgotten: the others get the same', () => {
    fc.assert(
      fc.property(cluster, fc.nat(8), ({ count, zones, copies }, pick) => {
        const placed = withSlots(listOf(count + 1, zones), copies);
        const { instance } = placed[pick % placed.length]!;
        const rest = placed.filter((store) => store.instance !== instance);
        const owners = slotOwners(rest, copies);
        const leaving = placed.map((store) =>
          store.instance === instance ? { ...store, leaving: true } : store,
        );
        expect(slotOwners(leaving, copies)).toEqual(owners);
        expect(slotOwners(withSlots(rest, copies), copies)).toEqual(owners);
        expect(owners.flat()).not.toContain(instance);
      }),
      { numRuns: 50 },
    );
  });

  test('a store that stays after all has what it had', () => {
    const placed = withSlots(listOf(5, 0), 2);
    const leaving = placed.map((store, index) => (index === 2 ? { ...store, leaving: true } : store));
    const back = leaving.map((store) => ({ ...store, leaving: false }));
    expect(slotOwners(back, 2)).toEqual(slotOwners(placed, 2));
  });
});

test('the table grows with the stores, and growing it moves nothing that need not', () => {
  const small = withSlots(
    Array.from({ length: 12 }, (_, index) => storeOf(index, 0)),
    1,
  );
  const grown = withSlots([...small, storeOf(12, 0)], 1);
  const [before, after] = [slotOwners(small, 1), slotOwners(grown, 1)];
  expect([before.length, after.length]).toEqual([SLOTS_MIN, 2 * SLOTS_MIN]);
  const moved = after.filter(([owner], slot) => owner !== before[slot % SLOTS_MIN]![0]);
  // 256 / 13 slots: the newcomer's, and nobody else's but what levels two more.
  expect(moved.filter(([owner]) => owner === 'store-12')).toHaveLength(19);
  expect(moved.length).toBeLessThanOrEqual(19 + 2);
  // Smaller again, the table stays as it is: to halve it would move blocks.
  expect(slotOwners(withSlots(grown.slice(0, 4), 1), 1)).toHaveLength(2 * SLOTS_MIN);
});

test('slots that nobody or too many have, and such as are in no table, are shared out as the rest', () => {
  const stores = [
    { ...storeOf(0, 0), slots: [0, 1, 2, 127] },
    { ...storeOf(1, 0), slots: [1] },
    { ...storeOf(2, 0), slots: [-1, 0.5, 1] },
  ];
  const owners = slotOwners(stores, 1);
  expect(owners).toHaveLength(SLOTS_MIN);
  expect(owners.every((each) => each.length === 1)).toBe(true);
  expect(owners[0]).toEqual(['store-0']);
  expect([...loadsOf(owners, stores).values()].toSorted((a, b) => a - b)).toEqual([42, 43, 43]);
});
