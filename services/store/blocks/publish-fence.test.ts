// RELIABILITY R23: who seals by an outdated placement has no effect.
import { expect, test } from 'vitest';
import { PublishFence } from './publish-fence.ts';

test('R23: a sender that is behind another one is refused, by name of both placements', () => {
  const fence = new PublishFence(() => 0);
  fence.check(7);
  fence.check(7);
  expect(() => fence.check(6)).toThrow('the sender seals by placement 6, placement 7 is known here');
  fence.check(9);
  expect(() => fence.check(7)).toThrow('placement 9');
  fence.check(9);
});

test('R23: a sender that is behind the store itself is refused', () => {
  let known = 3;
  const fence = new PublishFence(() => known);
  fence.check(3);
  known = 5;
  expect(() => fence.check(4)).toThrow('placement 5');
  fence.check(5);
  // A store that is behind its senders learns from them.
  fence.check(8);
  expect(() => fence.check(5)).toThrow('placement 8');
});

test('who follows no placement is not held up', () => {
  const fence = new PublishFence(() => 4);
  fence.check(undefined);
  fence.check(0);
});
