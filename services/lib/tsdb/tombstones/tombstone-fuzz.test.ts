// Mutated files of deletes: the table that was written, or `bad_data`. A delete that is read wrongly shows samples again, or
// hides others.
import { expect, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { AppError } from '../../core/errors.ts';
import { parseTombstones, renderTombstones, type TombstoneTable } from './tombstone-file.ts';

const id = (n: number): string => n.toString(16).padStart(32, '0');

function tableOf(n: number): TombstoneTable {
  return {
    tenant: `tenant-${n}`,
    tombstones: Array.from({ length: n }, (_, i) => ({
      id: id(i + 1),
      createdAtMs: 1_700_000_000_000 + i,
      actor: 'someone "quoted" é',
      matchers: [
        { name: '__name__', operator: '=', value: `m${i}` },
        { name: 'job', operator: i % 2 === 0 ? '!~' : '=~', value: 'a|b\\.c' },
      ],
      minTimeMs: -(2 ** 51),
      maxTimeMs: i * 1000,
      blocks: [id(2 * i), id(2 * i + 1)],
    })),
    erased: n % 2 === 0 ? [] : [{ blockId: id(99), maxTimeMs: 5 }],
  };
}

const TEXTS = [0, 1, 2, 5].map((n) => renderTombstones(tableOf(n)));

test('R6: mutated deletes are those that were written, or an error', { timeout: 300_000 }, async () => {
  await fuzzBytes({
    name: 'tombstones',
    samples: TEXTS.map((text) => new Uint8Array(Buffer.from(text))),
    // Hardly anything passes, as is meant: the changes that put back what they took.
    answeredShareMin: 0.0001,
    read: (bytes) => {
      const text = Buffer.from(bytes).toString();
      try {
        const table = parseTombstones(text, 'deletes.json');
        expect(TEXTS).toContain(renderTombstones(table));
        return true;
      } catch (caught) {
        if (caught instanceof AppError && caught.code === 'bad_data') return false;
        throw caught;
      }
    },
  });
});
