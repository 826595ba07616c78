import { expect, test } from 'vitest';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { QuarantinedBlock } from './block-catalog.ts';
import { newestSample } from './newest-sample.ts';

const meta = (maxTimeMs: number) => ({ maxTimeMs }) as BlockMeta;

function newest(blocks: readonly number[], lost: readonly (number | undefined)[] = []) {
  return newestSample(
    { tenant: 'a' },
    {
      list: (tenant) => (tenant === 'a' ? blocks.map(meta) : []),
      quarantinedOf: (tenant): QuarantinedBlock[] =>
        lost.map((time) => ({ tenant, blockId: '', meta: time === undefined ? undefined : meta(time) })),
    },
  );
}

test('the newest of all blocks counts, also of those that were set aside', () => {
  expect(newest([])).toEqual({ unknown: false });
  expect(newest([5, 9, 7])).toEqual({ unknown: false, newestMs: 9 });
  expect(newest([5], [12])).toEqual({ unknown: false, newestMs: 12 });
  expect(newest([5], [undefined])).toEqual({ unknown: true, newestMs: 5 });
  expect(newest([], [undefined])).toEqual({ unknown: true });
});
