import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  doubleField,
  field,
  labelV1,
  metadataV1,
  type Pair,
  sample,
  seriesV1,
  type Value,
  varint,
  varintField,
} from '../../../../test/support/remote-write-encoder.ts';
import { AppError } from '../../core/errors.ts';
import { decodeLabels } from '../../model/labels.ts';
import { RemoteWriteColumns } from './remote-write-columns.ts';
import type { DecodedWrite } from './remote-write-context.ts';
import { RemoteWriteDecoder } from './remote-write-decoder.ts';

/** Gives references in order of appearance; `refuse` makes it refuse series by their text. */
class Resolver {
  readonly series: string[] = [];
  calls = 0;
  refuse: ((series: string) => AppError | undefined) | undefined;

  resolveBytes(bytes: Uint8Array, start: number, end: number): number {
    this.calls++;
    const text = decodeLabels(bytes, start, end).toString();
    const error = this.refuse?.(text);
    if (error !== undefined) throw error;
    const known = this.series.indexOf(text);
    return known >= 0 ? known : this.series.push(text) - 1;
  }
}

function create(options: { readonly cachedSeriesMax?: number } = {}) {
  const resolver = new Resolver();
  const decoder = new RemoteWriteDecoder(
    { cachedSeriesMax: 1000, cachedMetricsMax: 100, hashSeed: 7, metadataResendMs: 60_000, ...options },
    { resolver },
  );
  const columns = new RemoteWriteColumns(2);
  const decode = (body: Uint8Array, nowMs = 1_000_000): DecodedWrite =>
    decoder.decode(1, body, body.length, columns, nowMs);
  /** Samples as [series, timestamp, high word, low word]. */
  const rows = (): unknown[] =>
    Array.from({ length: columns.count }, (_, i) => [
      resolver.series[columns.references[i]!],
      columns.timestampsMs[i],
      columns.valueWords[2 * i + 1],
      columns.valueWords[2 * i],
    ]);
  return { resolver, decoder, columns, decode, rows };
}

const NAME: Pair = ['__name__', 'm'];
const ONE = [0x3ff00000, 0] as const;

test('golden bytes, worked out by hand from the schema', () => {
  const { decode, rows } = create();
  // WriteRequest { timeseries { labels {name "__name__" value "m"} samples {value 1 timestamp 1700000000000} } }
  const body = Buffer.from(
    '0a21' + // field 1, 33 bytes
      '0a0d' + // labels, 13 bytes
      '0a085f5f6e616d655f5f' + // name "__name__"
      '12016d' + // value "m"
      '1210' + // samples, 16 bytes
      '09000000000000f03f' + // value 1.0
      '1080d095ffbc31', // timestamp 1700000000000
    'hex',
  );
  const decoded = decode(body);
  expect(decoded).toMatchObject({ samples: 1, series: 1, refusedSamples: 0, metadata: [] });
  expect(rows()).toEqual([['m', 1_700_000_000_000, ...ONE]]);
});

