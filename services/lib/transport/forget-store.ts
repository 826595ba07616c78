// An operator's word that a store will not come back. Without it a store that was ever ready counts as missing for ever, since only
// it knows which blocks it held.
import { AppError } from '../core/errors.ts';
import type { ControlPlane } from './control-plane.ts';

/** Others change the record at the same time: it is read again and tried again so often. */
const ATTEMPTS = 5;

/**
 * Takes a store out of the placement record. Blocks that it alone had are lost to queries, silently from then on; the other copies
 * of the rest go on to serve. A store that comes back under its name is known again by itself.
 *
 * @throws AppError `not_found` when the record does not list it, `failed_precondition` while it is a live member, `unavailable`
 *         when NATS is out of reach or others were quicker each time.
 */
export async function forgetStore(instance: string, control: ControlPlane): Promise<void> {
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
    const isLive = control
      .members()
      .some((member) => member.service === 'store' && member.instance === instance);
    if (isLive) {
      throw new AppError('failed_precondition', `store ${instance} is a live member: stop it first`);
    }
    const stores = record.stores.filter((store) => store.instance !== instance);
    if (await control.replacePlacement({ ...record, epoch: record.epoch + 1, stores })) return;
  }
  throw new AppError('unavailable', `the placement changed ${ATTEMPTS} times meanwhile; try again`);
}
