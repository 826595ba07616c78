// Histograms, exemplars and start times in requests of both versions: what arrives in the columns, and what is refused.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ExemplarFields,
  exemplarV1,
  field,
  type HistogramFields,
  histogram,
  labelV1,
  type Pair,
  requestV2,
  type SeriesV2,
  sample,
  varintField,
} from '../../../../test/support/remote-write-encoder.ts';
import { ByteReader } from '../../core/bytes.ts';
import {
  decodeStartTime,
  EXTRA_EXEMPLAR,
  EXTRA_HISTOGRAM,
  EXTRA_START_TIME,
} from '../../model/extra-columns.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { decodeHistogram, isStaleHistogram } from '../../model/histogram-codec.ts';
import { decodeLabels, Labels } from '../../model/labels.ts';
import { STALE_NAN_HIGH, STALE_NAN_LOW } from '../../model/sample-columns.ts';
import { RemoteWriteColumns } from './remote-write-columns.ts';
import type { DecodedWrite } from './remote-write-context.ts';
import { RemoteWriteDecoder } from './remote-write-decoder.ts';

const NAME: Pair = ['__name__', 'm'];

/** A series as messages print it. */
function text(metric: string, ...labels: Pair[]): string {
  return Labels.from([['__name__', metric], ...labels]).toString();
}

/** Both versions from the same description. */
function encode(version: 1 | 2, series: readonly SeriesV2[]): Buffer {
  if (version === 2) return requestV2(series);
  return Buffer.concat(
    series.map(({ labels, samples = [], histograms = [], exemplars = [] }) =>
      field(
        1,
        Buffer.concat([
          ...labels.map(labelV1),
          ...samples.map(([value, time]) => field(2, sample(value, time))),
          ...exemplars.map((each) => field(3, exemplarV1(each))),
          ...histograms.map((each) => field(4, histogram(each))),
        ]),
      ),
    ),
  );
}

function create(version: 1 | 2) {
  const series: string[] = [];
  const decoder = new RemoteWriteDecoder(
    { cachedSeriesMax: 1000, cachedMetricsMax: 100, hashSeed: 7, metadataResendMs: 60_000 },
    {
      resolver: {
        resolveBytes: (bytes, start, end) => {
          const name = decodeLabels(bytes, start, end).toString();
          const known = series.indexOf(name);
          return known >= 0 ? known : series.push(name) - 1;
        },
      },
    },
  );
  const columns = new RemoteWriteColumns(2);
  const decode = (...sent: SeriesV2[]): DecodedWrite => {
    const body = encode(version, sent);
    return decoder.decode(version, body, body.length, columns, 1_000_000);
  };
  return { decoder, columns, decode, extras: () => readExtras(columns, series) };
}

interface Seen {
  readonly series: string;
  readonly at: number;
  readonly histogram?: FloatHistogram;
  readonly kind?: string;
  readonly startMs?: number;
  readonly exemplar?: string;
}

function readExtras({ extras }: RemoteWriteColumns, names: readonly string[]): Seen[] {
  const seen: Seen[] = [];
  if (extras === undefined) return seen;
  const { count, bytes, starts, ends, kinds } = extras;
  for (let i = 0; i < count; i++) {
    const own = { series: names[extras.references[i]!]!, at: extras.timestampsMs[i]! };
    const start = starts[i]!;
    if (kinds[i] === EXTRA_HISTOGRAM) seen.push({ ...own, ...decodeHistogram(bytes, start, ends[i]!) });
    else if (kinds[i] === EXTRA_START_TIME) {
      seen.push({ ...own, startMs: decodeStartTime(bytes, start, ends[i]!) });
    } else {
      expect(kinds[i]).toBe(EXTRA_EXEMPLAR);
      const value = new ByteReader(bytes, start, ends[i]).f64();
      seen.push({ ...own, exemplar: `${decodeLabels(bytes, start + 8, ends[i]!).toString()} ${value}` });
    }
  }
  return seen;
}

const INTEGER: HistogramFields = {
  timestampMs: 1000,
  count: 15,
  sum: 12.5,
  schema: 1,
  zeroThreshold: 0.001,
  zeroCount: 5,
  positive: {
    spans: [
      [2, 2],
      [2, 1],
    ],
    deltas: [1, 1, 2],
  },
  negative: { spans: [[-1, 1]], deltas: [3] },
};

