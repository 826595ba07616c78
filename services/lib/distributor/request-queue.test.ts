import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RequestQueue } from './request-queue.ts';

async function take<T>(iterator: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  for (let i = 0; i < count; i++) {
    const next = await iterator.next();
    if (next.done === true) break;
    taken.push(next.value);
  }
  return taken;
}

test('first in, first out, whatever the rhythm', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(60), fc.nat(60)), { maxLength: 20 }), async (steps) => {
      const queue = new RequestQueue<number>();
      const iterator = queue[Symbol.asyncIterator]();
      let pushed = 0;
      let taken = 0;
      for (const [push, pull] of steps) {
        for (let i = 0; i < push; i++) queue.push(pushed++);
        const got = await take(iterator, Math.min(pull, pushed - taken));
        for (const value of got) expect(value).toBe(taken++);
      }
      queue.close();
      const rest = await take(iterator, pushed);
      expect(rest).toEqual(Array.from({ length: pushed - taken }, (_, i) => taken + i));
    }),
  );
});

test('a waiting reader gets the next message, then the end', async () => {
  const queue = new RequestQueue<string>();
  const iterator = queue[Symbol.asyncIterator]();
  const first = iterator.next();
  queue.push('a');
  expect(await first).toEqual({ done: false, value: 'a' });
  const second = iterator.next();
  queue.close();
  expect((await second).done).toBe(true);
  queue.push('late');
  expect((await iterator.next()).done).toBe(true);
});

test('discard ends at once; leaving the loop discards', async () => {
  const queue = new RequestQueue<number>();
  queue.push(1);
  queue.push(2);
  for await (const value of queue) {
    expect(value).toBe(1);
    break;
  }
  expect((await queue[Symbol.asyncIterator]().next()).done).toBe(true);
});
