import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  field,
  type Pair,
  requestV2,
  type SeriesV2,
  sample,
  varint,
  varintField,
} from '../../../../test/support/remote-write-encoder.ts';
import { AppError } from '../../core/errors.ts';
import { decodeLabels } from '../../model/labels.ts';
import { RemoteWriteColumns } from './remote-write-columns.ts';
import type { DecodedWrite } from './remote-write-context.ts';
import { RemoteWriteDecoder } from './remote-write-decoder.ts';

function create() {
  const series: string[] = [];
  let calls = 0;
  const resolveBytes = (bytes: Uint8Array, start: number, end: number): number => {
    calls++;
    const text = decodeLabels(bytes, start, end).toString();
    const known = series.indexOf(text);
    return known >= 0 ? known : series.push(text) - 1;
  };
  const decoder = new RemoteWriteDecoder(
    { cachedSeriesMax: 1000, cachedMetricsMax: 100, hashSeed: 7, metadataResendMs: 60_000 },
    { resolver: { resolveBytes } },
  );
  const columns = new RemoteWriteColumns(2);
  return {
    series,
    decoder,
    columns,
    calls: () => calls,
    decode: (body: Uint8Array, nowMs = 1_000_000): DecodedWrite =>
      decoder.decode(2, body, body.length, columns, nowMs),
    rows: (): unknown[] =>
      Array.from({ length: columns.count }, (_, i) => [
        series[columns.references[i]!],
        columns.timestampsMs[i],
        columns.valueWords[2 * i + 1],
        columns.valueWords[2 * i],
      ]),
  };
}

const NAME: Pair = ['__name__', 'm'];
const ONE = [0x3ff00000, 0] as const;

test('golden bytes, worked out by hand from the schema', () => {
  const { decode, rows } = create();
  const body = Buffer.from(
    '2200' + // symbols[0] = ""
      '22085f5f6e616d655f5f' + // symbols[1] = "__name__"
      '22016d' + // symbols[2] = "m"
      '2a1a' + // timeseries, 26 bytes
      '0a020102' + // labels_refs, packed: 1, 2
      '1214' + // samples, 20 bytes: value, timestamp, start timestamp
      '09020000000000f07f' + // the staleness marker
      '1080d095ffbc31' + // 1700000000000
      '18808001', // start timestamp 16384, which is not kept
    'hex',
  );
  expect(decode(body)).toMatchObject({ samples: 1, series: 1, refusedSamples: 0 });
  expect(rows()).toEqual([['m', 1_700_000_000_000, 0x7ff00000, 2]]);
});

describe('forms that protobuf allows', () => {
  const symbols = Buffer.concat([field(4, ''), field(4, '__name__'), field(4, 'm')]);
  const usual = field(5, Buffer.concat([field(1, Buffer.from([1, 2])), field(2, sample(1, 5))]));
  test.each<[string, Buffer, unknown[]]>([
    ['symbols behind the series', Buffer.concat([usual, symbols]), [['m', 5, ...ONE]]],
    [
      'references one by one, not packed',
      Buffer.concat([
        symbols,
        field(5, Buffer.concat([varintField(1, 1), varintField(1, 2), field(2, sample(1, 5))])),
      ]),
      [['m', 5, ...ONE]],
    ],
    [
      'references in two packs, behind the samples',
      Buffer.concat([
        symbols,
        field(
          5,
          Buffer.concat([
            field(2, sample(1, 5)),
            field(1, Buffer.from([1])),
            field(1, Buffer.from([0x82, 0x00])),
          ]),
        ),
      ]),
      [['m', 5, ...ONE]],
    ],
    ['unknown fields', Buffer.concat([field(1, 'x'), symbols, varintField(9, 1), usual]), [['m', 5, ...ONE]]],
    ['symbols alone', symbols, []],
    ['nothing', Buffer.alloc(0), []],
  ])('%s', (_name, body, expected) => {
    const { decode, rows } = create();
    decode(body);
    expect(rows()).toEqual(expected);
  });

  test('labels that are not sorted are', () => {
    const { decode, rows } = create();
    decode(requestV2([{ labels: [['z', '1'], NAME, ['a', '2']], samples: [[1, 5]] }]));
    expect(rows()).toEqual([['m{a="2", z="1"}', 5, ...ONE]]);
  });
});