describe('forms that protobuf allows', () => {
  const t = 1_700_000_000_000;
  test.each<[string, Buffer, unknown[]]>([
    [
      'no value is zero',
      field(1, Buffer.concat([labelV1(NAME), field(2, varintField(2, t))])),
      [['m', t, 0, 0]],
    ],
    [
      'no timestamp is zero',
      field(1, Buffer.concat([labelV1(NAME), field(2, doubleField(1, 1))])),
      [['m', 0, ...ONE]],
    ],
    ['negative timestamp', seriesV1([NAME], [[1, -5]]), [['m', -5, ...ONE]]],
    ['small timestamp', seriesV1([NAME], [[1, 127]]), [['m', 127, ...ONE]]],
    ['2^53 - 1', seriesV1([NAME], [[1, Number.MAX_SAFE_INTEGER]]), [['m', Number.MAX_SAFE_INTEGER, ...ONE]]],
    [
      'fields of a sample in the other order',
      field(
        1,
        Buffer.concat([labelV1(NAME), field(2, Buffer.concat([varintField(2, t), doubleField(1, 1)]))]),
      ),
      [['m', t, ...ONE]],
    ],
    [
      'the last of two values counts',
      field(1, Buffer.concat([labelV1(NAME), field(2, Buffer.concat([doubleField(1, 2), sample(1, t)]))])),
      [['m', t, ...ONE]],
    ],
    [
      'samples before labels',
      field(1, Buffer.concat([field(2, sample(1, t)), labelV1(NAME), labelV1(['a', 'b'])])),
      [['m{a="b"}', t, ...ONE]],
    ],
    [
      'labels apart from each other',
      field(1, Buffer.concat([labelV1(NAME), field(2, sample(1, t)), labelV1(['a', 'b'])])),
      [['m{a="b"}', t, ...ONE]],
    ],
    [
      'labels out of order',
      seriesV1([['z', '1'], NAME, ['a', '2']], [[1, t]]),
      [['m{a="2", z="1"}', t, ...ONE]],
    ],
    ['an empty label value is no label', seriesV1([NAME, ['a', '']], [[1, t]]), [['m', t, ...ONE]]],
    [
      'value before name within a label',
      field(
        1,
        Buffer.concat([
          field(1, Buffer.concat([field(2, 'm'), field(1, '__name__')])),
          field(2, sample(1, t)),
        ]),
      ),
      [['m', t, ...ONE]],
    ],
    [
      'over-long varints for tags and lengths',
      field(
        1,
        Buffer.concat([
          Buffer.from([0x8a, 0x00]),
          Buffer.from([0x8d, 0x00]),
          field(1, '__name__'),
          field(2, 'm'),
          Buffer.from([0x92, 0x80, 0x00, 0x90, 0x00]),
          sample(1, t),
        ]),
      ),
      [['m', t, ...ONE]],
    ],
    [
      'unknown fields of every wire type, groups within groups',
      Buffer.concat([
        varintField(9, 77),
        field(
          1,
          Buffer.concat([
            labelV1(NAME),
            doubleField(20, 5),
            Buffer.from([0xfd, 0x01, 1, 2, 3, 4]),
            Buffer.from([0xf3, 0x01, 0xfb, 0x01, 0x08, 0x05, 0xfc, 0x01, 0xf4, 0x01]),
            field(2, Buffer.concat([sample(1, t), field(9, 'zzz')])),
            field(1000, 'abc'),
          ]),
        ),
        field(2, 'reserved'),
      ]),
      [['m', t, ...ONE]],
    ],
    [
      'a label of 200 bytes',
      seriesV1([NAME, ['a', 'b'.repeat(200)]], [[1, t]]),
      [[`m{a="${'b'.repeat(200)}"}`, t, ...ONE]],
    ],
    ['no series', Buffer.alloc(0), []],
    ['a series without samples', seriesV1([NAME], []), []],
  ])('%s', (_name, body, expected) => {
    const { decode, rows } = create();
    decode(body);
    expect(rows()).toEqual(expected);
  });
});

