import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ABSENT, U32Map } from './columns.ts';
import { PostingsLists } from './postings-lists.ts';

test('U32Map does as a Map does', () => {
  const key = fc.oneof(fc.nat(40), fc.nat(0xfffffffe));
  // So many keys side by side that they are a column, before others come.
  const dense = fc.constantFrom(0, 1000, 5000);
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.nat(0xfffffffe)), { maxLength: 300 }), dense, (entries, first) => {
      const map = new U32Map();
      const model = new Map<number, number>();
      for (let k = 0; k < first; k++) {
        map.set(k * 2, k);
        model.set(k * 2, k);
      }
      for (const [k, v] of entries) {
        map.set(k, v);
        model.set(k, v);
      }
      expect(map.size).toBe(model.size);
      for (const [k, v] of model) expect(map.get(k)).toBe(v);
      expect(map.get(41)).toBe(model.get(41) ?? ABSENT);
      expect([...map.sortedKeys()]).toEqual([...model.keys()].sort((a, b) => a - b));
    }),
  );
});

test('keys without large gaps take 4 bytes, and one far above them does not cost a column', () => {
  const map = new U32Map();
  for (let key = 0; key < 100_000; key++) map.set(key, key + 7);
  expect(map.bytesHeld).toBeLessThanOrEqual(100_000 * 4 * 2);
  map.set(0xfffffffe, 1);
  expect(map.bytesHeld).toBeLessThan(1 << 22);
  expect([map.size, map.get(0), map.get(99_999), map.get(100_000), map.get(0xfffffffe)]).toEqual([
    ...[100_001, 7, 100_006, ABSENT, 1],
  ]);
});

test('postings lists keep every id, ascending, however long and in whatever order they came', () => {
  const lists = new PostingsLists();
  const model: number[][] = [[], [], [], []];
  // List 0 stays short, 1 passes several blocks of the largest size, 2 gets ids falling, 3 only one.
  for (let id = 0; id < 9000; id++) {
    const list = id % 3000 === 7 ? 0 : 1;
    lists.append(list, id);
    model[list]!.push(id);
    if (id === 4000 || id === 8000) expect([...lists.read(1)]).toEqual(model[1]);
  }
  for (let id = 3000; id > 0; id -= 7) {
    lists.append(2, id);
    model[2]!.push(id);
    if (id % 100 === 4) expect([...lists.read(2)]).toEqual([...model[2]!].sort((a, b) => a - b));
  }
  lists.append(3, 5);
  model[3]!.push(5);
  model.forEach((ids, list) => {
    expect([...lists.read(list)]).toEqual([...ids].sort((a, b) => a - b));
    expect(lists.countOf(list)).toBe(ids.length);
  });
  expect([...lists.read(99)]).toEqual([]);
});
