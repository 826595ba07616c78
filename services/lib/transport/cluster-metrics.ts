// What a process sees of the cluster, as metrics: whether it reaches NATS, who is there, and how old the placement is that it goes by.
import { Gauge, type Registry } from 'prom-client';
import type { ControlPlane } from './control-plane.ts';

/** Registers them; they are read from `control` at each scrape. */
export function registerClusterMetrics(
  registry: Registry,
  control: Pick<ControlPlane, 'isConnected' | 'members' | 'placement'>,
): void {
  const registers = [registry];
  new Gauge({
    name: 'tidemark_cluster_control_plane_connected',
    help: '1 while NATS is reached. Writes and queries go on without it; moves, leases and new members wait.',
    registers,
    collect() {
      this.set(Number(control.isConnected()));
    },
  });
  new Gauge({
    name: 'tidemark_cluster_members',
    help: 'Members that this process sees, by service and state.',
    labelNames: ['service', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { service, state } of control.members()) this.inc({ service, state });
    },
  });
  new Gauge({
    name: 'tidemark_cluster_placement_epoch',
    help: 'Number of the placement that this process goes by; 0 before it knows one.',
    registers,
    collect() {
      this.set(control.placement()?.epoch ?? 0);
    },
  });
}
