// What both parsers report for hand-written expositions, and that damaged bytes are refused in time and by name.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { ExpositionError, type ExpositionSink } from './exposition-sink.ts';
import { parseOpenMetrics } from './openmetrics-parser.ts';
import { readExemplarLabels, readSeriesText } from './series-text.ts';
import { parseText } from './text-parser.ts';

type Parser = typeof parseText;

interface Seen {
  readonly series: string;
  readonly labels: readonly string[];
  readonly value: number;
  readonly timestampMs: number;
}

function parse(
  parser: Parser,
  text: string | Uint8Array,
): { samples: Seen[]; metadata: string[]; exemplars: unknown[]; startTimes: number[] } {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  const samples: Seen[] = [];
  const metadata: string[] = [];
  const exemplars: unknown[] = [];
  const startTimes: number[] = [];
  const slice = (start: number, end: number): string => Buffer.from(bytes.subarray(start, end)).toString();
  const sink: ExpositionSink = {
    recognise: () => 0,
    sample: (_, start, end, value, timestampMs) => {
      samples.push({
        series: slice(start, end),
        labels: readSeriesText(bytes, start, end),
        value,
        timestampMs,
      });
    },
    histogram: () => {},
    exemplar: (all, start, end, value, timestampMs) => {
      exemplars.push([readExemplarLabels(all, start, end), value, timestampMs]);
    },
    startTime: (timestampMs) => startTimes.push(timestampMs),
    metadata: (kind, _, nameStart, nameEnd, textStart, textEnd) => {
      metadata.push(`${kind} ${slice(nameStart, nameEnd)} ${slice(textStart, textEnd)}`);
    },
  };
  parser(bytes, bytes.length, sink);
  return { samples, metadata, exemplars, startTimes };
}

const NO_TIME = Number.NaN;

