// The plan on played stores that merge at random: whatever the order of events, no sealed block ever has fewer copies than it had and
// should have, and in the end each is on its owners and nowhere else.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import { type InventoryBlock, leafKeyOf } from './inventory-block.ts';
import type { PeerInventory } from './peer-inventories.ts';
import { planRepair, type RepairPlan } from './repair-plan.ts';

const HOUR_MS = 3_600_000;
const hex = (value: number): string => value.toString(16).padStart(32, '0');

function leaf(index: number): InventoryBlock {
  const startMs = index * 2 * HOUR_MS;
  return {
    ...{
      tenant: 't',
      blockId: hex(index),
      minTimeMs: startMs,
      maxTimeMs: startMs + HOUR_MS,
      resolutionMs: 0,
    },
    ...{ bytes: 100 + index, leaves: [leafKeyOf('t', 0, hex(index))] },
    group: groupOf({ tenant: 't', minTimeMs: startMs, partitions: [1] }),
  };
}

/** What merging blocks of one group gives; the id differs from store to store. */
function merged(blocks: readonly InventoryBlock[], salt: number): InventoryBlock {
  const leaves = [...new Set(blocks.flatMap((block) => block.leaves))];
  return {
    ...blocks[0]!,
    blockId: hex(1_000_000 + salt),
    minTimeMs: Math.min(...blocks.map(({ minTimeMs }) => minTimeMs)),
    maxTimeMs: Math.max(...blocks.map(({ maxTimeMs }) => maxTimeMs)),
    bytes: blocks.reduce((sum, { bytes }) => sum + bytes, 0),
    leaves,
  };
}

class PlayedStores {
  readonly held = new Map<string, InventoryBlock[]>();
  placement: GroupPlacement;
  #salt = 0;

  constructor(instances: readonly string[], leaves: number, copies: number) {
    for (const instance of instances) this.held.set(instance, []);
    this.placement = this.place(instances, copies);
    for (let i = 0; i < leaves; i++) {
      const block = leaf(i);
      for (const owner of this.placement.ownersOf(block.group)) this.held.get(owner)!.push(block);
    }
  }

  place(instances: readonly string[], copies: number): GroupPlacement {
    for (const instance of instances) if (!this.held.has(instance)) this.held.set(instance, []);
    this.placement = new GroupPlacement(
      instances.map((instance) => ({ instance, zone: '' })),
      copies,
    );
    return this.placement;
  }

  copiesOf(key: string): string[] {
    return [...this.held]
      .filter(([, blocks]) => blocks.some((block) => block.leaves.includes(key)))
      .map(([name]) => name);
  }

  plan(instance: string, erased: ReadonlySet<string> = new Set()): RepairPlan {
    const own = this.held.get(instance)!;
    const leaves = new Set(own.flatMap((block) => block.leaves));
    const peers = new Map<string, PeerInventory>();
    for (const [name, blocks] of this.held) {
      if (name === instance) continue;
      const byKey = new Map(blocks.map((block) => [`${block.tenant}/${block.blockId}`, block]));
      peers.set(name, { blocks: byKey, erased: new Set(), session: '', version: 0, isFresh: true });
    }
    return planRepair({
      ...{ instance, own, peers, placement: this.placement, erased, bucket: 'bucket' },
      isSettled: (key) => leaves.has(key),
      isExpired: () => false,
    });
  }

