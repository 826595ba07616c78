import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareUtf8 } from '../lib/model/labels.ts';
import { uniteSorted } from './block-labels.ts';

test('unites as a set does, in UTF-8 order', () => {
  const strings = fc
    .uniqueArray(fc.string({ unit: 'binary', maxLength: 3 }))
    .map((list) => list.sort(compareUtf8));
  fc.assert(
    fc.property(strings, strings, (a, b) => {
      expect(uniteSorted(a, b)).toEqual([...new Set([...a, ...b])].sort(compareUtf8));
    }),
  );
});