describe('text format', () => {
  test.each<[string, Seen]>([
    ['a 1', { series: 'a', labels: ['__name__', 'a'], value: 1, timestampMs: NO_TIME }],
    ['a 1 1700000000123\n', { series: 'a', labels: ['__name__', 'a'], value: 1, timestampMs: 1700000000123 }],
    [' \ta\t2.5  \n', { series: 'a', labels: ['__name__', 'a'], value: 2.5, timestampMs: NO_TIME }],
    ['a{} 1', { series: 'a{}', labels: ['__name__', 'a'], value: 1, timestampMs: NO_TIME }],
    [
      'a{b="c"}1',
      { series: 'a{b="c"}', labels: ['__name__', 'a', 'b', 'c'], value: 1, timestampMs: NO_TIME },
    ],
    [
      'a { b = "c" , d="e", } 1',
      {
        series: 'a { b = "c" , d="e", }',
        labels: ['__name__', 'a', 'b', 'c', 'd', 'e'],
        value: 1,
        timestampMs: NO_TIME,
      },
    ],
    [
      'a{b="c" d="e"} 1',
      {
        series: 'a{b="c" d="e"}',
        labels: ['__name__', 'a', 'b', 'c', 'd', 'e'],
        value: 1,
        timestampMs: NO_TIME,
      },
    ],
    [
      'a{b="}\\"\\\\\\n\\x"} 1',
      {
        series: 'a{b="}\\"\\\\\\n\\x"}',
        labels: ['__name__', 'a', 'b', '}"\\\n\\x'],
        value: 1,
        timestampMs: NO_TIME,
      },
    ],
    ['a{b=""} 1', { series: 'a{b=""}', labels: ['__name__', 'a', 'b', ''], value: 1, timestampMs: NO_TIME }],
    [
      '{"my.name",a="b"} 1',
      {
        series: '{"my.name",a="b"}',
        labels: ['__name__', 'my.name', 'a', 'b'],
        value: 1,
        timestampMs: NO_TIME,
      },
    ],
    [
      '{a="b","my.name"} 1',
      {
        series: '{a="b","my.name"}',
        labels: ['__name__', 'my.name', 'a', 'b'],
        value: 1,
        timestampMs: NO_TIME,
      },
    ],
    [
      'm{"l.x"="b"} 1',
      { series: 'm{"l.x"="b"}', labels: ['__name__', 'm', 'l.x', 'b'], value: 1, timestampMs: NO_TIME },
    ],
    [
      'größe 1'.replace('größe', 'a:b_9'),
      { series: 'a:b_9', labels: ['__name__', 'a:b_9'], value: 1, timestampMs: NO_TIME },
    ],
    [
      'a{b="ü☃"} -Inf',
      {
        series: 'a{b="ü☃"}',
        labels: ['__name__', 'a', 'b', 'ü☃'],
        value: Number.NEGATIVE_INFINITY,
        timestampMs: NO_TIME,
      },
    ],
  ])('%j', (text, expected) => {
    expect(parse(parseText, text).samples).toEqual([expected]);
  });

  test('comments, metadata, empty lines', () => {
    const text =
      '# a comment\n#no blank\n\n# HELP a some  text\\n\n# TYPE a counter\n#  TYPE b untyped\n# HELPX\na 1\n# HELP c \n';
    expect(parse(parseText, text)).toMatchObject({
      metadata: ['help a some  text\\n', 'type a counter', 'type b untyped', 'help c '],
      samples: [{ series: 'a' }],
    });
  });

  test.each<[string, string]>([
    ['a', 'expected value'],
    ['a 1 2 3', 'expected timestamp or new record'],
    ['a 1 1.5', 'expected timestamp or new record'],
    ['a x', '"x" is not a number'],
    ['a{b="c} 1', 'is not closed'],
    ['a{b=c} 1', 'expected label value'],
    ['a{b} 1', 'expected equal'],
    ['a{1b="c"} 1', 'expected label name'],
    ['1a 1', 'does not start with a metric name'],
    ['{} 1', 'metric name is missing'],
    ['{__name__="x"} 1', 'metric name is missing'],
    ['a{"b"} 1', 'metric name is already set'],
    ['a{b="1",b="2"} 1', 'is not unique'],
    ['a{__name__="b"} 1', 'is not unique'],
    ['# TYPE a counters', 'invalid metric type'],
    ['# TYPE a  counter', 'invalid metric type'],
    ['# TYPE a counter ', 'invalid metric type'],
    ['# HELP 1 x', 'expected metric name'],
    ['\ufeffa 1', 'does not start with a metric name'],
  ])('%j is refused: %s', (text, reason) => {
    expect(() => parse(parseText, text)).toThrow(reason);
  });

  test('invalid UTF-8 in a label value or a help text is refused', () => {
    const bytes = (hex: string): Uint8Array =>
      Buffer.concat([Buffer.from('a{b="'), Buffer.from(hex, 'hex'), Buffer.from('"} 1\n')]);
    expect(() => parse(parseText, bytes('ff'))).toThrow('invalid UTF-8');
    expect(() => parse(parseText, bytes('eda080'))).toThrow('invalid UTF-8');
    expect(() =>
      parse(parseText, Buffer.concat([Buffer.from('# HELP a '), Buffer.from([0xc3]), Buffer.from('\n')])),
    ).toThrow('not valid UTF-8');
  });

  test('the error names the line', () => {
    try {
      parse(parseText, 'a 1\n\n# x\nb\n');
      expect.unreachable();
    } catch (caught) {
      expect(caught).toBeInstanceOf(ExpositionError);
      expect((caught as ExpositionError).line).toBe(4);
    }
  });
});

