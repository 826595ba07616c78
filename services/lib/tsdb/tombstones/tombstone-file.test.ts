// The table of deletes: golden text worked out from docs/format/tombstones.md, round trips, and that no damage passes.
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { parseTombstones, renderTombstones, type TombstoneTable } from './tombstone-file.ts';

const id = fc.stringMatching(/^[0-9a-f]{32}$/);
const time = fc.integer({ min: -8.64e15, max: 8.64e15 });
const matcher = fc.record({
  name: fc.string({ minLength: 1, maxLength: 8 }),
  operator: fc.constantFrom('=' as const, '!=' as const, '=~' as const, '!~' as const),
  value: fc.string({ maxLength: 8, unit: 'grapheme' }),
});
const table: fc.Arbitrary<TombstoneTable> = fc.record({
  tenant: fc.constantFrom('anonymous', 'a.b-c_d'),
  tombstones: fc.array(
    fc.record({
      id,
      createdAtMs: time,
      actor: fc.string(),
      matchers: fc.array(matcher, { minLength: 1, maxLength: 3 }),
      minTimeMs: time,
      maxTimeMs: time,
      blocks: fc.array(id, { maxLength: 3 }),
    }),
    { maxLength: 3 },
  ),
  erased: fc.array(fc.record({ blockId: id, maxTimeMs: time }), { maxLength: 3 }),
});

test('the text is the one of the document', () => {
  const zero = '0'.repeat(32);
  const body =
    '{"version":1,"tenant":"anonymous","tombstones":[{"id":"00000000000000000000000000000000","createdAtMs":5,' +
    '"actor":"me","matchers":[{"name":"job","operator":"=","value":"a"}],"minTimeMs":1,"maxTimeMs":2,' +
    '"blocks":["00000000000000000000000000000000"]}],"erased":[]}';
  const matchers = [{ name: 'job', operator: '=' as const, value: 'a' }];
  const one = { id: zero, createdAtMs: 5, actor: 'me', matchers, minTimeMs: 1, maxTimeMs: 2, blocks: [zero] };
  const rendered = renderTombstones({ tenant: 'anonymous', tombstones: [one], erased: [] });
  expect(rendered).toBe(`{"crc32":${crc32(body)},"deletes":${body}}\n`);
});

test('what is written is read', () => {
  fc.assert(
    fc.property(table, (own) => {
      // Null-prototype records come back as plain ones.
      expect(parseTombstones(renderTombstones(own), 'here')).toEqual(
        expect.objectContaining(JSON.parse(JSON.stringify(own)) as object),
      );
    }),
  );
});

test('no change of the text passes', () => {
  fc.assert(
    fc.property(
      table,
      fc.nat(),
      fc.nat(0xff),
      fc.constantFrom('flip', 'cut', 'insert'),
      (own, where, byte, how) => {
        const bytes = Buffer.from(renderTombstones(own));
        const at = where % bytes.length;
        const flipped = Buffer.from(bytes);
        flipped[at]! ^= (byte % 255) + 1;
        const changed =
          how === 'flip'
            ? flipped
            : how === 'cut'
              ? bytes.subarray(0, at)
              : Buffer.concat([bytes.subarray(0, at), Buffer.of(byte), bytes.subarray(at)]);
        const error = (() => {
          try {
            parseTombstones(changed.toString('utf8'), 'here');
            return undefined;
          } catch (caught) {
            return caught;
          }
        })();
        expect(error).toBeInstanceOf(AppError);
        expect(error).toMatchObject({ code: 'bad_data' });
      },
    ),
    { numRuns: 2000 },
  );
});

test('any text at all is read, or refused by name', () => {
  const json = fc.json().map((text) => `{"crc32":${crc32(text)},"deletes":${text}}\n`);
  fc.assert(
    fc.property(fc.oneof(fc.string(), json), (text) => {
      expect(() => parseTombstones(text, 'here')).toThrow(AppError);
    }),
    { numRuns: 2000 },
  );
});
