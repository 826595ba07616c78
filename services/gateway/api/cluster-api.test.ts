import { expect, onTestFinished, test } from 'vitest';
import { FakeControlPlane } from '../../../test/support/fake-control-plane.ts';
import { startGateway } from '../../../test/support/gateway-rig.ts';
import { computePlacement } from '../../lib/placement/placement.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { type MembersAnswer, printMembers } from '../commands/status-table.ts';
import { viewCluster } from './cluster-view.ts';

const INGESTERS = ['a', 'b', 'c', 'd'].map((instance) => ({ instance, zone: `z${instance}` }));

async function members(control?: FakeControlPlane): Promise<MembersAnswer> {
  const record = control?.placement();
  const cluster = {
    replicationFactor: 3,
    placement: () => (record === undefined ? undefined : computePlacement(record.ingesters, record)),
  } as Cluster;
  const rig = await startGateway(
    {},
    {},
    control === undefined ? {} : { members: () => viewCluster(control, cluster) },
  );
  onTestFinished(() => rig.close());
  const response = await fetch(`${rig.url}/api/v1/cluster/members`);
  return ((await response.json()) as { data: MembersAnswer }).data;
}

async function played(): Promise<FakeControlPlane> {
  const control = new FakeControlPlane();
  await control.replacePlacement({
    ...{ epoch: 5, partitionCount: 8, replicationFactor: 3, ingesters: INGESTERS, former: [] },
    ...{ storeReplicationFactor: 2, stores: [{ instance: 's', zone: '' }] },
  });
  control.set([
    ...INGESTERS.slice(0, 3),
    { service: 'querier', instance: 'q', state: 'draining', startedAtMs: 1_000, grpcAddress: 'q:9095' },
  ]);
  return control;
}

test('members, and owners that are absent, with what they own', async () => {
  const answer = await members(await played());
  expect(answer).toMatchObject({ controlPlane: 'reachable', epoch: 5, partitions: 8, replicationFactor: 3 });
  expect(answer.members.map(({ service, instance, state }) => `${service} ${instance} ${state}`)).toEqual([
    'ingester a ready',
    'ingester b ready',
    'ingester c ready',
    'ingester d absent',
    'querier q draining',
    'store s absent',
  ]);
  expect(answer.members.reduce((sum, { partitionsOwned }) => sum + partitionsOwned, 0)).toBe(8 * 3);
  expect(answer.members.find(({ instance }) => instance === 'd')).toMatchObject({
    zone: 'zd',
    heartbeatAgeSeconds: null,
  });
  expect(answer.members.find(({ instance }) => instance === 'q')).toMatchObject({
    grpcAddress: 'q:9095',
    heartbeatAgeSeconds: 0,
    partitionsOwned: 0,
  });
});

test('a control plane out of reach is said so; one process by itself has no members', async () => {
  const control = await played();
  control.isReachable = false;
  expect((await members(control)).controlPlane).toBe('unreachable');
  expect(await members()).toMatchObject({ controlPlane: 'embedded', members: [] });
});

test('the members are shown before this gateway is ready', async () => {
  const rig = await startGateway({}, {}, { isReady: () => false });
  onTestFinished(() => rig.close());
  expect((await fetch(`${rig.url}/-/ready`)).status).toBe(503);
  expect((await fetch(`${rig.url}/api/v1/cluster/members`)).status).toBe(200);
});

test.each<[string, boolean, string, number]>([
  ['is forgotten', true, '?store=s2', 200],
  ['needs a name', true, '', 400],
  ['is not forgotten without the admin API', false, '?store=s2', 403],
])('a store %s', async (_, adminApiEnabled, search, status) => {
  const forgotten: string[] = [];
  const forgetStore = (instance: string) => Promise.resolve(void forgotten.push(instance));
  const rig = await startGateway({}, { adminApiEnabled }, { forgetStore });
  onTestFinished(() => rig.close());
  const response = await fetch(`${rig.url}/api/v1/admin/cluster/forget${search}`, { method: 'POST' });
  expect([response.status, forgotten]).toEqual([status, status === 200 ? ['s2'] : []]);
});

test('the table aligns its columns', () => {
  const member = { version: '1.2', grpcAddress: '', httpAddress: 'h:1', zone: '' };
  const text = printMembers({
    ...{ controlPlane: 'reachable', epoch: 2, partitions: 8, replicationFactor: 3 },
    members: [
      {
        ...member,
        service: 'ingester',
        instance: 'a',
        state: 'ready',
        heartbeatAgeSeconds: 0.31,
        partitionsOwned: 8,
        replica: {
          ...{ partitions: 8, complete: 6, recovering: false, leaving: false },
          ...{ lackingWrites: 3, progress: 0.412, remainingSeconds: 6.3 },
        },
      },
      {
        ...member,
        service: 'store',
        instance: 'long',
        state: 'absent',
        heartbeatAgeSeconds: null,
        partitionsOwned: 0,
      },
    ],
  });
  expect(text).toBe(`control plane reachable, placement epoch 2, 8 partitions, replication factor 3

SERVICE   INSTANCE  ZONE  STATE   PARTITIONS  REPLICA                      HEARTBEAT  VERSION  GRPC  HTTP
ingester  a         -     ready   8           6/8 complete, 41 %, 7s left  0.3s       1.2      -     h:1
store     long      -     absent  -           -                            -          1.2      -     h:1
`);
});
