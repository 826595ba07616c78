import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { describeHistogram, histograms } from '../../../../test/support/histograms.ts';
import { field, varintField } from '../../../../test/support/remote-write-encoder.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { isStaleHistogram } from '../../model/histogram-codec.ts';
import { decodeHistogramChunk } from '../../tsdb/import/histogram-chunk.ts';
import { encodeHistogramChunk, spansOf } from './prometheus-histogram-chunk.ts';
import { readReadRequest } from './remote-read-request.ts';

/** Empty buckets at the ends say nothing, and a chunk's hint is not each histogram's. */
const plain = (histogram: FloatHistogram) =>
  describeHistogram(histogram.copy().compact().withHint('unknown'));

test('a chunk of one histogram is read as what it was, by the reader of Prometheus files', () => {
  const times = fc.oneof(
    fc.constantFrom(0, -1, 1, 4, -4, 8192),
    fc.integer({ min: -(2 ** 50), max: 2 ** 50 }),
  );
  fc.assert(
    fc.property(histograms, times, ({ histogram }, timeMs) => {
      // The reader refuses what no sender may send; a staleness marker has no buckets to compare.
      fc.pre(!isStaleHistogram(histogram));
      const chunk = encodeHistogramChunk(timeMs, histogram);
      const found: unknown[] = [];
      try {
        decodeHistogramChunk(chunk, 0, chunk.length, true, (foundMs, parts) => {
          found.push(foundMs, plain(parts.toHistogram()));
        });
      } catch (caught) {
        fc.pre((caught as { code?: string }).code !== 'bad_data');
        throw caught;
      }
      expect(found).toEqual([timeMs, plain(histogram)]);
    }),
    { numRuns: 500, maxSkipsPerRun: 1000 },
  );
});

test('spans: gaps from the end of the one before', () => {
  expect(spansOf({ indexes: [], counts: [] })).toEqual([]);
  expect(spansOf({ indexes: [-2, -1, 3, 4, 5, 9], counts: [] })).toEqual([
    [-2, 2],
    [3, 3],
    [3, 1],
  ]);
});

const request = Buffer.concat([
  field(
    1,
    Buffer.concat([
      varintField(1, -5),
      varintField(2, 1_700_000_000_000),
      field(3, Buffer.concat([varintField(1, 3), field(2, 'job'), field(3, 'a|ü')])),
      field(4, Buffer.concat([varintField(1, 15_000), field(2, 'rate')])),
    ]),
  ),
  field(2, Buffer.of(1, 0)),
  varintField(2, 9),
]);

test('a request: queries, hints passed over, response types packed or not', () => {
  expect(readReadRequest(request, request.length)).toEqual({
    queries: [
      {
        matchers: [{ name: 'job', operator: '!~', value: 'a|ü' }],
        minTimeMs: -5,
        maxTimeMs: 1_700_000_000_000,
      },
    ],
    responseTypes: [1, 0, 9],
  });
});

test('mutated requests are read, or refused by name', async () => {
  await fuzzBytes({
    name: 'remote read request',
    samples: [request],
    mutationsMax: 20_000,
    answeredShareMin: 0.01,
    read: (bytes) => {
      try {
        readReadRequest(bytes, bytes.length);
        return true;
      } catch (caught) {
        expect(caught).toMatchObject({ code: 'bad_data' });
        return false;
      }
    },
  });
});
