// An operator's words about stores, in the placement record: this one leaves, that one will not come back.
import { AppError } from '../../core/errors.ts';
import { type StoreMember, withSlots } from '../../placement/store-slots.ts';
import type { ControlPlane, PlacementRecord } from '../control-plane.ts';

/** Others change the record at the same time: it is read again and tried again so often. */
const ATTEMPTS = 5;

/**
 * Changes the list of stores, unless others change the record all the time.
 *
 * @param change  Gives the new list, or undefined when the one that stands will do. May throw.
 * @throws AppError `not_found` when the record does not list the store, `unavailable` when NATS is out of reach or others were
 *         quicker each time.
 */
export async function changeStores(
  instance: string,
  control: ControlPlane,
  change: (record: PlacementRecord) => readonly StoreMember[] | undefined,
): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const record = control.placement();
    if (record === undefined || !control.isConnected()) {
      throw new AppError(
        'unavailable',
        'the placement cannot be changed now: NATS is out of reach; try again',
      );
    }
    if (!record.stores.some((store) => store.instance === instance)) {
      const known = record.stores.map((store) => store.instance).join(', ');
      throw new AppError(
        'not_found',
        `no store ${JSON.stringify(instance)} in the placement; it has: ${known}`,
      );
    }
    const stores = change(record);
    if (stores === undefined) return;
    // Who leaves may stay after all: its slots are given to others for good when it is gone.
    const isFewer = stores.length < record.stores.length;
    const hasSlots = record.stores.every(({ slots }) => slots !== undefined);
    const placed = isFewer && hasSlots ? withSlots(stores, record.storeReplicationFactor) : stores;
    if (await control.replacePlacement({ ...record, epoch: record.epoch + 1, stores: placed })) return;
  }
  throw new AppError('unavailable', `the placement changed ${ATTEMPTS} times meanwhile; try again`);
}

/**
 * Lets a store give all of its blocks to others, or stay after all. The stores do it by themselves from then on.
 *
 * @throws AppError as changeStores does; `failed_precondition` when too few stores would be left for the copies of each block.
 */
export function setStoreLeaving(instance: string, leaving: boolean, control: ControlPlane): Promise<void> {
  return changeStores(instance, control, ({ stores, storeReplicationFactor }) => {
    const own = stores.find((store) => store.instance === instance);
    if ((own?.leaving === true) === leaving) return undefined;
    const rest = stores.filter((store) => store.leaving !== true && store.instance !== instance);
    if (leaving && rest.length < storeReplicationFactor) {
      throw new AppError(
        'failed_precondition',
        `store ${instance} cannot leave: ${rest.length} stores would be left for ${storeReplicationFactor} copies of each block; ` +
          'add one first, or lower --store.replication-factor',
      );
    }
    return stores.map((store) => {
      if (store.instance !== instance) return store;
      const { leaving: _, ...stays } = store;
      return leaving ? { ...stays, leaving } : stays;
    });
  });
}