describe.each([1, 2] as const)('version %i.0', (version) => {
  test('an integer histogram', () => {
    const { decode, extras, columns } = create(version);
    const decoded = decode({ labels: [NAME], histograms: [INTEGER] });
    expect(decoded).toMatchObject({ samples: 0, histograms: 1, refusedHistograms: 0, series: 1 });
    expect(columns.count).toBe(0);
    const [seen] = extras();
    expect(seen).toMatchObject({ series: text('m'), at: 1000, kind: 'integer' });
    expect(seen!.histogram).toMatchObject({
      schema: 1,
      zeroThreshold: 0.001,
      zeroCount: 5,
      count: 15,
      sum: 12.5,
      hint: 'unknown',
      positive: { indexes: [2, 3, 6], counts: [1, 2, 4] },
      negative: { indexes: [-1], counts: [3] },
    });
  });

  test('a float histogram, with a hint', () => {
    const { decode, extras } = create(version);
    decode({
      labels: [NAME],
      histograms: [
        {
          ...INTEGER,
          float: true,
          count: 3.5,
          zeroCount: 0.5,
          positive: { spans: [[-4, 2]], counts: [1.25, 1.75] },
          negative: { spans: [] },
          resetHint: 3,
        },
      ],
    });
    expect(extras()[0]).toMatchObject({
      kind: 'float',
      histogram: {
        hint: 'gauge',
        count: 3.5,
        zeroCount: 0.5,
        positive: { indexes: [-4, -3], counts: [1.25, 1.75] },
      },
    });
  });

  test.each([
    [0, 'unknown'],
    [1, 'reset'],
    [2, 'unknown'],
    [3, 'gauge'],
    [9, 'unknown'],
  ])('reset hint %i is %s', (resetHint, hint) => {
    const { decode, extras } = create(version);
    decode({ labels: [NAME], histograms: [{ ...INTEGER, resetHint }] });
    expect(extras()[0]!.histogram!.hint).toBe(hint);
  });

  test('custom buckets', () => {
    const { decode, extras } = create(version);
    decode({
      labels: [NAME],
      histograms: [
        {
          timestampMs: 5,
          count: 6,
          sum: 1,
          schema: -53,
          customValues: [0.5, 1, 2],
          positive: { spans: [[1, 3]], deltas: [1, 1, 1] },
        },
      ],
    });
    expect(extras()[0]!.histogram).toMatchObject({
      schema: -53,
      customBounds: [0.5, 1, 2],
      positive: { indexes: [1, 2, 3], counts: [1, 2, 3] },
    });
  });

  test('counts that are not packed', () => {
    const { columns, decoder } = create(version);
    const body = histogram(INTEGER, false);
    const request =
      version === 1
        ? field(1, Buffer.concat([labelV1(NAME), field(4, body)]))
        : Buffer.concat([
            ...['', '__name__', 'm'].map((symbol) => field(4, symbol)),
            field(5, Buffer.concat([field(1, Buffer.from([1, 2])), field(3, body)])),
          ]);
    decoder.decode(version, request, request.length, columns, 0);
    const { extras } = columns;
    expect(decodeHistogram(extras!.bytes, 0, extras!.ends[0]!).histogram.positive.counts).toEqual([1, 2, 4]);
  });

  test('the staleness marker of a histogram keeps its bits', () => {
    const { decode, extras } = create(version);
    const stale = { high: STALE_NAN_HIGH, low: STALE_NAN_LOW };
    decode({ labels: [NAME], histograms: [{ timestampMs: 9, count: 0, sum: stale }] });
    expect(isStaleHistogram(extras()[0]!.histogram!)).toBe(true);
  });

  test('an invalid histogram is refused by name, the rest of the series stays', () => {
    const { decode, extras, columns } = create(version);
    const decoded = decode(
      {
        labels: [
          ['__name__', 'first'],
          ['a', '1'],
        ],
        histograms: [INTEGER, { ...INTEGER, count: 14 }],
        samples: [[1, 7]],
      },
      { labels: [NAME], histograms: [{ ...INTEGER, schema: -9 }] },
    );
    expect(decoded).toMatchObject({ samples: 1, refusedSamples: 0, histograms: 3, refusedHistograms: 2 });
    expect(decoded.firstRefusal).toBe(
      `invalid native histogram: its buckets hold 15 observations, its count is 14 (series ${text('first', ['a', '1'])})`,
    );
    expect(extras().map(({ series }) => series)).toEqual([text('first', ['a', '1'])]);
    expect(columns.count).toBe(1);
  });

  test('the series is named too when it is known already', () => {
    const { decode } = create(version);
    decode({ labels: [NAME], samples: [[1, 7]] });
    const decoded = decode({ labels: [NAME], histograms: [{ ...INTEGER, count: 16 }] });
    expect(decoded.firstRefusal).toMatch(/its count is 16 \(series .*m.*\)$/);
  });

  test('a refused series takes its extras with it', () => {
    const { decode, extras } = create(version);
    const exemplar: ExemplarFields = { labels: [['trace', 'x']], value: 1, timestampMs: 4 };
    const long: SeriesV2 = {
      labels: [NAME, ['a', 'x'.repeat(70_000)]],
      samples: [[1, 4]],
      histograms: [INTEGER],
      exemplars: [exemplar],
    };
    const decoded = decode({ labels: [NAME], exemplars: [exemplar] }, long, {
      labels: [NAME],
      histograms: [INTEGER],
    });
    expect(decoded).toMatchObject({
      refusedSamples: 1,
      refusedHistograms: 1,
      refusedExemplars: 1,
      exemplars: 2,
    });
    expect(extras().map(({ at }) => at)).toEqual([4, 1000]);
  });

  test('exemplars, alone or beside samples', () => {
    const { decode, extras } = create(version);
    const decoded = decode(
      {
        labels: [NAME],
        exemplars: [
          {
            labels: [
              ['span', 'b'],
              ['id', 'a'],
            ],
            value: 0.25,
            timestampMs: 4,
          },
        ],
      },
      { labels: [NAME], samples: [[1, 7]], exemplars: [{ labels: [], value: -0, timestampMs: -5 }] },
    );
    expect(decoded).toMatchObject({ exemplars: 2, refusedExemplars: 0, samples: 1 });
    expect(extras()).toEqual([
      { series: text('m'), at: 4, exemplar: '{id="a", span="b"} 0.25' },
      { series: text('m'), at: -5, exemplar: '{} 0' },
    ]);
  });

  test.each<[string, readonly Pair[]]>([
    ['more than 128 characters', [['trace', 'ü'.repeat(124)]]],
    [
      'a label twice',
      [
        ['a', '1'],
        ['a', '2'],
      ],
    ],
  ])('an exemplar with %s is left out, and nothing else is', (_, labels) => {
    const { decode, extras } = create(version);
    const decoded = decode({
      labels: [NAME],
      exemplars: [
        { labels, value: 1, timestampMs: 4 },
        { labels: [['trace', 'ü'.repeat(123)]], value: 2, timestampMs: 5 },
      ],
    });
    expect(decoded).toMatchObject({ exemplars: 2, refusedExemplars: 1, firstRefusal: undefined });
    expect(extras().map(({ at }) => at)).toEqual([5]);
  });

  test('a histogram of more buckets than the limit is refused', () => {
    const { decode } = create(version);
    const deltas = [1, ...Array.from({ length: 16_384 }, () => 0)];
    const decoded = (): unknown =>
      decode({ labels: [NAME], histograms: [{ ...INTEGER, positive: { spans: [[0, 16_385]], deltas } }] });
    expect(decoded).toThrow(/more than 16384 buckets/);
  });

  test('more exemplars than a request may hold', () => {
    const { columns, decoder } = create(version);
    const many = Buffer.alloc(2 * ((1 << 20) + 1), Buffer.from([(version === 1 ? 3 : 4) * 8 + 2, 0]));
    const request =
      version === 1
        ? field(1, Buffer.concat([labelV1(NAME), many]))
        : Buffer.concat([field(4, ''), field(5, many)]);
    expect(() => decoder.decode(version, request, request.length, columns, 0)).toThrow(
      /send fewer per request/,
    );
  });

  test('any histogram: what was sent is what arrives', () => {
    const side = fc
      .array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 3 })), { maxLength: 4 })
      .chain((spans) => {
        const buckets = spans.reduce((sum, [, length]) => sum + length, 0);
        return fc.record({
          spans: fc.constant(spans.map(([gap, length]): [number, number] => [gap + 1, length])),
          counts: fc.array(fc.integer({ min: 1, max: 2 ** 40 }), { minLength: buckets, maxLength: buckets }),
        });
      });
    fc.assert(
      fc.property(
        side,
        side,
        fc.boolean(),
        fc.integer({ min: -4, max: 8 }),
        fc.double({ noNaN: true }),
        fc.nat(1000),
        (positive, negative, float, schema, sum, zeroCount) => {
          const { decode, extras } = create(version);
          const total = (counts: readonly number[]): number => counts.reduce((all, each) => all + each, 0);
          const encodeSide = ({ spans, counts }: typeof positive) => ({
            spans,
            ...(float ? { counts } : { deltas: counts.map((each, i) => each - (counts[i - 1] ?? 0)) }),
          });
          const count = total(positive.counts) + total(negative.counts) + zeroCount;
          decode({
            labels: [NAME],
            histograms: [
              {
                timestampMs: 1,
                count,
                sum,
                float,
                schema,
                zeroCount,
                positive: encodeSide(positive),
                negative: encodeSide(negative),
              },
            ],
          });
          const got = extras()[0]!.histogram!;
          expect([got.schema, got.sum, got.count, got.zeroCount]).toEqual([schema, sum, count, zeroCount]);
          expect(got.positive).toEqual({ indexes: indexesOf(positive.spans), counts: positive.counts });
          expect(got.negative).toEqual({ indexes: indexesOf(negative.spans), counts: negative.counts });
        },
      ),
    );
  });
});

