// What a process must reach before it says that it is ready: a quorum of owners of every partition, by connections that stand.
import { expect, onTestFinished, test } from 'vitest';
import { FakeControlPlane } from '../../../../test/support/fake-control-plane.ts';
import { freePort, waitFor } from '../../../../test/support/programs.ts';
import { createSilentLogger } from '../../runtime/logger.ts';
import type { MemberRecord, PlacementRecord } from '../control-plane.ts';
import { GrpcCluster } from './grpc-cluster.ts';
import { GrpcServer } from './grpc-server.ts';

const INSTANCES = ['a', 'b', 'c'];

async function startServer(port: number): Promise<void> {
  const listenAddress = `127.0.0.1:${port}`;
  const server = new GrpcServer(
    { listenAddress, concurrentStreamsMax: 10 },
    { logger: createSilentLogger() },
  );
  await server.start();
  onTestFinished(() => server.stop(0));
}

const ingesterAt = (instance: string, port: number): Partial<MemberRecord> => ({
  instance,
  grpcAddress: `127.0.0.1:${port}`,
});

const placementOf = (instances: readonly string[]): PlacementRecord => ({
  ...{ epoch: instances.length, partitionCount: 4, replicationFactor: 3 },
  ...{ ingesters: instances.map((instance) => ({ instance, zone: '' })), former: [] },
  ...{ storeReplicationFactor: 1, stores: [] },
});

test('owners are missing until a quorum of those of every partition is connected', async () => {
  const control = new FakeControlPlane();
  const cluster = new GrpcCluster({ replicationFactor: 1, unaryTimeoutMs: 1_000 }, { control });
  onTestFinished(() => cluster.close());
  expect(cluster.missingOwners()).toMatch(/placement .* not known/);

  const ports = [await freePort(), await freePort(), await freePort()];
  const members = INSTANCES.map((instance, i) => ingesterAt(instance, ports[i]!));
  // The first placement of a cluster that starts may know one ingester alone, of three that there should be.
  control.set(members.slice(0, 1));
  await control.replacePlacement(placementOf(['a']));
  await startServer(ports[0]!);
  await waitFor('one owner', () =>
    Promise.resolve(cluster.missingOwners()?.includes('has 1 connected owners (a), 2 are needed')),
  );

  // Members that nobody reaches are no quorum.
  control.set(members);
  await control.replacePlacement(placementOf(INSTANCES));
  expect(cluster.missingOwners()).toMatch(/has 1 connected owners \(a\)/);

  await startServer(ports[2]!);
  await waitFor('two owners', () => Promise.resolve(cluster.missingOwners() === undefined));
  control.set(members.slice(0, 2));
  expect(cluster.missingOwners()).toMatch(/has 1 connected owners \(a\)/);
});
