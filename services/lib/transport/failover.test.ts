import { expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { QuerierDefinition } from '../wire/contracts.ts';
import type { Peer } from './cluster.ts';
import { withFailover } from './failover.ts';
import type { Client } from './rpc.ts';

type QuerierPeer = Peer<Client<typeof QuerierDefinition>>;

/** A querier whose query gives `frames` and then fails with `error`, and whose labels fail the same way. */
function querier(instance: string, asked: string[], frames: number, error?: AppError): QuerierPeer {
  const client = {
    async *query() {
      asked.push(instance);
      for (let i = 0; i < frames; i++) yield { part: { $case: 'frame', value: Buffer.from(instance) } };
      if (error !== undefined) throw error;
    },
    async labels() {
      asked.push(instance);
      if (error !== undefined) throw error;
      return { values: [instance], truncated: false, warnings: [] };
    },
  };
  return { instance, client: client as unknown as QuerierPeer['client'] };
}

const context = () => ({ signal: new AbortController().signal });
const gone = new AppError('unavailable', 'refused');

async function run(peer: QuerierPeer): Promise<number> {
  let frames = 0;
  for await (const _ of peer.client.query({} as never, context())) frames++;
  return frames;
}

test('a call that cannot be made is made at the next process', async () => {
  const asked: string[] = [];
  const peers = withFailover(QuerierDefinition, [querier('a', asked, 0, gone), querier('b', asked, 2)]);
  expect(await run(peers[0]!)).toBe(2);
  expect((await peers[0]!.client.labels({} as never, context())).values).toEqual(['b']);
  expect(await run(peers[1]!)).toBe(2);
  expect(asked).toEqual(['a', 'b', 'a', 'b', 'b']);
});

test('an answer that has begun is not begun again', async () => {
  const asked: string[] = [];
  const peers = withFailover(QuerierDefinition, [querier('a', asked, 1, gone), querier('b', asked, 2)]);
  await expect(run(peers[0]!)).rejects.toThrow('refused');
  expect(asked).toEqual(['a']);
});

test("the query's own errors and the caller's leaving are final", async () => {
  const asked: string[] = [];
  const wrong = new AppError('bad_data', 'no');
  const peers = withFailover(QuerierDefinition, [querier('a', asked, 0, wrong), querier('b', asked, 2)]);
  await expect(run(peers[0]!)).rejects.toThrow('no');
  const left = withFailover(QuerierDefinition, [querier('c', asked, 0, gone), querier('d', asked, 2)]);
  const signal = AbortSignal.abort(new AppError('canceled', 'left'));
  await expect(left[0]!.client.labels({} as never, { signal })).rejects.toThrow();
  expect(asked).toEqual(['a', 'c']);
});

test('one after the other, both fail: the last reason counts', async () => {
  const asked: string[] = [];
  const other = new AppError('unavailable', 'also refused');
  const peers = withFailover(QuerierDefinition, [
    querier('a', asked, 0, gone),
    querier('b', asked, 0, other),
  ]);
  await expect(run(peers[0]!)).rejects.toThrow('also refused');
  expect(asked).toEqual(['a', 'b']);
});
