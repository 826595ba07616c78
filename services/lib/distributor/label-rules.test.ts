import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteWriter } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import { encodeLabels, Labels } from '../model/labels.ts';
import { checkLabels, DEFAULT_LABEL_LIMITS, describeLabels } from './label-rules.ts';

/** Texts or raw bytes in the given order, each with its length in front. */
function bytesOf(...texts: readonly (string | Uint8Array)[]): Uint8Array {
  const out = new ByteWriter();
  for (const text of texts) {
    const bytes = Buffer.from(text);
    out.varint(bytes.length);
    out.raw(bytes);
  }
  return out.take();
}

const check = (bytes: Uint8Array, limits = DEFAULT_LABEL_LIMITS): void =>
  checkLabels(bytes, 0, bytes.length, limits);

test.each([
  [bytesOf('__name__', 'up')],
  [bytesOf('A', 'x', '__name__', 'up', 'job', 'node')],
  [bytesOf('__name__', 'with space', 'µ', 'é€😀')],
  [bytesOf('__name__', 'a'.repeat(2000))],
])('accepts %#', (bytes) => {
  expect(() => check(bytes)).not.toThrow();
});

describe('refuses, naming series, label and rule', () => {
  const wide = Array.from({ length: 257 }, (_, i) => [`l${String(i).padStart(3, '0')}`, 'v']).flat();
  test.each<[string, Uint8Array, RegExp]>([
    ['no labels', bytesOf(), /there is no metric name \(label __name__\) \(series \{\}\)/],
    ['no metric name', bytesOf('job', 'node'), /there is no metric name .*series \{job="node"\}/],
    ['an empty name', bytesOf('', 'x', '__name__', 'up'), /a label has an empty name \(series up\{="x"\}\)/],
    [
      'an empty value',
      bytesOf('__name__', 'up', 'a', ''),
      /label "a" has an empty value \(series up\{a=""\}\)/,
    ],
    ['an empty metric name', bytesOf('__name__', ''), /label "__name__" has an empty value/],
    [
      'a name twice',
      bytesOf('__name__', 'up', 'a', '1', 'a', '2'),
      /label name "a" occurs twice \(series up\{a="1", a="2"\}\)/,
    ],
    ['names out of order', bytesOf('b', '1', '__name__', 'up'), /label name "__name__" is not in order/],
    [
      'a name that is not UTF-8',
      bytesOf('__name__', 'up', Buffer.from([0xff]), 'x'),
      /label name "�" is not valid UTF-8/,
    ],
    [
      'a surrogate half in a value',
      bytesOf('__name__', 'up', 'a', Buffer.from([0xed, 0xa0, 0x80])),
      /value of label "a" is not valid UTF-8/,
    ],
    [
      'a cut-off sequence in a value',
      bytesOf('__name__', 'up', 'a', Buffer.from([0xe2, 0x82])),
      /value of label "a" is not valid UTF-8/,
    ],
    [
      'a long name',
      bytesOf('__name__', 'up', 'n'.repeat(1025), 'x'),
      /has 1025 bytes, over the limit labelNameBytesMax = 1024/,
    ],
    [
      'a long value',
      bytesOf('__name__', 'up', 'a', 'v'.repeat(16_385)),
      /value of label "a" has 16385 bytes, over the limit labelValueBytesMax = 16384/,
    ],
    [
      'many labels',
      bytesOf('__name__', 'up', ...wide),
      /more labels than the limit labelsPerSeriesMax = 256/,
    ],
    [
      'many bytes',
      bytesOf(
        '__name__',
        'x'.repeat(16_000),
        ...['a', 'b', 'c', 'd', 'e'].flatMap((name) => [name, 'y'.repeat(16_000)]),
      ),
      /labels are over the limit labelBytesPerSeriesMax = 65536/,
    ],
    ['truncated bytes', bytesOf('__name__', 'up').subarray(0, 5), /truncated/],
  ])('%s', (_name, bytes, expected) => {
    const act = () => check(bytes);
    expect(act).toThrow(AppError);
    expect(act).toThrow(expected);
  });
});

test('every label set of the model with a metric name passes', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text), { maxLength: 20 }), text, (pairs, metric) => {
      const out = new ByteWriter();
      encodeLabels(Labels.from([...pairs, ['__name__', metric]]), out);
      checkLabels(out.bytes, 0, out.length, DEFAULT_LABEL_LIMITS);
    }),
  );
});

test('mutated label bytes are accepted or refused as bad_data, and can be described', () => {
  const base = bytesOf('__name__', 'up', 'job', 'node', 'µ', 'é');
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 4 }), (edits) => {
      const bytes = base.slice();
      for (const [at, byte] of edits) bytes[at] = byte;
      expect(typeof describeLabels(bytes, 0, bytes.length)).toBe('string');
      try {
        check(bytes);
      } catch (caught) {
        expect((caught as AppError).code).toBe('bad_data');
      }
    }),
    { numRuns: 1000 },
  );
});

test('a description of long labels stays short', () => {
  const bytes = bytesOf(
    '__name__',
    'x'.repeat(16_000),
    ...['a', 'b', 'c', 'd', 'e', 'f'].flatMap((name) => [name, 'y'.repeat(9000)]),
  );
  expect(describeLabels(bytes, 0, bytes.length).length).toBeLessThan(2000);
});
