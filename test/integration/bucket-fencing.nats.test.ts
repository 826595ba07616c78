// R23 for object storage: a store that removes blocks from the bucket is stopped (SIGSTOP) in the middle of it, with a request on its way, until another
// one has its turn; then the request arrives, and the store wakes up (SIGCONT). Neither has any effect, on a real S3 API that knows no leases.
import { existsSync, globSync, mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { startCluster } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { loadFactor, waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import {
  BUCKET,
  hasS3Gateway,
  S3_ENVIRONMENT,
  type S3Gateway,
  startS3Gateway,
} from '../support/s3-gateway.ts';

const HOUR_MS = 3_600_000;
/** Leases last two thirds of it. */
const EXPIRY_MS = 6_000;
/** How long who wakes up may do what it can. */
const AWAKE_MS = 8_000;

interface Removal {
  readonly key: string;
  readonly status: number;
}

/** What stands between a store and the bucket: notes its removals, and holds back the first ones that a test wants held. */
interface Gate {
  readonly flag: string;
  readonly removals: Removal[];
  /** Requests that are held back. */
  readonly held: (() => void)[];
  /** Of a removal that is about to pass: whether it is held. */
  holds: (key: string) => boolean;
}

async function startGate({ endpoint }: S3Gateway): Promise<Gate> {
  const gate: { -readonly [Name in keyof Gate]: Gate[Name] } = {
    flag: '',
    removals: [],
    held: [],
    holds: () => false,
  };
  const server = http.createServer((request, response) => {
    const pass = (): void => {
      const onward = http.request(
        `${endpoint}${request.url}`,
        { method: request.method, headers: request.headers },
        (answer) => {
          if (request.method === 'DELETE')
            gate.removals.push({ key: request.url!.split('?')[0]!, status: answer.statusCode! });
          response.writeHead(answer.statusCode!, answer.headers);
          answer.pipe(response);
        },
      );
      onward.on('error', () => response.destroy());
      // A request that was held has no sender any more, maybe; a removal has no body.
      if (request.method === 'DELETE') onward.end();
      else request.pipe(onward);
    };
    if (request.method === 'DELETE' && gate.holds(request.url!)) gate.held.push(pass);
    else pass();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  gate.flag = `--objstore.endpoint=http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return gate;
}

const blocksIn = ({ bucketFolder }: S3Gateway): string[] =>
  globSync('test/cluster/blocks/*/*/meta.json', { cwd: bucketFolder });

test.skipIf(!hasS3Gateway() || !hasPrograms('nats-server'))(
  'R23: a store that was stopped while it removed from the bucket has no effect there when another one had its turn',
  { timeout: 180_000 * loadFactor() },
  async () => {
    const gateway = await startS3Gateway();
    const gates = [await startGate(gateway), await startGate(gateway)] as const;
    const folder = path.join(gateway.bucketFolder, '..', '..', 'keys');
    mkdirSync(folder, { recursive: true });
    const [access, secret] = [path.join(folder, 'access'), path.join(folder, 'secret')];
    writeFileSync(access, S3_ENVIRONMENT.AWS_ACCESS_KEY_ID);
    writeFileSync(secret, S3_ENVIRONMENT.AWS_SECRET_ACCESS_KEY);
    const slow = [`--cluster.member-expiry=${EXPIRY_MS}ms`];
    const storeFlags = [
      ...[`--objstore.bucket=${BUCKET}`, '--objstore.prefix=test/cluster', ...slow],
      ...[`--objstore.access-key-file=${access}`, `--objstore.secret-key-file=${secret}`],
      ...['--objstore.list-interval=500ms', '--objstore.delete-grace=500ms', '--store.repair-interval=200ms'],
    ];
    const cluster = await startCluster({
      counts: { ingester: 1, store: 2, gateway: 1 },
      flags: {
        store: storeFlags,
        gateway: ['--web.enable-admin-api', ...slow],
        ingester: ['--cluster.replication-factor=1', '--cluster.partitions=16', ...slow],
      },
      nodeFlags: { 'store-0': [gates[0].flag], 'store-1': [gates[1].flag] },
    });
    const url = cluster.of('gateway')[0]!.url;
    const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 4 * HOUR_MS;
    const series = Array.from({ length: 40 }, (_, i) => ({
      labels: { __name__: 'kept', series: String(i) },
      samples: Array.from({ length: 12 }, (__, at): [number, number] => [endMs - (12 - at) * HOUR_MS, at]),
    }));
    expect(await sendWrite(url, snappyLiterals(encodeWriteRequest(series)))).toBe(204);
    expect((await fetch(`${url}/api/v1/admin/tsdb/seal`, { method: 'POST' })).status).toBe(200);
    let before = -1;
    await waitFor(
      'all blocks are in the bucket',
      async () => {
        const { length } = blocksIn(gateway);
        const isStill = length > 0 && length === before;
        before = length;
        if (!isStill) await sleep(2_000);
        return isStill;
      },
      { timeoutMs: 60_000, describe: cluster.describe },
    );
    expect(gates.flatMap(({ removals }) => removals)).toEqual([]);

    // Retention becomes shorter than all that is there. Whoever removes first is stopped with its second block under way.
    const removed: string[] = [];
    const stopped = Promise.withResolvers<number>();
    for (const [i, gate] of gates.entries()) {
      gate.holds = (key) => {
        if (!key.includes('/meta.json')) return false;
        removed.push(key);
        if (removed.length !== 2) return false;
        process.kill(cluster.of('store')[i]!.pid(), 'SIGSTOP');
        stopped.resolve(i);
        return true;
      };
    }
    const restarting = cluster.of('store');
    for (const node of restarting) await node.end('SIGTERM');
    for (const node of restarting)
      await node.start(undefined, { TIDEMARK_STORAGE_TSDB_RETENTION_TIME: '1h' });
    const first = await stopped.promise;
    const [mine, others] = [gates[first]!, gates[1 - first]!];
    const held = removed[1]!.split('?')[0]!;
    const file = path.join(gateway.bucketFolder, '..', held.split('/').slice(1).join('/'));
    expect(existsSync(file)).toBe(true);
    // All, so that nobody has anything to remove after that.
    await waitFor(
      'the other one has its turn, and uses it',
      () => Promise.resolve(blocksIn(gateway).length === 0),
      {
        timeoutMs: 90_000,
        describe: cluster.describe,
      },
    );
    const count = mine.removals.length;
    const ours = others.removals.length;
    expect(ours).toBeGreaterThan(0);

    // As if somebody needed it again.
    const bystander = path.join(path.dirname(file), 'chunks');
    mkdirSync(path.dirname(file), { recursive: true });
    for (const needed of [file, bystander]) writeFileSync(needed, 'needed again');
    mine.held.shift()!();
    process.kill(restarting[first]!.pid(), 'SIGCONT');
    await waitFor('the request arrived', () => Promise.resolve(mine.removals.length > count), {
      describe: cluster.describe,
    });
    await sleep(AWAKE_MS);
    expect(mine.removals[count]).toEqual({ key: held, status: 403 });
    const effects = mine.removals.slice(count).filter(({ status }) => status < 300);
    expect(effects, `${ours} removals of the other one before`).toEqual([]);
    for (const needed of [file, bystander]) expect(existsSync(needed), needed).toBe(true);
  },
);