describe('malformed requests name what and where', () => {
  test.each<[string, string, RegExp]>([
    ['truncated tag', '80', /varint is truncated \(at offset 0\)/],
    ['field number 0', '0001', /field number 0 \(at offset 0\)/],
    ['field number 0 in a series', '0a0200000a', /field number 0/],
    ['truncated length', '0a', /length is truncated \(at offset 1\)/],
    ['length beyond the request', '0a05', /5 bytes passes its message, 0 are left/],
    ['length of 2^63', '0affffffffffffffff7f', /passes its message/],
    ['endless length', `0a${'ff'.repeat(12)}`, /longer than 10 bytes/],
    ['endless varint', `48${'ff'.repeat(12)}`, /longer than 10 bytes/],
    ['wire type 6', '4e', /wire type 6/],
    ['wire type 7', '4f', /wire type 7/],
    ['a group that ends only', '4c', /group ends that did not start/],
    ['a group that ends as another', '4b54', /group ends that did not start/],
    ['a group without end', '4b', /varint is truncated/],
    ['timeseries as varint', '0805', /WriteRequest.timeseries or metadata with wire type 0/],
    ['labels as varint', '0a020805', /a field of TimeSeries with wire type 0/],
    ['a label that passes its series', '0a020a05', /5 bytes passes its message, 0 are left \(at offset 3\)/],
    ['a sample that passes its series', '0a021205', /passes its message/],
    ['a sample with a truncated value', '0a0512030901ff', /64-bit value is truncated/],
    ['a value as varint', '0a0412020801', /Sample.value or timestamp with wire type 0/],
    ['a timestamp as fixed', '0a0b1209110000000000000000', /Sample.value or timestamp with wire type 1/],
    [
      'a label name as varint',
      '0a150a020801120f0900000000000000001080d095ff01',
      /Label.name or value with wire type 0/,
    ],
    ['a truncated fixed32', '4d0000', /32-bit value is truncated/],
    ['metadata help as varint', '1a022001', /a text of MetricMetadata with wire type 0/],
  ])('%s', (_name, hex, expected) => {
    const { decode } = create();
    const act = () => decode(Buffer.from(hex, 'hex'));
    expect(act).toThrow(AppError);
    expect(act).toThrow(expected);
  });

  test('groups nested without end', () => {
    const { decode } = create();
    expect(() => decode(Buffer.alloc(5000, 0x4b))).toThrow(/nest deeper than 100/);
  });
});

describe('the cache', () => {
  test('a known series whose sample has its fields the other way round, and series that are new behind it', () => {
    const { decode, rows } = create();
    const t = 1_700_000_000_000;
    const known = seriesV1([NAME], [[1, t]]);
    decode(known);
    // Sixteen bytes as usual, but the timestamp comes first.
    const swapped = Buffer.concat([varintField(2, t + 1), doubleField(1, 1)]);
    const reversed = field(1, Buffer.concat([labelV1(NAME), field(2, swapped)]));
    const next = seriesV1([['__name__', 'a_longer_name_than_the_one_before']], [[1, t]]);
    expect(decode(Buffer.concat([known, reversed, next, known]))).toMatchObject({ samples: 4, series: 4 });
    expect(rows()).toEqual([
      ['m', t, ...ONE],
      ['m', t + 1, ...ONE],
      ['a_longer_name_than_the_one_before', t, ...ONE],
      ['m', t, ...ONE],
    ]);
  });

  test('a series is resolved once, whatever its samples', () => {
    const { decode, resolver, rows } = create();
    for (let i = 1; i <= 5; i++)
      decode(Buffer.concat([seriesV1([NAME], [[i, i]]), seriesV1([NAME, ['a', 'b']], [[i, i]])]));
    expect(resolver.calls).toBe(2);
    expect(rows()).toHaveLength(2);
  });

  test('scattered labels are found again too', () => {
    const { decode, resolver } = create();
    const body = field(1, Buffer.concat([labelV1(NAME), field(2, sample(1, 5)), labelV1(['a', 'b'])]));
    decode(body);
    decode(body);
    decode(seriesV1([NAME, ['a', 'b']], [[1, 6]]));
    expect(resolver.calls).toBe(1);
  });

  test('forgetSeries makes it ask again', () => {
    const { decode, decoder, resolver } = create();
    decode(seriesV1([NAME], [[1, 5]]));
    decoder.forgetSeries();
    decode(seriesV1([NAME], [[1, 5]]));
    expect(resolver.calls).toBe(2);
  });

  test('100,000 series through a cache of 1000: always the right reference, bounded memory', () => {
    const { decode, decoder, resolver, columns } = create();
    const text = (i: number): string => `m{i="${i}"}`;
    // Series by number instead of by text: the resolver's list would be searched each time.
    resolver.resolveBytes = (bytes, start, end) => Number(decodeLabels(bytes, start, end).get('i'));
    for (let batch = 0; batch < 100; batch++) {
      decode(
        Buffer.concat(
          Array.from({ length: 1000 }, (_, i) =>
            seriesV1([NAME, ['i', `${batch * 1000 + i}`]], [[i, 1 + i]]),
          ),
        ),
      );
      for (let i = 0; i < 1000; i++) expect(columns.references[i], text(i)).toBe(batch * 1000 + i);
    }
    expect(decoder.cacheBytes).toBeLessThanOrEqual(2 * 4096 * 40);
  });

  test('what is asked for stays when generations change', () => {
    const { decode, resolver } = create({ cachedSeriesMax: 3000 });
    let calls = 0;
    resolver.resolveBytes = (bytes, start, end) => {
      calls++;
      return Number(decodeLabels(bytes, start, end).get('i'));
    };
    const hot = Buffer.concat(
      Array.from({ length: 500 }, (_, i) => seriesV1([NAME, ['i', `${i}`]], [[i, 1]])),
    );
    for (let round = 0; round < 50; round++) {
      decode(hot);
      decode(
        Buffer.concat(
          Array.from({ length: 200 }, (_, i) =>
            seriesV1([NAME, ['i', `${1000 + round * 200 + i}`]], [[i, 1]]),
          ),
        ),
      );
    }
    expect(calls).toBe(500 + 50 * 200);
  });
});

