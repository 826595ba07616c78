// The ingester through its contract: what it acknowledges, refuses and answers (test/support/ingester-rig.ts).
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import {
  ANY,
  contentOf,
  DURABLE,
  HOUR_MS,
  named,
  STALE,
  START_MS,
  signal,
  TestWriter,
  useIngesterRig,
} from '../../test/support/ingester-rig.ts';
import { type Disk, systemDisk } from '../lib/core/disk.ts';
import { AppError } from '../lib/core/errors.ts';
import type { Matcher } from '../lib/model/matcher.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import { AppendOutcome, type AppendRequest, type AppendResponse } from '../lib/wire/contracts.ts';
import { toWireMatchers } from '../lib/wire/matchers.ts';

const rig = useIngesterRig();

test('what was acknowledged is there after a crash, bit for bit, and writing goes on', async () => {
  const first = await rig.start();
  const writer = new TestWriter(first.client);
  const answers = await Promise.all([
    writer.send([
      ['up', START_MS, 1],
      ['up', START_MS + 15_000, STALE],
      ['down', START_MS, -0],
    ]),
    writer.send(
      [
        ['up', START_MS + 5000, 0.1],
        ['up', START_MS + 15_000, STALE],
      ],
      {},
      0,
      [{ metric: 'up', type: 'gauge', help: 'Is it?', unit: '' }],
    ),
    writer.send([
      ['up', START_MS + 30_000, [0x7ff80000, 1]],
      ['down', START_MS - 9 * HOUR_MS, 7],
    ]),
    writer.send([]),
  ]);
  expect(answers.map(({ outcome }) => outcome)).toEqual([DURABLE, DURABLE, DURABLE, DURABLE]);
  const before = await contentOf(first.client);
  expect(before.get(named('up'))).toEqual([
    [START_MS, 0x3ff00000, 0],
    [START_MS + 5000, 0x3fb99999, 0x9999999a],
    [START_MS + 15_000, ...STALE],
    [START_MS + 30_000, 0x7ff80000, 1],
  ]);
  expect(before.get(named('down'))).toEqual([
    [START_MS - 9 * HOUR_MS, 0x401c0000, 0],
    [START_MS, 0x80000000, 0],
  ]);

  const second = await rig.start();
  expect(await contentOf(second.client)).toEqual(before);
  expect(await second.client.metadata({ tenant: DEFAULT_TENANT, metric: '', limit: 0 }, { signal })).toEqual({
    metadata: [{ metric: 'up', type: 'gauge', help: 'Is it?', unit: '' }],
  });
  const again = new TestWriter(second.client, 'w2');
  await again.send([
    ['fresh', START_MS, 2],
    ['up', START_MS + 45_000, 3],
  ]);
  const third = await rig.start();
  const content = await contentOf(third.client);
  expect(content.size).toBe(3);
  expect(content.get(named('up'))).toHaveLength(5);
});

test('a request out of sequence, of another writer or of an unknown reference ends the stream', async () => {
  const { client } = await rig.start();
  const cases: [Partial<AppendRequest>, string][] = [
    [{ sequence: 1 }, 'sequence 1 after 1'],
    [{ sequence: 3 }, 'sequence 3 after 1'],
    [{ writerId: 'other' }, 'on the stream of writer'],
    [{ tenant: 'other' }, 'unknown on this stream for tenant other'],
  ];
  for (const [overrides, message] of cases) {
    const writer = new TestWriter(client);
    await writer.send([['up', START_MS, 1]]);
    await expect(writer.send([['up', START_MS + 1, 1]], overrides)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining(message) as string,
    });
    await expect(writer.ended).rejects.toBeInstanceOf(AppError);
  }
  expect((await contentOf(client, [ANY], 'other')).size).toBe(0);
});

test('malformed batches and impossible times are refused', async () => {
  const { client } = await rig.start();
  const broken = new TestWriter(client);
  await expect(broken.send([['up', START_MS, 1]], { batch: Buffer.alloc(9) })).rejects.toMatchObject({
    code: 'bad_data',
  });
  const fraction = new TestWriter(client);
  await expect(fraction.send([['up', START_MS + 0.5, 1]])).rejects.toMatchObject({ code: 'bad_data' });
  const far = new TestWriter(client);
  await expect(far.send([['up', 2 ** 52, 1]])).rejects.toMatchObject({ code: 'bad_data' });
  expect((await contentOf(client)).size).toBe(0);
});

