import { expect, test } from 'vitest';
import { FakeControlPlane } from '../../../../test/support/fake-control-plane.ts';
import { slotOwners, withSlots } from '../../placement/store-slots.ts';
import { forgetStore } from './forget-store.ts';

const STORES = ['s1', 's2', 's3'].map((instance) => ({ instance, zone: '' }));

async function planeWith(live: readonly string[]): Promise<FakeControlPlane> {
  const control = new FakeControlPlane();
  control.set(live.map((instance) => ({ service: 'store', instance })));
  await control.replacePlacement({
    ...{ epoch: 4, partitionCount: 8, replicationFactor: 3, ingesters: [], former: [] },
    ...{ storeReplicationFactor: 2, stores: STORES },
  });
  return control;
}

test('a store that is gone is forgotten; all else stays', async () => {
  const control = await planeWith(['s1', 's3']);
  const before = control.placement();
  await forgetStore('s2', control);
  expect(control.placement()).toEqual({ ...before, epoch: 5, stores: [STORES[0], STORES[2]] });
});

test('others may change the record at the same time', async () => {
  const control = await planeWith(['s1']);
  const replace = control.replacePlacement.bind(control);
  let refusals = 2;
  control.replacePlacement = async (next) => {
    if (refusals-- <= 0) return replace(next);
    await replace({ ...control.placement()!, epoch: control.placement()!.epoch + 1, partitionCount: 16 });
    return false;
  };
  await forgetStore('s2', control);
  expect(control.placement()).toMatchObject({ epoch: 7, partitionCount: 16, stores: [STORES[0], STORES[2]] });
  refusals = 100;
  await expect(forgetStore('s3', control)).rejects.toMatchObject({ code: 'unavailable' });
});

test.each<[string, string, string, RegExp]>([
  ['one that is live', 's1', 'failed_precondition', /s1 is a live member/],
  ['one that nobody knows', 's9', 'not_found', /no store "s9" .* it has: s1, s2, s3/],
])('%s is not forgotten', async (_, instance, code, message) => {
  const control = await planeWith(['s1']);
  const error: unknown = await forgetStore(instance, control).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  expect(control.placement()?.epoch).toBe(4);
});

test('nothing changes while NATS is out of reach', async () => {
  const control = await planeWith([]);
  control.isReachable = false;
  await expect(forgetStore('s2', control)).rejects.toMatchObject({ code: 'unavailable' });
});

test('its slots go to the others, who keep theirs', async () => {
  const control = await planeWith([]);
  const stores = withSlots(STORES, 2);
  await control.replacePlacement({ ...control.placement()!, epoch: 5, stores });
  await forgetStore('s2', control);
  const left = control.placement()!.stores;
  for (const { instance, slots } of left)
    expect(slots).toEqual(
      expect.arrayContaining([...stores.find((each) => each.instance === instance)!.slots!]),
    );
  expect(slotOwners(left, 2).every((owners) => owners.length === 2)).toBe(true);
});
