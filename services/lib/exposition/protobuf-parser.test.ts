// What the protobuf parser reports, compared with what the text formats say of the same metrics.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ExposedFamily, exposition } from '../../../test/support/exposition-encoder.ts';
import { field, varint, varintField } from '../../../test/support/remote-write-encoder.ts';
import { AppError } from '../core/errors.ts';
import type { FloatHistogram } from '../model/float-histogram.ts';
import type { ExpositionSink } from './exposition-sink.ts';
import { type HistogramChoice, ProtobufParser } from './protobuf-parser.ts';
import { readExemplarLabels, readSeriesText } from './series-text.ts';

const CLASSIC: HistogramChoice = { native: false, classicToo: false, customBuckets: false };
const NATIVE: HistogramChoice = { ...CLASSIC, native: true };

interface Seen {
  readonly lines: string[];
  readonly histograms: FloatHistogram[];
  readonly metadata: string[];
}

/** Samples as lines: series, value, `@` time, `st@` start; exemplars on lines of their own. */
function parse(bytes: Uint8Array, choice = CLASSIC, parser = new ProtobufParser()): Seen {
  const seen: Seen = { lines: [], histograms: [], metadata: [] };
  let start = '';
  const describeSeries = (all: Uint8Array, from: number, to: number, value: string, timeMs: number): void => {
    const [, name, ...pairs] = readSeriesText(all, from, to);
    const labels: string[] = [];
    for (let i = 0; i < pairs.length; i += 2) labels.push(`${pairs[i]}=${JSON.stringify(pairs[i + 1])}`);
    const time = Number.isNaN(timeMs) ? '' : ` @${timeMs}`;
    seen.lines.push(`${name}{${labels.join(',')}} ${value}${time}${start}`);
    start = '';
  };
  const sink: ExpositionSink = {
    recognise: () => 0,
    sample: (all, from, to, value, timeMs) => describeSeries(all, from, to, String(value), timeMs),
    histogram: (all, from, to, parts, timeMs) => {
      describeSeries(all, from, to, `native ${parts.isFloat ? 'float' : 'integer'}`, timeMs);
      seen.histograms.push(parts.toHistogram());
    },
    exemplar: (all, from, to, value, timeMs) => {
      seen.lines.push(`# ${readExemplarLabels(all, from, to).join(' ')} ${value} ${timeMs}`);
    },
    startTime: (timeMs) => {
      start = ` st@${timeMs}`;
    },
    metadata: (kind, all, nameStart, nameEnd, textStart, textEnd) => {
      const text = (from: number, to: number): string => Buffer.from(all.subarray(from, to)).toString();
      seen.metadata.push(`${kind} ${text(nameStart, nameEnd)} ${text(textStart, textEnd)}`);
    },
  };
  parser.parse(bytes, bytes.length, choice, sink);
  return seen;
}

test('golden bytes, worked out by hand from the schema', () => {
  // MetricFamily {name "a", type GAUGE, metric {label {"b" "c"}, gauge {value 1}}}
  const body = Buffer.from(
    '0a01611801 2213 0a060a0162120163 1209 09000000000000f03f'.replaceAll(' ', ''),
    'hex',
  );
  const bytes = Buffer.concat([Buffer.from([body.length]), body]);
  expect(parse(bytes)).toEqual({ lines: ['a{b="c"} 1'], histograms: [], metadata: ['type a gauge'] });
});

const HISTOGRAM: ExposedFamily = {
  name: 'latency_seconds',
  help: 'How long.\nIn "seconds".',
  type: 'histogram',
  unit: 'seconds',
  metrics: [
    {
      labels: [['path', '/a"b\\c\n']],
      histogram: {
        count: 6,
        sum: 4.5,
        buckets: [
          [0.5, 1],
          [1, 4, { labels: [['trace', 'x']], value: 0.9, timestampMs: 1500 }],
          [1e6, 5, { labels: [['trace', 'y']], value: 7 }],
        ],
        schema: 1,
        zeroThreshold: 0.25,
        zeroCount: 1,
        positive: { spans: [[0, 2]], deltas: [2, 1] },
        startMs: 1234,
      },
    },
  ],
};

