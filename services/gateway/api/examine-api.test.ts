import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { startGateway } from '../../../test/support/gateway-rig.ts';
import { freePort } from '../../../test/support/programs.ts';
import type { ClusterMember, ClusterView } from '../host.ts';
import { type ExaminedMember, metricsOf } from './examine-api.ts';

/** The HTTP server of a member: what it says the time is, and its metrics. */
async function startMember(aheadMs: number, page: string, status = 200): Promise<string> {
  const server = http.createServer((_, response) => {
    response.writeHead(status, { date: new Date(Date.now() + aheadMs).toUTCString() });
    response.end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const memberAt = (
  instance: string,
  httpAddress: string,
  state: ClusterMember['state'] = 'ready',
): ClusterMember => ({
  ...{ service: 'ingester', instance, zone: '', version: '1', grpcAddress: '', httpAddress, state },
  ...{ startedAtMs: 0, heartbeatAgeMs: 0, partitionsOwned: 0 },
});

test('clocks and metrics of members, and why one could not be asked', async () => {
  const [well, off, refused] = [
    await startMember(0, 'tidemark_ingester_fenced_total 3\nother 1\n'),
    await startMember(-90_000, ''),
    await startMember(0, '', 401),
  ];
  const view: ClusterView = {
    ...{
      epoch: 1,
      partitionCount: 8,
      replicationFactor: 1,
      storeReplicationFactor: 1,
      isControlPlaneReachable: true,
    },
    members: [
      ...[memberAt('well', well), memberAt('off', off), memberAt('refused', refused)],
      ...[memberAt('gone', `127.0.0.1:${await freePort()}`), memberAt('absent', '', 'absent')],
    ],
  };
  const rig = await startGateway({}, {}, { members: () => view });
  onTestFinished(() => rig.close());
  const response = await fetch(`${rig.url}/api/v1/cluster/examine`);
  const { members } = ((await response.json()) as { data: { members: ExaminedMember[] } }).data;
  expect(members.map(({ instance }) => instance)).toEqual(['well', 'off', 'refused', 'gone']);
  expect(members[0]).toMatchObject({
    obstacle: '',
    metrics: [{ name: 'tidemark_ingester_fenced_total', labels: {}, value: 3 }],
  });
  expect(Math.abs(members[0]!.clockAheadSeconds!)).toBeLessThan(3);
  expect(members[1]!.clockAheadSeconds!).toBeGreaterThan(-95);
  expect(members[1]!.clockAheadSeconds!).toBeLessThan(-85);
  expect(members[2]!.obstacle).toBe('its /metrics answered 401');
  expect(members[3]).toMatchObject({ clockAheadSeconds: null, metrics: [] });
  expect(members[3]!.obstacle).toMatch(/could not be asked/);
});

test('labels of metrics are read as they are written', () => {
  const page = `# HELP x y
tidemark_notifications_failing{alertmanager="http://a/?x=\\"y\\"",z="1"} 1
tidemark_notifications_failing 0
tidemark_something_else{a="b"} 5
`;
  expect(metricsOf(page)).toEqual([
    {
      name: 'tidemark_notifications_failing',
      labels: { alertmanager: 'http://a/?x=\\"y\\"', z: '1' },
      value: 1,
    },
    { name: 'tidemark_notifications_failing', labels: {}, value: 0 },
  ]);
});
