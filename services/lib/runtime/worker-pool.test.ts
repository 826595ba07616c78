import { afterEach, expect, test } from 'vitest';
import type { Order } from '../../../test/support/task-thread.ts';
import { createSilentLogger } from './logger.ts';
import { WorkerPool } from './worker-pool.ts';
import { movable } from './worker-tasks.ts';

const MODULE = new URL('../../../test/support/task-thread.ts', import.meta.url);
const pools: WorkerPool[] = [];

function makePool(threads: number, heapBytesMax?: number): WorkerPool {
  const options = { name: 'test', module: MODULE, threads };
  const pool = new WorkerPool(
    heapBytesMax === undefined ? options : { ...options, heapBytesMax },
    createSilentLogger(),
  );
  pools.push(pool);
  return pool;
}

afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.stop();
});

/** Opens a task whose answers can be waited for one by one. */
function openTask(pool: WorkerPool, order: Order) {
  const answers: (string | Uint8Array)[] = [];
  let wake = (): void => undefined;
  const task = pool.open<Order, string, string | Uint8Array>(order, (answer) => {
    answers.push(answer);
    wake();
  });
  const next = async (): Promise<string | Uint8Array> => {
    while (answers.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return answers.shift()!;
  };
  return { task, next };
}

test('the last message comes with the end', async () => {
  const pool = makePool(1);
  const { task, next } = openTask(pool, { do: 'echo' });
  task.post('last');
  const answer = await next();
  // Not a turn of the event loop later: nobody need wake up for the end alone.
  expect(pool.busy).toBe(0);
  expect(answer).toBe('the last word');
  expect(await task.ended).toBeUndefined();
});

test('tasks on one thread are conversations of their own', async () => {
  const pool = makePool(1);
  await pool.start();
  const a = openTask(pool, { do: 'echo' });
  const b = openTask(pool, { do: 'echo' });
  expect([pool.size, pool.busy, pool.queued]).toEqual([1, 1, 1]);
  a.task.post('from a');
  b.task.post('from b');
  expect(await b.next()).toBe('FROM B');
  expect(await a.next()).toBe('FROM A');
  a.task.post('end');
  expect(await a.task.ended).toBeUndefined();
  a.task.post('too late');
  b.task.post('still here');
  expect(await b.next()).toBe('STILL HERE');
  b.task.post('end');
  await b.task.ended;
  expect([pool.busy, pool.queued, pool.restarts]).toEqual([0, 0, 0]);
});

test('a second task goes to a thread of its own', async () => {
  const pool = makePool(2);
  const tasks = [openTask(pool, { do: 'echo' }), openTask(pool, { do: 'echo' })];
  expect([pool.busy, pool.queued]).toEqual([2, 0]);
  const third = openTask(pool, { do: 'echo' });
  expect([pool.busy, pool.queued]).toEqual([2, 1]);
  for (const { task } of [...tasks, third]) {
    task.post('end');
    await task.ended;
  }
});

test('an error keeps its code and its words', async () => {
  const { task } = openTask(makePool(1), { do: 'fail' });
  expect(await task.ended).toMatchObject({ code: 'bad_data', message: '1:3: parse error' });
});

test('bytes are moved there and back, a part of a larger buffer is not taken from it', async () => {
  const pool = makePool(1);
  const send = async (bytes: Uint8Array) => {
    const moved = movable(bytes);
    let answer: Uint8Array | undefined;
    const order: Order = { do: 'bytes', bytes: moved.bytes };
    const task = pool.open<Order, string, Uint8Array>(order, (a) => (answer = a), moved.transfer);
    await task.ended;
    return answer;
  };
  const whole = new Uint8Array(100_000).fill(7);
  expect((await send(whole))?.every((byte) => byte === 7)).toBe(true);
  expect(whole.length).toBe(0);
  const buffer = new Uint8Array(100_000).fill(9);
  expect((await send(buffer.subarray(10, 20)))?.length).toBe(10);
  expect(buffer.length).toBe(100_000);
  // Node's pool of small buffers cannot be moved.
  expect(Buffer.from((await send(Buffer.from('small')))!).toString()).toBe('small');
});

test('a thread that dies fails its tasks and is replaced', async () => {
  const pool = makePool(2);
  const other = openTask(pool, { do: 'echo' });
  const dead = openTask(pool, { do: 'crash' });
  expect(await dead.task.ended).toMatchObject({
    code: 'internal',
    message: 'a test thread died: nobody catches me',
  });
  expect(pool.restarts).toBe(1);
  other.task.post('alive');
  expect(await other.next()).toBe('ALIVE');
  const next = openTask(pool, { do: 'echo' });
  next.task.post('so am i');
  expect(await next.next()).toBe('SO AM I');
});

test('a thread that runs out of memory fails its task with the limit', async () => {
  const pool = makePool(1, 64 * 2 ** 20);
  const { task } = openTask(pool, { do: 'fill-heap' });
  expect(await task.ended).toMatchObject({
    code: 'execution',
    message: `a test thread ran out of its heap of ${64 * 2 ** 20} bytes and was replaced`,
  });
  const next = openTask(pool, { do: 'echo' });
  next.task.post('again');
  expect(await next.next()).toBe('AGAIN');
});

test('a thread that does not come to an end is ended', async () => {
  const pool = makePool(1);
  const { task } = openTask(pool, { do: 'hang' });
  await task.endWithin(50);
  expect(await task.ended).toMatchObject({
    code: 'internal',
    message: 'a test thread did not react for 50 ms and was ended',
  });
  expect(pool.restarts).toBe(1);
});

test('a stopped pool takes no tasks, and fails those it has', async () => {
  const pool = makePool(1);
  const { task } = openTask(pool, { do: 'echo' });
  await pool.stop();
  expect(await task.ended).toMatchObject({ code: 'internal' });
  expect(() => openTask(pool, { do: 'echo' })).toThrow(expect.objectContaining({ code: 'unavailable' }));
});

test('a module that cannot be loaded is an error of start and of every task', async () => {
  const pool = new WorkerPool(
    { name: 'test', module: new URL('./missing.ts', import.meta.url), threads: 1 },
    createSilentLogger(),
  );
  await expect(pool.start()).rejects.toMatchObject({ code: 'internal' });
  expect(await openTask(pool, { do: 'echo' }).task.ended).toMatchObject({ code: 'internal' });
});
