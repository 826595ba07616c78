import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteReader, ByteWriter } from '../../core/bytes.ts';
import { decodePostings, encodePostings } from './postings-codec.ts';

// Worked out from docs/format/block.md: tokens are 2 × gap + run, a run's length less two follows.
test.each<[number[], number[]]>([
  [[0], [0x00]],
  [[1], [0x02]],
  [[64], [0x80, 0x01]],
  [
    [0, 1],
    [0x01, 0x00],
  ],
  [
    [2, 3, 4, 5],
    [0x05, 0x02],
  ],
  [
    [0, 2, 4],
    [0x00, 0x02, 0x02],
  ],
  [
    [3, 5, 6, 7, 130],
    [0x06, 0x03, 0x01, 0xf4, 0x01],
  ],
])('%j is %j', (ids, bytes) => {
  const out = new ByteWriter();
  encodePostings(Uint32Array.from(ids), 0, ids.length, out);
  expect(Array.from(out.take())).toEqual(bytes);
  const read = decodePostings(new ByteReader(Uint8Array.from(bytes)), ids.length, ids.at(-1)! + 1, 'test');
  expect(Array.from(read)).toEqual(ids);
});

test('round trip of a part of a list, up to the largest id', () => {
  const lists = fc.uniqueArray(fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 0xfffffffe })), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(lists, fc.nat(), fc.nat(), (list, a, b) => {
      const ids = Uint32Array.from(list).sort();
      const [start, end] = [a % (ids.length + 1), b % (ids.length + 1)].sort((x, y) => x - y) as [
        number,
        number,
      ];
      const out = new ByteWriter();
      encodePostings(ids, start, end, out);
      const reader = new ByteReader(out.bytes, 0, out.length);
      expect(decodePostings(reader, end - start, 0xffffffff, 'test')).toEqual(ids.slice(start, end));
      expect(reader.remaining).toBe(0);
    }),
  );
});

test('ids beyond the series, and more than announced, are corrupt; nothing large is allocated first', () => {
  const decode = (bytes: number[], count: number, idEnd: number) => () =>
    decodePostings(new ByteReader(Uint8Array.from(bytes)), count, idEnd, 'test');
  expect(decode([0x02], 1, 1)).toThrow(/corrupt/);
  expect(decode([0x01, 0x05], 2, 100)).toThrow(/corrupt/);
  expect(decode([0x00], 4_000_000_000, 1000)).toThrow(/corrupt/);
  expect(decode([0x00], 2, 1000)).toThrow(/truncated/);
});
