import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareUtf8 } from '../../lib/model/labels.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { uniteSorted } from './block-labels.ts';

test('unites as a set does, in UTF-8 order', async () => {
  const strings = fc
    .uniqueArray(fc.string({ unit: 'binary', maxLength: 3 }))
    .map((list) => list.sort(compareUtf8));
  await fc.assert(
    fc.asyncProperty(strings, strings, async (a, b) => {
      expect(await uniteSorted(a, b, new WorkPacer())).toEqual([...new Set([...a, ...b])].sort(compareUtf8));
    }),
  );
});
