// Expectations follow the bucket rules of Prometheus' HTTP API documents: 0 open left, 1 open right, 3 closed.
import { expect, test } from 'vitest';
import { CUSTOM_BUCKETS_SCHEMA, FloatHistogram } from '../../lib/model/float-histogram.ts';
import { writeHistogram } from './histogram-json.ts';
import { JsonBytes } from './json-bytes.ts';

function render(fields: Partial<FloatHistogram>): string {
  const json = new JsonBytes();
  writeHistogram(json, Object.assign(new FloatHistogram(), fields));
  return json.take().toString();
}

test('negative buckets, the zero bucket and positive ones, upwards; empty ones are left out', () => {
  const text = render({
    count: 12,
    sum: -1.5,
    zeroThreshold: 0.001,
    zeroCount: 2,
    positive: { indexes: [0, 1, 2], counts: [1, 0, 3] },
    negative: { indexes: [1, 2], counts: [4, 2] },
  });
  expect(text).toBe(
    '{"count":"12","sum":"-1.5","buckets":[[1,"-4","-2","2"],[1,"-2","-1","4"],[3,"-0.001","0.001","2"],' +
      '[0,"0.5","1","1"],[0,"2","4","3"]]}',
  );
});

test('a bucket that reaches into the zero bucket begins at its end', () => {
  const text = render({
    count: 2,
    sum: 1,
    zeroThreshold: 0.75,
    positive: { indexes: [0], counts: [1] },
    negative: { indexes: [0], counts: [1] },
  });
  expect(text).toBe('{"count":"2","sum":"1","buckets":[[1,"-1","-0.75","1"],[0,"0.75","1","1"]]}');
});

test('custom buckets: the first one is closed, the last one ends nowhere', () => {
  const text = render({
    schema: CUSTOM_BUCKETS_SCHEMA,
    count: 6,
    sum: 5,
    customBounds: [0.5, 1],
    positive: { indexes: [0, 1, 2], counts: [1, 2, 3] },
  });
  expect(text).toBe(
    '{"count":"6","sum":"5","buckets":[[3,"-Inf","0.5","1"],[0,"0.5","1","2"],[0,"1","+Inf","3"]]}',
  );
});

test('no buckets: no list', () => {
  expect(render({ count: 0, sum: Number.NaN })).toBe('{"count":"0","sum":"NaN"}');
});
