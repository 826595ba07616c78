// A cluster as the page's test needs it: every service, every state, one owner gone.
import type { ClusterMember, ClusterView } from '../../services/gateway/host.ts';
import { HOSTILE } from './played-page.ts';

const SERVICES = ['alert-evaluator', 'gateway', 'ingester', 'querier', 'scraper', 'store'] as const;

/** Two of each service, three ingesters; `ingester-2` is absent and `querier-1` leaves. */
export function playedCluster(changes: Partial<ClusterView> = {}): ClusterView {
  const members = SERVICES.flatMap((service) => {
    const count = service === 'ingester' ? 3 : 2;
    return Array.from({ length: count }, (_, i) => member(service, i));
  });
  return {
    epoch: 7,
    partitionCount: 64,
    replicationFactor: 3,
    storeReplicationFactor: 2,
    isControlPlaneReachable: true,
    members,
    ...changes,
  };
}

function member(service: string, index: number): ClusterMember {
  const instance = `${service}-${index}`;
  const common = {
    service,
    instance,
    zone: `zone-${'abc'[index]}`,
    partitionsOwned: service === 'ingester' ? 64 : 0,
  };
  if (instance === 'ingester-2') {
    return {
      ...common,
      ...{
        version: '',
        grpcAddress: '',
        httpAddress: '',
        state: 'absent',
        startedAtMs: 0,
        heartbeatAgeMs: -1,
      },
    };
  }
  return {
    ...common,
    version: '0.1.0',
    // Whoever starts a process names it.
    zone: instance === 'scraper-1' ? HOSTILE : common.zone,
    grpcAddress: service === 'gateway' ? '' : `10.0.0.${10 + index}:9095`,
    httpAddress: `10.0.0.${10 + index}:9090`,
    state: instance === 'querier-1' ? 'draining' : 'ready',
    startedAtMs: Date.now() - 7_200_000,
    heartbeatAgeMs: 400 + index * 100,
  };
}
