import { expect, test } from 'vitest';
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { SeriesCounter } from './series-counter.ts';

test('counts each series once, also after it has grown', () => {
  const counter = new SeriesCounter(7);
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 20_000; i++) {
      const bytes = encodeUtf8(`..series ${i}`);
      const count = counter.add(bytes, 2, bytes.length);
      expect(count).toBe(round === 0 ? i + 1 : 20_000);
    }
  }
});
