// Deletes as log records: golden bytes worked out from lib/tsdb/docs/format/log-records.md, round trips, damage.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { RECORD_TYPE_MAX } from '../../lib/tsdb/log/record.ts';
import {
  type DeleteMark,
  decodeDelete,
  decodeUndelete,
  encodeDelete,
  encodeUndelete,
  RECORD_DELETE,
  RECORD_UNDELETE,
} from './delete-records.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const mark: fc.Arbitrary<DeleteMark> = fc.record({
  tenant: text,
  id: text,
  matchers: fc.array(
    fc.record({
      name: text,
      operator: fc.constantFrom('=' as const, '!=' as const, '=~' as const, '!~' as const),
      value: text,
    }),
    { minLength: 1, maxLength: 4 },
  ),
  minTimeMs: fc.integer({ min: -(2 ** 51), max: 2 ** 51 }),
  maxTimeMs: fc.integer({ min: -(2 ** 51), max: 2 ** 51 }),
  createdAtMs: fc.nat(),
  actor: text,
  generationMax: fc.nat(),
});

function encoded(own: DeleteMark): Uint8Array {
  const dst = new ByteWriter(8);
  encodeDelete(dst, own);
  return dst.take();
}

test('the bytes are those of the document', () => {
  const matchers = [{ name: 'a', operator: '=~' as const, value: 'b' }];
  const own = {
    tenant: 't',
    id: 'i',
    matchers,
    minTimeMs: -1,
    maxTimeMs: 2,
    createdAtMs: 3,
    actor: 'x',
    generationMax: 4,
  };
  // tenant, id, zigzag of -1 and 2, created, actor, generation, one matcher: operator 2, name, value
  expect([...encoded(own)]).toEqual([1, 0x74, 1, 0x69, 1, 4, 3, 1, 0x78, 4, 1, 2, 1, 0x61, 1, 0x62]);
});

test('what is written is read', () => {
  fc.assert(
    fc.property(mark, (own) => {
      expect({ ...decodeDelete(new ByteReader(encoded(own))) }).toEqual({ ...own });
    }),
  );
  const dst = new ByteWriter(8);
  encodeUndelete(dst, { tenant: 't', id: 'i' });
  expect(decodeUndelete(new ByteReader(dst.take()))).toEqual({ tenant: 't', id: 'i' });
});

test('any bytes are read, or refused by name', () => {
  fc.assert(
    fc.property(mark, fc.nat(), fc.nat(255), (own, where, byte) => {
      const bytes = encoded(own);
      bytes[where % bytes.length] = byte;
      try {
        decodeDelete(new ByteReader(bytes));
      } catch (caught) {
        expect(caught).toBeInstanceOf(AppError);
      }
      expect(() => decodeDelete(new ByteReader(bytes, 0, where % bytes.length))).toThrow(AppError);
    }),
    { numRuns: 5000 },
  );
});

test('the log takes records of these types', () => {
  for (const type of [RECORD_DELETE, RECORD_UNDELETE]) expect(type).toBeLessThanOrEqual(RECORD_TYPE_MAX);
});