describe('malformed requests name what and where', () => {
  const series = (...parts: Buffer[]): Buffer => field(5, Buffer.concat(parts));
  const symbols = Buffer.concat([field(4, ''), field(4, 'a')]);
  test.each<[string, Buffer, RegExp]>([
    ['no symbol table', series(field(2, sample(1, 5))), /there is no symbol table/],
    [
      'first symbol not empty',
      Buffer.concat([field(4, 'a'), series()]),
      /first symbol is not the empty string \(at offset 2\)/,
    ],
    [
      'reference out of range',
      Buffer.concat([symbols, series(field(1, Buffer.from([0, 2])))]),
      /symbol 2 of a table of 2 \(at offset 10\)/,
    ],
    [
      'huge reference',
      Buffer.concat([symbols, series(field(1, varint(0xffffffff)))]),
      /symbol 4294967295 of a table of 2/,
    ],
    [
      'odd number of references',
      Buffer.concat([symbols, series(field(1, Buffer.from([0, 1, 1])), field(2, sample(1, 5)))]),
      /3 label references, an odd number/,
    ],
    [
      'truncated reference',
      Buffer.concat([symbols, series(field(1, Buffer.from([0x80])))]),
      /varint is truncated/,
    ],
    ['symbols as varint', varintField(4, 1), /Request.symbols or timeseries with wire type 0/],
    [
      'samples as varint',
      Buffer.concat([symbols, series(varintField(2, 1))]),
      /a field of TimeSeries with wire type 0/,
    ],
    [
      'metadata type as bytes',
      Buffer.concat([
        field(4, ''),
        field(4, '__name__'),
        field(4, 'm'),
        series(field(1, Buffer.from([1, 2])), field(2, sample(1, 5)), field(5, field(1, 'x'))),
      ]),
      /a field of Metadata with wire type 2/,
    ],
    [
      'help out of range',
      Buffer.concat([
        field(4, ''),
        field(4, '__name__'),
        field(4, 'm'),
        series(field(1, Buffer.from([1, 2])), field(2, sample(1, 5)), field(5, varintField(3, 9))),
      ]),
      /symbol 9 of a table of 3/,
    ],
  ])('%s', (_name, body, expected) => {
    const { decode } = create();
    const act = () => decode(body);
    expect(act).toThrow(AppError);
    expect(act).toThrow(expected);
  });

  test('more symbols than one request may hold', () => {
    const { decode, rows } = create();
    expect(() => decode(Buffer.concat(Array<Buffer>((1 << 20) + 1).fill(field(4, ''))))).toThrow(
      /more than 1048576 symbols/,
    );
    decode(requestV2([{ labels: [NAME], samples: [[1, 5]] }]));
    expect(rows()).toHaveLength(1);
  });

  test('more label references than any series may have', () => {
    const { decode } = create();
    const body = Buffer.concat([
      field(4, ''),
      series(field(1, Buffer.alloc(70_000)), field(2, sample(1, 5))),
    ]);
    expect(() => decode(body)).toThrow(/more than 65536 label references/);
  });
});

describe('refusals', () => {
  test('a series with nothing in it', () => {
    const { decode, rows } = create();
    const decoded = decode(requestV2([{ labels: [NAME] }, { labels: [NAME], samples: [[1, 5]] }]));
    expect(decoded).toMatchObject({ series: 2, samples: 1, refusedSeries: 1 });
    expect(decoded.firstRefusal).toMatch(/neither samples nor histograms nor exemplars/);
    expect(rows()).toHaveLength(1);
  });

  test('more label bytes than any series may have', () => {
    const { decode, calls } = create();
    const decoded = decode(requestV2([{ labels: [NAME, ['a', 'x'.repeat(70_000)]], samples: [[1, 5]] }]));
    expect(decoded).toMatchObject({ refusedSamples: 1 });
    expect(calls()).toBe(0);
  });
});

