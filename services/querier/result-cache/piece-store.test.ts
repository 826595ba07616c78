import { expect, test } from 'vitest';
import { type Piece, PieceStore } from './piece-store.ts';

function pieceOf(bytes: number): Piece {
  return {
    ...{ startMs: 0, endMs: 0, minTimeMs: 0, maxTimeMs: 0 },
    version: { nodes: '', numbers: new Float64Array(0), ingesters: 0 },
    frames: [new Uint8Array(bytes)],
    evaluation: {
      samplesPeak: 0,
      coverage: {
        ...{ complete: true, partitionCount: 0, minTimeMs: 0, maxTimeMs: 0, groups: [] },
        ...{ blockCopies: 1, blockCopiesRead: 1, missing: [] },
      },
    },
  };
}

test('what was not used for longest goes first, and nothing is held beyond the bound', () => {
  const store = new PieceStore(40_000);
  const first = pieceOf(10_000);
  store.set('t', '1', 0, first);
  store.set('t', '1', 1, pieceOf(10_000));
  store.set('t', '2', 0, pieceOf(10_000));
  expect(store.get('t', '1', 0)).toBe(first);
  store.set('t', '2', 1, pieceOf(10_000));
  expect([store.get('t', '1', 0), store.get('t', '1', 1)]).toEqual([first, undefined]);
  expect([store.count, store.evictions]).toEqual([3, 1]);
  expect(store.bytes).toBeLessThanOrEqual(40_000);
});

test('the tenant that holds most gives way', () => {
  const store = new PieceStore(100_000);
  store.set('small', '1', 0, pieceOf(5000));
  for (let i = 0; i < 50; i++) store.set('large', '1', i, pieceOf(10_000));
  expect(store.get('small', '1', 0)).toBeDefined();
  expect(store.get('large', '1', 49)).toBeDefined();
  expect(store.get('large', '1', 0)).toBeUndefined();
  expect(store.bytes).toBeLessThanOrEqual(100_000);
});

test('a piece takes the place of the one before; tenants do not see each other', () => {
  const store = new PieceStore(100_000);
  store.set('a', '1', 0, pieceOf(1000));
  const bytes = store.bytes;
  store.set('a', '1', 0, pieceOf(1000));
  expect([store.bytes, store.count]).toEqual([bytes, 1]);
  expect(store.get('b', '1', 0)).toBeUndefined();
  store.delete('b', '1', 0);
  store.delete('a', '1', 0);
  expect([store.bytes, store.count, store.get('a', '1', 0)]).toEqual([0, 0, undefined]);
});

test('what is larger than all the room is not kept, and takes nobody else away', () => {
  const store = new PieceStore(20_000);
  store.set('t', '1', 0, pieceOf(1000));
  store.set('t', '1', 1, pieceOf(20_000));
  expect([store.count, store.evictions]).toEqual([1, 0]);
});
