import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { registerClusterMetrics } from './cluster-metrics.ts';
import type { ControlPlane } from './control-plane.ts';

test('members by service and state, the connection and the epoch are read at each scrape', async () => {
  const registry = new Registry();
  let isConnected = true;
  let states = ['ready', 'ready', 'draining'];
  const control = {
    isConnected: () => isConnected,
    members: () => states.map((state) => ({ service: 'ingester', state })),
    placement: () => (isConnected ? { epoch: 7 } : undefined),
  } as unknown as ControlPlane;
  registerClusterMetrics(registry, control);
  const values = async (): Promise<string[]> =>
    (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(await values()).toEqual([
    'tidemark_cluster_control_plane_connected 1',
    'tidemark_cluster_members{service="ingester",state="ready"} 2',
    'tidemark_cluster_members{service="ingester",state="draining"} 1',
    'tidemark_cluster_placement_epoch 7',
  ]);
  isConnected = false;
  states = ['ready'];
  expect(await values()).toEqual([
    'tidemark_cluster_control_plane_connected 0',
    'tidemark_cluster_members{service="ingester",state="ready"} 1',
    'tidemark_cluster_placement_epoch 0',
  ]);
});