describe('the cache', () => {
  test('finds a series whatever the symbols are numbered', () => {
    const { decode, calls, rows } = create();
    decode(requestV2([{ labels: [NAME, ['a', 'b']], samples: [[1, 5]] }]));
    decode(
      requestV2([
        { labels: [['x', 'y'], NAME], samples: [[1, 6]] },
        { labels: [NAME, ['a', 'b']], samples: [[1, 7]] },
      ]),
    );
    expect(calls()).toBe(2);
    expect(rows()).toEqual([
      ['m{x="y"}', 6, ...ONE],
      ['m{a="b"}', 7, ...ONE],
    ]);
  });

  test('tells series apart whose symbols concatenate alike, swap, or repeat', () => {
    const { decode, calls, rows } = create();
    const sets: Pair[][] = [
      [NAME, ['ab', 'c']],
      [NAME, ['a', 'bc']],
      [NAME, ['c', 'ab']],
      [NAME],
      [NAME, ['a', 'a']],
      [NAME, ['a', 'a'], ['b', 'a']],
      [NAME, ['a', 'b'], ['b', 'a']],
    ];
    const body = requestV2(sets.map((labels) => ({ labels, samples: [[1, 5]] })));
    decode(body);
    decode(body);
    expect(calls()).toBe(sets.length);
    expect(new Set(rows().map((row) => (row as string[])[0])).size).toBe(sets.length);
  });
});

describe('metadata', () => {
  const series = (metric: string, type: number, help: string, unit = ''): SeriesV2 => ({
    labels: [['__name__', metric]],
    samples: [[1, 5]],
    metadata: { type, help, unit },
  });

  test('names the family, once for its series, and again when it changes or after a while', () => {
    const { decode, decoder } = create();
    const request = [
      series('h_bucket', 3, 'Help.', 'seconds'),
      series('h_sum', 3, 'Help.', 'seconds'),
      series('h_count', 3, 'Help.', 'seconds'),
      series('c_total', 1, 'Cs.'),
      series('s_sum', 5, ''),
      series('g_count', 2, 'A gauge named so.'),
    ];
    expect(decode(requestV2(request)).metadata).toEqual([
      { metric: 'h', type: 'histogram', help: 'Help.', unit: 'seconds' },
      { metric: 'c_total', type: 'counter', help: 'Cs.', unit: '' },
      { metric: 's', type: 'summary', help: '', unit: '' },
      { metric: 'g_count', type: 'gauge', help: 'A gauge named so.', unit: '' },
    ]);
    expect(decode(requestV2(request)).metadata).toEqual([]);
    expect(decode(requestV2([series('c_total', 1, 'Changed.')])).metadata).toHaveLength(1);
    expect(decode(requestV2([series('c_total', 1, 'Changed.')])).metadata).toHaveLength(0);
    expect(decode(requestV2(request), 1_000_000 + 60_000).metadata).toHaveLength(4);
    decoder.forgetNews();
    expect(decode(requestV2(request), 1_000_000 + 60_000).metadata).toHaveLength(4);
  });

  test('none is given: none is passed on', () => {
    const { decode } = create();
    expect(decode(requestV2([series('m', 0, '')])).metadata).toEqual([]);
  });
});

test('mutated requests are refused or decode to something; they never hang or read beside', () => {
  const base = requestV2([
    {
      labels: [NAME, ['a', 'b']],
      samples: [
        [1, 1_700_000_000_000],
        [2, 5],
      ],
      metadata: { type: 1, help: 'h', unit: 'u' },
    },
    {
      labels: [NAME, ['c', 'd']],
      samples: [[1, 6, 5]],
      histograms: [
        { timestampMs: 7, count: 3, sum: 1, positive: { spans: [[0, 2]], deltas: [1, 1] }, startMs: 4 },
        { timestampMs: 8, count: 3, sum: 1, float: true, negative: { spans: [[-1, 1]], counts: [3] } },
      ],
      exemplars: [{ labels: [['trace', 'x']], value: 1, timestampMs: 6 }],
    },
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
        const padded = Buffer.concat([body, Buffer.alloc(64, 0x2a)]);
        try {
          decoder.decode(2, padded, body.length, columns, 0);
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

test('both versions of the same series give the same labels', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(text, text), { selector: ([name]) => name, maxLength: 8 }),
      (labels) => {
        const pairs: Pair[] = [NAME, ...labels.filter(([name]) => name !== '__name__')];
        const { decode, decoder, series, columns } = create();
        decode(requestV2([{ labels: pairs, samples: [[1, 5]] }]));
        const label = ([name, value]: Pair): Buffer =>
          field(1, Buffer.concat([field(1, name), field(2, value)]));
        const v1 = field(1, Buffer.concat([...pairs.map(label), field(2, sample(1, 5))]));
        decoder.decode(1, v1, v1.length, columns, 1_000_000);
        expect(series).toHaveLength(1);
        expect(columns.references[0]).toBe(0);
      },
    ),
  );
});
