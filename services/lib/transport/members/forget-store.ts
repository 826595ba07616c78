// An operator's word that a store will not come back. Without it a store that was ever ready counts as missing until the others have
// rebuilt its blocks, or for ever where they cannot, since only it knows which blocks it held.
import { AppError } from '../../core/errors.ts';
import type { ControlPlane } from '../control-plane.ts';
import { changeStores } from './store-membership.ts';

/**
 * Takes a store out of the placement record. Blocks that it alone had are lost to queries, silently from then on; the other copies
 * of the rest go on to serve. A store that comes back under its name is known again by itself.
 *
 * @throws AppError `not_found` when the record does not list it, `failed_precondition` while it is a live member, `unavailable`
 *         when NATS is out of reach or others were quicker each time.
 */
export function forgetStore(instance: string, control: ControlPlane): Promise<void> {
  return changeStores(instance, control, ({ stores }) => {
    const isLive = control
      .members()
      .some((member) => member.service === 'store' && member.instance === instance);
    if (isLive) {
      throw new AppError('failed_precondition', `store ${instance} is a live member: stop it first`);
    }
    return stores.filter((store) => store.instance !== instance);
  });
}
