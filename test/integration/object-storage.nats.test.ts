// A cluster of processes with a bucket, all of whose disks and NATS are lost: another, which has nothing but the bucket, answers as the first one
// did, and until it can it says so. And one process alone.
import { globSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { startCluster, startNode } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { freePort, waitFor } from '../support/programs.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { hasS3Gateway, S3_ENVIRONMENT, type S3Gateway, startS3Gateway } from '../support/s3-gateway.ts';
import { callApi, freshFolder, startTidemark } from '../support/tidemark.ts';

const HOUR_MS = 3_600_000;
const SERIES = 40;

const canRun = hasS3Gateway() && hasPrograms('nats-server');

/** Flags of a store that uses the bucket, with keys from files. */
function bucketFlags(gateway: S3Gateway): readonly string[] {
  const folder = freshFolder();
  const [access, secret] = [path.join(folder, 'access-key'), path.join(folder, 'secret-key')];
  writeFileSync(access, S3_ENVIRONMENT.AWS_ACCESS_KEY_ID);
  writeFileSync(secret, S3_ENVIRONMENT.AWS_SECRET_ACCESS_KEY);
  return [
    ...gateway.flags,
    `--objstore.access-key-file=${access}`,
    `--objstore.secret-key-file=${secret}`,
    '--objstore.list-interval=1s',
  ];
}

/** Writes a day of samples and turns them into blocks. */
async function writeHistory(url: string, endMs: number): Promise<void> {
  const times = Array.from({ length: 48 }, (_, i) => endMs - (i + 1) * (HOUR_MS / 2)).toSorted(
    (a, b) => a - b,
  );
  const series = Array.from({ length: SERIES }, (_, i) => ({
    labels: { __name__: 'kept', series: String(i) },
    samples: times.map((timeMs, at): [number, number] => [timeMs, i * 1_000 + at]),
  }));
  expect(await sendWrite(url, snappyLiterals(encodeWriteRequest(series)))).toBe(204);
  const sealed = await fetch(`${url}/api/v1/admin/tsdb/seal`, { method: 'POST' });
  expect(sealed.status).toBe(200);
}

const ask = (url: string, endMs: number) =>
  callApi(url, 'query', { query: 'sum(sum_over_time(kept[25h]))', time: String(endMs / 1_000) });

/** Asks until the answer is the expected one; whatever comes before must say that it is not complete. */
async function answersHonestly(
  url: string,
  endMs: number,
  expected: unknown,
  describe: () => string,
): Promise<string[]> {
  const errors: string[] = [];
  await waitFor(
    'the answer of before',
    async () => {
      const { httpStatus, body } = await ask(url, endMs);
      if (httpStatus === 200) expect(body.data).toEqual(expected);
      else errors.push(body.error ?? '');
      return httpStatus === 200;
    },
    { timeoutMs: 90_000, describe },
  );
  return errors;
}

test.skipIf(!canRun)(
  'all disks and NATS are lost: another cluster finds every block in the bucket',
  { timeout: 240_000 },
  async () => {
    const gateway = await startS3Gateway();
    const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 4 * HOUR_MS;
    const options = {
      counts: { ingester: 1, store: 2, querier: 1, gateway: 1 },
      flags: {
        store: [...bucketFlags(gateway), '--store.repair-interval=500ms'],
        gateway: ['--web.enable-admin-api'],
        ingester: ['--cluster.replication-factor=1'],
      },
    };
    const first = await startCluster(options);
    const [url] = first.of('gateway').map((node) => node.url);
    await writeHistory(url!, endMs);
    const before = await ask(url!, endMs);
    expect(before.httpStatus).toBe(200);
    type Moves = {
      data: {
        stores: { heldBlocks: number; bucket: { blocks: number; pendingBlocks: number; name: string } }[];
      };
    };
    await waitFor(
      'all blocks are in the bucket, and both stores know',
      async () => {
        const { data } = (await (await fetch(`${url}/api/v1/cluster/moves`)).json()) as Moves;
        const held = Math.max(...data.stores.map(({ heldBlocks }) => heldBlocks));
        return (
          held > 0 && data.stores.every(({ bucket }) => bucket.pendingBlocks === 0 && bucket.blocks >= held)
        );
      },
      { timeoutMs: 60_000, describe: first.describe },
    );
    for (const node of first.nodes) await node.end('SIGKILL');
    await first.nats.kill();
    expect(first.describe()).not.toContain(S3_ENVIRONMENT.AWS_SECRET_ACCESS_KEY);

    const second = await startCluster(options);
    const [again] = second.of('gateway').map((node) => node.url);
    for (const error of await answersHonestly(again!, endMs, before.body.data, second.describe))
      expect(error).toMatch(/object storage|not complete|incomplete|missing|partition|store/i);
  },
);

test.skipIf(!canRun)(
  'one process alone starts from nothing but the bucket',
  { timeout: 120_000 },
  async () => {
    const gateway = await startS3Gateway();
    const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 4 * HOUR_MS;
    const flags = [...bucketFlags(gateway), '--web.enable-admin-api'];
    const first = await startTidemark({ flags });
    await writeHistory(first.url, endMs);
    const before = await ask(first.url, endMs);
    expect(before.httpStatus).toBe(200);
    const pending = async () => {
      const text = await (await fetch(`${first.url}/metrics`)).text();
      const value = (name: string) => Number(new RegExp(`^${name}(?:{[^}]*})? (\\S+)`, 'm').exec(text)?.[1]);
      return (
        value('tidemark_store_bucket_blocks') === value('tidemark_store_blocks') &&
        value('tidemark_store_blocks') > 0
      );
    };
    await waitFor('all blocks are in the bucket', pending, { timeoutMs: 60_000, describe: first.output });
    await first.end('SIGKILL');
    const second = await startTidemark({ flags });
    await answersHonestly(second.url, endMs, before.body.data, second.output);
  },
);

test.skipIf(!canRun)(
  'one process whose disk is the cache of its bucket: killed while blocks leave and while they are read, it answers as before or says what it lacks',
  { timeout: 180_000 },
  async () => {
    const gateway = await startS3Gateway();
    const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 4 * HOUR_MS;
    const flags = [...bucketFlags(gateway), '--web.enable-admin-api'];
    const first = await startTidemark({ flags });
    await writeHistory(first.url, endMs);
    const before = await ask(first.url, endMs);
    expect(before.httpStatus).toBe(200);
    const { dataDir } = first;
    const inBlocks = (name: string) => globSync(`blocks/*/*/${name}`, { cwd: dataDir }).length;
    const inBucket = () =>
      globSync('test/cluster/blocks/*/*/meta.json', { cwd: gateway.bucketFolder }).length;
    await waitFor('all blocks are in the bucket', async () => inBucket() >= inBlocks('meta.json'), {
      timeoutMs: 60_000,
      describe: first.output,
    });
    await first.end('SIGKILL');
    const evicting = [...flags, '--objstore.local-age=1h', '--objstore.cache-size=0'];
    // Killed as soon as the first block is leaving, then a little later each time, until all have left.
    let kills = 0;
    for (let left = inBlocks('chunks'); left > 0; kills++) {
      expect(kills).toBeLessThan(40);
      const running = await startTidemark({ flags: evicting, dataDir });
      await waitFor('a block leaves', async () => inBlocks('chunks') < left || inBlocks('chunks') === 0, {
        timeoutMs: 60_000,
        describe: running.output,
      });
      const asked = ask(running.url, endMs).catch(() => undefined);
      if (kills % 2 === 0) await asked;
      await running.end('SIGKILL');
      await asked;
      left = inBlocks('chunks');
    }
    expect(inBlocks('evicted.json')).toBe(inBlocks('meta.json'));
    const cached = [...flags, '--objstore.local-age=1h', '--objstore.cache-size=1MB'];
    const last = await startTidemark({ flags: cached, dataDir });
    const after = await ask(last.url, endMs);
    expect([after.httpStatus, after.body.data]).toEqual([200, before.body.data]);
    const status = (await (await fetch(`${last.url}/api/v1/cluster/moves`)).json()) as {
      data: { stores: { bucket: { evictedBlocks: number; cacheBytesMax: number } }[] };
    };
    expect(status.data.stores.every(({ bucket }) => bucket.cacheBytesMax === 1 << 20)).toBe(true);
    // What is cached is there without the bucket; what is not is named.
    await gateway.stop();
    await last.end('SIGKILL');
    rmSync(path.join(dataDir, 'blocks-cache'), { recursive: true, force: true });
    const alone = await startTidemark({ flags: cached, dataDir });
    const error = await ask(alone.url, endMs);
    expect(error.httpStatus).toBe(503);
    expect(error.body.error).toMatch(
      /in object storage only, which does not give them .*cannot be reached.*T.*Z to /s,
    );
    const partial = await callApi(alone.url, 'query', {
      query: 'count(kept)',
      time: String(endMs / 1_000 - 1_800),
      partial_response: 'true',
    });
    expect(partial.httpStatus).toBe(200);
    expect(JSON.stringify(partial.body)).toMatch(/in object storage only/);
    await gateway.start();
    await answersHonestly(alone.url, endMs, before.body.data, alone.output);
  },
);

test.skipIf(!canRun)(
  'a store with an empty disk waits for its bucket, says so, and can be told to stop',
  { timeout: 90_000 },
  async () => {
    const gateway = await startS3Gateway();
    await gateway.stop();
    const natsUrl = `nats://127.0.0.1:${await freePort()}`;
    const store = await startNode('store', 'waiting', {
      natsUrl,
      zone: '',
      configFile: '',
      flags: bucketFlags(gateway),
    });
    await waitFor(
      'it says what it waits for',
      async () =>
        /disk is empty, and object storage cannot be listed.*cannot be reached/.test(store.output()),
      { timeoutMs: 60_000, describe: store.output },
    );
    expect((await fetch(`${store.url}/-/healthy`)).status).toBe(200);
    expect((await fetch(`${store.url}/-/ready`)).status).toBe(503);
    await store.end('SIGTERM');
    expect(store.exited(), store.output()).toBe(0);
  },
);
