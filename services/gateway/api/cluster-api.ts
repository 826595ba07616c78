// /api/v1/cluster/members: who is there, who owns what, and when each was last heard of. Tidemark's own; Prometheus has
// nothing like it.
import type { ClusterMember, GatewayHost } from '../host.ts';
import { apiRoute, type Route } from '../http/route.ts';
import { formatTime } from '../json/json-values.ts';

export function clusterRoutes(deps: { readonly host: GatewayHost }): Route[] {
  const members = apiRoute(['GET'], '/api/v1/cluster/members', () => ({ data: describe(deps.host) }));
  // Not only when this gateway is ready: who is not there is the question then.
  return [{ ...members, kind: 'plain' }];
}

function describe(host: GatewayHost) {
  const view = host.members?.();
  return {
    controlPlane:
      view === undefined ? 'embedded' : view.isControlPlaneReachable ? 'reachable' : 'unreachable',
    ...(view?.controlServer === undefined ? {} : { controlServer: view.controlServer }),
    epoch: view?.epoch ?? 0,
    partitions: view?.partitionCount ?? 0,
    replicationFactor: view?.replicationFactor ?? 1,
    storeReplicationFactor: view?.storeReplicationFactor ?? 1,
    members: (view?.members ?? []).map(memberJson),
  };
}

function memberJson(member: ClusterMember) {
  return {
    service: member.service,
    instance: member.instance,
    zone: member.zone,
    version: member.version,
    state: member.state,
    grpcAddress: member.grpcAddress,
    httpAddress: member.httpAddress,
    startTime: formatTime(member.startedAtMs),
    heartbeatAgeSeconds: member.heartbeatAgeMs < 0 ? null : member.heartbeatAgeMs / 1000,
    partitionsOwned: member.partitionsOwned,
    ...(member.replica === undefined ? {} : { replica: member.replica }),
  };
}