describe('OpenMetrics', () => {
  test('samples, timestamps in seconds, exemplars, metadata', () => {
    const text =
      '# HELP a_seconds x\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n' +
      'a_seconds_total{b="c"} 1 1520879607.789 # {id="x"} 0.5 1520879607.1\n' +
      'a_seconds_created{b="c"} 1520872607.123\n{"q.name"} 2 # {} 1\nz 3 4 st@2\n# EOF\n';
    const { samples, metadata } = parse(parseOpenMetrics, text);
    expect(samples.map((each) => [each.series, each.value, each.timestampMs])).toEqual([
      ['a_seconds_total{b="c"}', 1, 1520879607789],
      ['a_seconds_created{b="c"}', 1520872607.123, NO_TIME],
      ['{"q.name"}', 2, NO_TIME],
      ['z', 3, 4000],
    ]);
    expect(metadata).toEqual(['help a_seconds x', 'type a_seconds counter', 'unit a_seconds seconds']);
  });

  test.each<[string, string]>([
    ['a 1\n', 'data does not end with # EOF'],
    ['a 1', 'expected next entry'],
    ['\n# EOF\n', 'does not start with a metric name'],
    ['# EOF\na 1\n', 'unexpected data after # EOF'],
    ['a  1\n# EOF\n', 'expected value after metric'],
    ['a{b="c" ,d="e"} 1\n# EOF\n', 'expected comma or brace close'],
    ['a 1 NaN\n# EOF\n', 'invalid timestamp'],
    ['a 1 2 \n# EOF\n', 'expected next entry'],
    ['a 1 # {a="b"}\n# EOF\n', 'expected value of the exemplar'],
    ['a 1 # {a} 1\n# EOF\n', 'expected equal'],
    ['# a comment\n# EOF\n', 'is neither HELP, TYPE, UNIT nor EOF'],
    ['# TYPE a untyped\n# EOF\n', 'invalid metric type'],
    ['# UNIT a_bytes seconds\n# EOF\n', 'is not a suffix of metric'],
    ['a{b="x\ny"} 1\n# EOF\n', 'is not closed'],
  ])('%j is refused: %s', (text, reason) => {
    expect(() => parse(parseOpenMetrics, text)).toThrow(reason);
  });
});

const SEED_TEXT =
  '# HELP m_seconds Some help.\n# TYPE m_seconds histogram\nm_seconds_bucket{le="0.5",path="/a\\"b"} 12\n' +
  'm_seconds_bucket{le="+Inf",path="/a\\"b"} 1.5e+03 # {trace="x"} 0.3 1700000000\nm_seconds_sum 17.25 1700000000\n# EOF\n';

describe('damaged bytes', () => {
  test.each<[string, Parser]>([
    ['text', parseText],
    ['OpenMetrics', parseOpenMetrics],
  ])('%s: parsed or refused as bad_data, and at once', (_, parser) => {
    const seed = Buffer.from(SEED_TEXT);
    const change = fc.record({ at: fc.nat(seed.length - 1), byte: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(seed.length), (changes, cut) => {
        const bytes = Buffer.from(seed.subarray(0, cut === 0 ? seed.length : cut));
        for (const { at, byte } of changes) if (at < bytes.length) bytes[at] = byte;
        try {
          parse(parser, bytes);
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
          expect((caught as AppError).code).toBe('bad_data');
        }
      }),
      { numRuns: 3000 },
    );
  });
});

test('what is written is what is read', () => {
  const value = fc.double();
  const name = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,10}$/);
  const labels = fc.uniqueArray(fc.tuple(name, fc.string({ unit: 'grapheme' })), {
    selector: ([key]) => key,
    maxLength: 5,
  });
  const quote = (text: string): string =>
    text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  const print = (number: number): string =>
    Number.isFinite(number)
      ? Object.is(number, -0)
        ? '-0'
        : String(number)
      : String(number).replace('Infinity', 'Inf');
  fc.assert(
    fc.property(fc.array(fc.tuple(name, labels, value)), (lines) => {
      const text = lines
        .map(
          ([metric, pairs, number]) =>
            `${metric}_x{${pairs.map(([key, each]) => `${key}="${quote(each)}"`).join(',')}} ${print(number)}\n`,
        )
        .join('');
      for (const [parser, whole] of [
        [parseText, text],
        [parseOpenMetrics, `${text}# EOF\n`],
      ] as const) {
        const { samples } = parse(parser, whole);
        expect(samples.length).toBe(lines.length);
        samples.forEach((sample, i) => {
          const [metric, pairs, number] = lines[i]!;
          expect(sample.labels).toEqual(['__name__', `${metric}_x`, ...pairs.flat()]);
          expect(Object.is(sample.value, number)).toBe(true);
        });
      }
    }),
    { numRuns: 300 },
  );
});