describe('simple types', () => {
  test('counter, gauge, untyped: labels, times, exemplars, start times', () => {
    const bytes = exposition([
      {
        name: 'a_total',
        help: 'As.',
        type: 'counter',
        metrics: [
          { value: 5, startMs: 1700, exemplar: { labels: [['id', '1']], value: 2, timestampMs: 99 } },
          { labels: [['x', 'y']], value: 6, timestampMs: 123, exemplar: { labels: [], value: 3 } },
        ],
      },
      { name: 'b', type: 'gauge', metrics: [{ value: -0.5 }] },
      { name: 'c', type: 'untyped', metrics: [{ value: Number.NaN }] },
      { name: 'empty', type: 'gauge', metrics: [] },
    ]);
    expect(parse(bytes)).toEqual({
      lines: [
        'a_total{} 5 st@1700',
        '# id 1 2 99',
        'a_total{x="y"} 6 @123',
        '#  3 NaN',
        'b{} -0.5',
        'c{} NaN',
      ],
      histograms: [],
      metadata: ['type a_total counter', 'help a_total As.', 'type b gauge', 'type c unknown'],
    });
  });

  test('summary', () => {
    const bytes = exposition([
      {
        name: 's',
        type: 'summary',
        metrics: [
          {
            labels: [['a', 'b']],
            summary: {
              count: 3,
              sum: 1.5,
              quantiles: [
                [0.5, 0.25],
                [1, Number.NaN],
              ],
              startMs: 7,
            },
          },
        ],
      },
    ]);
    expect(parse(bytes).lines).toEqual([
      's_count{a="b"} 3 st@7',
      's_sum{a="b"} 1.5 st@7',
      's{a="b",quantile="0.5"} 0.25 st@7',
      's{a="b",quantile="1.0"} NaN st@7',
    ]);
  });

  test('names and labels beyond the old character set', () => {
    const bytes = exposition([
      {
        name: 'http.requests',
        help: 'a\\b',
        type: 'gauge',
        metrics: [{ labels: [['zone.name', 'ü']], value: 1 }],
      },
    ]);
    const seen = parse(bytes);
    expect(seen.lines).toEqual(['http.requests{zone.name="ü"} 1']);
    expect(seen.metadata).toEqual(['type "http.requests" gauge', 'help "http.requests" a\\\\b']);
  });
});

describe('histograms', () => {
  const classicLines = [
    'latency_seconds_count{path="/a\\"b\\\\c\\n"} 6 st@1234',
    'latency_seconds_sum{path="/a\\"b\\\\c\\n"} 4.5 st@1234',
    'latency_seconds_bucket{path="/a\\"b\\\\c\\n",le="0.5"} 1 st@1234',
    'latency_seconds_bucket{path="/a\\"b\\\\c\\n",le="1.0"} 4 st@1234',
    '# trace x 0.9 1500',
    'latency_seconds_bucket{path="/a\\"b\\\\c\\n",le="1e+06"} 5 st@1234',
    '# trace y 7 NaN',
    'latency_seconds_bucket{path="/a\\"b\\\\c\\n",le="+Inf"} 6 st@1234',
  ];
  const nativeLines = [
    'latency_seconds{path="/a\\"b\\\\c\\n"} native integer st@1234',
    // Without a time it could not be told apart from the one before.
    '# trace x 0.9 1500',
  ];
  const bytes = exposition([HISTOGRAM]);

  test('classic only, when native ones are not asked for', () => {
    const seen = parse(bytes);
    expect(seen.lines).toEqual(classicLines);
    expect(seen.metadata).toEqual([
      'type latency_seconds histogram',
      'help latency_seconds How long.\\nIn \\"seconds\\".',
      'unit latency_seconds seconds',
    ]);
  });

  test('native, and classic too', () => {
    const seen = parse(bytes, NATIVE);
    expect(seen.lines).toEqual(nativeLines);
    expect(seen.histograms[0]).toMatchObject({
      schema: 1,
      zeroThreshold: 0.25,
      zeroCount: 1,
      count: 6,
      sum: 4.5,
      hint: 'unknown',
      positive: { indexes: [0, 1], counts: [2, 3] },
    });
    expect(parse(bytes, { ...NATIVE, classicToo: true }).lines).toEqual([...nativeLines, ...classicLines]);
    // A native histogram is not converted, and classic ones are as before.
    expect(parse(bytes, { ...NATIVE, customBuckets: true }).lines).toEqual(nativeLines);
  });

  test('custom buckets', () => {
    const seen = parse(bytes, { ...CLASSIC, customBuckets: true });
    expect(seen.lines).toEqual(nativeLines);
    expect(seen.histograms[0]).toMatchObject({
      schema: -53,
      customBounds: [0.5, 1, 1e6],
      count: 6,
      sum: 4.5,
      positive: { indexes: [0, 1, 2, 3], counts: [1, 3, 1, 1] },
    });
    expect(parse(bytes, { ...CLASSIC, customBuckets: true, classicToo: true }).lines).toEqual([
      ...nativeLines,
      ...classicLines,
    ]);
  });

  test('a histogram without native parts stays classic, one with nothing but a span is native', () => {
    const plain = { count: 2, sum: 1, buckets: [[1, 2]] as const };
    const family = (histogram: object): Buffer =>
      exposition([{ name: 'h', type: 'histogram', metrics: [{ histogram: { ...plain, ...histogram } }] }]);
    expect(parse(family({}), NATIVE).lines).toHaveLength(4);
    const empty = parse(family({ count: 0, positive: { spans: [[0, 0]] } }), NATIVE);
    expect(empty.lines).toEqual(['h{} native integer']);
    expect(parse(family({ zeroThreshold: 1, count: 0 }), NATIVE).lines).toEqual(['h{} native integer']);
  });

  test('floats; a gauge histogram says so; exemplars of the native part', () => {
    const bytesOfFloats = exposition([
      {
        name: 'g',
        type: 'gaugehistogram',
        metrics: [
          {
            histogram: {
              float: true,
              count: 2.5,
              sum: 1,
              zeroCount: 0.5,
              negative: { spans: [[3, 1]], counts: [2] },
              buckets: [[1, 2.5, { labels: [], value: 1, timestampMs: 5 }]],
              exemplars: [
                { labels: [['a', '1']], value: 1, timestampMs: 10 },
                { labels: [['a', '2']], value: 2 },
                { labels: [['a', '3']], value: 3, timestampMs: 30 },
              ],
            },
          },
        ],
      },
    ]);
    const seen = parse(bytesOfFloats, NATIVE);
    expect(seen.lines).toEqual(['g{} native float', '# a 1 1 10', '# a 3 3 30']);
    expect(seen.histograms[0]).toMatchObject({
      hint: 'gauge',
      count: 2.5,
      zeroCount: 0.5,
      negative: { indexes: [3], counts: [2] },
    });
    expect(parse(bytesOfFloats).lines).toEqual([
      'g_count{} 2.5',
      'g_sum{} 1',
      'g_bucket{le="1.0"} 2.5',
      '#  1 5',
      'g_bucket{le="+Inf"} 2.5',
    ]);
  });

  test('counts that descend are no custom buckets', () => {
    const bad = exposition([
      {
        name: 'h',
        type: 'histogram',
        metrics: [
          {
            histogram: {
              count: 2,
              sum: 1,
              buckets: [
                [1, 3],
                [2, 2],
              ],
            },
          },
        ],
      },
    ]);
    expect(() => parse(bad, { ...CLASSIC, customBuckets: true })).toThrow(/negative count -1/);
  });
});

