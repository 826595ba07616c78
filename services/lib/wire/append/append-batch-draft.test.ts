import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { draftAppendBatch, encodeAppendBatch, putDefinition } from './append-batch.ts';

test('golden bytes, worked out from docs/append-batch.md', () => {
  const draft = draftAppendBatch([{ partition: 7, samples: 1 }], 1, 1, Uint8Array.of(0xaa, 0xbb, 0xcc), 2);
  draft.references[0] = 5;
  draft.timestampsMs[0] = 1;
  draft.values[0] = 2;
  expect(draft.bytes.toString('hex')).toBe(
    '01000000' + // version
      '01000000' + // sections
      '01000000' + // samples
      '01000000' + // definitions
      '02000000' + // definition bytes
      '00000000' +
      '0700000001000000' + // partition 7, one sample
      '05000000' + // reference
      '00000000' + // padding
      '000000000000f03f' + // timestamp 1
      '0000000000000040' + // value 2
      'aabb',
  );
});

test('a filled draft is the batch that encodeAppendBatch writes', () => {
  const section = fc.record({
    gap: fc.integer({ min: 1, max: 50 }),
    samples: fc.integer({ min: 1, max: 9 }),
  });
  fc.assert(
    fc.property(fc.array(section, { maxLength: 12 }), fc.nat(5), (gaps, definitions) => {
      let partition = -1;
      const sections = gaps.map(({ gap, samples }) => {
        partition += gap;
        return { partition, samples };
      });
      const sampleCount = sections.reduce((sum, { samples }) => sum + samples, 0);
      const columns = {
        sampleCount,
        sectionPartitions: Uint32Array.from(sections, (one) => one.partition),
        sectionSamples: Uint32Array.from(sections, ({ samples }) => samples),
        references: Uint32Array.from({ length: sampleCount }, (_, i) => i * 3),
        timestampsMs: Float64Array.from({ length: sampleCount }, (_, i) => 1_700_000_000_000 + i),
        values: Float64Array.from({ length: sampleCount }, (_, i) => i / 7),
      };
      const defined = new ByteWriter();
      const labels = new TextEncoder().encode('..labels..');
      for (let i = 0; i < definitions; i++) putDefinition(defined, i, i, labels, 2, 8);
      const expected = new ByteWriter();
      encodeAppendBatch(expected, columns, definitions, defined.take());
      const draft = draftAppendBatch(sections, sampleCount, definitions, defined.bytes, defined.length);
      draft.references.set(columns.references);
      draft.timestampsMs.set(columns.timestampsMs);
      draft.values.set(columns.values);
      expect(Buffer.compare(draft.bytes, expected.take())).toBe(0);
    }),
  );
});
