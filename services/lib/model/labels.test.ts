import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter, compareBytes, encodeUtf8 } from '../core/bytes.ts';
import { compareUtf8, decodeLabels, encodeLabels, Labels } from './labels.ts';

const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((t) => t.isWellFormed());
const labelSets = fc.array(fc.tuple(text, text), { maxLength: 8 }).map((pairs) => Labels.from(pairs));

test('compareUtf8 is the order of UTF-8 bytes', () => {
  const any = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(any, any, (a, b) => {
      expect(Math.sign(compareUtf8(a, b))).toBe(Math.sign(compareBytes(encodeUtf8(a), encodeUtf8(b))));
    }),
  );
  expect(compareUtf8('\uffee', '\u{10000}')).toBeLessThan(0);
});

test('label bytes are canonical and come back', () => {
  fc.assert(
    fc.property(labelSets, (labels) => {
      const writer = new ByteWriter();
      encodeLabels(labels, writer);
      expect(decodeLabels(writer.bytes, 0, writer.length).pairs).toEqual(labels.pairs);
    }),
  );
});

test.each([
  ['unsorted', ['b', '1', 'a', '1']],
  ['repeated', ['a', '1', 'a', '2']],
  ['empty value', ['a', '']],
])('bytes that are not canonical are refused: %s', (_, pairs) => {
  const writer = new ByteWriter();
  for (const each of pairs) writer.string(each);
  expect(() => decodeLabels(writer.bytes, 0, writer.length)).toThrow(/not canonical/);
});

test('names of Object.prototype are ordinary labels', () => {
  const labels = Labels.from([
    ['constructor', 'c'],
    ['__proto__', 'p'],
    ['toString', 't'],
  ]);
  expect(labels.get('__proto__')).toBe('p');
  expect(labels.get('hasOwnProperty')).toBe('');
  expect(labels.without('constructor').pairs).toEqual(['__proto__', 'p', 'toString', 't']);
});

test('with keeps the order, replaces and removes', () => {
  const labels = Labels.from([
    ['a', '1'],
    ['c', '3'],
  ]);
  expect(labels.with('b', '2').pairs).toEqual(['a', '1', 'b', '2', 'c', '3']);
  expect(labels.with('a', '9').pairs).toEqual(['a', '9', 'c', '3']);
  expect(labels.with('c', '').pairs).toEqual(['a', '1']);
  expect(labels.with('d', '4').pairs).toEqual(['a', '1', 'c', '3', 'd', '4']);
});

test('keys differ where label sets differ', () => {
  const a = Labels.from([['a', '1:b']]);
  const b = Labels.from([
    ['a', '1'],
    ['b', 'x'],
  ]);
  expect(a.key).not.toBe(b.key);
});

test.each([
  [[['__name__', 'up']], 'up'],
  [
    [
      ['__name__', 'up'],
      ['job', 'a"b\\c\nd'],
    ],
    'up{job="a\\"b\\\\c\\nd"}',
  ],
  [[['job', 'x']], '{job="x"}'],
  [[], '{}'],
  [
    [
      ['__name__', 'my.metric'],
      ['label.x', 'y'],
    ],
    '{"my.metric", "label.x"="y"}',
  ],
] as [[string, string][], string][])('prints as Prometheus does: %j', (pairs, expected) => {
  expect(Labels.from(pairs).toString()).toBe(expected);
});

test('sorts as Prometheus does', () => {
  const sorted = ['{}', '{a="1"}', '{a="1", b="2"}', '{a="2"}', '{b="1"}'];
  const sets = [
    Labels.from([['b', '1']]),
    Labels.from([['a', '2']]),
    Labels.empty,
    Labels.from([
      ['a', '1'],
      ['b', '2'],
    ]),
    Labels.from([['a', '1']]),
  ];
  expect(sets.sort((x, y) => x.compareTo(y)).map(String)).toEqual(sorted);
});

/** The same set over bytes that stand somewhere in a larger buffer. */
function viewOf(labels: Labels): Labels {
  const writer = new ByteWriter();
  writer.u8(7);
  encodeLabels(labels, writer);
  const end = writer.length;
  writer.u8(200);
  return Labels.view(writer.take(), 1, end);
}

test('a set over bytes is the set that they were made of', () => {
  const underscored = fc.tuple(fc.constantFrom('__name__', '__type__', '__unit__', '_x', '__zz'), text);
  const sets = fc
    .array(fc.oneof(underscored, fc.tuple(text, text)), { maxLength: 8 })
    .map((pairs) => Labels.from(pairs));
  const dropped = new Set(['__name__', '__type__', '__unit__']);
  fc.assert(
    fc.property(sets, text, (labels, absent) => {
      expect(viewOf(labels).pairs).toEqual(labels.pairs);
      expect(viewOf(labels).key).toBe(labels.key);
      for (const [name, value] of labels) expect(viewOf(labels).get(name)).toBe(value);
      expect(viewOf(labels).get(absent)).toBe(labels.get(absent));
      const bare = viewOf(labels).withoutReserved(dropped);
      const expected = labels.withoutReserved(dropped);
      expect(bare.pairs).toEqual(expected.pairs);
      expect(bare.key).toBe(expected.key);
      expect(expected.pairs).toEqual(labels.filter((name) => !dropped.has(name)).pairs);
      const again = new ByteWriter();
      encodeLabels(bare, again);
      expect(decodeLabels(again.bytes, 0, again.length).pairs).toEqual(expected.pairs);
    }),
  );
});

test('different sets have different keys, and are unequal to tests', () => {
  fc.assert(
    fc.property(labelSets, labelSets, (a, b) => {
      const isEqual = a.compareTo(b) === 0;
      expect(a.key === b.key).toBe(isEqual);
      if (isEqual) expect(viewOf(a)).toEqual(b);
      else expect(viewOf(a)).not.toEqual(b);
    }),
  );
});
