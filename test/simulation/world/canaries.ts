// Bugs that are planted to see whether the simulation finds them. They go in where the world or the cluster's view is an argument
// anyway, so that nothing of them is in the services.
import { RECORD_DELETE } from '../../../services/ingester/log/delete-records.ts';
import { Replayer } from '../../../services/ingester/log/replay.ts';
import { CatchUp } from '../../../services/ingester/replication/catch-up.ts';
import { Replica } from '../../../services/ingester/replication/replication.ts';
import { Sealer } from '../../../services/ingester/sealing/sealer.ts';
import { Fences } from '../../../services/ingester/writes/fences.ts';
import type { ObjectStore, RemovalRight } from '../../../services/lib/objstore/object-store.ts';
import type { Cluster, VersionedPeer } from '../../../services/lib/transport/cluster.ts';
import type { RecordView } from '../../../services/lib/tsdb/log/record.ts';
import { LeasedTurns } from '../../../services/store/bucket/removal-turns.ts';
import { Repairer } from '../../../services/store/replication/repairer.ts';
import { trustingUploads } from './sim-bucket.ts';
import type { Views } from './sim-cluster.ts';

/** Each with how it shows. */
export const CANARIES = {
  'forget-syncs': /^lost /,
  'quorum-of-one': /^lost /,
  'trust-one-replica': /^lost /,
  'drop-records': /^lost /,
  'blind-trust': /^lost /,
  'blind-cache': /^lost /,
  'never-catch-up': /replicas differ .* ingester-\d lacks/,
  'never-repair': /replicas differ .* store-\d lacks/,
  'no-fence': /two holders: samples/,
  'trust-itself': /two holders: notifications/,
  'remove-any-time': /two removers/,
  'removals-without-end': /two removers/,
  'forget-deletes': /deleted, and seen again/,
  'deletes-stay-home': /deleted, and seen again/,
  'leave-at-once': /^lost |no complete answer|replicas differ/,
  'trust-uploads': /the bucket lacks|no complete answer|^lost /,
} as const;

export type Canary = keyof typeof CANARIES;

/** Of the records of a replayed log, each of so many is dropped. */
const DROPPED = 40;

/** Plants a bug for good, in this process; what it answers belongs into the cluster. */
export function plantCanary(canary: Canary | undefined): Views {
  switch (canary) {
    case undefined:
      return {};
    // What was acknowledged was in the page cache only.
    case 'forget-syncs':
      return { forgetsSyncs: true };
    // Writes are acknowledged when one replica has them.
    case 'quorum-of-one':
      return { seenBy: (role, cluster) => (role === 'gateway' ? withReplication(cluster, 1) : cluster) };
    // A query takes any one owner's answer for the whole: of three owners one must answer where a quorum of three would do.
    case 'trust-one-replica':
      return { seenBy: (role, cluster) => (role === 'querier' ? withReplication(cluster, 5) : cluster) };
    // Nodes say that no sample ever changed.
    case 'blind-cache':
      return { seenBy: (role, cluster) => (role === 'querier' ? withoutChanges(cluster) : cluster) };
    case 'drop-records': {
      let count = 0;
      dropRecords(() => ++count % DROPPED === 0);
      return {};
    }
    // An owner says that all is on the stores, whatever it was asked about.
    case 'blind-trust':
      Object.assign(Sealer.prototype, { hasSealed: () => true });
      return {};
    // A replica does not get what it missed; a quorum of the others always has it.
    case 'never-catch-up':
      Object.assign(CatchUp.prototype, { start: () => Promise.resolve() });
      return {};
    // A block is where its ingester could bring it, and nowhere else.
    case 'never-repair':
      Object.assign(Repairer.prototype, { run: () => Promise.resolve() });
      return {};
    // Ingesters take samples of any holder of a lease, whoever came later.
    case 'no-fence':
      Object.assign(Fences.prototype, { take: () => Promise.resolve(), newestOf: () => 0 });
      return {};
    // Whoever believes to evaluate a group notifies.
    case 'trust-itself':
      return { trustsItself: true };
    // Stores remove from the bucket whoever else does.
    case 'remove-any-time':
      Object.assign(LeasedTurns.prototype, {
        take: () => Promise.resolve({ leftMs: () => 30_000 }),
        giveBack: () => Promise.resolve(),
      });
      return {};
    // What a store has decided to remove it removes, however long it was stopped since.
    case 'removals-without-end':
      return { bucketSeen: withoutEnd };
    // An ingester does not know of deletes any more when it starts again.
    case 'forget-deletes':
      dropRecords(({ type }) => type === RECORD_DELETE);
      return {};
    // A block comes to another store without what is deleted of it.
    case 'deletes-stay-home':
      return { seenBy: (role, cluster) => (role === 'store' ? withoutDeletes(cluster) : cluster) };
    // Whoever is told to leave is released, whatever it holds.
    case 'leave-at-once':
      Object.assign(Replica.prototype, {
        leave: () => ({ leaving: true, released: true, state: 'gone' }),
      });
      return {};
    // What was sent to the bucket counts as there, whatever arrived: blocks leave the disk for it.
    case 'trust-uploads':
      return { bucketSeen: trustingUploads };
  }
}

function withReplication(cluster: Cluster, replicationFactor: number): Cluster {
  return new Proxy(cluster, {
    get: (target, key) => {
      if (key === 'replicationFactor') return replicationFactor;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function withoutChanges(cluster: Cluster): Cluster {
  const client: VersionedPeer['client'] = {
    versions: ({ minTimesMs }) =>
      Promise.resolve({ origin: '', versions: minTimesMs.map(() => 0), epoch: 0 }),
  };
  return new Proxy(cluster, {
    get: (target, key) => {
      if (key === 'rangeVersions') return () => target.rangeVersions!().map((peer) => ({ ...peer, client }));
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A store's peers say of no block that anything of it is deleted. */
function withoutDeletes(cluster: Cluster): Cluster {
  return new Proxy(cluster, {
    get: (target, key) => {
      if (key === 'storeReplication')
        return () =>
          target.storeReplication!().map((peer) => ({
            ...peer,
            client: { ...peer.client, blockDeletes: () => Promise.resolve({ deletes: [] }) },
          }));
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A bucket that takes removals whenever they come. */
function withoutEnd(bucket: ObjectStore): ObjectStore {
  const endless = new WeakMap<RemovalRight, RemovalRight>();
  return {
    ...bucket,
    remove: (key, right, signal) => {
      const lasting = endless.get(right) ?? { leftMs: () => Number.POSITIVE_INFINITY };
      endless.set(right, lasting);
      return bucket.remove(key, lasting, signal);
    },
  };
}

/** Records that a replay passes over. */
function dropRecords(isDropped: (record: RecordView) => boolean): void {
  type Apply = (this: Replayer, ...args: Parameters<Replayer['apply']>) => void;
  const apply = Reflect.get(Replayer.prototype, 'apply') as Apply;
  const leaky: Apply = function (...args) {
    if (!isDropped(args[0])) apply.apply(this, args);
  };
  Object.assign(Replayer.prototype, { apply: leaky });
}