describe('refusals', () => {
  test('a refused series takes its samples along, the others stay', () => {
    const { decode, resolver, rows } = create();
    resolver.refuse = (series) =>
      series.startsWith('bad') ? new AppError('bad_data', `no ${series}`) : undefined;
    const decoded = decode(
      Buffer.concat([
        seriesV1(
          [['__name__', 'bad']],
          [
            [1, 1],
            [2, 2],
          ],
        ),
        seriesV1([NAME], [[1, 3]]),
        seriesV1([['__name__', 'bad2']], [[1, 4]]),
      ]),
    );
    expect(decoded).toMatchObject({
      samples: 4,
      refusedSamples: 3,
      overQuota: false,
      firstRefusal: 'no bad',
    });
    expect(rows()).toEqual([['m', 3, ...ONE]]);
  });

  test('over quota is told apart; anything else ends the request', () => {
    const { decode, resolver } = create();
    resolver.refuse = () => new AppError('resource_exhausted', 'too many');
    expect(decode(seriesV1([NAME], [[1, 1]]))).toMatchObject({ overQuota: true, refusedSamples: 1 });
    resolver.refuse = () => new AppError('unavailable', 'no placement');
    expect(() => decode(seriesV1([NAME], [[1, 1]]))).toThrow('no placement');
  });

  test('timestamps that no double holds', () => {
    const { decode, rows } = create();
    const decoded = decode(
      seriesV1(
        [NAME],
        [
          [1, 2n ** 53n],
          [1, 5],
          [2, -(2n ** 63n)],
          [{ high: 0x7ff00000, low: 2 }, 6],
        ],
      ),
    );
    expect(decoded).toMatchObject({ samples: 4, refusedSamples: 2 });
    expect(decoded.firstRefusal).toMatch(/timestamp 9007199254740992 ms is beyond/);
    expect(rows()).toEqual([
      ['m', 5, ...ONE],
      ['m', 6, 0x7ff00000, 2],
    ]);
  });

  test('more label bytes than any series may have', () => {
    const { decode, resolver } = create();
    const decoded = decode(seriesV1([NAME, ['a', 'x'.repeat(70_000)]], [[1, 1]]));
    expect(decoded).toMatchObject({ refusedSamples: 1 });
    expect(decoded.firstRefusal).toMatch(/70026 bytes of labels; the limit is 65536/);
    expect(resolver.calls).toBe(0);
  });
});

describe('metadata', () => {
  const body = Buffer.concat([
    metadataV1(1, 'a', 'help', ''),
    metadataV1(6, 'b', '', 'bytes'),
    metadataV1(99, 'c', '', ''),
    metadataV1(1, '', 'x', ''),
  ]);
  const all = [
    { metric: 'a', type: 'counter', help: 'help', unit: '' },
    { metric: 'b', type: 'info', help: '', unit: 'bytes' },
    { metric: 'c', type: 'unknown', help: '', unit: '' },
  ];

  test('is passed on once, again when it changes, after a while, and after a failure', () => {
    const { decode, decoder } = create();
    expect(decode(body).metadata).toEqual(all);
    expect(decode(body).metadata).toEqual([]);
    expect(decode(metadataV1(2, 'a', 'help', '')).metadata).toEqual([{ ...all[0], type: 'gauge' }]);
    expect(decode(metadataV1(2, 'a', 'help', '')).metadata).toEqual([]);
    expect(decode(metadataV1(2, 'a', 'help', ''), 1_000_000 + 60_000).metadata).toHaveLength(1);
    decoder.forgetNews();
    expect(decode(body, 1_000_000 + 60_000).metadata).toHaveLength(3);
  });
});

