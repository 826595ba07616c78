import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ABSENT, U32Map } from './columns.ts';
import { PostingsLists } from './postings-lists.ts';

test('U32Map does as a Map does', () => {
  const key = fc.oneof(fc.nat(40), fc.nat(0xfffffffe));
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.nat(0xffffffff)), { maxLength: 300 }), (entries) => {
      const map = new U32Map();
      const model = new Map<number, number>();
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
