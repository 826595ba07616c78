import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { encodeLabels, Labels } from '../../model/labels.ts';
import { differWithoutName, withoutMetadata } from './names.ts';

function viewOf(labels: Readonly<Record<string, string>>): Labels {
  const writer = new ByteWriter(64);
  encodeLabels(Labels.from(Object.entries(labels)), writer);
  return Labels.view(writer.take(), 0, writer.length);
}

const withName = (labels: Readonly<Record<string, string>>, name = 'up') =>
  viewOf({ __name__: name, ...labels });

test.each([
  ['only the one name goes', [withName({ a: '1' }), withName({ a: '2' }), withName({})], true],
  ['no series', [], true],
  ['a type goes with it', [withName({ a: '1' }), withName({ __type__: 'gauge', a: '1' })], false],
  ['a unit goes with it', [withName({ __unit__: 'seconds', a: '1' })], false],
  ['another name', [withName({ a: '1' }), withName({ a: '1' }, 'down')], false],
  ['a label in front of the name stays', [withName({ A: '1' })], false],
  ['labels that are no bytes', [Labels.from([['__name__', 'up']])], false],
])('label sets differ without their name: %s', (_, sets, expected) => {
  const before = sets.map((labels) => ({ labels, dropName: false }));
  const after = sets.map((labels) => ({ labels: withoutMetadata(labels), dropName: false }));
  expect(differWithoutName('up', before, after)).toBe(expected);
});

test('names that are long or not of the classic form are not vouched for', () => {
  for (const name of ['', 'µ', 'n'.repeat(128)]) {
    const before = [
      { labels: viewOf({ ...(name === '' ? {} : { __name__: name }), a: '1' }), dropName: false },
    ];
    const after = before.map(({ labels }) => ({ labels: withoutMetadata(labels), dropName: false }));
    expect(differWithoutName(name, before, after)).toBe(false);
  }
});
