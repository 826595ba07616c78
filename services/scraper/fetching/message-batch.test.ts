import { expect, test } from 'vitest';
import { MessageBatch } from './message-batch.ts';

function recorded(): { readonly batch: MessageBatch<number>; readonly posts: (readonly number[])[] } {
  const posts: (readonly number[])[] = [];
  return { batch: new MessageBatch((messages) => posts.push(messages)), posts };
}

test('what is in a hurry goes at once and takes along what waits, in order', () => {
  const { batch, posts } = recorded();
  batch.add(1, 60_000);
  batch.add(2, 60_000);
  expect(posts).toEqual([]);
  batch.add(3, 0);
  expect(posts).toEqual([[1, 2, 3]]);
  batch.flush();
  expect(posts).toHaveLength(1);
});

test('the least patient decides when', async () => {
  const { batch, posts } = recorded();
  batch.add(1, 60_000);
  batch.add(2, 5);
  batch.add(3, 60_000);
  await expect.poll(() => posts).toEqual([[1, 2, 3]]);
});

test('what is taken back is not sent', () => {
  const { batch, posts } = recorded();
  batch.add(1, 60_000);
  expect(batch.clear()).toEqual([1]);
  batch.flush();
  expect(posts).toEqual([]);
});
