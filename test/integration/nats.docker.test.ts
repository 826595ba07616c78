// The control plane and a whole cluster on a NATS server in a container, as the compose file runs it: the published image, or the
// one that TIDEMARK_NATS_IMAGE names where images cannot be pulled (TESTCONTAINERS_RYUK_DISABLED=true then too).
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, startCluster } from '../support/cluster.ts';
import {
  EXPIRY_MS,
  HEARTBEAT_MS,
  joinControlPlane,
  memberRecordOf,
  type Nats,
  namesAt,
} from '../support/nats.ts';
import { freePort, waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi } from '../support/tidemark.ts';

const IMAGE = process.env.TIDEMARK_NATS_IMAGE ?? 'nats:2.12-alpine';
const CLIENT_PORT = 4222;
const MONITOR_PORT = 8222;
/** The image may have to be fetched first. */
const TIMEOUT_MS = 180_000;

async function run(port: number): Promise<StartedTestContainer> {
  const container = await new GenericContainer(IMAGE)
    .withCommand(['--jetstream', '--store_dir=/data', `--http_port=${MONITOR_PORT}`])
    .withExposedPorts({ container: CLIENT_PORT, host: port }, MONITOR_PORT)
    .withWaitStrategy(Wait.forHttp('/healthz', MONITOR_PORT))
    .withStartupTimeout(TIMEOUT_MS)
    .start();
  return container;
}

/** A container at a port of its own; each restart is a new one with an empty disk. */
async function startContainer(): Promise<Nats> {
  const port = await freePort();
  let container = await run(port);
  const end = (): Promise<unknown> => container.stop({ remove: true, timeout: 0 });
  onTestFinished(() => end().then(() => undefined));
  return {
    url: `nats://${container.getHost()}:${port}`,
    output: () => '',
    kill: () => end().then(() => undefined),
    restart: async () => {
      await end();
      container = await run(port);
    },
  };
}

test(
  'members, placement and leases, and all of it again after NATS came back empty',
  async () => {
    const nats = await startContainer();
    const options = {
      ...{ servers: [nats.url], clusterName: 'docker', bucketReplicas: 1, connection: {} },
      ...{ heartbeatMs: HEARTBEAT_MS, expiryMs: EXPIRY_MS },
    };
    const [a, b] = await Promise.all([joinControlPlane(options, 'a'), joinControlPlane(options, 'b')]);
    const placement = {
      ...{ epoch: 4, partitionCount: 8, replicationFactor: 3, ingesters: [], former: [] },
      ...{ storeReplicationFactor: 2, stores: [] },
    };
    for (const plane of [a, b]) {
      await waitFor('two members', () => Promise.resolve(namesAt(plane) === 'a b'));
    }
    expect(await a.replacePlacement(placement)).toBe(true);
    await waitFor('b sees the placement', () => Promise.resolve(b.placement()?.epoch === 4));
    await nats.restart({ emptied: true });
    await b.announce({ ...memberRecordOf('b'), state: 'draining' });
    await waitFor('a sees what b said since', () => Promise.resolve(a.members()[1]?.state === 'draining'), {
      timeoutMs: 30_000,
    });
    expect([a.placement()?.epoch, b.placement()?.epoch]).toEqual([4, 4]);
  },
  TIMEOUT_MS,
);

test(
  'a cluster of processes writes and answers',
  async () => {
    const nats = await startContainer();
    const cluster = await startCluster({
      counts: { ingester: 1, store: 1, querier: 1, gateway: 1 },
      flags: { ingester: ['--cluster.replication-factor=1', '--store.replication-factor=1'] },
      nats,
    });
    const [gateway] = cluster.of('gateway');
    const members = await membersOf(gateway!.url);
    expect(members.controlPlane).toBe('reachable');
    const timeMs = Date.now();
    const body = encodeWriteRequest([{ labels: { __name__: 'contained' }, samples: [[timeMs, 42]] }]);
    expect(await sendWrite(gateway!.url, snappyLiterals(body))).toBe(204);
    const { body: answer } = await callApi(gateway!.url, 'query', { query: 'contained' });
    expect(answer.data).toMatchObject({ result: [{ metric: { __name__: 'contained' } }] });
  },
  TIMEOUT_MS,
);