function indexesOf(spans: readonly (readonly [number, number])[]): number[] {
  const indexes: number[] = [];
  let next = 0;
  for (const [offset, length] of spans) {
    next += offset;
    for (let i = 0; i < length; i++) indexes.push(next++);
  }
  return indexes;
}

describe('start times of 2.0', () => {
  test('are passed on when they change, and again after a failure', () => {
    const { decode, decoder, extras } = create(2);
    const at = (time: number, startMs: number): SeriesV2 => ({
      labels: [NAME],
      samples: [[1, time, startMs]],
    });
    decode(at(10, 5));
    expect(extras()).toEqual([{ series: text('m'), at: 10, startMs: 5 }]);
    decode(at(20, 5));
    expect(extras()).toEqual([]);
    decode(at(30, 25));
    expect(extras()).toEqual([{ series: text('m'), at: 30, startMs: 25 }]);
    decoder.forgetNews();
    decode(at(40, 25));
    expect(extras()).toEqual([{ series: text('m'), at: 40, startMs: 25 }]);
  });

  test('several in one series, and those of histograms', () => {
    const { decode, extras } = create(2);
    decode({
      labels: [NAME],
      samples: [
        [1, 10, 5],
        [2, 20, 5],
        [1, 30, 25],
      ],
    });
    expect(extras().map(({ at, startMs }) => [at, startMs])).toEqual([
      [10, 5],
      [30, 25],
    ]);
    // One without a start ends the one before it.
    decode({
      labels: [NAME],
      samples: [
        [1, 40],
        [1, 50, 35],
        [1, 60],
        [1, 70],
        [1, 80, 35],
      ],
    });
    expect(extras().map(({ at, startMs }) => [at, startMs])).toEqual([
      [50, 35],
      [60, 0],
      [80, 35],
    ]);
    decode({ labels: [['__name__', 'h']], histograms: [{ ...INTEGER, startMs: 900 }] });
    expect(extras().map(({ series, at, startMs }) => [series, at, startMs])).toEqual([
      [text('h'), 1000, undefined],
      [text('h'), 1000, 900],
    ]);
  });

  test('a field that 1.0 does not have is no start time there', () => {
    const { columns, decoder } = create(1);
    const body = field(
      1,
      Buffer.concat([labelV1(NAME), field(2, Buffer.concat([sample(1, 10), varintField(3, 5)]))]),
    );
    decoder.decode(1, body, body.length, columns, 0);
    expect(columns.count).toBe(1);
    expect(columns.extras).toBeUndefined();
  });
});
