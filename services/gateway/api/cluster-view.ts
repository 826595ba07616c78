// The cluster as the members page shows it, from what this process knows of the control plane.
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { ControlPlane } from '../../lib/transport/control-plane.ts';
import type { ClusterMember, ClusterView } from '../host.ts';

/** Live members, and owners of partitions or blocks that are not there. */
export function viewCluster(control: ControlPlane, cluster: Cluster): ClusterView {
  const placement = cluster.placement();
  const owned = new Map<string, number>();
  for (const owners of placement?.replicas ?? []) {
    for (const owner of owners) owned.set(owner, (owned.get(owner) ?? 0) + 1);
  }
  const members: ClusterMember[] = control.members().map((member) => ({
    ...member,
    partitionsOwned: member.service === 'ingester' ? (owned.get(member.instance) ?? 0) : 0,
  }));
  const there = new Set(members.map(({ service, instance }) => `${service} ${instance}`));
  const record = control.placement();
  for (const [service, owners] of [
    ['ingester', record?.ingesters ?? []],
    ['store', record?.stores ?? []],
  ] as const) {
    for (const { instance, zone } of owners) {
      if (there.has(`${service} ${instance}`)) continue;
      const partitionsOwned = service === 'ingester' ? (owned.get(instance) ?? 0) : 0;
      members.push({ ...ABSENT, service, instance, zone, partitionsOwned });
    }
  }
  return {
    epoch: placement?.epoch ?? 0,
    partitionCount: placement?.partitionCount ?? 0,
    replicationFactor: cluster.replicationFactor,
    storeReplicationFactor: record?.storeReplicationFactor ?? 0,
    isControlPlaneReachable: control.isConnected(),
    controlServer: control.serverFacts?.(),
    members: members.sort(byServiceAndInstance),
  };
}

const ABSENT = {
  ...{ version: '', grpcAddress: '', httpAddress: '', state: 'absent' },
  ...{ startedAtMs: 0, heartbeatAgeMs: -1 },
} as const;

function byServiceAndInstance(a: ClusterMember, b: ClusterMember): number {
  if (a.service !== b.service) return a.service < b.service ? -1 : 1;
  return a.instance < b.instance ? -1 : 1;
}