  /** One store does one thing; false when there is none to do. */
  act(instance: string, kind: number): boolean {
    const own = this.held.get(instance)!;
    if (kind === 0 && own.length > 1) {
      const group = own.filter((block) => block.group === own[0]!.group);
      if (group.length < 2) return false;
      this.held.set(instance, [
        ...own.filter((block) => !group.includes(block)),
        merged(group, this.#salt++),
      ]);
      return true;
    }
    const { wanted, surplus } = this.plan(instance);
    if (kind === 1 && wanted.length > 0) {
      own.push(wanted[0]!.block);
      return true;
    }
    const given = surplus.find(({ isHeldByOwners }) => isHeldByOwners);
    if (kind !== 2 || given === undefined) return false;
    const rest = own.filter((block) => block !== given.block);
    this.held.set(instance, rest);
    return true;
  }
}

test('stores join, leave and die in any order of events: no copy is lost on the way, and all are right in the end', () => {
  const step = fc.tuple(fc.nat(7), fc.nat(2));
  const runs = fc.record({
    before: fc.integer({ min: 2, max: 5 }),
    after: fc.integer({ min: 2, max: 7 }),
    copies: fc.integer({ min: 1, max: 3 }),
    leaves: fc.integer({ min: 1, max: 30 }),
    dies: fc.boolean(),
    steps: fc.array(step, { maxLength: 60 }),
  });
  fc.assert(
    fc.property(runs, ({ before, after, copies, leaves, dies, steps }) => {
      const names = (count: number) => Array.from({ length: count }, (_, i) => `s-${i}`);
      const stores = new PlayedStores(names(before), leaves, copies);
      stores.place(names(after), copies);
      // With a single copy a death is a loss.
      if (dies && Math.min(copies, before) > 1) {
        stores.held.delete('s-0');
        stores.place(names(after + 1).slice(1), copies);
      }
      const least = Math.min(
        ...Array.from({ length: leaves }, (_, i) => stores.copiesOf(leafKeyOf('t', 0, hex(i))).length),
      );
      const checkCopies = () => {
        for (let i = 0; i < leaves; i++)
          expect(stores.copiesOf(leafKeyOf('t', 0, hex(i))).length).toBeGreaterThanOrEqual(
            Math.min(least, copies, after),
          );
      };
      for (const [who, kind] of steps) {
        const instances = [...stores.held.keys()];
        stores.act(instances[who % instances.length]!, kind);
      }
      checkCopies();
      // Everybody goes on until nobody has anything to do.
      for (let isBusy = true, rounds = 0; isBusy; rounds++) {
        expect(rounds).toBeLessThan(3 * leaves + 10);
        isBusy = false;
        for (const instance of stores.held.keys())
          for (const kind of [1, 2]) isBusy = stores.act(instance, kind) || isBusy;
      }
      checkCopies();
      for (let i = 0; i < leaves; i++) {
        const { group } = leaf(i);
        expect(stores.copiesOf(leafKeyOf('t', 0, hex(i))).toSorted()).toEqual(
          [...stores.placement.ownersOf(group)].toSorted(),
        );
      }
    }),
    { numRuns: 200 },
  );
});

test('one merged block is copied rather than its parts, and the rarest first', () => {
  const stores = new PlayedStores(['a', 'b'], 0, 2);
  const [first, second, third] = [leaf(0), leaf(1), leaf(30)];
  stores.held.set('a', [first, second, third]);
  stores.held.set('b', [merged([first, second], 1)]);
  stores.place(['a', 'b', 'c'], 3);
  const { wanted } = stores.plan('c');
  expect(wanted.map(({ block, from, copies }) => [block.blockId, from, copies])).toEqual([
    [third.blockId, ['a'], 1],
    [hex(1_000_001), ['b'], 2],
  ]);
});

test('what a store holds merged is not taken as it was before from object storage, and what only that has comes after it', () => {
  const stores = new PlayedStores([], 0, 2);
  const [first, second, third] = [leaf(0), leaf(1), leaf(2)];
  const both = merged([first, second], 1);
  const other = merged([first, third], 2);
  stores.held.set('a', [both]);
  stores.held.set('bucket', [first, second, other]);
  stores.held.set('b', [second]);
  stores.place(['a', 'b'], 2);
  const planned = () =>
    stores.plan('b').wanted.map(({ block, from, waits }) => [block.blockId, from, waits] as const);
  expect(planned()).toEqual([
    [other.blockId, ['bucket'], true],
    [both.blockId, ['a'], false],
  ]);
  stores.held.set('b', [both]);
  expect(planned()).toEqual([[other.blockId, ['bucket'], false]]);
});

test('what deletes erased is neither copied nor waited for', () => {
  const stores = new PlayedStores(['a', 'b'], 0, 1);
  const block = leaf(0);
  stores.held.set('a', [block]);
  stores.place(['b'], 1);
  expect(stores.plan('b').wanted).toHaveLength(1);
  const erased = new Set([`t/${block.blockId}`]);
  expect(stores.plan('b', erased).wanted).toEqual([]);
  expect(stores.plan('a').surplus).toMatchObject([{ isHeldByOwners: false }]);
  expect(stores.plan('a', erased).surplus).toMatchObject([{ isHeldByOwners: true }]);
});