describe('refusals', () => {
  const family = (...parts: Uint8Array[]): Buffer => {
    const body = Buffer.concat(parts);
    return Buffer.concat([varint(body.length), body]);
  };
  const gauge = field(4, field(2, ''));
  test.each<[string, Uint8Array, RegExp]>([
    ['text', Buffer.from('up 1\n'), /malformed protobuf exposition: .* passes its message/],
    ['a family without a name', family(varintField(3, 1), gauge), /invalid metric name ""/],
    ['a name that is not UTF-8', family(field(1, Buffer.from([0xff])), gauge), /invalid metric name/],
    [
      'an unknown type',
      family(field(1, 'a'), varintField(3, 6), gauge),
      /unknown metric type 6 of metric "a"/,
    ],
    [
      'help that is not UTF-8',
      family(field(1, 'a'), field(2, Buffer.from([0xc0])), gauge),
      /not valid UTF-8/,
    ],
    ['a unit that is no suffix', family(field(1, 'a'), field(5, 'b'), gauge), /unit "b" is not a suffix/],
    [
      'a name with another wire type',
      family(varintField(1, 1), gauge),
      /a field of MetricFamily with wire type 0/,
    ],
    [
      'a label value that is not UTF-8',
      family(field(1, 'a'), varintField(3, 1), field(4, field(1, field(2, Buffer.from([0xff]))))),
      /invalid UTF-8|expected/,
    ],
  ])('%s', (_, bytes, message) => {
    expect(() => parse(bytes)).toThrow(message);
  });

  test('the unit of a counter stands before _total', () => {
    const bytes = exposition([
      { name: 'a_bytes_total', type: 'counter', unit: 'bytes', metrics: [{ value: 1 }] },
    ]);
    expect(parse(bytes).lines).toEqual(['a_bytes_total{} 1']);
  });

  test('mutated bytes are refused by name or read as something; they never hang or read beside', () => {
    const base = exposition([
      HISTOGRAM,
      { name: 'c', type: 'counter', metrics: [{ value: 1, labels: [['a', 'b']], startMs: 5 }] },
      { name: 's', type: 'summary', metrics: [{ summary: { count: 1, sum: 1, quantiles: [[0.5, 1]] } }] },
    ]);
    const parser = new ProtobufParser();
    const choice = { native: true, classicToo: true, customBuckets: true };
    let refused = 0;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(base.length),
        (edits, cut) => {
          const bytes = Buffer.from(base.subarray(0, cut === 0 ? base.length : cut));
          for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
          try {
            parse(bytes, choice, parser);
          } catch (caught) {
            refused++;
            expect(caught).toBeInstanceOf(AppError);
            expect((caught as AppError).code).toBe('bad_data');
          }
        },
      ),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(500);
  });
});
