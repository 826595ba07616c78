import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { openLocalTask } from './local-task.ts';
import type { LastMessage, TaskChannel } from './worker-tasks.ts';

type Channel = TaskChannel<string, string>;

test('a conversation, and its last word', async () => {
  const heard: string[] = [];
  const run = async (first: number, channel: Channel): Promise<LastMessage<string>> => {
    const answer = Promise.withResolvers<string>();
    channel.onMessage = answer.resolve;
    channel.post(`asks about ${first}`);
    return { message: `was told ${await answer.promise}`, transfer: [] };
  };
  const task = openLocalTask<number, string, string>(7, run, (message) => {
    heard.push(message);
    if (message === 'asks about 7') task.post('seven');
  });
  expect(heard).toEqual([]);
  expect(await task.ended).toBeUndefined();
  task.post('too late');
  expect(heard).toEqual(['asks about 7', 'was told seven']);
});

test('what is said before the task runs is not lost', async () => {
  const heard: string[] = [];
  const run = async (_first: number, channel: Channel) => {
    channel.onMessage = (message) => heard.push(message);
    await nextTurn();
    return undefined;
  };
  const task = openLocalTask<number, string, string>(0, run, () => undefined);
  task.post('at once');
  await task.endWithin(1);
  expect(heard).toEqual(['at once']);
});

test('an error is the end', async () => {
  const run = async (): Promise<undefined> => {
    throw new AppError('execution', 'too much');
  };
  const task = openLocalTask<number, string, string>(0, run, () => undefined);
  expect(await task.ended).toMatchObject({ code: 'execution', message: 'too much' });
});
