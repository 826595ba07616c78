import { expect, test } from 'vitest';
import { FakeControlPlane } from '../../../../test/support/fake-control-plane.ts';
import { setStoreLeaving } from './store-membership.ts';

async function controlOf(stores: readonly string[], copies = 2): Promise<FakeControlPlane> {
  const control = new FakeControlPlane();
  await control.replacePlacement({
    ...{ epoch: 1, partitionCount: 8, replicationFactor: 3, ingesters: [], former: [] },
    ...{
      storeReplicationFactor: copies,
      stores: stores.map((instance) => ({ instance, zone: 'z', weight: 2 })),
    },
  });
  return control;
}

test('a store leaves and stays after all; the record keeps what it says of it otherwise', async () => {
  const control = await controlOf(['a', 'b', 'c']);
  await setStoreLeaving('b', true, control);
  expect(control.placement()).toMatchObject({
    epoch: 2,
    stores: [{}, { instance: 'b', leaving: true, weight: 2 }, {}],
  });
  await setStoreLeaving('b', true, control);
  expect(control.placement()?.epoch).toBe(2);
  await setStoreLeaving('b', false, control);
  expect(control.placement()?.stores[1]).toEqual({ instance: 'b', zone: 'z', weight: 2 });
});

test('refused while too few would be left, without NATS, and for a store that is not known', async () => {
  const control = await controlOf(['a', 'b']);
  await expect(setStoreLeaving('a', true, control)).rejects.toMatchObject({
    code: 'failed_precondition',
    message: expect.stringContaining('1 stores would be left for 2 copies') as string,
  });
  await expect(setStoreLeaving('x', true, control)).rejects.toMatchObject({ code: 'not_found' });
  control.isReachable = false;
  await expect(setStoreLeaving('a', true, control)).rejects.toMatchObject({ code: 'unavailable' });
});
