import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { FloatHistogram } from '../../model/float-histogram.ts';
import { Labels } from '../../model/labels.ts';
import type { PartialResult } from '../../promql/engine/parts/partial.ts';
import { decodePartialResult, encodePartialResult } from './partial-result.ts';

const HEAD: PartialResult = {
  part: 1,
  declined: '',
  rows: [],
  annotations: [{ isWarning: true, words: 'w', position: { start: 4, end: 6 } }],
  storageWarnings: [],
  samplesUsed: 5,
  samplesFetched: 4,
  samplesHeld: 2,
  samplesPeak: 3,
};

function histogramOf(sum: number): FloatHistogram {
  const histogram = new FloatHistogram();
  histogram.sum = sum;
  histogram.hint = 'gauge';
  return histogram;
}

const FULL: PartialResult = {
  ...HEAD,
  storageWarnings: ['partition 3 is missing', ''],
  rows: [
    {
      labels: Labels.from([['a', 'b']]),
      order: Labels.from([
        ['__name__', 'x'],
        ['a', 'b'],
      ]),
      dropName: true,
      tag: 0,
      timestampsMs: Float64Array.of(0, 60_000),
      values: Float64Array.of(1.5, -0),
      count: 2,
      histograms: undefined,
      columns: [Float64Array.of(1e-20, 0), Float64Array.of(3, 4)],
    },
    {
      labels: Labels.empty,
      order: Labels.empty,
      dropName: false,
      tag: 1,
      timestampsMs: Float64Array.of(60_000),
      values: Float64Array.of(0),
      count: 1,
      histograms: [histogramOf(7)],
      columns: [],
    },
  ],
};

test('a head is as its document says', () => {
  expect(encodePartialResult(HEAD).map((frame) => [...frame])).toEqual([
    [2, 0, 0, 0, 1, 0, 5, 4, 2, 3, 0, 1, 1, 4, 6, 1, 0x77],
  ]);
});

test('what is encoded is decoded', () => {
  const decoded = decodePartialResult(encodePartialResult(FULL));
  const plain = (partial: PartialResult): unknown => ({
    ...partial,
    rows: partial.rows.map((row) => ({
      ...row,
      labels: row.labels.key,
      order: row.order.key,
      values: [...row.values],
      histograms: row.histograms?.map((histogram) => [histogram?.sum, histogram?.hint]),
    })),
  });
  expect(plain(decoded)).toEqual(plain(FULL));
  expect(decodePartialResult(encodePartialResult({ ...HEAD, declined: 'because' })).declined).toBe('because');
});

test.each([
  ['no head', []],
  ['another version', [Uint8Array.of(9, 0, 0, 0)]],
  ['a peak below what is held', [Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0)]],
  [
    'an annotation that ends before it starts',
    [Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5, 4, 0)],
  ],
  ['bytes left over', [Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]],
  // A result of a query: rows have neither tag nor order.
  ['rows of a result', [encodePartialResult(HEAD)[0]!, Uint8Array.of(2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)]],
])('%s is refused', (_name, frames) => {
  expect(() => decodePartialResult(frames)).toThrow(AppError);
});

test('mutated bytes are decoded or refused', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(255)), { maxLength: 4 }),
      fc.nat(),
      (changes, cut) => {
        const frames = encodePartialResult(FULL).map((frame) => frame.slice());
        for (const [which, at, byte] of changes) {
          const frame = frames[which % frames.length]!;
          frame[at % frame.length] = byte;
        }
        const last = frames.at(-1)!;
        if (cut % 3 === 0) frames[frames.length - 1] = last.subarray(0, cut % last.length);
        try {
          const { rows } = decodePartialResult(frames);
          for (const { count, values } of rows) expect(values.length).toBe(count);
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
          expect((caught as AppError).code).toBe('bad_data');
        }
      },
    ),
    { numRuns: 500 },
  );
});
