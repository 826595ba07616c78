import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { WriteSet } from '../../model/write-set.ts';
import { decodeHeldWrites, encodeHeldWrites } from './held-writes.ts';

const bytesOf = (set: WriteSet): Uint8Array => {
  const out = new ByteWriter();
  encodeHeldWrites(out, set);
  return out.take();
};

// From docs/held-writes.md.
const GOLDEN = '0101' + '30303030303030303030303030306162' + '02' + '020100ac02' + '010203020301';

test('golden bytes', () => {
  const set = new WriteSet();
  set.add('00000000000000ab', 2, 0, 300);
  set.add('00000000000000ab', 3, 3, 5);
  set.add('00000000000000ab', 3, 8, 9);
  expect(Buffer.from(bytesOf(set)).toString('hex')).toBe(GOLDEN);
  const back = decodeHeldWrites(Buffer.from(GOLDEN, 'hex'));
  expect(back.intervalsOf('00000000000000ab', 3)).toEqual([3, 5, 8, 9]);
});

const sets = fc
  .array(
    fc.record({
      origin: fc.integer({ min: 0, max: 5 }).map((n) => n.toString(16).padStart(16, '0')),
      partition: fc.integer({ min: 0, max: 300 }),
      begin: fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 2 ** 52 })),
      length: fc.integer({ min: 1, max: 1000 }),
    }),
    { maxLength: 60 },
  )
  .map((list) => {
    const set = new WriteSet();
    for (const { origin, partition, begin, length } of list)
      set.add(origin, partition, begin, begin + length);
    return set;
  });

test('what was encoded is decoded', () => {
  fc.assert(
    fc.property(sets, (set) => {
      const back = decodeHeldWrites(bytesOf(set));
      expect(back.without(set).isEmpty && set.without(back).isEmpty).toBe(true);
      expect(bytesOf(back)).toEqual(bytesOf(set));
    }),
  );
});

test('changed bytes are refused or mean another set, never more', () => {
  fc.assert(
    fc.property(sets, fc.nat(), fc.integer({ min: 1, max: 255 }), (set, where, flip) => {
      const bytes = bytesOf(set);
      bytes[where % bytes.length]! ^= flip;
      try {
        const back = decodeHeldWrites(bytes);
        expect(bytesOf(back).length).toBeLessThanOrEqual(bytes.length);
      } catch (caught) {
        expect(caught).toBeInstanceOf(AppError);
        expect((caught as AppError).code).toBe('bad_data');
      }
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['cut off', GOLDEN.slice(0, -2)],
  ['something behind', `${GOLDEN}00`],
  ['another version', `02${GOLDEN.slice(2)}`],
  ['an origin that is none', GOLDEN.replace('6162', '6158')],
  ['an empty interval', GOLDEN.replace('ac02', '8000')],
])('%s is refused', (_, hex) => {
  expect(() => decodeHeldWrites(Buffer.from(hex, 'hex'))).toThrow(AppError);
});
