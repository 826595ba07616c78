import { expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { ScraperDefinition, StoreDefinition, TargetState } from '../wire/contracts.ts';
import { createInProcessClient } from './in-process.ts';
import type { Handlers } from './rpc.ts';

const never = { signal: new AbortController().signal };

test('a unary call arrives, and its failure as an AppError', async () => {
  const handlers: Handlers<typeof ScraperDefinition> = {
    targets: async (request) => {
      if (request.scrapePool === 'bad') throw new TypeError('broken');
      return { active: [], dropped: [], droppedCounts: { [request.scrapePool]: 1 }, discoveryProblems: [] };
    },
    targetMetadata: () => Promise.reject(new AppError('internal', 'not called')),
    balance: () => Promise.resolve({ buckets: [], costs: [], newest: undefined }),
    relabelSteps: () => Promise.reject(new AppError('internal', 'not called')),
    discover: () => {
      throw new AppError('internal', 'not called');
    },
  };
  const client = createInProcessClient(ScraperDefinition, handlers);
  const request = { state: TargetState.TARGET_STATE_ANY, scrapePool: 'a' };
  expect((await client.targets(request, never)).droppedCounts).toEqual({ a: 1 });
  const failure = client.targets({ ...request, scrapePool: 'bad' }, never);
  await expect(failure).rejects.toMatchObject({ name: 'AppError', code: 'internal', message: 'broken' });
  const aborted = AbortSignal.abort(new AppError('canceled', 'gone'));
  await expect(client.targets(request, { signal: aborted })).rejects.toMatchObject({ code: 'canceled' });
});

test('a stream is cancelled where its reader leaves, and by its signal', async () => {
  let closed = 0;
  const piece = { part: { $case: 'piece' as const, value: { file: 0, bytes: new Uint8Array() } } };
  const unused = () => Promise.reject(new AppError('internal', 'not called'));
  const handlers = {
    putBlock: unused,
    listBlocks: unused,
    labels: unused,
    select: async function* () {},
    fetchBlock: async function* () {
      try {
        for (;;) yield piece;
      } finally {
        closed++;
      }
    },
  } as unknown as Handlers<typeof StoreDefinition>;
  const client = createInProcessClient(StoreDefinition, handlers);
  const request = { tenant: 't', blockId: 'b' };
  let seen = 0;
  for await (const _ of client.fetchBlock(request, never)) if (++seen === 3) break;
  expect([seen, closed]).toEqual([3, 1]);
  const controller = new AbortController();
  const read = async () => {
    for await (const _ of client.fetchBlock(request, { signal: controller.signal })) {
      if (++seen === 6) controller.abort(new AppError('timeout', 'too slow'));
    }
  };
  await expect(read()).rejects.toMatchObject({ code: 'timeout' });
  expect([seen, closed]).toEqual([6, 2]);
});
