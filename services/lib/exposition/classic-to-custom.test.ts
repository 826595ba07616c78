// Classic histograms of text expositions as native ones: what becomes one histogram, and what does not. That real expositions come out
// as in Prometheus is test/integration/scrape-series.test.ts.
import { describe, expect, test } from 'vitest';
import { encodeUtf8 } from '../core/bytes.ts';
import { ClassicToCustom } from './classic-to-custom.ts';
import type { ExpositionSink } from './exposition-sink.ts';
import { parseOpenMetrics } from './openmetrics-parser.ts';
import { parseText } from './text-parser.ts';

/** What a sink was told, a line each. */
function convert(text: string, keepsClassic = false, parse = parseText): string[] {
  const told: string[] = [];
  const read = (bytes: Uint8Array, start: number, end: number): string =>
    Buffer.from(bytes.subarray(start, end)).toString();
  const at = (timestampMs: number): string => (Number.isNaN(timestampMs) ? '' : ` @${timestampMs}`);
  const sink: ExpositionSink = {
    recognise: () => 0,
    sample: (bytes, start, end, value, ms) => told.push(`${read(bytes, start, end)} ${value}${at(ms)}`),
    histogram: (bytes, start, end, parts, ms) => {
      const { customBounds, positive, count, sum } = parts;
      const counts = [...positive.counts.values.subarray(0, positive.counts.count)];
      const bounds = [...customBounds.values.subarray(0, customBounds.count)];
      parts.toHistogram();
      told.push(
        `${read(bytes, start, end)} [${bounds.join(' ')}] [${counts.join(' ')}] ${count} ${sum}${at(ms)}`,
      );
    },
    exemplar: (bytes, start, end, value, ms) => told.push(`# ${read(bytes, start, end)} ${value}${at(ms)}`),
    startTime: (ms) => told.push(`start ${ms}`),
    metadata: () => {},
  };
  const converter = new ClassicToCustom(sink, { keepsClassic });
  const bytes = encodeUtf8(text);
  converter.begin();
  parse(bytes, bytes.length, converter);
  converter.finish(bytes);
  return told;
}

const TYPE = '# TYPE h histogram\n';

test('one histogram per label set; other families pass', () => {
  const text = `# TYPE a counter\na 1\n${TYPE}h_bucket{x="1",le="0.5"} 1 5000
h_bucket{le="1",x="1"} 3 5000
h_bucket{x="1",le="+Inf"} 4 5000
h_sum{x="1"} 2.5 5000
h_count{x="1"} 4 5000
h_bucket{x="2",le="+Inf"} 7
h_count{x="2"} 7
h_created{x="2"} 9
# TYPE b gauge
b_bucket{le="1"} 1
`;
  const histograms = ['h{x="1"} [0.5 1] [1 2 1] 4 2.5 @5000', 'h{x="2"} [] [7] 7 0'];
  expect(convert(text)).toEqual(['a 1', ...histograms, 'h_created{x="2"} 9', 'b_bucket{le="1"} 1']);
  expect(convert(text, true)).toEqual([
    'a 1',
    ...['h_bucket{x="1",le="0.5"} 1 @5000', 'h_bucket{le="1",x="1"} 3 @5000'],
    ...['h_bucket{x="1",le="+Inf"} 4 @5000', 'h_sum{x="1"} 2.5 @5000', 'h_count{x="1"} 4 @5000'],
    histograms[0],
    ...['h_bucket{x="2",le="+Inf"} 7', 'h_count{x="2"} 7'],
    histograms[1],
    ...['h_created{x="2"} 9', 'b_bucket{le="1"} 1'],
  ]);
});

describe('what is given', () => {
  test.each<[string, string, string[]]>([
    ['no +Inf: the count is its', 'h_bucket{le="1"} 2\nh_count 3\n', ['h{} [1] [2 1] 3 0']],
    [
      'no count: that of the last bucket',
      'h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 5\n',
      ['h{} [1] [2 3] 5 0'],
    ],
    ['a count only', 'h_count 3\nh_sum 1\n', ['h{} [] [3] 3 1']],
    [
      'bounds in another order',
      'h_bucket{le="+Inf"} 5\nh_bucket{le="1"} 2\nh_bucket{le="0"} 1\n',
      ['h{} [0 1] [1 1 3] 5 0'],
    ],
    [
      'a bound twice: the first',
      'h_bucket{le="1"} 2\nh_bucket{le="1.0"} 4\nh_count 4\n',
      ['h{} [1] [2 2] 4 0'],
    ],
    ['floats', 'h_bucket{le="1"} 0.5\nh_count 1.5\n', ['h{} [1] [0.5 1] 1.5 0']],
    ['counts that fall', 'h_bucket{le="1"} 2\nh_bucket{le="2"} 1\nh_count 2\n', []],
    ['a negative count', 'h_bucket{le="1"} -2\nh_count 2\n', []],
    ['a count that is not the last bucket’s', 'h_bucket{le="+Inf"} 5\nh_count 4\n', []],
    ['a count of NaN beside a bucket', 'h_bucket{le="+Inf"} NaN\n', []],
    ['a bucket without a bound', 'h_bucket 5\n', ['h_bucket 5']],
    ['a bound that is none', 'h_bucket{le="x"} 5\n', ['h_bucket{le="x"} 5']],
    ['another name', 'hh_count 5\n', ['hh_count 5']],
    ['values with quotes', 'h_count{a="x\\"\\\\\\n,}"} 5\n', ['h{a="x\\"\\\\\\n,}"} [] [5] 5 0']],
  ])('%s', (_name, text, expected) => {
    expect(convert(TYPE + text)).toEqual(expected);
  });
});

test('OpenMetrics: exemplars and start times are the histogram’s; UTF-8 names', () => {
  const text = `# TYPE "h.x" histogram
{"h.x_bucket",le="1.0"} 1 st@3.5 # {id="a"} 0.5 4
{"h.x_bucket",le="+Inf"} 2 st@3.5 # {id="b"} 1.5
{"h.x_count"} 2 st@3.5
# EOF
`;
  const expected = ['start 3500', '{"h.x"} [1] [1 1] 2 0', '# {id="a"} 0.5 @4000', '# {id="b"} 1.5'];
  const noStart = text.replaceAll(' st@3.5', '');
  expect(convert(noStart, false, parseOpenMetrics)).toEqual(expected.slice(1));
});
