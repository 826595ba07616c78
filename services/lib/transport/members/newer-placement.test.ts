// Who is asked whether the placement that is known here is an old one, and when.
import { expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { computePlacement } from '../../placement/placement.ts';
import type { VersionedPeer } from '../cluster.ts';
import { NewerPlacement } from './newer-placement.ts';

const OWN = 7;

/** Ingesters by the epoch that they know; those that know none do not answer. */
function clusterOf(isCurrent: boolean, epochs: readonly (number | undefined)[]) {
  let asked = 0;
  const placement = computePlacement([], { epoch: OWN, partitionCount: 1, replicationFactor: 3 });
  const peers = epochs.map((epoch, i): VersionedPeer => {
    const versions: VersionedPeer['client']['versions'] = (_, { signal: over }) => {
      asked++;
      if (epoch !== undefined) return Promise.resolve({ origin: '', versions: [], epoch });
      return new Promise((_resolve, reject) => {
        over.addEventListener('abort', () => reject(over.reason as Error));
      });
    };
    return { kind: 'ingester', instance: `i-${i}`, client: { versions } };
  });
  const cluster = { isCurrent: () => isCurrent, placement: () => placement, rangeVersions: () => peers };
  const newer = new NewerPlacement(cluster, systemClock);
  return { ask: () => newer.find(), asked: () => asked };
}

test.each<[string, boolean, (number | undefined)[], RegExp | undefined, number]>([
  ['connected: nobody is asked', true, [8, 8], undefined, 0],
  ['cut off, all know the same', false, [OWN, OWN], undefined, 2],
  ['cut off, others know an older one', false, [OWN, 0], undefined, 2],
  ['cut off, one knows a newer one', false, [OWN, 9, 8], /ingester i-1 knows placement 9, this process 7/, 3],
  ['cut off, one hangs and another one knows a newer one', false, [undefined, 8], /placement 8/, 2],
])('%s', async (_, isCurrent, epochs, expected, calls) => {
  const { ask, asked } = clusterOf(isCurrent, epochs);
  const found = await ask();
  if (expected === undefined) expect(found).toBeUndefined();
  else expect(found).toMatch(expected);
  expect(asked()).toBe(calls);
  // Others who ask at the same time are told the same.
  expect(await ask()).toBe(found);
  expect(asked()).toBe(calls);
});