const value: fc.Arbitrary<Value> = fc.oneof(
  fc.double(),
  fc.constantFrom<Value>(
    0,
    -0,
    Infinity,
    -Infinity,
    { high: 0x7ff00000, low: 2 },
    { high: 0xfff80000, low: 0xdead },
    { high: 0x7ff00000, low: 1 },
  ),
);
const timestamp = fc.oneof(
  fc.integer({ min: 1_600_000_000_000, max: 1_900_000_000_000 }),
  fc.maxSafeInteger(),
  fc.integer({ min: -1000, max: 1000 }),
);

/** The words of a value as they must arrive. */
function wordsOf(one: Value): [number, number] {
  const bytes = doubleField(1, one);
  return [bytes.readUInt32LE(5), bytes.readUInt32LE(1)];
}

test('round trip against the encoder: every bit of every value, every timestamp, any labels', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
  const series = fc.record({
    labels: fc.uniqueArray(fc.tuple(text, text), { selector: ([name]) => name, maxLength: 6 }),
    samples: fc.array(fc.tuple(value, timestamp), { minLength: 1, maxLength: 5 }),
  });
  fc.assert(
    fc.property(fc.array(series, { maxLength: 12 }), (list) => {
      const { decode, rows } = create();
      const named = list.map(({ labels, samples }) => ({
        labels: [NAME, ...labels.filter(([name]) => name !== '__name__')],
        samples,
      }));
      decode(Buffer.concat(named.map(({ labels, samples }) => seriesV1(labels, samples))));
      const expected = named.flatMap(({ labels, samples }) => {
        const resolver = new Resolver();
        const other = new RemoteWriteDecoder(
          { cachedSeriesMax: 1, cachedMetricsMax: 1, hashSeed: 1, metadataResendMs: 1 },
          { resolver },
        );
        const reversed = seriesV1([...labels].reverse(), [[0, 1]]);
        other.decode(1, reversed, reversed.length, new RemoteWriteColumns(), 0);
        return samples.map(([one, time]) => [resolver.series[0], time, ...wordsOf(one)]);
      });
      expect(rows()).toEqual(expected);
    }),
    { numRuns: 200 },
  );
});

test('mutated requests are refused or decode to something; they never hang or read beside', () => {
  const base = Buffer.concat([
    seriesV1(
      [NAME, ['a', 'b']],
      [
        [1, 1_700_000_000_000],
        [2, 5],
      ],
    ),
    field(
      1,
      Buffer.concat([
        labelV1(NAME),
        field(2, sample(1, 5)),
        field(3, ''),
        labelV1(['c', 'd']),
        field(9, 'zz'),
      ]),
    ),
    metadataV1(1, 'a', 'help', 'unit'),
  ]);
  let refused = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { minLength: 1, maxLength: 5 }),
      fc.nat(base.length),
      (edits, cut) => {
        const body = Buffer.from(base.subarray(0, cut === 0 ? base.length : cut));
        for (const [at, byte] of edits) if (at < body.length) body[at] = byte;
        const { decoder, columns } = create();
        // What lies behind the request must not matter.
        const padded = Buffer.concat([body, Buffer.alloc(64, 0x12)]);
        try {
          decoder.decode(1, padded, body.length, columns, 0);
        } catch (caught) {
          refused++;
          expect(caught).toBeInstanceOf(AppError);
          expect((caught as AppError).code).toBe('bad_data');
        }
      },
    ),
    { numRuns: 2000 },
  );
  expect(refused).toBeGreaterThan(500);
});

test('varint helper of this test agrees with the format description', () => {
  expect(varint(300).toString('hex')).toBe('ac02');
});
