import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import { HeldTable } from '../writes/held-table.ts';
import { decodeWriteRecord, encodeHeld, putSamplesPayload, putWriteHead } from './write-records.ts';

const ORIGIN = '00000000000000ab';

// From lib/tsdb/docs/format/log-records.md.
const GOLDEN = `00${'30'.repeat(14)}6162${'03'}${'01'}${'0201'}${'04000000'}${'01740000'}`;

test('golden bytes', () => {
  const out = new ByteWriter();
  putWriteHead(out, { origin: ORIGIN, write: 3, partitions: [2], steps: [1] });
  putSamplesPayload(out, () => {
    out.string('t');
    out.varint(0);
    out.varint(0);
  });
  expect(Buffer.from(out.take()).toString('hex')).toBe(GOLDEN);
  const logged = decodeWriteRecord(Buffer.from(GOLDEN, 'hex'), 0, GOLDEN.length / 2);
  if ('writes' in logged) throw new Error('a write was expected');
  const { origin, write, partitions, steps, samples, extras } = logged;
  expect({ origin, write, partitions, steps }).toEqual({
    origin: ORIGIN,
    write: 3,
    partitions: [2],
    steps: [1],
  });
  expect([samples.string(), samples.remaining, extras]).toEqual(['t', 2, undefined]);
});

test('what is held comes back with its flag', () => {
  const table = new HeldTable();
  table.take({ origin: ORIGIN, write: 7, partitions: [0, 5], steps: [7, 2] }, 3);
  table.isRecovering = true;
  const out = new ByteWriter();
  encodeHeld(out, table);
  const logged = decodeWriteRecord(out.take(), 0, out.length);
  if (!('writes' in logged)) throw new Error('a list was expected');
  expect(logged.isRecovering).toBe(true);
  expect(logged.writes.intervalsOf(ORIGIN, 0)).toEqual([0, 7]);
  expect(logged.writes.intervalsOf(ORIGIN, 5)).toEqual([5, 7]);
});

test('changed bytes are refused or read, and nothing else', () => {
  const golden = Buffer.from(GOLDEN, 'hex');
  fc.assert(
    fc.property(fc.nat(golden.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bytes = Buffer.from(golden);
      bytes[at]! ^= flip;
      try {
        decodeWriteRecord(bytes, 0, bytes.length);
      } catch (caught) {
        expect(caught).toBeInstanceOf(AppError);
        expect((caught as AppError).code).toBe('bad_data');
      }
    }),
    { numRuns: 1000 },
  );
});

test('an origin is forgotten when the log has nothing of it, and the oldest when there are too many', () => {
  const table = new HeldTable();
  table.take({ origin: ORIGIN, write: 1, partitions: [0], steps: [1] }, 3);
  table.forgetBefore(3);
  expect(table.held.newestOf(ORIGIN, 0)).toBe(1);
  table.forgetBefore(4);
  expect(table.held.isEmpty).toBe(true);
  for (let i = 0; i < 4100; i++) {
    const origin = i.toString(16).padStart(16, '0');
    table.take({ origin, write: 1, partitions: [0], steps: [1] }, i + 1);
  }
  expect(table.held.originCount).toBe(4096);
  expect(table.held.newestOf('0'.repeat(16), 0)).toBe(0);
});