test('partitions of others are not kept and named', async () => {
  const { client } = await rig.start({ instance: 'b' });
  const writer = new TestWriter(client);
  const answer = await writer.send([['up', START_MS, 1]], {}, 2);
  expect(answer).toMatchObject({ outcome: AppendOutcome.APPEND_OUTCOME_PARTIAL, failedPartitions: [2] });
});

test('memory over the budget and shutting down answer unavailable', async () => {
  const tight = await rig.start({ headBytesMax: 1 });
  await new TestWriter(tight.client).send([['up', START_MS, 1]]);
  const { client, ingester } = await rig.start({ dataDir: path.join(rig.folder, 'other') });
  const writer = new TestWriter(client);
  await writer.send([['up', START_MS, 1]]);
  await ingester.drain();
  expect(ingester.isReady()).toBe(false);
  expect(await writer.send([['up', START_MS + 1, 1]])).toMatchObject({
    outcome: AppendOutcome.APPEND_OUTCOME_UNAVAILABLE,
    message: expect.stringContaining('shutting down') as string,
  });
  const over = new TestWriter(tight.client);
  let refused: AppendResponse | undefined;
  for (let i = 0; i < 200 && refused === undefined; i++) {
    const answer = await over.send([[`m${i}`, START_MS, 1]]);
    if (answer.outcome !== DURABLE) refused = answer;
  }
  expect(refused?.message).toContain('over the budget of 1');
});

test('many requests in flight share commits', async () => {
  const { client, registry } = await rig.start();
  const writers = [new TestWriter(client, 'a'), new TestWriter(client, 'b')];
  const answers = await Promise.all(
    Array.from({ length: 400 }, (_, i) => writers[i % 2]!.send([[`m${i % 7}`, START_MS + i * 1000, i]])),
  );
  expect(answers.every(({ outcome }) => outcome === DURABLE)).toBe(true);
  const exposition = await registry.getSingleMetricAsString('tidemark_ingester_log_commit_seconds');
  const commits = Number(/_count (\d+)/.exec(exposition)![1]);
  expect(commits).toBeGreaterThan(0);
  expect(commits).toBeLessThan(200);
  expect([...(await contentOf(client)).values()].reduce((sum, samples) => sum + samples.length, 0)).toBe(400);
});

test('label names and values, statistics, limits', async () => {
  const { client } = await rig.start();
  const writer = new TestWriter(client);
  await writer.send(
    [
      ['up', START_MS, 1],
      ['down', START_MS, 1],
      ['down', START_MS + 1, 1],
    ],
    {},
    3,
  );
  const labels = (labelName: string, matchers: Matcher[] = []) =>
    client.labels(
      {
        tenant: DEFAULT_TENANT,
        matchers: toWireMatchers(matchers),
        minTimeMs: 0,
        maxTimeMs: 1e15,
        labelName,
        limit: 0,
      },
      { signal },
    );
  expect((await labels('')).values).toEqual(['__name__', 'job']);
  expect((await labels('job', [{ name: '__name__', operator: '=', value: 'up' }])).values).toEqual(['j2']);
  const statistics = await client.headStatistics({ tenant: DEFAULT_TENANT, limit: 1 }, { signal });
  expect(statistics).toMatchObject({
    series: 2,
    labelPairs: 4,
    chunks: 2,
    minTimeMs: START_MS,
    maxTimeMs: START_MS + 1,
    seriesCountByMetricName: [{ name: 'down', value: 1 }],
  });
  const limited = client.select(
    {
      tenant: DEFAULT_TENANT,
      matchers: toWireMatchers([ANY]),
      minTimeMs: 0,
      maxTimeMs: 1e15,
      labelsOnly: true,
      partitions: [],
      seriesMax: 1,
    },
    { signal },
  );
  await expect(limited[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'execution' });
});

test('a failing disk is fatal and acknowledges nothing', async () => {
  const failing: Disk = {
    ...systemDisk,
    async open(file, mode) {
      const opened = await systemDisk.open(file, mode);
      return {
        ...opened,
        sync: async () => {
          throw Object.assign(new Error('EIO: simulated'), { code: 'EIO' });
        },
      };
    },
  };
  const { client } = await rig.start({}, failing);
  const writer = new TestWriter(client);
  const answer = await writer.send([['up', START_MS, 1]]);
  expect(answer.outcome).toBe(AppendOutcome.APPEND_OUTCOME_UNAVAILABLE);
  expect((await stat(path.join(rig.folder, 'data', 'log'))).isDirectory()).toBe(true);
});
