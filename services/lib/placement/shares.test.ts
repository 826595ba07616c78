import { expect, test } from 'vitest';
import { isOwner } from './shares.ts';

const KEYS = Array.from({ length: 300 }, (_, i) => `target-${i}`);
const ownersOf = (live: readonly string[]): string[] =>
  KEYS.map((key) => {
    const owners = live.filter((instance) => isOwner(instance, live, key));
    expect(owners).toHaveLength(1);
    return owners[0]!;
  });

test('every key has one owner, and a process that leaves moves only its own keys', () => {
  const three = ownersOf(['a', 'b', 'c']);
  const two = ownersOf(['a', 'c']);
  const reordered = ownersOf(['c', 'a', 'b']);
  expect(reordered).toEqual(three);
  for (const [i, owner] of three.entries()) if (owner !== 'b') expect(two[i]).toBe(owner);
  for (const instance of ['a', 'b', 'c']) {
    expect(three.filter((owner) => owner === instance).length).toBeGreaterThan(60);
  }
});

test('alone everything is ours, with nobody to be seen nothing is', () => {
  expect(KEYS.every((key) => isOwner('a', ['a'], key) && !isOwner('a', [], key))).toBe(true);
});
