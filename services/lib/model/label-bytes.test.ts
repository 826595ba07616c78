import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../core/bytes.ts';
import { checkLabelBytes, compareLabelBytes } from './label-bytes.ts';
import { encodeLabels, Labels } from './labels.ts';

const text = fc.oneof(
  fc.string({ maxLength: 6 }),
  fc.constantFrom('a', 'b', 'ab', '\ue000', '\u{1F600}', 'x'.repeat(127), 'x'.repeat(128), 'x'.repeat(300)),
);
const labels = fc.array(fc.tuple(text, text), { maxLength: 4 }).map((entries) => Labels.from(entries));

/** The bytes of a set somewhere in a larger buffer. */
function place(set: Labels, padding: number): { bytes: Uint8Array; start: number; end: number } {
  const writer = new ByteWriter();
  for (let i = 0; i < padding; i++) writer.u8(0xaa);
  encodeLabels(set, writer);
  const end = writer.length;
  writer.u8(0xff);
  return { bytes: writer.take(), start: padding, end };
}

test('compares as Labels.compareTo does', () => {
  fc.assert(
    fc.property(labels, labels, fc.nat(3), (a, b, padding) => {
      const x = place(a, padding);
      const y = place(b, 1);
      const compared = compareLabelBytes(x.bytes, x.start, x.end, y.bytes, y.start, y.end);
      expect(Math.sign(compared)).toBe(Math.sign(a.compareTo(b)));
    }),
    { numRuns: 2000 },
  );
});

test('accepts what encodeLabels writes, and nothing that cannot be walked', () => {
  fc.assert(
    fc.property(labels, fc.nat(3), (set, padding) => {
      const { bytes, start, end } = place(set, padding);
      checkLabelBytes(bytes, start, end);
    }),
  );
  const bad = [
    [1],
    [1, 97],
    [1, 97, 0, 1, 97],
    [5, 97, 1, 98],
    [0x80, 0, 0],
    [0xff, 0xff, 0xff, 0xff],
    [1, 97, 0xff],
  ];
  for (const bytes of bad) {
    expect(() => checkLabelBytes(Uint8Array.from(bytes), 0, bytes.length), String(bytes)).toThrow(
      expect.objectContaining({ code: 'bad_data' }),
    );
  }
});
